//! The ledger of a grid: what its servers were asked and what they did, for the oracles.

use std::collections::BTreeMap;

use crate::fault::CallKind;

/// What one server was asked.
#[derive(Clone, Debug, Default)]
pub struct CallCounts {
    /// Calls by kind.
    pub calls: BTreeMap<CallKind, u32>,
    /// Bytes that its reads were answered with.
    pub bytes: u64,
    /// Calls that are not answered yet.
    pub outstanding: u32,
}

/// Facts about one server.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What it was asked.
    pub counts: CallCounts,
    /// Reads by share.
    pub reads: BTreeMap<u32, u32>,
    /// A fault took effect here that may have cost a client this server for good.
    pub harmed: bool,
    /// Shares that somebody advised to be corrupt.
    pub advised: BTreeMap<u32, u32>,
    /// For each share the reads that were answered with nothing at all: asking again is a livelock.
    empty: BTreeMap<u32, Vec<(u64, u64)>>,
    /// A read that was sent again although it had been answered with nothing.
    pub asked_again: Option<(u32, u64, u64)>,
    /// Names of the effects that took place, and how often.
    pub effects: BTreeMap<&'static str, u32>,
}

impl Ledger {
    /// Notes a read before it is sent, over a connection on which empty answers are remembered.
    pub(super) fn read_sent(&mut self, share: u32, offset: u64, length: u64) {
        *self.reads.entry(share).or_default() += 1;
        if self.empty.get(&share).is_some_and(|empty| empty.contains(&(offset, length))) {
            self.asked_again.get_or_insert((share, offset, length));
        }
    }

    /// Notes a truthful answer to a read.
    pub(super) fn read_answered(&mut self, share: u32, offset: u64, length: u64, answered: u64) {
        self.counts.bytes += answered;
        if answered == 0 {
            self.empty.entry(share).or_default().push((offset, length));
        }
    }

    /// A new node knows nothing of what an earlier one was told.
    pub fn forget_empty_answers(&mut self) {
        self.empty.clear();
    }
}
