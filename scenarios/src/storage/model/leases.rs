//! What clients were promised about leases: for each share, when the lease was last renewed at the least, and until when it
//! lasts at the least (leasedb-and-storage §4).

use std::collections::BTreeMap;

use storage::config::{LEASE, STARTER_LEASE};
use storage::share::ShareId;

use crate::storage::workload::{DAY, Expiry};

/// What was promised of one lease, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// It was renewed then, or later.
    pub renewed: u64,
    /// It lasts until then, or longer.
    pub expires: u64,
}

/// All promises.
#[derive(Clone, Debug)]
pub struct Leases {
    expiry: Expiry,
    /// The wall clock at the start of the run.
    epoch: u64,
    /// It is never set back.
    steady: bool,
    /// The latest that the server's wall clock has ever shown.
    latest: u64,
    promises: BTreeMap<ShareId, Promise>,
    /// As they were when the server was last started: what a database without haste may fall back to.
    at_start: BTreeMap<ShareId, Promise>,
}

impl Leases {
    /// No promises yet.
    pub fn new(expiry: Expiry, epoch: u64, steady: bool) -> Leases {
        Leases { expiry, epoch, steady, latest: epoch, promises: BTreeMap::new(), at_start: BTreeMap::new() }
    }

    /// The server's wall clock shows `clock`.
    pub fn tick(&mut self, clock: u64) {
        self.latest = self.latest.max(clock);
    }

    /// A client was told that its lease stands, which it asked for when the server's clock showed `clock` or later.
    pub fn renewed(&mut self, id: ShareId, clock: u64) {
        self.raise(id, Promise { renewed: clock, expires: clock + LEASE });
    }

    /// The server will find a share and give it a lease, when its clock shows `clock` or later; unless that is set back.
    pub fn adopted(&mut self, id: ShareId, clock: u64) {
        if !self.steady {
            return;
        }
        self.raise(id, Promise { renewed: clock, expires: clock + STARTER_LEASE });
    }

    fn raise(&mut self, id: ShareId, new: Promise) {
        if self.may_be_over(id) {
            // It may have been deleted and be another share by now, whose lease is a new one.
            self.promises.remove(&id);
        }
        let (expiry, epoch) = (self.expiry, self.epoch);
        let promise = self.promises.entry(id).or_insert(new);
        // The older lease may be another one, which ends by itself.
        promise.expires = ends(*promise, expiry, epoch);
        promise.renewed = promise.renewed.max(new.renewed);
        promise.expires = promise.expires.max(new.expires);
    }

    /// The share was deleted, or its leases were.
    pub fn forget(&mut self, id: ShareId) {
        self.promises.remove(&id);
        self.at_start.remove(&id);
    }

    /// The database was deleted: whatever share is there is found again, no earlier than at `clock`.
    pub fn start_afresh(&mut self, clock: u64) {
        let ids: Vec<_> = self.promises.keys().copied().collect();
        self.promises.clear();
        ids.into_iter().for_each(|id| self.adopted(id, clock));
        self.at_start = self.promises.clone();
    }

    /// The server was stopped, or was started: what it has promised so far is on its disk.
    pub fn settle(&mut self) {
        self.at_start = self.promises.clone();
    }

    /// The power failed, and the last transactions with it.
    pub fn lose_the_last(&mut self) {
        self.promises = self.at_start.clone();
    }

    /// What was promised of a share.
    pub fn promise(&self, id: ShareId) -> Option<Promise> {
        self.promises.get(&id).copied()
    }

    /// The share may have been deleted for want of a lease. Without a promise there may never have been one.
    pub fn may_be_over(&self, id: ShareId) -> bool {
        let promise = self.promises.get(&id);
        match self.expiry {
            Expiry::Never => false,
            Expiry::Age => promise.is_none_or(|promise| promise.expires <= self.latest),
            Expiry::Days(days) => promise.is_none_or(|promise| promise.renewed + days * DAY <= self.latest),
            Expiry::CutOffDay(day) => promise.is_none_or(|promise| promise.renewed < self.epoch + day * DAY),
        }
    }

    /// No lease that the share can have is over yet: it must not have been deleted, and one that has none must have been.
    pub fn ends(&self) -> bool {
        self.expiry != Expiry::Never
    }
}

/// When a lease ends that is not renewed: at its time, or when it was renewed too long ago.
fn ends(promise: Promise, expiry: Expiry, epoch: u64) -> u64 {
    match expiry {
        Expiry::Never | Expiry::Age => promise.expires,
        Expiry::Days(days) => promise.expires.min(promise.renewed + days * DAY),
        Expiry::CutOffDay(day) if promise.renewed < epoch + day * DAY => promise.renewed,
        Expiry::CutOffDay(_) => promise.expires,
    }
}
