//! What clients were promised about leases: for each share, when the lease was last renewed at the least, and until when it
//! lasts at the least (leasedb-and-storage §4).

use std::collections::{BTreeMap, BTreeSet};

use runtime::Instant;
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

/// Whose lease it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// The clients', who are all one account.
    Clients,
    /// The server's own, which it gives to a share that it finds.
    Starter,
}

/// A question to which the answer is a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the server's clock showed then, or later, in seconds since the Unix epoch.
    pub clock: u64,
    /// How often the server had lost promises by then: one that it gave before such a loss is void.
    pub losses: u64,
    /// How many deletions had begun or ended by then.
    pub deletions: u64,
    /// When that was.
    pub at: Instant,
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
    promises: BTreeMap<(ShareId, Holder), Promise>,
    /// As they were when the server was last started: what a database without haste may fall back to.
    at_start: BTreeMap<(ShareId, Holder), Promise>,
    losses: u64,
    /// How many deletions have begun or ended.
    deletions: u64,
    /// Of each share that was ever to be deleted: how many deletions are under way, and the count when the last of them
    /// began or ended.
    deleted: BTreeMap<ShareId, (u32, u64)>,
}

impl Leases {
    /// No promises yet.
    pub fn new(expiry: Expiry, epoch: u64, steady: bool) -> Leases {
        let (promises, at_start) = (BTreeMap::new(), BTreeMap::new());
        Leases {
            expiry,
            epoch,
            steady,
            latest: epoch,
            promises,
            at_start,
            losses: 0,
            deletions: 0,
            deleted: BTreeMap::new(),
        }
    }

    /// The server's wall clock shows `clock`.
    pub fn tick(&mut self, clock: u64) {
        self.latest = self.latest.max(clock);
    }

    /// How often promises were lost.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// A client was told that its lease stands, which it had asked for.
    pub fn renewed(&mut self, id: ShareId, asked: Asked) {
        // Once deleted, it is another share, and the promise was about the one before.
        if asked.losses == self.losses && self.last_deletion(id) <= asked.deletions {
            let promise = Promise { renewed: asked.clock, expires: asked.clock + LEASE };
            self.raise(id, Holder::Clients, promise);
        }
    }

    /// The server will find a share and give it a lease, when its clock shows `clock` or later; unless that is set back.
    pub fn adopted(&mut self, id: ShareId, clock: u64) {
        if self.steady {
            self.raise(id, Holder::Starter, Promise { renewed: clock, expires: clock + STARTER_LEASE });
        }
    }

    fn raise(&mut self, id: ShareId, holder: Holder, new: Promise) {
        if self.may_be_over(id) {
            // It may have been deleted and be another share by now, whose leases are new ones.
            self.forget_promises(id);
        }
        match self.promise(id, holder) {
            Some(old) => {
                let (renewed, expires) = (old.renewed.max(new.renewed), old.expires.max(new.expires));
                self.promises.insert((id, holder), Promise { renewed, expires });
            }
            None => _ = self.promises.insert((id, holder), new),
        }
    }

    /// How many deletions have begun or ended.
    pub fn deletions(&self) -> u64 {
        self.deletions
    }

    /// Somebody is about to delete a share: nothing is known of its leases until that is over.
    pub fn begin_deletion(&mut self, id: ShareId) {
        self.deletions += 1;
        let (under_way, last) = self.deleted.entry(id).or_default();
        (*under_way, *last) = (*under_way + 1, self.deletions);
        self.forget(id);
    }

    /// A deletion is over, whatever it came to.
    pub fn end_deletion(&mut self, id: ShareId) {
        self.deletions += 1;
        let (under_way, last) = self.deleted.entry(id).or_default();
        (*under_way, *last) = (under_way.saturating_sub(1), self.deletions);
        self.forget(id);
    }

    /// Whether a share is being deleted, or may be.
    pub fn is_being_deleted(&self, id: ShareId) -> bool {
        self.deleted.get(&id).is_some_and(|(under_way, _)| *under_way > 0)
    }

    /// The count when a deletion of the share last began or ended; more than any when one is under way.
    fn last_deletion(&self, id: ShareId) -> u64 {
        match self.deleted.get(&id) {
            Some((0, last)) => *last,
            Some(_) => u64::MAX,
            None => 0,
        }
    }

    /// The share was deleted, or its leases were.
    pub fn forget(&mut self, id: ShareId) {
        self.forget_promises(id);
        HOLDERS.iter().for_each(|holder| _ = self.at_start.remove(&(id, *holder)));
    }

    fn forget_promises(&mut self, id: ShareId) {
        HOLDERS.iter().for_each(|holder| _ = self.promises.remove(&(id, *holder)));
    }

    /// The database was deleted: whatever share is there is found again, no earlier than at `clock`.
    pub fn start_afresh(&mut self, clock: u64) {
        let ids: BTreeSet<_> = self.promises.keys().map(|(id, _)| *id).collect();
        let ids: Vec<_> = ids.into_iter().filter(|id| !self.may_be_over(*id)).collect();
        self.losses += 1;
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
        self.losses += 1;
        self.promises = self.at_start.clone();
    }

    /// What was promised of a lease that is not over yet.
    pub fn promise(&self, id: ShareId, holder: Holder) -> Option<Promise> {
        let promise = self.promises.get(&(id, holder)).copied();
        promise.filter(|promise| !self.is_over(*promise))
    }

    /// The share may have been deleted for want of a lease. Without a promise there may never have been one.
    pub fn may_be_over(&self, id: ShareId) -> bool {
        self.ends() && HOLDERS.iter().all(|holder| self.promise(id, *holder).is_none())
    }

    fn is_over(&self, promise: Promise) -> bool {
        match self.expiry {
            Expiry::Never => false,
            Expiry::Age => promise.expires <= self.latest,
            Expiry::Days(days) => promise.renewed + days * DAY <= self.latest,
            Expiry::CutOffDay(day) => promise.renewed < self.epoch + day * DAY,
        }
    }

    /// No lease that the share can have is over yet: it must not have been deleted, and one that has none must have been.
    pub fn ends(&self) -> bool {
        self.expiry != Expiry::Never
    }
}

const HOLDERS: [Holder; 2] = [Holder::Clients, Holder::Starter];
