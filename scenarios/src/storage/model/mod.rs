//! The reference model: what clients were told, and what the server must therefore have (leasedb-and-storage §13, §16).
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`shares`] | immutable shares: the texts that each may be, and whether it may be absent |
//! | [`slots`] | mutable shares: the states that some order of the calls leads to |
//! | [`leases`] | until when each share is promised to be kept |
//!
//! What was acknowledged has happened. What was not, has happened as a whole or not at all. Damage from outside and leases
//! that are over allow absence.

pub mod leases;
pub mod shares;
pub mod slots;

use std::collections::{BTreeMap, BTreeSet};

use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::Instant;
use storage::share::ShareId;

use super::workload::{FILES, SLOTS, StorageWorkload, index_of};
use leases::Leases;
use shares::Shares;
use slots::Slots;

/// All that is known of the server from what clients did and were answered.
#[derive(Clone, Debug)]
pub struct Model {
    /// What was promised of leases.
    pub leases: Leases,
    /// Immutable shares.
    pub shares: Shares,
    /// Mutable shares, by file.
    pub slots: BTreeMap<StorageIndex, Slots>,
    /// When each share was last allocated by somebody, or came nearer to being uploaded.
    pub progress: BTreeMap<ShareId, Instant>,
    /// How many clients are asking to upload each share.
    pub allocating: BTreeMap<ShareId, u32>,
    /// Shares that somebody copied in and that the server need not have noticed yet.
    pub unnoticed: BTreeSet<ShareId>,
    /// Files that have shares of both kinds: what the server answers about them is nobody's business.
    pub mixed: BTreeSet<StorageIndex>,
    /// When the server last had a reason to fail: a fault of its disk or its backend, a crash.
    pub trouble: Option<Instant>,
    /// Shares are several objects: a write that is cut off may leave some of the old and some of the new.
    pub chunked: bool,
    next_call: u64,
}

impl Model {
    /// The model of an empty server. `epoch` is the wall clock at the start, in seconds; `steady`: it is never set back.
    pub fn new(workload: &StorageWorkload, epoch: u64, steady: bool) -> Model {
        let slots = SLOTS.iter().map(|file| (index_of(*file), Slots::new(workload.server.cloud))).collect();
        Model {
            leases: Leases::new(workload.server.expiry, epoch, steady),
            shares: Shares::default(),
            slots,
            progress: BTreeMap::new(),
            allocating: BTreeMap::new(),
            unnoticed: BTreeSet::new(),
            mixed: BTreeSet::new(),
            trouble: None,
            chunked: workload.server.cloud.is_some(),
            next_call: 0,
        }
    }

    /// A number for a call.
    pub fn next_call(&mut self) -> u64 {
        self.next_call += 1;
        self.next_call
    }

    /// The server's wall clock shows `clock`: what has no lease any more may be gone.
    pub fn tick(&mut self, clock: u64) {
        self.leases.tick(clock);
        if !self.leases.ends() {
            return;
        }
        for id in self.shares.ids() {
            if self.leases.may_be_over(id) && self.shares.get(id).certain {
                self.shares.may_be_gone(id);
            }
        }
        for (index, slots) in &mut self.slots {
            let over =
                |share: &ShareNumber| self.leases.may_be_over(ShareId { index: *index, share: *share });
            let over: Vec<_> = slots.shares().into_iter().filter(over).collect();
            slots.may_be_gone(over.into_iter());
        }
    }

    /// The server went down. `forgetful`: its last transactions may be lost.
    pub fn went_down(&mut self, now: Instant, forgetful: bool) {
        self.trouble = Some(now);
        for slots in self.slots.values_mut() {
            if self.chunked {
                slots.may_be_torn();
            }
            slots.cut_off();
        }
        if forgetful {
            self.may_forget();
        }
    }

    /// The server may have lost what it committed since its start.
    pub fn may_forget(&mut self) {
        self.leases.lose_the_last();
        // Their rows may be lost; the shares are there, and are found again.
        let ids = self.ids();
        for id in &ids {
            if self.shares.get(*id).certain {
                self.shares.may_be_gone(*id);
            }
        }
        self.unnoticed.extend(ids);
        self.slots.values_mut().for_each(Slots::may_be_back);
    }

    /// Whether clients must find the share: it was acknowledged, it is still leased, and nothing befell it.
    pub fn is_certain(&self, id: ShareId) -> bool {
        let slot = self.slots.get(&id.index).is_some_and(|slots| slots.is_certain(id.share));
        let share = self.shares.get(id);
        (slot || share.certain && !share.wild) && !self.leases.may_be_over(id)
    }

    /// Whether something befell the share from outside.
    pub fn is_wild(&self, id: ShareId) -> bool {
        self.shares.get(id).wild || self.slots.get(&id.index).is_some_and(|slots| slots.is_wild(id.share))
    }

    /// Something befell the share from outside.
    pub fn tampered(&mut self, id: ShareId) {
        match self.slots.get_mut(&id.index) {
            Some(slots) => slots.tampered(id.share),
            None => self.shares.tampered(id),
        }
    }

    /// Every share that there may be.
    pub fn ids(&self) -> BTreeSet<ShareId> {
        let slots = self.slots.iter().flat_map(|(index, slots)| {
            slots.shares().into_iter().map(|share| ShareId { index: *index, share })
        });
        self.shares.ids().into_iter().chain(slots).collect()
    }

    /// The numbers of all shares of all files that there may be, or may have been.
    pub fn numbers(&self) -> BTreeSet<ShareNumber> {
        let slots = self.slots.values().flat_map(Slots::shares);
        self.ids().iter().map(|id| id.share).chain(slots).collect()
    }
}

/// All files.
pub fn files() -> impl Iterator<Item = StorageIndex> {
    (0..FILES).map(index_of)
}
