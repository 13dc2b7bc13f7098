//! The repository as a peer.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use runtime::files::Files;
use runtime::reached;

use super::guards::Locked;
use super::layout::Layout;
use super::receiving::{Begun, Receiving};
use super::retention::Line;
use super::sending::Sending;
use super::{Repository, retention};
use crate::cluster::clocks;
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError, Upload};
use crate::uuid::Uuid;
use crate::version::Version;

/// How often an upload is begun again of an object that others put and remove meanwhile.
const ATTEMPTS: u32 = 10;

/// A repository of our own, as one client sees it.
pub struct Local {
    repository: Repository,
}

impl Local {
    pub(super) fn new(repository: Repository) -> Local {
        Local { repository }
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
        let repository = self.repository.clone();
        let Some(locked) = repository.guards.lock(key) else { return Ok(None) };
        let (name, place) = (key.clone(), repository.clone());
        let locking = move |layout: &Layout, files: &dyn Files| match place.lock(layout, files, &name) {
            Ok(Some(line)) => Ok(Some((locked, line))),
            refused => {
                // Nobody will be told of it.
                locked.unlock();
                refused.map(|_| None)
            }
        };
        let locked = repository.job("lock object", locking).await?;
        let key = key.clone();
        Ok(locked
            .map(|(locked, line)| -> Box<dyn Lock> { Box::new(LocalLock { repository, key, locked, line }) }))
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        if !self.repository.has(key).await? {
            return Ok(Outcome::of(true));
        }
        let Some(removing) = self.repository.guards.remove(key) else {
            reached!("repository: a locked object is not removed");
            return Ok(Outcome::of(false));
        };
        let (key, place) = (key.clone(), self.repository.clone());
        let work = move |layout: &Layout, files: &dyn Files| {
            let _removing = removing;
            let removed = place.remove(layout, files, &key, before)?;
            if let Some(directories) = &removed {
                layout.sweep(files, directories)?;
            }
            Ok(removed.is_some())
        };
        Ok(Outcome::of(self.repository.job("remove object", work).await?))
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        Ok(clocks::now(&self.repository.runtime))
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        _: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let (name, runtime) = (key.clone(), self.repository.runtime.clone());
        let opening = move |layout: &Layout, files: &dyn Files| {
            let Some(file) = layout.open(files, &name)? else { return Ok(None) };
            Ok(Some((file.len()?, file)))
        };
        Ok(Box::new(match self.repository.brief("open object", opening).await? {
            None => Sending::absent(runtime, 0),
            Some((length, file)) => Sending::of(runtime, key, (file, length), offset),
        }))
    }

    async fn put<'a>(&'a mut self, _: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        let repository = &self.repository;
        let busy = || PeerError::Refused("transfer already in progress".into());
        for _ in 0..ATTEMPTS {
            if repository.has(key).await? {
                return Ok(Offer::AlreadyHave(BTreeSet::new()));
            }
            let uploading = repository.guards.upload(key).await.ok_or_else(busy)?;
            match Receiving::begin(repository.clone(), key, uploading).await? {
                Begun::Upload(receiving) => {
                    return Ok(Offer::From(receiving.offset(), receiving as Box<dyn Upload>));
                }
                // Another process has had it meanwhile.
                Begun::Present => {}
                Begun::Busy => break,
            }
        }
        Err(busy())
    }

    fn is_reusable(&self) -> bool {
        true
    }

    async fn close(&mut self) {}
}

impl Repository {
    /// Locks an object, if it is there and stays there should the power fail now. Called in jobs.
    fn lock(&self, layout: &Layout, files: &dyn Files, key: &Key) -> io::Result<Option<Line>> {
        if layout.find(files, key)?.is_none() {
            return Ok(None);
        }
        let now = self.runtime.unix_time();
        let line = retention::lock(layout, files, key, now)
            .inspect_err(|_| reached!("repository: a lock cannot be written down"))?;
        // From here on nobody removes what is there. It may have been removed before.
        match self.kept.holds(layout, files, key) {
            Ok(true) => Ok(Some(line)),
            absent => {
                let unlocked = retention::unlock(layout, files, key, line, now);
                absent.and(unlocked).map(|()| None)
            }
        }
    }

    /// Removes an object that nobody has locked, if our clock is below `before`: tells the directories where it has been, which are
    /// to be swept. Called in jobs.
    fn remove(
        &self,
        layout: &Layout,
        files: &dyn Files,
        key: &Key,
        before: Option<i64>,
    ) -> io::Result<Option<Vec<PathBuf>>> {
        let removed = retention::unless_locked(layout, files, key, self.runtime.unix_time(), || {
            if before.is_some_and(|limit| clocks::now(&self.runtime) >= limit) {
                return Ok(None);
            }
            self.kept.forget(key);
            layout.take_away(files, key).map(Some)
        });
        removed.map(Option::flatten)
    }
}

struct LocalLock {
    repository: Repository,
    key: Key,
    locked: Locked,
    line: Line,
}

#[async_trait]
impl Lock for LocalLock {
    async fn unlock(self: Box<Self>) -> Result<(), PeerError> {
        let LocalLock { repository, key, locked, line } = *self;
        let now = repository.runtime.unix_time();
        let unlocking = move |layout: &Layout, files: &dyn Files| {
            retention::unlock(layout, files, &key, line, now)?;
            locked.unlock();
            Ok(())
        };
        repository.job("unlock object", unlocking).await
    }
}
