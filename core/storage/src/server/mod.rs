//! The storage server with a lease database: the ordering protocols A–I of leasedb-and-storage §9 over a
//! [`Backend`] and a [`Database`].
//!
//! | room | what it holds |
//! | --- | --- |
//! | `locks` | one lock for each file that somebody works on |
//! | `operations` | calls that change something are tasks of the server, and run to their end |
//! | `allocate`, `upload`, `uploads`, `idle` | A and B: new immutable shares, and the room reserved for them |
//! | `slots` | C, D and E: mutable shares |
//! | `delete` | the end of a share: of B, E and F |
//! | `leases` | G |
//! | `step` | what must happen to a share, given what both sides say of it: the transition table |
//! | `reconcile`, `adopt`, `looks`, `suspects` | H and the crawler's second step: both sides are read, and made to agree |
//! | `recover`, `unfinished` | I, and what is tried again |
//! | `listing` | what clients see, and reading |
//! | `activity` | what is being done just now, for whoever looks from outside |
//!
//! A call that changes something runs as an operation under its file's lock. Whatever is left half done by a crash or a
//! failure is told by its row, and whoever takes the lock next ends it: nothing else need be remembered.

mod activity;
mod adopt;
mod allocate;
mod delete;
mod errors;
mod idle;
mod leases;
mod listing;
mod locks;
mod looks;
mod operations;
mod reconcile;
mod recover;
mod shared;
mod slots;
mod step;
mod suspects;
mod unfinished;
mod upload;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{
    Allocate, Allocated, LeaseSecret, ReadTestWrite, ReadTestWritten, ServerError, ServerId, ServerVersion,
    ShareNumber, ShareReader, SlotServer, StorageServer,
};
use runtime::Runtime;
use tokio::sync::oneshot;

use self::activity::Counters;
use self::allocate::MAX_SIZE;
use self::idle::give_up_idle;
use self::locks::Locks;
use self::looks::Looks;
use self::operations::Operations;
use self::suspects::Suspects;
use self::unfinished::keep_trying;
use self::uploads::Uploads;

use crate::backend::{Backend, BackendError};
use crate::config::Config;
use crate::crawler;
use crate::database::{Database, DatabaseError, OpenError};
use crate::lock::lock;
use crate::share::ShareId;

pub use activity::Activity;
pub use operations::Closed;
pub(crate) use shared::Shared;
pub use step::Step;
pub(crate) use step::step;

/// How long the start waits for recovery.
const RECOVERY_WAIT: Duration = Duration::from_secs(30);

/// How long closing waits for the calls that run.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

/// A storage server that keeps its leases in a database. Clones are the same server.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Shared>);

/// What a server is made of.
pub struct Setup {
    /// Its name in the grid, and its place in the ring.
    pub id: ServerId,
    /// Its node id: SHA-1 of its certificate; recorded beside write enablers.
    pub node: [u8; 20],
    /// The local directory that holds `leasedb.redb`, `leasedb.epochs` and `corruption-advisories`. For a server on a disk, the storage
    /// directory itself.
    pub state: PathBuf,
    /// Where the shares are.
    pub backend: Arc<dyn Backend>,
    /// How it behaves.
    pub config: Config,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its lease database cannot be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
}

/// Why a file is looked at, which decides what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A client asks for it: what a crash left half done is ended, shares without a row are adopted, rows without a
    /// share go.
    Request,
    /// The server starts, or something could not be finished before: deletions are finished, too.
    Recover,
    /// The crawler comes by, in this cycle: shares without a lease are collected, too, and so is what makes no share
    /// and was the same in an earlier cycle.
    Crawl {
        /// Its number, which goes on from one process to the next.
        cycle: u64,
    },
    /// As a crawl, but nothing is done.
    Dry,
}

/// A share that database and backend disagree about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The share.
    pub id: ShareId,
    /// What must happen.
    pub step: Step,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a [`Step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was not tried: nothing is to be done now, or nothing at all.
    Left,
    /// It failed, and is tried again later.
    Failed(String),
}

/// Why a file could not be reconciled. Nothing was concluded from that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// The backend does not say what it has.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The server is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl Server {
    /// Opens the database, finishes what a crash left (I), and starts the crawler. Clients may call when this returns;
    /// what a backend that is out keeps from being finished is finished later.
    pub async fn start(runtime: Runtime, setup: Setup) -> Result<Server, StartError> {
        let server = Server::open(runtime.clone(), setup).await?;
        let shared = &server.0;
        let (recovered, recovery) = oneshot::channel();
        let recover = shared.clone().recover();
        shared.operations.spawn("recover", async move {
            recover.await;
            let _ = recovered.send(());
        });
        if runtime.timeout(RECOVERY_WAIT, recovery).await.is_err() {
            tracing::warn!(server = %shared.id, "recovery takes long; it goes on while clients are served");
        }
        let background = runtime.scope();
        let unfinished = (shared.unfinished.clone(), Arc::downgrade(shared));
        background.spawn("unfinished", 0, keep_trying(runtime.clone(), unfinished.0, unfinished.1));
        let idle = give_up_idle(runtime.clone(), shared.idle.clone(), Arc::downgrade(shared));
        background.spawn("idle uploads", 0, idle);
        let crawl = crawler::run(runtime, Arc::downgrade(shared), shared.config.crawl.delay);
        background.spawn("crawler", 0, crawl);
        *lock(&shared.background) = Some(background);
        Ok(server)
    }

    /// Opens the database and nothing else: no recovery, no crawler, and no upload is given up because it is idle. For one
    /// crawl, or one repair.
    pub async fn open(runtime: Runtime, setup: Setup) -> Result<Server, StartError> {
        let path = setup.state.join("leasedb.redb");
        let opened = Database::open(runtime.clone(), &path, setup.config.sync).await?;
        if let Some(path) = &opened.set_aside {
            tracing::error!(server = %setup.id, path = %path.display(), "the lease database was damaged and is set aside");
        }
        Ok(Server::over(runtime, setup, opened.database).await)
    }

    /// As [`Self::open`], but nothing on the disk changes: for [`Mode::Dry`]. What else is done to the database is
    /// forgotten.
    pub async fn look(runtime: Runtime, setup: Setup) -> Result<Server, StartError> {
        let database = Database::look(runtime.clone(), &setup.state.join("leasedb.redb")).await?;
        Ok(Server::over(runtime, setup, database).await)
    }

    async fn over(runtime: Runtime, setup: Setup, database: Database) -> Server {
        let Setup { id, node, state, backend, config } = setup;
        let shared = Shared {
            operations: Operations::new(&runtime),
            runtime,
            id,
            node,
            state,
            backend,
            config,
            database,
            locks: Locks::default(),
            uploads: Uploads::default(),
            idle: Arc::default(),
            looks: Looks::default(),
            suspects: Suspects::default(),
            activity: Counters::default(),
            unfinished: Arc::default(),
            background: Mutex::default(),
            crawling: Arc::default(),
            available: Mutex::default(),
        };
        if let Err(error) = shared.room().await {
            tracing::warn!(server = %shared.id, %error, "the backend does not say how much room it has");
        }
        Server(Arc::new(shared))
    }

    /// Makes database and backend agree about one file (§10): takes its lock, reads both sides again, and does what
    /// must happen to each of its shares.
    pub async fn reconcile(&self, index: StorageIndex, mode: Mode) -> Result<Vec<Finding>, ReconcileError> {
        let shared = self.0.clone();
        self.0.operations.run("reconcile", async move { shared.reconcile(index, mode).await }).await?
    }

    /// Keeps a client's report about a damaged share, also about one that clients are not shown.
    ///
    /// Errors: [`ServerError::NoSuchShare`] when the server knows none, [`ServerError::Disk`].
    pub async fn advise_corrupt_share(&self, id: ShareId, reason: &str) -> Result<(), ServerError> {
        self.0.operations.run("advise_corrupt_share", self.0.clone().advise(id, reason.to_owned())).await?
    }

    /// The uploads in progress and their sizes, which are reserved: for looking at a running server.
    pub fn uploads(&self) -> BTreeMap<ShareId, u64> {
        self.0.uploads.live().iter().map(|upload| (upload.id, upload.size)).collect()
    }

    /// What is being done to shares in the backend just now: for looking at a running server.
    pub fn activity(&self) -> Activity {
        self.0.activity.read_out()
    }

    /// The lease database, for looking.
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// Ends every upload, every task and the database. Later calls fail. What has not ended within a minute is cut off,
    /// as a crash would.
    pub async fn close(&self) {
        let shared = &self.0;
        // The crawler, and what is tried again.
        let background = lock(&shared.background).take();
        drop(background);
        for upload in shared.uploads.live() {
            let abort = shared.clone().abort_share(upload, "the server was closed");
            shared.operations.spawn("abort share", async move {
                let _ = abort.await;
            });
        }
        if let Some(operations) = shared.operations.close()
            && shared.runtime.timeout(CLOSE_WITHIN, operations.drain()).await.is_err()
        {
            tracing::warn!(server = %shared.id, left = operations.len(), "the server is closed with calls left");
        }
        shared.database.close().await;
    }
}

#[async_trait]
impl StorageServer for Server {
    fn id(&self) -> &ServerId {
        &self.0.id
    }

    fn version(&self) -> ServerVersion {
        let available = match self.0.config.read_only {
            true => Some(0),
            false => (*lock(&self.0.available)).map(|room| room.saturating_sub(self.0.config.reserved_space)),
        };
        ServerVersion {
            maximum_immutable_share_size: available.unwrap_or(u64::MAX).min(MAX_SIZE),
            available_space: available,
            ..ServerVersion::default()
        }
    }

    async fn get_buckets(
        &self,
        index: StorageIndex,
    ) -> Result<BTreeMap<ShareNumber, Arc<dyn ShareReader>>, ServerError> {
        self.0.readable(index).await
    }

    async fn allocate_buckets(&self, request: Allocate) -> Result<Allocated, ServerError> {
        self.0.operations.run("allocate_buckets", self.0.clone().allocate(request)).await?
    }

    /// The secrets are not looked at (§19): all clients share one lease.
    async fn add_lease(
        &self,
        index: StorageIndex,
        _renew: LeaseSecret,
        _cancel: LeaseSecret,
    ) -> Result<(), ServerError> {
        self.0.operations.run("add_lease", self.0.clone().add_lease(index)).await?
    }
}

#[async_trait]
impl SlotServer for Server {
    async fn slots(&self, index: StorageIndex) -> Result<BTreeSet<ShareNumber>, ServerError> {
        self.0.slots(index).await
    }

    async fn read_slot(
        &self,
        index: StorageIndex,
        share: ShareNumber,
        offset: u64,
        length: u64,
    ) -> Result<Bytes, ServerError> {
        let read = self.0.clone().read_slot(ShareId { index, share }, (offset, length));
        self.0.operations.run("read slot", read).await?
    }

    async fn read_test_write(&self, request: ReadTestWrite) -> Result<ReadTestWritten, ServerError> {
        self.0.operations.run("read-test-write", self.0.clone().read_test_write(request)).await?
    }
}
