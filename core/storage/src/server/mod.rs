//! The storage server with a lease database: the ordering protocols A–I of leasedb-and-storage §9 over a
//! [`Backend`] and a [`Database`].

mod step;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::StorageIndex;
use protocol::server::ServerId;
use runtime::Runtime;

use crate::backend::{Backend, BackendError};
use crate::config::Config;
use crate::database::{Database, DatabaseError, OpenError};
use crate::share::ShareId;

pub use step::Step;

/// A storage server that keeps its leases in a database. Clones are the same server.
#[derive(Clone)]
pub struct Server(());

/// What a server is made of.
pub struct Setup {
    /// Its name in the grid, and its place in the ring.
    pub id: ServerId,
    /// Its node id: SHA-1 of its certificate; recorded beside write enablers.
    pub node: [u8; 20],
    /// The local directory that holds `leasedb.redb` and `corruption-advisories`. For a server on a disk, the storage
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
        /// Counts the cycles of this process.
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
}

impl Server {
    /// Opens the database, finishes what a crash left (I), and starts the crawler. Clients may call when this returns.
    pub async fn start(_runtime: Runtime, _setup: Setup) -> Result<Server, StartError> {
        todo!()
    }

    /// Opens the database and nothing else: no recovery, no crawler. For looking ([`Mode::Dry`]), and for one crawl.
    pub async fn open(_runtime: Runtime, _setup: Setup) -> Result<Server, StartError> {
        todo!()
    }

    /// Makes database and backend agree about one file (§10): takes its lock, reads both sides again, and does what
    /// must happen to each of its shares.
    pub async fn reconcile(&self, _index: StorageIndex, _mode: Mode) -> Result<Vec<Finding>, ReconcileError> {
        todo!()
    }

    /// The uploads in progress and their sizes, which are reserved: for looking at a running server.
    pub fn uploads(&self) -> BTreeMap<ShareId, u64> {
        todo!()
    }

    /// What is being done to shares in the backend just now: for looking at a running server.
    pub fn activity(&self) -> Activity {
        todo!()
    }

    /// The lease database, for looking.
    pub fn database(&self) -> &Database {
        todo!()
    }

    /// Ends every upload, every task and the database. Later calls fail.
    pub async fn close(&self) {
        todo!()
    }
}

/// What is being done to shares in the backend, and how many times at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Uploads that are open. More than one of a share is a defect.
    pub uploads: BTreeMap<ShareId, u32>,
    /// Writes, publications and changes under way.
    pub writes: BTreeMap<ShareId, u32>,
    /// Deletions under way.
    pub deletions: BTreeMap<ShareId, u32>,
}
