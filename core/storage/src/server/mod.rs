//! The storage server with a lease database: the ordering protocols A–I of leasedb-and-storage §9 over a
//! [`Backend`] and a [`Database`].

use std::path::PathBuf;
use std::sync::Arc;

use protocol::server::ServerId;
use runtime::Runtime;

use crate::backend::Backend;
use crate::config::Config;
use crate::database::{Database, OpenError};

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

impl Server {
    /// Opens the database, finishes what a crash left (I), and starts the crawler. Clients may call when this returns.
    pub async fn start(_runtime: Runtime, _setup: Setup) -> Result<Server, StartError> {
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
