//! A repository of our own: a directory with objects in git-annex's layout, as its `directory` special remote has it.
//!
//! ```text
//! ROOT/d91/b11/KEY/KEY     an object, whole and durable (annex-p2p §1.3)
//! ROOT/incoming/KEY        what has come of one so far; a later upload goes on from there
//! ROOT/retention/KEY       until when a lock keeps the object, should its holder be lost (§6.1)
//! ```
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`layout`] | which file is where |
//! | [`guards`] | who may do what to an object at a time: locks, removals, uploads |
//! | [`retention`] | locks that outlive the process |
//! | [`sending`], [`receiving`] | an object on its way out, and in |
//! | [`local`] | the repository as a [`Peer`](crate::Peer) |
//!
//! Every touch of the disk is a job, which runs to its end whoever goes away meanwhile; what it guards is held until then.
//! A look, and a few bytes that need not be durable, are a brief one.

pub mod guards;
pub mod layout;
pub mod local;
pub mod receiving;
pub mod retention;
pub mod sending;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use runtime::files::Files;
use runtime::{JobLost, Runtime};

use crate::key::Key;
use crate::peer::PeerError;
use crate::uuid::Uuid;
use guards::Guards;
use layout::Layout;
pub use local::Local;

/// A directory with objects. Clones are the same; no other process may serve the same directory.
#[derive(Clone)]
pub struct Repository {
    uuid: Uuid,
    runtime: Runtime,
    layout: Layout,
    guards: Arc<Guards>,
    /// Objects that have been seen, or made, to be durable.
    kept: Arc<Mutex<BTreeSet<Key>>>,
}

/// How many objects are remembered to be durable.
const KEPT: usize = 10_000;

/// Bytes that are read or written, and hashed, in a brief job at the most.
const FEW: usize = 16 * 1024;

impl Repository {
    /// The repository in `root`, which is made if it is not there.
    pub async fn open(runtime: Runtime, uuid: Uuid, root: &Path) -> Result<Repository, PeerError> {
        let layout = Layout::new(root);
        let (place, files) = (layout.clone(), runtime.files());
        job(&runtime, "open repository", move || place.make(&*files)).await?;
        Ok(Repository { uuid, layout, guards: Guards::new(runtime.clone()), kept: Arc::default(), runtime })
    }

    /// The repository as a peer of one client.
    pub fn peer(&self) -> Local {
        Local::new(self.clone())
    }

    /// Who it is.
    pub fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    /// Whether nobody is about any object: no lock is held, nothing is uploaded or removed.
    pub fn is_quiet(&self) -> bool {
        self.guards.is_quiet()
    }

    /// Whether an object is there, so that clients can be told so: it survives a loss of power.
    async fn has(&self, key: &Key) -> Result<bool, PeerError> {
        let name = key.clone();
        let look = move |layout: &Layout, files: &dyn Files| layout.is_present(files, &name);
        let there = self.brief("look for object", look).await?;
        if !there || self.kept().contains(key) {
            return Ok(there);
        }
        let (key, place) = (key.clone(), self.clone());
        self.job("keep object", move |layout, files| place.holds(layout, files, &key)).await
    }

    /// The same, called in jobs.
    fn holds(&self, layout: &Layout, files: &dyn Files, key: &Key) -> io::Result<bool> {
        if self.kept().contains(key) {
            return layout.is_present(files, key);
        }
        let kept = layout.is_kept(files, key)?;
        if kept {
            self.note_kept(key);
        }
        Ok(kept)
    }

    /// An object is durable.
    fn note_kept(&self, key: &Key) {
        let mut kept = self.kept();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key.clone());
    }

    fn kept(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        // Nothing here can panic half-way through a change.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down until when an object is kept. Called in jobs.
    fn note_retention(&self, layout: &Layout, files: &dyn Files, key: &Key) -> io::Result<()> {
        retention::note(layout, files, &self.guards, key, self.runtime.unix_time())
    }

    /// Makes the entries of directories durable, all at a time: the disk has them done together.
    async fn sync(&self, directories: Vec<PathBuf>) -> Result<(), PeerError> {
        let syncing = directories.into_iter().map(|directory| {
            self.job("sync directory", move |_: &Layout, files: &dyn Files| files.sync_dir(&directory))
        });
        join_all(syncing).await.into_iter().collect()
    }

    /// Work on the disk.
    async fn job<T: Send + 'static>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&Layout, &dyn Files) -> io::Result<T> + Send + 'static,
    ) -> Result<T, PeerError> {
        let (layout, files) = (self.layout.clone(), self.runtime.files());
        job(&self.runtime, kind, move || work(&layout, &*files)).await
    }

    /// Work on the disk that is soon done, unless the disk is in trouble.
    async fn brief<T: Send + 'static>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&Layout, &dyn Files) -> io::Result<T> + Send + 'static,
    ) -> Result<T, PeerError> {
        let (layout, files) = (self.layout.clone(), self.runtime.files());
        done(self.runtime.brief(kind, move || work(&layout, &*files)).await)
    }
}

/// Work on the disk, as a job.
pub(crate) async fn job<T: Send + 'static>(
    runtime: &Runtime,
    kind: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, PeerError> {
    done(runtime.blocking(kind, work).await)
}

/// What became of a job.
fn done<T>(job: Result<io::Result<T>, JobLost>) -> Result<T, PeerError> {
    match job {
        Ok(done) => done.map_err(|error| PeerError::Disk(error.to_string())),
        Err(lost) => Err(PeerError::Disk(lost.to_string())),
    }
}

/// What a disk says of what is not there, as none.
pub(crate) fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}
