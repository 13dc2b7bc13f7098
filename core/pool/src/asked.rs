//! [`Asked`]: a peer as a gateway asks it. It is waited for, but not for ever: what takes too long has failed, as if the
//! connection were lost, for whoever serves others must get what it has lent them back. And where clients reach a repository
//! through the gateway alone, the location log learns what it stored and what it removed before they are told (annex-p2p §7.4,
//! §7.5); a cluster does that for its nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use runtime::{Runtime, reached};

use crate::cluster::located::{Located, News, record_all};
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError, Upload, Verdict};
use crate::uuid::Uuid;
use crate::version::Version;

/// A peer each of whose answers, and each step on the way to one, must come in time. A lock is held for as long as its
/// holder wants.
pub struct Asked {
    peer: Box<dyn Peer>,
    patience: Patience,
    log: Option<Arc<dyn Located>>,
}

#[derive(Clone)]
struct Patience {
    runtime: Runtime,
    length: Duration,
    uuid: Uuid,
}

/// What a peer has begun.
struct Begun<T> {
    what: T,
    patience: Patience,
    entry: Option<Entry>,
}

/// What the log is to learn of an object: who has it, or has it no more.
struct Entry {
    log: Arc<dyn Located>,
    key: Key,
    repository: Uuid,
    news: News,
}

impl Asked {
    /// A peer that may take `length` for each step of a request.
    pub fn new(runtime: Runtime, length: Duration, peer: Box<dyn Peer>) -> Asked {
        let uuid = peer.uuid().clone();
        Asked { peer, patience: Patience { runtime, length, uuid }, log: None }
    }

    /// Has a log learn of the peer's answers. A peer that is a cluster is in no log; what it names is.
    pub fn logged(self, log: Arc<dyn Located>) -> Asked {
        Asked { log: Some(log), ..self }
    }

    fn entry(&self, key: &Key, news: impl FnOnce(&dyn Located) -> News) -> Option<Entry> {
        let log = self.log.clone()?;
        let news = news(&*log);
        Some(Entry { log, key: key.clone(), repository: self.patience.uuid.clone(), news })
    }
}

impl Entry {
    async fn write(entry: Option<Entry>, done: bool, also: &BTreeSet<Uuid>) -> Result<(), PeerError> {
        let Some(Entry { log, key, repository, news }) = entry else { return Ok(()) };
        let itself = done.then_some(&repository);
        let repositories = also.iter().chain(itself).cloned().collect();
        record_all(&*log, &key, &repositories, news).await
    }
}

impl Patience {
    async fn wait<T>(&self, answer: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
        self.runtime.timeout(self.length, answer).await.unwrap_or_else(|_| {
            reached!("asked: a peer does not answer in time");
            Err(PeerError::Lost { uuid: self.uuid.clone(), why: "it did not answer in time".into() })
        })
    }
}

#[async_trait]
impl Peer for Asked {
    fn uuid(&self) -> &Uuid {
        self.peer.uuid()
    }

    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        self.patience.wait(self.peer.begin(version, bypass)).await
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        self.patience.wait(self.peer.check_present(key)).await
    }

    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        let locked = self.patience.wait(self.peer.lock(key)).await?;
        let patience = self.patience.clone();
        Ok(locked.map(|what| -> Box<dyn Lock> { Box::new(Begun { what, patience, entry: None }) }))
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        let entry = self.entry(key, |log| News::Removed { since: log.moment() });
        let outcome = self.patience.wait(self.peer.remove(key, before)).await?;
        Entry::write(entry, outcome.done, &outcome.also).await?;
        Ok(outcome)
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        self.patience.wait(self.peer.timestamp()).await
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let what = self.patience.wait(self.peer.get(offset, file, key)).await?;
        Ok(Box::new(Begun { what, patience: self.patience.clone(), entry: None }))
    }

    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        let entry = self.entry(key, |_| News::Present);
        Ok(match self.patience.wait(self.peer.put(file, key)).await? {
            Offer::AlreadyHave(also) => {
                Entry::write(entry, true, &also).await?;
                Offer::AlreadyHave(also)
            }
            Offer::From(offset, what) => {
                Offer::From(offset, Box::new(Begun { what, patience: self.patience.clone(), entry }))
            }
        })
    }

    fn is_reusable(&self) -> bool {
        self.peer.is_reusable()
    }

    async fn close(&mut self) {
        let closing = async {
            self.peer.close().await;
            Ok(())
        };
        let _ = self.patience.wait(closing).await;
    }
}

#[async_trait]
impl Download for Begun<Box<dyn Download + '_>> {
    fn length(&self) -> u64 {
        self.what.length()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        self.patience.wait(self.what.next()).await
    }

    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        self.patience.wait(self.what.verdict()).await
    }

    async fn end(self: Box<Self>, received: bool) -> Result<(), PeerError> {
        self.patience.wait(self.what.end(received)).await
    }
}

#[async_trait]
impl Upload for Begun<Box<dyn Upload + '_>> {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        self.patience.wait(self.what.begin(length)).await
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        self.patience.wait(self.what.write(piece)).await
    }

    async fn finish(self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        let outcome = self.patience.wait(self.what.finish(verdict)).await?;
        Entry::write(self.entry, outcome.done, &outcome.also).await?;
        Ok(outcome)
    }

    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        let outcome = self.patience.wait(self.what.is_present()).await?;
        Entry::write(self.entry, outcome.done, &outcome.also).await?;
        Ok(outcome)
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        self.patience.wait(self.what.withdraw()).await
    }
}

#[async_trait]
impl Lock for Begun<Box<dyn Lock + '_>> {
    async fn keep(&mut self) -> PeerError {
        self.what.keep().await
    }

    async fn unlock(self: Box<Self>) -> Result<(), PeerError> {
        self.patience.wait(self.what.unlock()).await
    }
}
