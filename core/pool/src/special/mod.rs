//! A directory special remote of git-annex's, behind a gateway (annex-p2p §7.7): `type=directory encryption=none`, without
//! chunks. There is no program on the other side: the gateway speaks for it.
//!
//! ```text
//! ROOT/d91/b11/KEY/KEY     an object, as the real program has it
//! ROOT/tmp/grid-NAME       what is on its way to become one; the real program has a directory of each key there. What is left by
//!                          a process that died goes when another process begins to take objects
//! ```
//!
//! The real program uses the same directory at the same time, and other gateways do: nothing is known but what is there. So
//! nothing can be locked; what is uploaded begins anew each time, under a name that nobody else has; and an object appears,
//! whole and verified, in one step. A directory that is not there, as when its disk is not mounted, has nothing to say: what is
//! in it is not absent.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`spooling`] | an object on its way in |
//! | [`spools`] | the files of such objects, which must go |
//! | [`leftovers`] | those that nobody has any more |

pub mod leftovers;
pub mod spooling;
pub mod spools;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use runtime::files::Files;
use runtime::{Runtime, relapse};

use crate::cluster::clocks;
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError};
use crate::repository::job;
use crate::repository::kept::Kept;
use crate::repository::layout::Layout;
use crate::repository::sending::Sending;
use crate::uuid::Uuid;
use crate::version::Version;
use spooling::Spooling;
use spools::Spools;

/// A directory special remote. Clones are the same.
#[derive(Clone)]
pub struct Special(Arc<Shared>);

struct Shared {
    uuid: Uuid,
    runtime: Runtime,
    layout: Layout,
    kept: Kept,
    /// Held while an object appears or goes: its directory may go with it.
    changing: Mutex<()>,
    spools: Spools,
    /// What others have left was looked for.
    tidied: AtomicBool,
}

impl Special {
    /// The special remote in `root`, which has to be there when something is asked of it.
    pub fn new(runtime: Runtime, uuid: Uuid, root: &Path) -> Special {
        let (layout, kept) = (Layout::new(root), Kept::default());
        let (changing, spools, tidied) = (Mutex::default(), Spools::default(), AtomicBool::new(false));
        Special(Arc::new(Shared { uuid, runtime, layout, kept, changing, spools, tidied }))
    }

    /// The remote as a peer of one client.
    pub fn peer(&self) -> SpecialPeer {
        SpecialPeer { special: self.clone(), version: Version::MAX, spools: Spools::default() }
    }

    /// Who it is.
    pub fn uuid(&self) -> &Uuid {
        &self.0.uuid
    }

    /// Whether nothing is on its way in.
    pub fn is_quiet(&self) -> bool {
        self.0.spools.is_empty()
    }

    /// Work on the disk. What goes wrong there is what the remote says.
    async fn job<T: Send + 'static>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&Shared, &dyn Files) -> io::Result<T> + Send + 'static,
    ) -> Result<T, PeerError> {
        let (special, files) = (self.clone(), self.0.runtime.files());
        let done = job(&self.0.runtime, kind, move || work(&special.0, &*files)).await;
        done.map_err(|error| PeerError::Refused(format!("proxied special remote reports: {error}")))
    }
}

impl Shared {
    /// Whether an object is there. Called in jobs.
    fn holds(&self, files: &dyn Files, key: &Key) -> io::Result<bool> {
        let holds = self.kept.holds(&self.layout, files, key)?;
        if !holds {
            self.must_be_there(files)?;
        }
        Ok(holds)
    }

    /// Nothing is said of what is in a directory that is not there. Called in jobs.
    fn must_be_there(&self, files: &dyn Files) -> io::Result<()> {
        match self.layout.is_there(files)? {
            true => Ok(()),
            false => Err(io::Error::other("the directory is not there")),
        }
    }

    /// Removes an object, if our clock is below `before`. Called in jobs.
    fn remove(&self, files: &dyn Files, key: &Key, before: Option<i64>) -> io::Result<bool> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.holds(files, key)? {
            return Ok(true);
        }
        if before.is_some_and(|limit| clocks::now(&self.runtime) >= limit) {
            return Ok(false);
        }
        self.kept.forget(key);
        self.layout.remove(files, key)?;
        Ok(true)
    }
}

/// A special remote, as one client sees it.
pub struct SpecialPeer {
    special: Special,
    version: Version,
    /// Those of its own uploads.
    spools: Spools,
}

#[async_trait]
impl Peer for SpecialPeer {
    fn uuid(&self) -> &Uuid {
        self.special.uuid()
    }

    async fn begin(&mut self, version: Version, _: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        self.version = version;
        Ok(version)
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        let key = key.clone();
        self.special.job("look for object", move |shared, files| shared.holds(files, &key)).await
    }

    /// Who else uses the directory knows of no locks.
    async fn lock<'a>(&'a mut self, _: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        Ok(None)
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        let key = key.clone();
        let removing = move |shared: &Shared, files: &dyn Files| shared.remove(files, &key, before);
        Ok(Outcome::of(self.special.job("remove object", removing).await?))
    }

    /// The clock is ours.
    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        if relapse!("annex-L4") {
            std::future::pending::<()>().await;
        }
        Ok(clocks::now(&self.special.0.runtime))
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        _: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let name = key.clone();
        let opening = move |shared: &Shared, files: &dyn Files| {
            let Some(file) = shared.layout.open(files, &name)? else {
                return shared.must_be_there(files).map(|()| None);
            };
            Ok(Some((file.len()?, file)))
        };
        let runtime = self.special.0.runtime.clone();
        Ok(Box::new(match self.special.job("open object", opening).await? {
            None if relapse!("annex-L5") => Sending::absent(runtime, key.size().unwrap_or(0)),
            None => Sending::absent(runtime, 0),
            Some((length, file)) => Sending::of(runtime, key, (file, length), offset),
        }))
    }

    /// Always from the beginning, be it there or not.
    async fn put<'a>(&'a mut self, _: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        let spools = [self.spools.clone(), self.special.0.spools.clone()];
        let spooling = Spooling::begin(self.special.clone(), self.version, spools, key).await?;
        Ok(Offer::From(0, Box::new(spooling)))
    }

    fn is_reusable(&self) -> bool {
        self.spools.is_empty()
    }

    async fn close(&mut self) {
        self.spools.drain().await;
    }
}
