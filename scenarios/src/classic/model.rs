//! What must be in the directory, given what clients were told: which shares, and which leases in them.
//!
//! An answer comes after the work, and a crash may come instead of it. So what may have happened is judged late, from all
//! that was asked for since: a lease may be gone when somebody had leases end afterwards that were over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::StorageIndex;
use runtime::Instant;
use storage::config::{Expire, LEASE};
use storage::share::{Kind, Prefix, ShareId};

use super::container::{HEADER, Kept, RECORD, header};

/// What is known of the directory.
#[derive(Default)]
pub struct Model {
    /// Shares that are there, until their leases have ended.
    certain: BTreeSet<ShareId>,
    /// Shares that somebody may have published.
    pub possible: BTreeSet<ShareId>,
    /// Files that nobody can make sense of, or whose leases nobody can: they stay as they are.
    pub untouched: BTreeMap<ShareId, Kept>,
    /// Those of them that have no data that could be read.
    pub spoilt: BTreeSet<ShareId>,
    /// Shares that may have leases of which nobody was told.
    doubtful: BTreeSet<ShareId>,
    promises: BTreeMap<ShareId, BTreeMap<u64, Promise>>,
    expiries: Vec<Expiry>,
    counts: BTreeMap<ShareId, Count>,
    adding: BTreeMap<StorageIndex, u64>,
    /// Files of which a call that changes leases was cut off: nobody knows what of it is durable.
    cut_off: BTreeSet<StorageIndex>,
}

/// A lease that a client was told it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// When it was asked for.
    asked: Instant,
    /// When it ends at the earliest, in seconds since the Unix epoch.
    pub until: u64,
}

/// Somebody had leases end.
struct Expiry {
    prefix: Prefix,
    policy: Expire,
    /// When that was over, and what the clock showed; it is under way, when absent.
    ended: Option<(Instant, u64)>,
}

/// The lease records of a container when it was last looked at.
#[derive(Clone, Copy, Default)]
struct Count {
    /// So many are durable at least.
    least: u64,
    /// So many are durable at the most.
    most: u64,
    /// Calls since then, or under way then, that may have added one each.
    adders: u64,
    /// Leases may have been removed since then.
    removals: bool,
}

impl Model {
    /// A share is there, and with it a lease of that client.
    pub fn published(&mut self, id: ShareId, client: u64, asked: Instant, until: u64) {
        self.certain.insert(id);
        self.possible.insert(id);
        self.promised(id, client, asked, until);
    }

    /// A share is there.
    pub fn is_there(&mut self, id: ShareId) {
        self.certain.insert(id);
        self.possible.insert(id);
    }

    /// A share may have a lease of which nobody was told.
    pub fn may_be_leased(&mut self, id: ShareId) {
        self.doubtful.insert(id);
    }

    /// A client has a lease.
    pub fn promised(&mut self, id: ShareId, client: u64, asked: Instant, until: u64) {
        self.promises.entry(id).or_default().insert(client, Promise { asked, until });
    }

    /// Nobody will make sense of a share any more, which looks like that.
    pub fn spoil(&mut self, id: ShareId, file: Kept) {
        self.promises.remove(&id);
        self.certain.remove(&id);
        self.untouched.insert(id, file);
        self.spoilt.insert(id);
    }

    /// The leases of these clients that must be there at a time of the wall clock.
    pub fn promises(&self, id: ShareId, clock: u64) -> BTreeMap<u64, Promise> {
        let all = self.promises.get(&id).cloned().unwrap_or_default();
        all.into_iter().filter(|(_, promise)| !self.may_be_over(id, promise, clock)).collect()
    }

    /// Whether a share must be there at a time of the wall clock: it was, and has a lease that cannot have ended.
    pub fn must_be_there(&self, id: ShareId, clock: u64) -> bool {
        let leased = match self.promises.contains_key(&id) {
            true => !self.promises(id, clock).is_empty(),
            // One without any lease is given one, the first time.
            false if self.doubtful.contains(&id) => self.expiries_of(id).all(|expiry| !expiry.policy.enabled),
            false => self.expiries_of(id).filter(|expiry| expiry.policy.enabled).count() < 2,
        };
        self.certain.contains(&id) && (leased || self.untouched.contains_key(&id))
    }

    /// Somebody has leases end; the answer ends it with [`Model::expired`].
    pub fn expires(&mut self, prefix: Prefix, policy: Expire) -> usize {
        let of_prefix = |id: &ShareId| policy.enabled && Prefix::of(&id.index) == prefix;
        for (_, count) in self.counts.iter_mut().filter(|(id, _)| of_prefix(id)) {
            count.removals = true;
            // One without any lease is given one.
            count.adders += 1;
        }
        self.expiries.push(Expiry { prefix, policy, ended: None });
        self.expiries.len() - 1
    }

    /// That is over; with an answer that all is well, or not.
    pub fn expired(&mut self, expiry: usize, now: Instant, clock: u64, well: bool) {
        let Some(expiry) = self.expiries.get_mut(expiry) else { return };
        expiry.ended = Some((now, clock));
        let of_prefix = |id: &&ShareId| !well && Prefix::of(&id.index) == expiry.prefix;
        self.cut_off.extend(self.possible.iter().filter(of_prefix).map(|id| id.index));
    }

    /// Whether leases may have ended since a moment.
    pub fn has_expired_since(&self, id: ShareId, since: Instant) -> bool {
        self.expiries_of(id).any(|expiry| expiry.ended.is_none_or(|(when, _)| when >= since))
    }

    /// A call that may add a lease to each share of a file begins.
    pub fn adds(&mut self, index: StorageIndex) {
        *self.adding.entry(index).or_default() += 1;
        self.doubtful.extend(self.possible.iter().filter(|id| id.index == index));
        for (_, count) in self.counts.iter_mut().filter(|(id, _)| id.index == index) {
            count.adders += 1;
        }
    }

    /// That call is over; with an answer that all is well, or not.
    pub fn added(&mut self, index: StorageIndex, well: bool) {
        let adding = self.adding.entry(index).or_default();
        *adding = adding.saturating_sub(1);
        if !well {
            self.cut_off.insert(index);
        }
    }

    /// Looks at the lease records of a container, and says how many there are, and how many there may be at least and at
    /// most.
    pub fn count(&mut self, id: ShareId, file: Option<&Kept>, size: u64) -> Option<(u64, [u64; 2])> {
        let removals = self.expiries_of(id).any(|expiry| expiry.policy.enabled && expiry.ended.is_none());
        let adders = self.adding.get(&id.index).copied().unwrap_or(0) + u64::from(removals);
        let before = self.counts.remove(&id);
        let file = file.filter(|file| header(file).is_some())?;
        let records = file.length.saturating_sub(HEADER as u64 + size) / RECORD as u64;
        let [least, most] = match (adders == 0 && !self.cut_off.contains(&id.index), before) {
            (true, _) => [records; 2],
            (false, Some(before)) => [before.least.min(records), before.most.max(records)],
            (false, None) => [0, records],
        };
        self.counts.insert(id, Count { least, most, adders, removals });
        let before = before?;
        let least = if before.removals { 0 } else { before.least };
        Some((records, [least, before.most + before.adders]))
    }

    /// Somebody else has changed a container: its leases are counted anew.
    pub fn count_anew(&mut self, id: ShareId) {
        self.counts.remove(&id);
    }

    fn expiries_of(&self, id: ShareId) -> impl Iterator<Item = &Expiry> {
        self.expiries.iter().filter(move |expiry| expiry.prefix == Prefix::of(&id.index))
    }

    fn may_be_over(&self, id: ShareId, promise: &Promise, clock: u64) -> bool {
        self.expiries_of(id).any(|Expiry { policy, ended, .. }| {
            let (after, then) = ended.map_or((true, clock), |(when, then)| (when >= promise.asked, then));
            let renewed = promise.until.saturating_sub(LEASE);
            after && policy.is_over(Kind::Immutable, renewed, Some(promise.until), then)
        })
    }
}

/// How long after a call its answer may come at the latest.
pub const PATIENCE: Duration = Duration::from_secs(6 * 3600);
