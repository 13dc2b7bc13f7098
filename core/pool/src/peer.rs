//! [`Peer`]: what can be asked of a repository, wherever it is. A directory of our own is one, and so are a repository
//! behind a connection, one behind HTTP, and a cluster of others; whoever serves requests serves a peer.
//!
//! A request borrows its peer until it is over. When one is dropped before its end, or fails, the connection under it may
//! be in the middle of something: [`Peer::is_reusable`] tells.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;

use crate::key::Key;
use crate::message::AssociatedFile;
use crate::uuid::Uuid;
use crate::version::Version;

/// A repository that holds objects.
#[async_trait]
pub trait Peer: Send {
    /// Who it is.
    fn uuid(&self) -> &Uuid;

    /// Says which version its client speaks and which gateways the client's requests have passed, before the first
    /// request. Returns the version that the client is to be told: it may be lower.
    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError>;

    /// Whether the whole object is there.
    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError>;

    /// Locks the object against removal; none when it is not there, or cannot be locked.
    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError>;

    /// Removes the object; `before`: only if the peer's clock is below that. Done when it was not there.
    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError>;

    /// Whole seconds of a monotonic clock that limits of removals are by: the peer's own, or, when its version has no
    /// limits, that of whoever asks it.
    async fn timestamp(&mut self) -> Result<i64, PeerError>;

    /// Begins to send the object from `offset` on.
    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError>;

    /// Begins to take the object.
    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError>;

    /// Whether another request can follow: nothing is owed in either direction.
    fn is_reusable(&self) -> bool;

    /// Gives up what is under the peer, and waits until that has gone. It is connected anew if it is used again.
    async fn close(&mut self);
}

/// An object on its way from a peer.
#[async_trait]
pub trait Download: Send {
    /// The bytes that come; 0 when the object is not there.
    fn length(&self) -> u64;

    /// Waits for the next piece; none when all bytes have come, or when no more will: then they are not valid.
    async fn next(&mut self) -> Result<Option<Bytes>, PeerError>;

    /// After the last piece: whether the bytes are those of the object, as far as the peer knows.
    async fn verdict(&mut self) -> Result<Verdict, PeerError>;

    /// Ends the request: `received` tells whether all is well here.
    async fn end(self: Box<Self>, received: bool) -> Result<(), PeerError>;
}

/// A peer's answer to an object that it is offered.
pub enum Offer<'a> {
    /// It is there already, and in these repositories.
    AlreadyHave(BTreeSet<Uuid>),
    /// The bytes from this offset on are wanted.
    From(u64, Box<dyn Upload + 'a>),
}

/// An object on its way to a peer. Dropped before its end, it leaves what has come for a later attempt to go on from.
#[async_trait]
pub trait Upload: Send {
    /// So many bytes will come.
    async fn begin(&mut self, length: u64) -> Result<(), PeerError>;

    /// The next piece. No more bytes than announced.
    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError>;

    /// All announced bytes have come, and this is what their sender knows of them.
    async fn finish(self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError>;

    /// No bytes come: the object is said to have reached the peer in another way.
    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError>;

    /// No bytes come: the object is not sent after all.
    async fn withdraw(self: Box<Self>) -> Result<(), PeerError>;
}

/// A lock against removal. Dropped, it is as if the connection were lost: the object stays for its retention time.
#[async_trait]
pub trait Lock: Send {
    /// Keeps the lock for as long as this is polled, and ends when it turns out to be lost. Who does not poll it keeps the
    /// lock for its retention time only, where the peer is far away (annex-p2p §10.5).
    async fn keep(&mut self) -> PeerError {
        std::future::pending().await
    }

    /// The object is no longer needed.
    async fn unlock(self: Box<Self>) -> Result<(), PeerError>;
}

/// What is known of bytes that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are the object's.
    Valid,
    /// They are not to be trusted.
    Invalid,
    /// Nothing: the peer's version has no verdicts.
    Unknown,
}

/// How a request ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// It was done.
    pub done: bool,
    /// Where else it was done, done as a whole or not. Never a cluster.
    pub also: BTreeSet<Uuid>,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The peer said why it does not do this. It can be asked again.
    #[error("{0}")]
    Refused(String),
    /// The peer could not be reached: nothing was asked of it.
    #[error("cannot connect to {uuid}: {why}")]
    Unreachable {
        /// The peer.
        uuid: Uuid,
        /// Why.
        why: String,
    },
    /// The connection failed, or the peer went away: whether it did what was asked is unknown.
    #[error("the connection to {uuid} was lost: {why}")]
    Lost {
        /// The peer.
        uuid: Uuid,
        /// Why.
        why: String,
    },
    /// The peer said what makes no sense here.
    #[error("{uuid} does not follow the protocol: {why}")]
    Protocol {
        /// The peer.
        uuid: Uuid,
        /// What it said.
        why: String,
    },
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Disk(String),
}

impl Outcome {
    /// Done, or not, and nowhere else.
    pub fn of(done: bool) -> Outcome {
        Outcome { done, also: BTreeSet::new() }
    }
}

impl Verdict {
    /// The verdict in a word: true is valid.
    pub fn of(valid: bool) -> Verdict {
        if valid { Verdict::Valid } else { Verdict::Invalid }
    }
}
