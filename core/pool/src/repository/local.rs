//! The repository as a peer.

use std::collections::BTreeSet;

use async_trait::async_trait;
use runtime::reached;

use super::guards::Locked;
use super::receiving::Receiving;
use super::sending::Sending;
use super::{Repository, retention};
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError, Upload};
use crate::uuid::Uuid;
use crate::version::Version;

/// A repository of our own, as one client sees it.
pub struct Local {
    repository: Repository,
}

impl Local {
    pub(super) fn new(repository: Repository) -> Local {
        Local { repository }
    }

    /// Learns of a lock that an earlier process gave.
    async fn remember(&self, key: &Key) -> Result<(), PeerError> {
        let guards = &self.repository.guards;
        if guards.kept_for(key).is_some() {
            return Ok(());
        }
        let (name, now) = (key.clone(), self.repository.runtime.unix_time());
        let look =
            move |layout: &_, files: &dyn runtime::files::Files| retention::left(layout, files, &name, now);
        if let Some(left) = self.repository.brief("look for retention", look).await? {
            reached!("repository: a lock of an earlier process keeps an object");
            guards.keep(key, left);
            // What could not be read would be taken for a new lock each time.
            let (key, place) = (key.clone(), self.repository.clone());
            let noting = move |layout: &_, files: &dyn runtime::files::Files| {
                place.note_retention(layout, files, &key)
            };
            self.repository.job("note retention", noting).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Peer for Local {
    fn uuid(&self) -> &Uuid {
        &self.repository.uuid
    }

    async fn begin(&mut self, version: Version, _: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        Ok(version)
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        self.repository.has(key).await
    }

    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        self.remember(key).await?;
        let repository = self.repository.clone();
        let Some(locked) = repository.guards.lock(key) else { return Ok(None) };
        let (name, place) = (key.clone(), repository.clone());
        let locking = move |layout: &super::Layout, files: &dyn runtime::files::Files| {
            if !place.kept.holds(layout, files, &name)? {
                locked.unlock();
                return Ok(None);
            }
            if let Err(error) = place.note_retention(layout, files, &name) {
                reached!("repository: a lock cannot be written down");
                // Nobody will be told of it. What is there of it goes, or is as it was before, if the disk can do that.
                locked.unlock();
                let _ = place.note_retention(layout, files, &name);
                return Err(error);
            }
            Ok(Some(locked))
        };
        let locked = repository.job("lock object", locking).await?;
        let key = key.clone();
        Ok(locked.map(|locked| -> Box<dyn Lock> { Box::new(LocalLock { repository, key, locked }) }))
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        if !self.repository.has(key).await? {
            return Ok(Outcome::of(true));
        }
        self.remember(key).await?;
        let Some(removing) = self.repository.guards.remove(key) else {
            reached!("repository: a locked object is not removed");
            return Ok(Outcome::of(false));
        };
        let (key, place) = (key.clone(), self.repository.clone());
        let work = move |layout: &super::Layout, files: &dyn runtime::files::Files| {
            let _removing = removing;
            let now = i64::try_from(place.runtime.boot_time().as_secs()).unwrap_or(i64::MAX);
            if before.is_some_and(|limit| now >= limit) {
                return Ok(false);
            }
            place.kept.forget(&key);
            layout.remove(files, &key)?;
            // An upload may have ended meanwhile whose object was removed.
            place.kept.forget(&key);
            place.note_retention(layout, files, &key)?;
            Ok(true)
        };
        Ok(Outcome::of(self.repository.job("remove object", work).await?))
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        Ok(i64::try_from(self.repository.runtime.boot_time().as_secs()).unwrap_or(i64::MAX))
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        _: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let (name, runtime) = (key.clone(), self.repository.runtime.clone());
        let opening = move |layout: &super::Layout, files: &dyn runtime::files::Files| {
            let Some(file) = layout.open(files, &name)? else { return Ok(None) };
            Ok(Some((file.len()?, file)))
        };
        Ok(Box::new(match self.repository.brief("open object", opening).await? {
            None => Sending::absent(runtime, 0),
            Some((length, file)) => Sending::of(runtime, key, (file, length), offset),
        }))
    }

    async fn put<'a>(&'a mut self, _: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        if self.repository.has(key).await? {
            return Ok(Offer::AlreadyHave(BTreeSet::new()));
        }
        let Some(uploading) = self.repository.guards.upload(key).await else {
            return Err(PeerError::Refused("transfer already in progress".into()));
        };
        let receiving = Receiving::begin(self.repository.clone(), key, uploading).await?;
        Ok(Offer::From(receiving.offset(), Box::new(receiving) as Box<dyn Upload>))
    }

    fn is_reusable(&self) -> bool {
        true
    }

    async fn close(&mut self) {}
}

struct LocalLock {
    repository: Repository,
    key: Key,
    locked: Locked,
}

#[async_trait]
impl Lock for LocalLock {
    async fn unlock(self: Box<Self>) -> Result<(), PeerError> {
        let LocalLock { repository, key, locked } = *self;
        locked.unlock();
        let place = repository.clone();
        // What other locks keep is still written down.
        repository.job("unlock object", move |layout, files| place.note_retention(layout, files, &key)).await
    }
}
