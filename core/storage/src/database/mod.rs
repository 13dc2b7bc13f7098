//! The lease database (leasedb-and-storage §7): which shares there are, in which state, and who asked for them to be
//! kept until when.
//!
//! It is a redb file reached through the runtime's files. All writes go through one queue and are committed in groups;
//! what is acknowledged is durable, as far as [`Sync`] promises.
//!
//! | room | what it holds |
//! | --- | --- |
//! | `file` | the file that redb stands on |
//! | `open` | opening, making, setting aside |
//! | `overlay` | a file for looking, that is never changed |
//! | `records` | the tables, and how their records are laid out |
//! | `queue` | group commit |
//! | `read`, `write` | a transaction, as its user sees it |
//! | `transitions` | the life of a share, as a table |
//! | `leases`, `accounts` | what else can be changed |
//!
//! What it costs: making one is 21 writing calls and 7 syncs, and leaves a file of 1,056,768 bytes, most of it never
//! written; a commit of one change is 8 and 1; closing is 16 and 5, and cuts the file to what it needs; opening is 9 and 5,
//! and reads all of it.

mod accounts;
mod file;
mod leases;
mod open;
mod overlay;
mod queue;
mod read;
mod records;
mod transitions;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use runtime::files::File;
use runtime::{Runtime, Scope, relapse};
use tokio::sync::Notify;

use crate::config::Sync;
use crate::lock::lock;
use crate::share::{Kind, ShareId};

pub use read::Read;
pub use write::Write;

/// The lease database. Clones are the same database.
#[derive(Clone)]
pub struct Database(Arc<Shared>);

/// What all clones share.
struct Shared {
    runtime: Runtime,
    sync: Sync,
    queue: Mutex<queue::Queue>,
    slot: Mutex<Slot>,
    /// Told of each commit that is not durable yet.
    unsynced: Arc<Notify>,
    /// The task that makes such commits durable, if there can be any.
    tasks: Mutex<Option<Scope>>,
}

/// Where the open database is.
enum Slot {
    Open(Arc<open::Live>),
    /// The disk failed. The file is still ours, and is opened again at the next use.
    GivenUp(GivenUp),
    Closed,
}

/// A database that was given up.
struct GivenUp {
    file: Arc<dyn File>,
    /// No epoch below may be given again.
    next_epoch: u64,
    /// Something could not be made durable: what is read from the file may not be on the disk.
    doubtful: bool,
}

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

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// By which it is known, if it has one.
    pub public_key: Option<String>,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
}

/// What the database holds, all in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows.
    pub shares: u64,
    /// Files that have any.
    pub files: u64,
    /// Shares with at least one lease, each counted once.
    pub leased_shares: u64,
    /// Bytes that these use.
    pub leased_space: u64,
    /// What each account holds that holds anything.
    pub accounts: BTreeMap<AccountId, Held>,
}

/// What an account holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Leases, each on another share.
    pub leases: u64,
    /// Bytes that these shares use.
    pub space: u64,
}

/// Why the database did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The disk failed, or the database was closed by an earlier failure and could not be opened again.
    #[error("the lease database failed: {0}")]
    Failed(String),
    /// The record of a share, or of one of its leases, makes no sense.
    #[error("the lease database holds a record of share {0} that makes no sense")]
    Senseless(ShareId),
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
    /// It is no sound database. Only [`Database::look`] says so: [`Database::open`] sets such a file aside.
    #[error("the lease database {} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
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
    pub async fn open(runtime: Runtime, path: &Path, sync: Sync) -> Result<Opened, OpenError> {
        let (handle, place) = (runtime.clone(), path.to_owned());
        let opening = move || open::open(&*handle.files(), &place, handle.unix_time());
        let found = runtime.blocking("open lease database", opening).await??;
        let database = Database::new(runtime, found.live, sync);
        Ok(Opened { database, set_aside: found.set_aside, fresh: found.fresh })
    }

    /// Opens the database at `path` and changes nothing on the disk: whatever is done to it is forgotten at the end. Nobody
    /// else may have it open.
    pub async fn look(runtime: Runtime, path: &Path) -> Result<Database, OpenError> {
        let (handle, place) = (runtime.clone(), path.to_owned());
        let looking = move || open::look(&*handle.files(), &place, handle.unix_time());
        let live = runtime.blocking("look at lease database", looking).await??;
        Ok(Database::new(runtime, live, Sync::Full))
    }

    fn new(runtime: Runtime, live: open::Live, sync: Sync) -> Database {
        let shared = Arc::new(Shared {
            runtime: runtime.clone(),
            sync,
            queue: Mutex::default(),
            slot: Mutex::new(Slot::Open(Arc::new(live))),
            unsynced: Arc::default(),
            tasks: Mutex::default(),
        });
        if sync == Sync::Normal || relapse!("lease-A11") {
            let scope = runtime.scope();
            let (weak, unsynced) = (Arc::downgrade(&shared), shared.unsynced.clone());
            scope.spawn("sync lease database", 0, queue::sync_behind(weak, runtime, unsynced));
            *lock(&shared.tasks) = Some(scope);
        }
        Database(shared)
    }

    /// Runs `work` in a write transaction that is committed when this returns `Ok`. Several callers' work may share one
    /// transaction; each sees what those before it did. Work goes on, and is committed, when the caller goes away. Work
    /// that ends with an `Err` of its own leaves nothing behind. An `Err` from the disk means that nothing of it is
    /// known: it may have been committed.
    pub async fn update<T: Send + 'static>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        queue::update(&self.0, kind, work).await
    }

    /// Runs `work` on the last committed state.
    pub async fn view<T: Send + 'static>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&Read) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let shared = self.0.clone();
        let look = move || {
            let live = queue::live(&shared)?;
            let look = || live.begin_read().and_then(Read::new).and_then(|read| work(&read));
            let seen = catch_unwind(AssertUnwindSafe(look)).inspect_err(|_| {
                // It may have been inside redb, whose locks are of no use then.
                live.sever();
            });
            queue::give_up_if_useless(&shared, &live);
            seen.unwrap_or_else(|panic| resume_unwind(panic))
        };
        self.0.runtime.blocking(kind, look).await?
    }

    /// Writes everything out and closes the file. Whatever comes later fails.
    pub async fn close(&self) {
        let tasks = lock(&self.0.tasks).take();
        drop(tasks);
        if let Err(error) = queue::close(&self.0).await {
            tracing::error!(%error, "the lease database did not end well");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}

fn failed(why: impl fmt::Display) -> DatabaseError {
    DatabaseError::Failed(why.to_string())
}

fn closed() -> DatabaseError {
    failed("it is closed")
}
