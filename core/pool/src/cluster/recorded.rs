//! A repository that clients reach through a gateway, alone: the gateway's location log learns what it stored and what it
//! removed (annex-p2p §7.4, §7.5). Clusters do that for their nodes themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::located::{Located, record_all};
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError, Upload, Verdict};
use crate::uuid::Uuid;
use crate::version::Version;

/// A repository whose answers are written to a location log, before its client is told.
pub struct Recorded {
    peer: Box<dyn Peer>,
    located: Arc<dyn Located>,
}

impl Recorded {
    /// The peer, and the log that learns of it. A peer that is a cluster is in no log; what it names is.
    pub fn new(peer: Box<dyn Peer>, located: Arc<dyn Located>) -> Recorded {
        Recorded { peer, located }
    }

    fn entry(&self, key: &Key, present: bool) -> Entry {
        let (located, repository) = (self.located.clone(), self.peer.uuid().clone());
        Entry { located, key: key.clone(), repository, present }
    }
}

/// What an answer says of an object: who has it, or has it no more.
struct Entry {
    located: Arc<dyn Located>,
    key: Key,
    repository: Uuid,
    present: bool,
}

impl Entry {
    async fn write(&self, done: bool, also: &BTreeSet<Uuid>) -> Result<(), PeerError> {
        let itself = done.then_some(&self.repository);
        let repositories = also.iter().chain(itself).cloned().collect();
        record_all(&*self.located, &self.key, &repositories, self.present).await
    }
}

#[async_trait]
impl Peer for Recorded {
    fn uuid(&self) -> &Uuid {
        self.peer.uuid()
    }

    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        self.peer.begin(version, bypass).await
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        self.peer.check_present(key).await
    }

    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        self.peer.lock(key).await
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        let entry = self.entry(key, false);
        let outcome = self.peer.remove(key, before).await?;
        entry.write(outcome.done, &outcome.also).await?;
        Ok(outcome)
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        self.peer.timestamp().await
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        self.peer.get(offset, file, key).await
    }

    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        let entry = self.entry(key, true);
        Ok(match self.peer.put(file, key).await? {
            Offer::AlreadyHave(also) => {
                entry.write(true, &also).await?;
                Offer::AlreadyHave(also)
            }
            Offer::From(offset, upload) => Offer::From(offset, Box::new(RecordedUpload { upload, entry })),
        })
    }

    fn is_reusable(&self) -> bool {
        self.peer.is_reusable()
    }

    async fn close(&mut self) {
        self.peer.close().await;
    }
}

struct RecordedUpload<'a> {
    upload: Box<dyn Upload + 'a>,
    entry: Entry,
}

#[async_trait]
impl Upload for RecordedUpload<'_> {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        self.upload.begin(length).await
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        self.upload.write(piece).await
    }

    async fn finish(self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        let outcome = self.upload.finish(verdict).await?;
        self.entry.write(outcome.done, &outcome.also).await?;
        Ok(outcome)
    }

    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        let outcome = self.upload.is_present().await?;
        self.entry.write(outcome.done, &outcome.also).await?;
        Ok(outcome)
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        self.upload.withdraw().await
    }
}
