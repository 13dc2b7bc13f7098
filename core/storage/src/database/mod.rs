//! The lease database (leasedb-and-storage §7): which shares there are, in which state, and who asked for them to be
//! kept until when.
//!
//! It is a redb file reached through the runtime's files. All writes go through one queue and are committed in groups;
//! what is acknowledged is durable, as far as [`Sync`](crate::config::Sync) promises.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::Runtime;

use crate::config::Sync;
use crate::share::{Kind, Prefix, ShareId};

/// The lease database. Clones are the same database.
#[derive(Clone)]
pub struct Database(());

/// What [`Database::open`] found.
pub struct Opened {
    /// The database.
    pub database: Database,
    /// Where the file was put that could not be used, if there was one. The new one is empty.
    pub set_aside: Option<PathBuf>,
    /// The file was made by this call.
    pub fresh: bool,
}

/// A row: one share. No row is the state NONE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it is in its life.
    pub state: State,
    /// What it is.
    pub kind: Kind,
    /// Bytes that it uses in the backend.
    pub used_space: u64,
    /// Bytes of data that an upload has promised; for COMING rows of immutable shares.
    pub expected_size: Option<u64>,
    /// When the row came into its state, in seconds since the Unix epoch.
    pub since: u64,
    /// Never the same for two transitions, whatever the share: a late completion can tell that it is stale.
    pub epoch: u64,
}

/// Where a share is in its life (§8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Being made. Counts as leased; clients do not see it.
    Coming,
    /// A mutable share that is being changed. Counts as leased; clients see it.
    Changing,
    /// All objects written, no operation in flight.
    Stable,
    /// To be deleted. Never comes back.
    Going,
}

/// Who holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountId(pub u32);

impl AccountId {
    /// Holds the leases of all remote clients.
    pub const ANONYMOUS: AccountId = AccountId(0);
    /// Holds the leases that the server gives to shares it finds.
    pub const STARTER: AccountId = AccountId(1);
}

/// A lease: at most one for each share and account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When it was last renewed, in seconds since the Unix epoch.
    pub renewed: u64,
    /// When it ends; none is never.
    pub expires: Option<u64>,
}

/// Why the database did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The disk failed, or the database was closed by an earlier failure and could not be opened again.
    #[error("the lease database failed: {0}")]
    Failed(String),
    /// The job was lost.
    #[error(transparent)]
    JobLost(#[from] runtime::JobLost),
}

/// Why a database cannot be opened. None of these touches the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the lease database {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Another version wrote it.
    #[error("the lease database {} has version {found}; this program knows version 2", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The disk failed: that says nothing about what is in the file.
    #[error("cannot open the lease database {}: {why}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// The disk's reason.
        why: String,
    },
    /// The job was lost.
    #[error(transparent)]
    JobLost(#[from] runtime::JobLost),
}

/// A transition that the share's row does not allow (§15). Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The row as it is; none when there is none.
    pub row: Option<Row>,
}

/// The epoch of a row after a transition.
pub type Epoch = u64;

impl Database {
    /// Opens the database at `path`, or makes it. One that is damaged is renamed to `…​.unusable-N`, never deleted.
    pub async fn open(_runtime: Runtime, _path: &Path, _sync: Sync) -> Result<Opened, OpenError> {
        todo!()
    }

    /// Runs `work` in a write transaction that is committed when this returns `Ok`. Several callers' work may share one
    /// transaction; each sees what those before it did. Work goes on, and is committed, when the caller goes away. An
    /// `Err` means that nothing of it is known: it may have been committed.
    pub async fn update<T: Send + 'static>(
        &self,
        _kind: &'static str,
        _work: impl FnOnce(&mut Write<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        todo!()
    }

    /// Runs `work` on the last committed state.
    pub async fn view<T: Send + 'static>(
        &self,
        _kind: &'static str,
        _work: impl FnOnce(&Read) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        todo!()
    }

    /// Writes everything out and closes the file. Whatever comes later fails.
    pub async fn close(&self) {
        todo!()
    }
}

/// The committed state, to read.
pub struct Read(());

impl Read {
    /// The row of a share.
    pub fn row(&self, _id: ShareId) -> Result<Option<Row>, DatabaseError> {
        todo!()
    }

    /// The rows of a file.
    pub fn rows(&self, _index: StorageIndex) -> Result<BTreeMap<ShareNumber, Row>, DatabaseError> {
        todo!()
    }

    /// The rows of a prefix.
    pub fn prefix(&self, _prefix: Prefix) -> Result<BTreeMap<ShareId, Row>, DatabaseError> {
        todo!()
    }

    /// The leases of a share.
    pub fn leases(&self, _id: ShareId) -> Result<BTreeMap<AccountId, Lease>, DatabaseError> {
        todo!()
    }
}

/// A write transaction. Reads see its own writes. Every change checks first and then writes, so that a refusal leaves
/// nothing behind.
pub struct Write<'a>(std::marker::PhantomData<&'a ()>);

impl Write<'_> {
    /// As [`Read::row`].
    pub fn row(&self, _id: ShareId) -> Result<Option<Row>, DatabaseError> {
        todo!()
    }

    /// As [`Read::rows`].
    pub fn rows(&self, _index: StorageIndex) -> Result<BTreeMap<ShareNumber, Row>, DatabaseError> {
        todo!()
    }

    /// As [`Read::leases`].
    pub fn leases(&self, _id: ShareId) -> Result<BTreeMap<AccountId, Lease>, DatabaseError> {
        todo!()
    }

    /// NONE → COMING (A1, C1).
    pub fn come(
        &mut self,
        _id: ShareId,
        _kind: Kind,
        _expected_size: Option<u64>,
        _now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        todo!()
    }

    /// STABLE → COMING of a mutable share that is changed (D2). Its leases stay.
    pub fn begin_change(&mut self, _id: ShareId, _now: u64) -> Result<Result<Epoch, Refused>, DatabaseError> {
        todo!()
    }

    /// COMING → STABLE (A5, D4), if the row still has this epoch; the lease is the caller's to renew in the same work.
    pub fn settle(
        &mut self,
        _id: ShareId,
        _epoch: Epoch,
        _kind: Kind,
        _used_space: u64,
        _now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        todo!()
    }

    /// NONE → STABLE with a starter lease (H).
    pub fn adopt(
        &mut self,
        _id: ShareId,
        _kind: Kind,
        _used_space: u64,
        _now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        todo!()
    }

    /// COMING → GOING (B1) or STABLE → GOING (E1), if the row still has this epoch.
    pub fn condemn(
        &mut self,
        _id: ShareId,
        _epoch: Epoch,
        _now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        todo!()
    }

    /// STABLE → GOING if there is no lease (F1): decided and done in one step.
    pub fn condemn_unleased(
        &mut self,
        _id: ShareId,
        _now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        todo!()
    }

    /// NONE → GOING, for objects that make no whole share and that nobody is writing (§10).
    pub fn condemn_leftover(
        &mut self,
        _id: ShareId,
        _used_space: u64,
        _now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        todo!()
    }

    /// GOING → NONE with all leases (B4, E3, F3), if the row still has this epoch.
    pub fn forget(&mut self, _id: ShareId, _epoch: Epoch) -> Result<Result<(), Refused>, DatabaseError> {
        todo!()
    }

    /// STABLE → NONE with all leases, for a share all of whose objects have disappeared, if the row still has this epoch.
    pub fn forget_vanished(
        &mut self,
        _id: ShareId,
        _epoch: Epoch,
    ) -> Result<Result<(), Refused>, DatabaseError> {
        todo!()
    }

    /// Sets kind and used space of a STABLE row, if it still has this epoch.
    pub fn correct(
        &mut self,
        _id: ShareId,
        _epoch: Epoch,
        _kind: Kind,
        _used_space: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        todo!()
    }

    /// Adds or renews the lease of an account on a share whose row is STABLE or being changed (G), or comes to be STABLE
    /// in this very transaction. Neither of its times ever moves back.
    pub fn renew(
        &mut self,
        _id: ShareId,
        _account: AccountId,
        _renewed: u64,
        _expires: Option<u64>,
    ) -> Result<Result<Lease, Refused>, DatabaseError> {
        todo!()
    }

    /// Deletes the leases under a prefix for which `over` is true, and says how many.
    pub fn end_leases(
        &mut self,
        _prefix: Prefix,
        _over: &dyn Fn(Kind, Lease) -> bool,
    ) -> Result<u64, DatabaseError> {
        todo!()
    }
}
