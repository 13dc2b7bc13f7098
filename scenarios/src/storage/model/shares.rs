//! The immutable shares: for each what it may be, and whether it may be absent.
//!
//! A share is written once, so what clients do at the same time can be followed more simply than with mutable ones: a
//! question is answered rightly if the answer was right at some moment while it was being asked.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::ShareNumber;
use storage::share::ShareId;

/// What an immutable share may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The texts that may be there.
    pub may: BTreeSet<Bytes>,
    /// One of them is.
    pub certain: bool,
    /// It was damaged or tampered with: nothing is known of it any more.
    pub wild: bool,
}

/// A question that is being asked: what the shares of a file were, at any moment since.
#[derive(Clone, Debug)]
pub struct Question {
    index: StorageIndex,
    shares: BTreeMap<ShareNumber, Share>,
}

/// All immutable shares.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    shares: BTreeMap<ShareId, Share>,
    questions: BTreeMap<u64, Question>,
}

impl Shares {
    /// What a share may be now.
    pub fn get(&self, id: ShareId) -> Share {
        self.shares.get(&id).cloned().unwrap_or_default()
    }

    /// The numbers of the file's shares that there may be.
    pub fn of(&self, index: StorageIndex) -> BTreeSet<ShareNumber> {
        self.shares.keys().filter(|id| id.index == index).map(|id| id.share).collect()
    }

    /// All shares that there may be.
    pub fn ids(&self) -> Vec<ShareId> {
        self.shares.keys().copied().collect()
    }

    /// All bytes of a text were sent: the share may be there from now on.
    pub fn may_come(&mut self, id: ShareId, text: Bytes) {
        self.change(id, |share| _ = share.may.insert(text));
    }

    /// A client was told that its share is there.
    pub fn is_there(&mut self, id: ShareId, text: Bytes) {
        self.change(id, |share| (share.may, share.certain) = (BTreeSet::from([text]), true));
    }

    /// A client was told that the share is there, whichever text it has.
    pub fn was_seen(&mut self, id: ShareId) {
        self.change(id, |share| share.certain = true);
    }

    /// A client was told that its upload is aborted.
    pub fn does_not_come(&mut self, id: ShareId, text: &Bytes) {
        self.change(id, |share| {
            if !share.certain {
                share.may.remove(text);
            }
        });
    }

    /// The share may have been deleted.
    pub fn may_be_gone(&mut self, id: ShareId) {
        self.change(id, |share| share.certain = false);
    }

    /// The share is deleted.
    pub fn is_gone(&mut self, id: ShareId) {
        self.change(id, |share| *share = Share::default());
    }

    /// Nothing is known of the share any more.
    pub fn tampered(&mut self, id: ShareId) {
        self.change(id, |share| share.wild = true);
    }

    fn change(&mut self, id: ShareId, change: impl FnOnce(&mut Share)) {
        let share = self.shares.entry(id).or_default();
        change(share);
        for question in self.questions.values_mut().filter(|question| question.index == id.index) {
            let asked = question.shares.entry(id.share).or_default();
            asked.may.extend(share.may.iter().cloned());
            asked.certain &= share.certain;
            asked.wild |= share.wild;
        }
    }

    /// A question about a file begins.
    pub fn ask(&mut self, number: u64, index: StorageIndex) {
        let here = self.shares.iter().filter(|(id, _)| id.index == index);
        let shares = here.map(|(id, share)| (id.share, share.clone())).collect();
        self.questions.insert(number, Question { index, shares });
    }

    /// The question is over: what the shares of its file may have been while it was asked.
    pub fn asked(&mut self, number: u64) -> BTreeMap<ShareNumber, Share> {
        self.questions.remove(&number).map(|question| question.shares).unwrap_or_default()
    }
}
