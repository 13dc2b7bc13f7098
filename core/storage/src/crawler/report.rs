//! What a cycle of the crawler found, for people and programs. Made from what is [kept](super::state), never kept.

use serde::{Deserialize, Serialize};

use super::state::Finished;

/// A cycle of the crawler.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    /// Cycles are numbered from 1.
    pub number: u64,
    /// When it began, in seconds since the Unix epoch.
    pub started: u64,
    /// When it ended, or has come to this.
    pub ended: u64,
    /// What it counted.
    pub counts: Counts,
    /// How old the leases are, by days since they were renewed; empty bins are left out.
    pub lease_ages: Vec<AgeBin>,
    /// Shares that are corrupted, at most a thousand.
    pub corrupted: Vec<String>,
}

/// Leases that were renewed so many days ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeBin {
    /// Whole days.
    pub days: u64,
    /// How many.
    pub leases: u64,
}

/// How many shares, and how many bytes they use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Shares.
    pub shares: u64,
    /// Bytes in the backend.
    pub bytes: u64,
}

impl Tally {
    /// One more share.
    pub(super) fn add(&mut self, bytes: u64) {
        self.shares += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What a cycle counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Prefixes that were crawled.
    pub prefixes: u64,
    /// Files that were examined.
    pub files: u64,
    /// Immutable shares that are there.
    pub immutable: Tally,
    /// Mutable shares that are there.
    pub mutable: Tally,
    /// Shares that are there and corrupted.
    pub corrupted: Tally,
    /// Leases that are there.
    pub leases: u64,
    /// Leases that ended.
    pub ended_leases: u64,
    /// Shares that were found and given a starter lease.
    pub adopted: u64,
    /// Shares of which nothing was left; their rows and leases were removed.
    pub vanished: u64,
    /// Shares that nobody had a lease on, and that were deleted.
    pub collected: Tally,
    /// Leftovers of uploads and deletions that were ended, one way or the other.
    pub ended_operations: u64,
    /// Rows that were corrected.
    pub corrected: u64,
    /// Objects that make no share: seen, and left for a cycle.
    pub watched: u64,
    /// Objects that made no share for a whole cycle, and were deleted.
    pub cleared: Tally,
    /// Prefixes that could not be crawled: nothing was concluded about them.
    pub failed_prefixes: u64,
    /// Files that could not be examined: nothing was concluded about them.
    pub failed_files: u64,
    /// Shares with which something had to be done that failed. It is tried again.
    pub failed_steps: u64,
    /// The clock seemed to have stepped: no lease could end.
    pub suspended: bool,
}

impl Counts {
    /// Everything that is there.
    pub fn shares(&self) -> Tally {
        let all = [self.immutable, self.mutable, self.corrupted];
        let shares = all.iter().map(|tally| tally.shares).sum();
        Tally { shares, bytes: all.iter().fold(0, |sum, tally| sum.saturating_add(tally.bytes)) }
    }
}

/// The report of a cycle.
pub(super) fn cycle(number: u64, finished: &Finished) -> Cycle {
    let found = &finished.found;
    let bin = |(days, leases): (&u64, &u64)| AgeBin { days: *days, leases: *leases };
    Cycle {
        number,
        started: finished.started,
        ended: finished.ended,
        counts: found.counts,
        lease_ages: found.lease_ages.iter().map(bin).collect(),
        corrupted: found.corrupted.iter().cloned().collect(),
    }
}
