//! Where shares are kept: what a server needs of a disk or of an object store (leasedb-and-storage §12).
//!
//! A backend knows containers and nothing of leases, accounts or states. Whoever calls it holds the lock of the file's
//! storage index, but for reads of complete immutable shares. A call may be dropped at any point; what it does to the
//! backend then happens or does not, as when the process had died. An error never means absence.

pub mod cloud;
pub mod disk;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::ShareNumber;

use crate::share::{Prefix, ShareId};

/// Where shares are kept.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The prefixes under which there may be anything, so that a crawl need not ask for each of the 1024. More than there
    /// are do no harm; one that is missing would hide its shares from the crawl.
    async fn prefixes(&self) -> Result<BTreeSet<Prefix>, BackendError> {
        Ok(Prefix::all().collect())
    }

    /// The files under a prefix that have any objects of complete or published shares. All of them, or an error. Some may
    /// turn out to have none: a disk keeps empty directories.
    async fn files(&self, prefix: Prefix) -> Result<BTreeSet<StorageIndex>, BackendError>;

    /// Everything that is kept of a file under the names of shares, each judged by its own header alone. Uploads that
    /// are not published yet are not among them, if the backend keeps those apart. All of them, or an error.
    async fn list(&self, index: StorageIndex) -> Result<BTreeMap<ShareNumber, Body>, BackendError>;

    /// The numbers of what [`list`](Backend::list) tells, without a look at it: what has a name need be no share.
    async fn names(&self, index: StorageIndex) -> Result<BTreeSet<ShareNumber>, BackendError> {
        Ok(self.list(index).await?.into_keys().collect())
    }

    /// What an allocation asks first: whether anything has a name in the file, and if not, how much room there is.
    async fn glance(&self, index: StorageIndex) -> Result<Glance, BackendError> {
        Ok(match self.names(index).await?.is_empty() {
            true => Glance::Nothing { available: self.available_space().await? },
            false => Glance::Something,
        })
    }

    /// Everything that is kept under a prefix: for each of its [`files`](Backend::files) that is `known` what
    /// [`list`](Backend::list) tells, or why it does not; and the others, unless it tells of these too. For one who looks for
    /// files that need a closer look: nobody holds their locks.
    async fn survey(
        &self,
        prefix: Prefix,
        known: BTreeSet<StorageIndex>,
    ) -> Result<(Survey, BTreeSet<StorageIndex>), BackendError> {
        let (files, others) = self.files(prefix).await?.into_iter().partition(|index| known.contains(index));
        let files: BTreeSet<_> = files;
        Ok((self.survey_files(files.into_iter().collect()).await, others))
    }

    /// For each of these files what [`list`](Backend::list) tells, or why it does not.
    async fn survey_files(&self, files: Vec<StorageIndex>) -> Survey {
        let mut survey = Survey::new();
        for index in files {
            survey.insert(index, self.list(index).await);
        }
        survey
    }

    /// The data `[offset, offset + length)` of a sound share, cut at its end.
    async fn read(&self, id: ShareId, offset: u64, length: u64) -> Result<Bytes, BackendError>;

    /// Makes the place for an immutable share of exactly `size` bytes of data. `epoch` is that of its row.
    async fn create(&self, id: ShareId, size: u64, epoch: u64) -> Result<Box<dyn Incoming>, BackendError>;

    /// The shares beside whose name the bytes of an unpublished upload or change are kept. After a crash, also of one that
    /// was published: the rename may have come through by half.
    async fn incoming(&self) -> Result<BTreeSet<ShareId>, BackendError>;

    /// Makes durable what is listed of a file: an earlier process may have died between publishing a share and that.
    async fn make_durable(&self, index: StorageIndex) -> Result<(), BackendError>;

    /// Removes everything of this share and of no other, published or not; nothing there is no error. Durable on return.
    /// No write of the share is on its way any more.
    async fn delete(&self, id: ShareId, epoch: u64) -> Result<(), BackendError>;

    /// Removes what [`incoming`](Backend::incoming) tells of the share, and nothing that is published. Nobody is writing
    /// it. Needs no row: an upload whose row is lost has no other trace.
    async fn discard(&self, id: ShareId) -> Result<(), BackendError>;

    /// Who may write a mutable share.
    async fn write_enabler(&self, id: ShareId) -> Result<WriteEnabler, BackendError>;

    /// Makes or changes a mutable share, durable on return. Gives the bytes that it uses. On a disk it happens whole or
    /// not at all; on an object store, large shares may be left with some of the changes, as the specification allows.
    async fn change(&self, id: ShareId, change: SlotChange, epoch: u64) -> Result<u64, BackendError>;

    /// The most bytes of data that a change may make of a mutable share.
    fn largest_slot(&self) -> u64;

    /// Bytes that can still be written; none when there is no telling.
    async fn available_space(&self) -> Result<Option<u64>, BackendError>;
}

/// What a [`glance`](Backend::glance) shows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// There are names.
    Something,
    /// There are none.
    Nothing {
        /// As [`Backend::available_space`] tells.
        available: Option<u64>,
    },
}

/// What is kept under a prefix, by file.
pub type Survey = BTreeMap<StorageIndex, Result<BTreeMap<ShareNumber, Body>, BackendError>>;

/// An immutable share on its way in.
#[async_trait]
pub trait Incoming: Send + Sync {
    /// Takes bytes at `offset`. What overlaps earlier bytes must equal them, or nothing is written.
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<Progress, BackendError>;

    /// Publishes the share, whose every byte is there: one step, durable on return. Gives the bytes that it uses.
    async fn publish(&self) -> Result<u64, BackendError>;

    /// Takes no more bytes, and waits until no write is on its way any more.
    async fn settle(&self);
}

/// What a write of an upload brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were not there before.
    pub new: u64,
    /// Every byte is there.
    pub complete: bool,
}

/// What is kept under the name of a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An immutable share.
    Immutable {
        /// Bytes of its data.
        size: u64,
        /// Bytes that it uses in the backend.
        used: u64,
    },
    /// A mutable share.
    Mutable {
        /// Bytes of its data.
        size: u64,
        /// Bytes that it uses in the backend.
        used: u64,
    },
    /// Some objects of a share that is not all there: half an upload, or half a deletion. Only an object store has them.
    Incomplete {
        /// Bytes that it uses in the backend.
        used: u64,
    },
    /// Objects that make no share.
    Corrupted {
        /// Bytes that it uses in the backend.
        used: u64,
        /// What is wrong with them.
        why: String,
    },
}

impl Body {
    /// Bytes that it uses in the backend.
    pub fn used(&self) -> u64 {
        match *self {
            Body::Immutable { used, .. } | Body::Mutable { used, .. } => used,
            Body::Incomplete { used } | Body::Corrupted { used, .. } => used,
        }
    }
}

/// The write enabler of a mutable share, and the node that recorded it. No `Debug`: neither is for logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WriteEnabler {
    /// What opens it.
    pub secret: [u8; 32],
    /// Who recorded it.
    pub node: [u8; 20],
}

/// A change of one mutable share.
#[derive(Clone)]
pub struct SlotChange {
    /// For a share that is made by this.
    pub enabler: WriteEnabler,
    /// Bytes and where they go, in this order; a gap reads as zeros.
    pub writes: Vec<(u64, Bytes)>,
    /// The data is cut to this length afterwards, if it is longer.
    pub new_length: Option<u64>,
}

/// Why a backend did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// There is no such share.
    #[error("there is no share {0}")]
    NoSuchShare(ShareId),
    /// What is there makes no share.
    #[error("share {id} is unusable: {why}")]
    Corrupted {
        /// The share.
        id: ShareId,
        /// What is wrong with it.
        why: String,
    },
    /// It does not fit.
    #[error("there is no room for it")]
    NoSpace,
    /// The client asked for what cannot be.
    #[error("{0}")]
    Refused(String),
    /// The disk or the store failed, after all retries. What was asked for may have happened.
    #[error("the backend failed: {0}")]
    Failed(String),
    /// The share's row has moved on: a later operation owns it.
    #[error("share {0} belongs to a later operation")]
    Stale(ShareId),
}
