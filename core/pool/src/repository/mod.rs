//! A repository of our own: a directory with objects in git-annex's layout, as its `directory` special remote has it.
//!
//! ```text
//! ROOT/d91/b11/KEY/KEY     an object, whole and durable (annex-p2p §1.3)
//! ROOT/incoming/KEY        what has come of one so far; a later upload goes on from there
//! ROOT/retention/KEY       until when locks keep the object, should their holders be lost (§6.1)
//! ROOT/retention/.turn     taken by whoever changes locks, or removes what is not locked
//! ```
//!
//! Any number of processes can serve a directory at a time: git-annex starts one for each connection over ssh. What one process
//! must know of the others is in the directory, and in locks of its files, which end with the process that has them.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`layout`] | which file is where |
//! | [`guards`] | who may do what to an object at a time: locks, removals, uploads of this process |
//! | [`retention`] | locks, for all processes, and those that outlive theirs |
//! | [`flock`] | file systems that do not know locks |
//! | [`kept`] | which objects are known to be durable |
//! | [`sending`], [`receiving`], [`taking`] | an object on its way out, and in |
//! | [`local`] | the repository as a [`Peer`](crate::Peer) |
//!
//! Every touch of the disk is a job, which runs to its end whoever goes away meanwhile; what it guards is held until then.
//! A look, and a few bytes that need not be durable, are a brief one.

#[cfg(test)]
mod between;
pub mod flock;
pub mod guards;
pub mod kept;
pub mod layout;
pub mod local;
pub mod receiving;
pub mod retention;
pub mod sending;
pub mod taking;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;
use runtime::files::Files;
use runtime::{BoxFuture, JobLost, Runtime};

use crate::key::Key;
use crate::peer::PeerError;
use crate::uuid::Uuid;
use guards::Guards;
use kept::Kept;
use layout::Layout;
pub use local::Local;

/// A directory with objects. Clones are the same; other processes may serve the same directory, if its file system knows locks of
/// files (`flock`). One that does not says so when something is to be locked, removed or uploaded.
#[derive(Clone)]
pub struct Repository {
    uuid: Uuid,
    runtime: Runtime,
    layout: Layout,
    guards: Arc<Guards>,
    kept: Kept,
}

/// Bytes that are read or written, and hashed, in a brief job at the most.
const FEW: u64 = 16 * 1024;

impl Repository {
    /// The repository in `root`, which is made if it is not there.
    pub async fn open(runtime: Runtime, uuid: Uuid, root: &Path) -> Result<Repository, PeerError> {
        let layout = Layout::new(root);
        let (place, files) = (layout.clone(), runtime.files());
        job(&runtime, "open repository", move || place.make(&*files)).await?;
        Ok(Repository { uuid, layout, guards: Guards::new(runtime.clone()), kept: Kept::default(), runtime })
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
        let look = move |layout: &Layout, files: &dyn Files| layout.find(files, &name);
        let Some((_, stamp)) = self.brief("look for object", look).await? else { return Ok(false) };
        if self.kept.knows(key, &stamp) {
            return Ok(true);
        }
        let (key, place) = (key.clone(), self.clone());
        self.job("keep object", move |layout, files| place.kept.holds(layout, files, &key)).await
    }

    /// Makes the entries of directories durable, all at a time: the disk has them done together. What is gone was removed
    /// meanwhile.
    async fn sync(&self, directories: Vec<PathBuf>) -> Result<(), PeerError> {
        let syncing = directories.into_iter().map(|directory| {
            self.job("sync directory", move |_, files| if_there(files.sync_dir(&directory)).map(drop))
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

/// Begins work on the disk that reads or writes so many bytes; the future waits for its end.
fn begin<T: Send + 'static>(
    runtime: &Runtime,
    kind: &'static str,
    bytes: u64,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> BoxFuture<'static, Result<T, PeerError>> {
    if bytes <= FEW {
        let job = runtime.brief(kind, work);
        Box::pin(async move { done(job.await) })
    } else {
        let job = runtime.blocking(kind, work);
        Box::pin(async move { done(job.await) })
    }
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
