//! The ledger of a grid: what its servers were asked and what they did, for the oracles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Bytes of answers that clients have and have not dropped yet.
    pub(super) buffered: Arc<AtomicU64>,
    /// The most bytes of answers that clients had at one time.
    pub most_buffered: u64,
}

impl Ledger {
    /// Notes a truthful answer to a read.
    pub(super) fn read_answered(&mut self, answered: u64) {
        self.counts.bytes += answered;
        let buffered = self.buffered.fetch_add(answered, Ordering::Relaxed) + answered;
        self.most_buffered = self.most_buffered.max(buffered);
    }
}
