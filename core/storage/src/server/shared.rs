//! What the calls of a server share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use protocol::StorageIndex;
use protocol::server::{ServerId, ShareNumber};
use runtime::{Runtime, Scope};

use super::activity::Counters;
use super::idle::Idle;
use super::locks::{Held, Locks};
use super::looks::Looks;
use super::operations::Operations;
use super::suspects::Suspects;
use super::unfinished::Unfinished;
use super::uploads::Uploads;
use crate::backend::{Backend, BackendError};
use crate::config::Config;
use crate::crawler::Crawling;
use crate::database::{Database, DatabaseError, Row};
use crate::lock::lock;

/// What the calls of a server share.
pub(crate) struct Shared {
    pub runtime: Runtime,
    pub id: ServerId,
    /// Recorded beside write enablers.
    pub node: [u8; 20],
    /// Where `corruption-advisories` is.
    pub state: PathBuf,
    pub backend: Arc<dyn Backend>,
    pub config: Config,
    pub database: Database,
    pub locks: Locks,
    pub uploads: Uploads,
    pub idle: Arc<Idle>,
    pub looks: Looks,
    pub suspects: Suspects,
    pub activity: Counters,
    /// Clients' calls, and what must be ended for them.
    pub operations: Operations,
    /// What is to be tried again.
    pub unfinished: Arc<Unfinished>,
    /// What runs as long as the server: it holds no `Arc` of this while it waits.
    pub background: Mutex<Option<Scope>>,
    /// What the crawler and crawls at once share.
    pub crawling: Arc<Crawling>,
    /// Bytes of the backend that could be written when that was last asked.
    pub available: Mutex<Option<u64>>,
}

impl Shared {
    /// Takes the lock of a file.
    pub async fn lock(&self, index: StorageIndex) -> Held {
        self.locks.lock(&self.id.name, index).await
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.runtime.unix_time().as_secs()
    }

    /// The rows of a file.
    pub async fn rows(&self, index: StorageIndex) -> Result<BTreeMap<ShareNumber, Row>, DatabaseError> {
        self.database.view("rows", move |read| read.rows(index)).await
    }

    /// Bytes that shares may still take (leasedb-and-storage §3.2), not counting what is reserved for uploads.
    pub async fn room(&self) -> Result<u64, BackendError> {
        Ok(self.room_of(self.backend.available_space().await?))
    }

    /// The same, of what is available now as the backend has just said.
    pub fn room_of(&self, available: Option<u64>) -> u64 {
        *lock(&self.available) = available;
        available.map_or(u64::MAX, |bytes| bytes.saturating_sub(self.config.reserved_space))
    }
}
