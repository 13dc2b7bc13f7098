//! A node's repository, of which it is counted what it does.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::peer::{Download, Lock, Offer, Outcome, Peer, PeerError, Upload, Verdict};
use pool::repository::Local;
use pool::uuid::Uuid;
use pool::version::Version;

use super::stage::Stage;
use super::traffic::Acting;

/// A repository that is watched.
pub struct Watched {
    peer: Local,
    stage: Arc<Stage>,
    /// What its client speaks.
    version: Version,
}

impl Watched {
    /// The repository, on this stage.
    pub fn new(peer: Local, stage: Arc<Stage>) -> Watched {
        Watched { peer, stage, version: Version::V0 }
    }
}

/// It begins to do something, and is looked at.
fn act(stage: &Stage) -> Acting<'_> {
    let acting = stage.traffic.act();
    stage.check_actions();
    acting
}

#[async_trait]
impl Peer for Watched {
    fn uuid(&self) -> &Uuid {
        self.peer.uuid()
    }

    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        self.version = self.peer.begin(version, bypass).await?;
        Ok(self.version)
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        let _acting = act(&self.stage);
        self.peer.check_present(key).await
    }

    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        let _acting = act(&self.stage);
        self.peer.lock(key).await
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        let _acting = act(&self.stage);
        self.peer.remove(key, before).await
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        let _acting = act(&self.stage);
        self.peer.timestamp().await
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let _acting = act(&self.stage);
        self.peer.get(offset, file, key).await
    }

    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        let _acting = act(&self.stage);
        Ok(match self.peer.put(file, key).await? {
            // At version 0 an upload ends with its bytes.
            Offer::From(offset, upload) if self.version.has_verdict() => {
                let stage = self.stage.clone();
                Offer::From(offset, Box::new(WatchedUpload { upload, stage }))
            }
            offer => offer,
        })
    }

    fn is_reusable(&self) -> bool {
        self.peer.is_reusable()
    }

    async fn close(&mut self) {
        self.peer.close().await;
    }
}

/// An upload whose end is watched: the bytes may go to all nodes at a time.
struct WatchedUpload<'a> {
    upload: Box<dyn Upload + 'a>,
    stage: Arc<Stage>,
}

#[async_trait]
impl Upload for WatchedUpload<'_> {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        self.upload.begin(length).await
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        self.upload.write(piece).await
    }

    async fn finish(self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        let _acting = act(&self.stage);
        self.upload.finish(verdict).await
    }

    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        let _acting = act(&self.stage);
        self.upload.is_present().await
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        let _acting = act(&self.stage);
        self.upload.withdraw().await
    }
}
