//! What we need of an object store.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

/// An object store: whole objects under keys. Each call is one attempt; the cloud backend retries.
///
/// Every write carries a number that grows from one change of a share to the next, and from an object's first write in a
/// change to its second: the turn. A store refuses a put or a delete of a key for which it has carried out one with a greater
/// turn ([`StoreError::Stale`]): an attempt that was given up may still arrive, long after its retry. A
/// delete that finds no object is carried out like any other.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Stores an object, replacing what was there, whole or not at all.
    async fn put(&self, key: &str, bytes: Bytes, turn: u64) -> Result<(), StoreError>;

    /// The bytes of an object within `range`, cut at its end. `Status(404)` when there is none.
    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Removes an object. `Status(404)` when there is none.
    async fn delete(&self, key: &str, turn: u64) -> Result<(), StoreError>;

    /// Keys that begin with `prefix` and come after `after`, in order, with their sizes: a page of at most 1000.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError>;
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and sizes in bytes.
    pub objects: Vec<(String, u64)>,
    /// There are more.
    pub more: bool,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The service answered with this HTTP status.
    #[error("the store answered with status {0}")]
    Status(u16),
    /// The service answered with an error of its own and no status.
    #[error("the store failed: {0}")]
    Service(String),
    /// There was no whole answer. What was asked for may have happened, or may still.
    #[error("the connection to the store failed: {0}")]
    Connection(String),
    /// A later operation has the key.
    #[error("the object belongs to a later operation")]
    Stale,
}
