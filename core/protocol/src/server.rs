//! The storage server as its clients see it: the one trait in which client and server meet.
//!
//! Source: tahoe-immutable §9 (calls and their behaviour), leasedb-and-storage §3 and §5.
//!
//! Handles are bound to the connection they came over: a [`ShareReader`] or [`ShareWriter`] got before
//! a reconnect fails afterwards, while the [`StorageServer`] itself is kept for ever and takes whichever
//! connection there is at the time of each call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::StorageIndex;

/// A share's number, 0 ≤ shnum < N for a share that belongs to its file. A server may claim anything.
pub type ShareNumber = u32;

/// A lease secret, as sent to one server for one file.
pub type LeaseSecret = [u8; 32];

/// A storage server, as one client sees it.
#[async_trait]
pub trait StorageServer: Send + Sync {
    /// Who it is. Stays the same across reconnects.
    fn id(&self) -> &ServerId;

    /// What it said of itself when it connected.
    fn version(&self) -> ServerVersion;

    /// Which complete shares of the file it has ("do you have block"). None is an empty map, no error.
    async fn get_buckets(
        &self,
        index: StorageIndex,
    ) -> Result<BTreeMap<ShareNumber, Arc<dyn ShareReader>>, ServerError>;

    /// Asks for room for shares of exactly `size` bytes each; renews the leases of the file's shares it has.
    async fn allocate_buckets(&self, request: Allocate) -> Result<Allocated, ServerError>;

    /// Adds a lease to each share of the file, or renews it. A server that has none of the file's shares says either
    /// nothing of it or [`ServerError::NoSuchShare`].
    async fn add_lease(
        &self,
        index: StorageIndex,
        renew: LeaseSecret,
        cancel: LeaseSecret,
    ) -> Result<(), ServerError>;
}

/// The mutable half of a storage server: slots that are rewritten in place, under a write enabler.
///
/// Source: gbs-http §9, leasedb-and-storage §3.5 and §3.6.
#[async_trait]
pub trait SlotServer: Send + Sync {
    /// Which mutable shares of the file it has.
    async fn slots(&self, index: StorageIndex) -> Result<BTreeSet<ShareNumber>, ServerError>;

    /// The bytes `[offset, offset + length)` of a mutable share's data, cut at its end: past it, short or empty.
    async fn read_slot(
        &self,
        index: StorageIndex,
        share: ShareNumber,
        offset: u64,
        length: u64,
    ) -> Result<Bytes, ServerError>;

    /// Tests, reads and writes in one step: when all tests hold, all writes are done, else none. Whatever the tests say,
    /// the reads (of every share that is there, before the writes) are answered.
    async fn read_test_write(&self, request: ReadTestWrite) -> Result<ReadTestWritten, ServerError>;
}

/// What [`SlotServer::read_test_write`] asks for.
#[derive(Clone)]
pub struct ReadTestWrite {
    /// The file.
    pub index: StorageIndex,
    /// Opens the slots for writing; recorded when a slot is made.
    pub write_enabler: LeaseSecret,
    /// Renews the lease.
    pub renew: LeaseSecret,
    /// Cancels the lease.
    pub cancel: LeaseSecret,
    /// What to test and to write, by share.
    pub shares: BTreeMap<ShareNumber, TestAndWrite>,
    /// What to read of each share that is there: offsets and lengths.
    pub reads: Vec<(u64, u64)>,
}

/// Tests and writes of one mutable share.
#[derive(Clone, Debug, Default)]
pub struct TestAndWrite {
    /// All must hold. A share that is not there is empty.
    pub tests: Vec<SlotTest>,
    /// The bytes that are written at each offset, in this order. A gap reads as zeros.
    pub writes: Vec<(u64, Bytes)>,
    /// The length of the data afterwards, if it is to be cut; zero deletes the share.
    pub new_length: Option<u64>,
}

/// Holds when the bytes `[offset, offset + length)` of a share, cut at its end, are exactly `specimen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTest {
    /// Where.
    pub offset: u64,
    /// How many bytes. Length 1 at offset 0 with an empty specimen means "is not there, or empty".
    pub length: u64,
    /// What they must be.
    pub specimen: Bytes,
}

/// What became of a [`ReadTestWrite`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadTestWritten {
    /// All tests held, and the writes are done.
    pub success: bool,
    /// What was read of each share that was there before: in the order of the request, cut at the data's end.
    pub reads: BTreeMap<ShareNumber, Vec<Bytes>>,
}

/// Reads one share on one server, over one connection.
#[async_trait]
pub trait ShareReader: Send + Sync {
    /// The bytes `[offset, offset + length)` of the share, cut at its end: past it, short or empty.
    async fn read(&self, offset: u64, length: u64) -> Result<Bytes, ServerError>;

    /// Tells the server that this share is damaged, and where. Advice: nothing depends on the answer.
    async fn advise_corrupt_share(&self, reason: &str) -> Result<(), ServerError>;
}

/// Writes one new share on one server, over one connection.
#[async_trait]
pub trait ShareWriter: Send + Sync {
    /// Writes `bytes` at `offset`. Overlapping bytes must be equal, and nothing fits past the size asked for.
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), ServerError>;

    /// Publishes the share, in one step. Every byte of it must have been written.
    async fn close(&self) -> Result<(), ServerError>;

    /// Gives the share up.
    async fn abort(&self) -> Result<(), ServerError>;
}

/// What [`StorageServer::allocate_buckets`] asks for.
#[derive(Clone)]
pub struct Allocate {
    /// The file.
    pub index: StorageIndex,
    /// Which shares; none is legal, and renews leases.
    pub shares: BTreeSet<ShareNumber>,
    /// The size of each share in bytes.
    pub size: u64,
    /// Renews the lease.
    pub renew: LeaseSecret,
    /// Cancels the lease.
    pub cancel: LeaseSecret,
}

/// What a server granted.
///
/// A share that was asked for and is in neither place did not fit, or is being uploaded by someone else.
#[derive(Default)]
pub struct Allocated {
    /// All complete shares of the file on this server, asked for or not.
    pub already: BTreeSet<ShareNumber>,
    /// A writer for each granted share.
    pub writers: BTreeMap<ShareNumber, Box<dyn ShareWriter>>,
}

/// Who a server is: its name in the grid, and the seed that orders it (tahoe-immutable §10).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId {
    /// The name, for people and for maps: `v0-…` on a real grid.
    pub name: Arc<str>,
    /// The seed of its place in the ring; SHA-1(storage index ‖ seed), ascending.
    pub permutation_seed: Arc<[u8]>,
}

impl ServerId {
    /// A server's name and the seed that orders it.
    pub fn new(name: impl Into<Arc<str>>, permutation_seed: impl Into<Arc<[u8]>>) -> Self {
        ServerId { name: name.into(), permutation_seed: permutation_seed.into() }
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a server says of itself (`http://allmydata.org/tahoe/protocols/storage/v1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    /// The largest share it would take, in bytes.
    pub maximum_immutable_share_size: u64,
    /// Room left, in bytes, as far as it says.
    pub available_space: Option<u64>,
    /// A read past the end of a share gives a short answer and no error. True on all modern servers.
    pub tolerates_immutable_read_overrun: bool,
}

impl Default for ServerVersion {
    fn default() -> Self {
        ServerVersion {
            maximum_immutable_share_size: u64::MAX,
            available_space: None,
            tolerates_immutable_read_overrun: true,
        }
    }
}

/// Why a call to a server brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The connection broke, or there is none.
    #[error("the connection to the server is lost")]
    Disconnected,
    /// The server answered that the call failed, in its own words.
    #[error("the server refused the call: {0}")]
    Refused(String),
    /// What came back is no answer to this call: garbage, or more bytes than were asked for.
    #[error("the server's answer cannot be used: {0}")]
    BadAnswer(String),
    /// There is no such share (any more).
    #[error("the server has no such share")]
    NoSuchShare,
    /// The write enabler is not the slot's.
    #[error("the server refused the write enabler; it was recorded by node {recorded_by}")]
    WriteEnabler {
        /// The node that recorded the slot's write enabler, in base32: it differs for a share that was moved.
        recorded_by: String,
    },
    /// The server has no room for it.
    #[error("the server has no room")]
    NoSpace,
    /// The server could not read or write its disk.
    #[error("the server's disk failed: {0}")]
    Disk(String),
}
