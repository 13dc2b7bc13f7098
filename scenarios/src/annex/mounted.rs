//! A special remote, as the gateway has it: on a disk of its own, which can go away and come back.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Weak;

use async_trait::async_trait;
use pool::Peer;
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::peer::{Download, Lock, Offer, Outcome, PeerError};
use pool::special::SpecialPeer;
use pool::uuid::Uuid;
use pool::version::Version;
use runtime::files::Files;

use super::stage::{ROOT, Stage};

/// A special remote, as it is whenever something is asked of it.
pub struct Mounted {
    stage: Weak<Stage>,
    node: usize,
    uuid: Uuid,
    version: Version,
    /// In a life of its disk.
    peer: Option<(u32, SpecialPeer)>,
}

impl Mounted {
    /// The special remote that is that node.
    pub fn new(stage: Weak<Stage>, node: usize, uuid: Uuid) -> Mounted {
        Mounted { stage, node, uuid, version: Version::MAX, peer: None }
    }

    async fn peer(&mut self) -> Result<&mut SpecialPeer, PeerError> {
        let here = self.stage.upgrade().and_then(|stage| stage.nodes[self.node].special());
        let uuid = &self.uuid;
        let why = || PeerError::Unreachable { uuid: uuid.clone(), why: "it is not mounted".into() };
        let (life, special) = here.ok_or_else(why)?;
        if self.peer.as_ref().is_none_or(|(before, _)| *before != life) {
            let mut peer = special.peer();
            peer.begin(self.version, &BTreeSet::new()).await?;
            self.peer = Some((life, peer));
        }
        self.peer.as_mut().map(|(_, peer)| peer).ok_or_else(why)
    }
}

/// Makes the directory of a special remote, as `initremote` does.
pub fn make(disk: &dyn Files) -> std::io::Result<()> {
    disk.create_dir_all(&Path::new(ROOT).join("tmp"))
}

/// What is left of uploads to a special remote.
pub fn spools(disk: &dyn Files) -> usize {
    disk.list(&Path::new(ROOT).join("tmp")).map_or(0, |names| names.len())
}

#[async_trait]
impl Peer for Mounted {
    fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        self.version = version;
        self.peer().await?.begin(version, bypass).await
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        self.peer().await?.check_present(key).await
    }

    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        self.peer().await?.lock(key).await
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        self.peer().await?.remove(key, before).await
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        self.peer().await?.timestamp().await
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        self.peer().await?.get(offset, file, key).await
    }

    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        self.peer().await?.put(file, key).await
    }

    fn is_reusable(&self) -> bool {
        self.peer.as_ref().is_none_or(|(_, peer)| peer.is_reusable())
    }

    async fn close(&mut self) {
        if let Some((_, peer)) = &mut self.peer {
            peer.close().await;
        }
    }
}
