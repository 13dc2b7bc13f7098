//! [`ShareDirectory`]: the server over one storage directory, and what its parts share.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{
    Allocate, Allocated, LeaseSecret, ServerError, ServerId, ServerVersion, ShareNumber, ShareReader,
    ShareWriter, StorageServer,
};
use runtime::files::{FileKind, Files, OpenMode};
use runtime::{JobLost, Runtime, reached};

use super::upload::{Upload, Writer};
use crate::advisory;
use crate::config::LEASE;
use crate::container::Container;
use crate::container::immutable::MAX_SHARE;
use crate::container::record::LeaseRequest;
use crate::error::StorageError;
use crate::layout::{below, parse_share};
use crate::lock::lock;
use crate::share::{Kind, Prefix};

/// A storage server over one Tahoe-LAFS storage directory.
///
/// A share file that is foreign or damaged harms only itself: it is left out of every answer, and
/// reported by a `tracing` event. A name that is no share number is ignored.
#[derive(Clone)]
pub struct ShareDirectory(Arc<Shared>);

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It has no directory `shares`.
    #[error("{} is no storage directory: there is no directory `shares` in it", .0.display())]
    NoShares(PathBuf),
    /// The disk's own reason.
    #[error("cannot open the storage directory {}", .0.display())]
    Disk(PathBuf, #[source] io::Error),
    /// The job that looks at it was lost.
    #[error(transparent)]
    JobLost(#[from] JobLost),
}

impl ShareDirectory {
    /// Serves the storage directory at `path` (that which holds `shares`) under the name `id`. Changes
    /// nothing on disk.
    pub async fn open(runtime: Runtime, path: &Path, id: ServerId) -> Result<Self, OpenError> {
        Self::open_as(runtime, path, id, Access::Write).await
    }

    /// The same, for reading only: nothing on disk is ever changed. Shares and leases are refused, as a
    /// server without room would; what clients report about damaged shares goes to the log alone.
    pub async fn open_read_only(runtime: Runtime, path: &Path, id: ServerId) -> Result<Self, OpenError> {
        Self::open_as(runtime, path, id, Access::Read).await
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    async fn open_as(runtime: Runtime, path: &Path, id: ServerId, access: Access) -> Result<Self, OpenError> {
        let (handle, root) = (runtime.clone(), path.to_owned());
        let room = runtime.blocking("open storage directory", move || room(&*handle.files(), root, access));
        let room = room.await??;
        let version = ServerVersion {
            maximum_immutable_share_size: room.min(MAX_SHARE),
            available_space: Some(room),
            ..ServerVersion::default()
        };
        Ok(ShareDirectory(Arc::new(Shared {
            runtime,
            id,
            root: path.to_owned(),
            access,
            version,
            disk: RwLock::default(),
            uploads: Mutex::default(),
        })))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Bytes that the directory can still take.
fn room(files: &dyn Files, root: PathBuf, access: Access) -> Result<u64, OpenError> {
    match files.kind(&root.join("shares")) {
        Ok(FileKind::Directory) => {}
        Ok(_) => return Err(OpenError::NoShares(root)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::NoShares(root)),
        Err(error) => return Err(OpenError::Disk(root, error)),
    }
    match access {
        Access::Read => Ok(0),
        Access::Write => files.available_space(&root).map_err(|error| OpenError::Disk(root, error)),
    }
}

#[async_trait]
impl StorageServer for ShareDirectory {
    fn id(&self) -> &ServerId {
        &self.0.id
    }

    fn version(&self) -> ServerVersion {
        self.0.version
    }

    async fn get_buckets(
        &self,
        index: StorageIndex,
    ) -> Result<BTreeMap<ShareNumber, Arc<dyn ShareReader>>, ServerError> {
        let found = self.0.job("get_buckets", move |shared| {
            let _still = shared.still();
            shared.complete(&index, OpenMode::Read).map(|complete| complete.shares)
        });
        let reader = |share| Reader { shared: self.0.clone(), index, share };
        let immutable = found.await?.into_iter().filter(|(_, container)| container.kind() == Kind::Immutable);
        Ok(immutable.map(|(share, _)| (share, Arc::new(reader(share)) as _)).collect())
    }

    async fn allocate_buckets(&self, request: Allocate) -> Result<Allocated, ServerError> {
        self.0.job("allocate_buckets", move |shared| shared.allocate(&request)).await
    }

    async fn add_lease(
        &self,
        index: StorageIndex,
        renew: LeaseSecret,
        cancel: LeaseSecret,
    ) -> Result<(), ServerError> {
        self.0
            .job("add_lease", move |shared| {
                if shared.access == Access::Read {
                    return Err(StorageError::ReadOnly);
                }
                let _alone = shared.change();
                let lease = LeaseRequest { owner: 1, renew, cancel, now: shared.now(), lasts: LEASE };
                let complete = shared.complete(&index, OpenMode::Write)?;
                shared.renew_leases(&index, &complete.shares, &lease)?;
                // Success is a promise for every share that is there.
                complete.failed.map_or(Ok(()), Err)
            })
            .await
    }
}

/// Reads one share. It holds a name and no open file: a share that is deleted is missed by the next read.
struct Reader {
    shared: Arc<Shared>,
    index: StorageIndex,
    share: ShareNumber,
}

#[async_trait]
impl ShareReader for Reader {
    async fn read(&self, offset: u64, length: u64) -> Result<Bytes, ServerError> {
        let path = self.shared.share(&self.index, self.share);
        self.shared
            .job("read share", move |shared| {
                let container = {
                    let _still = shared.still();
                    Container::open(&*shared.files(), &path, OpenMode::Read)?
                };
                container.read(offset, length)
            })
            .await
    }

    async fn advise_corrupt_share(&self, reason: &str) -> Result<(), ServerError> {
        let (index, share) = (self.index, self.share);
        let server = &self.shared.id;
        tracing::warn!(%server, %index, share, reason, "a client reports a damaged share");
        let reason = reason.to_owned();
        self.shared
            .job("advise_corrupt_share", move |shared| {
                let files = shared.files();
                files.kind(&shared.share(&index, share))?;
                if shared.access == Access::Write {
                    let directory = shared.root.join("corruption-advisories");
                    advisory::record(
                        &*files,
                        &directory,
                        shared.runtime.unix_time(),
                        "immutable",
                        &index,
                        share,
                        &reason,
                    )?;
                }
                Ok(())
            })
            .await
    }
}

/// What the server, its readers and its uploads share.
pub(crate) struct Shared {
    runtime: Runtime,
    id: ServerId,
    root: PathBuf,
    access: Access,
    version: ServerVersion,
    /// Held alone to change a complete share's leases or the directories, and together to look at
    /// them. Only jobs take it.
    disk: RwLock<()>,
    /// Held for a moment, never across the disk: a dropped writer takes it.
    uploads: Mutex<Uploads>,
}

/// The complete shares of a file.
#[derive(Default)]
struct Complete {
    /// Those that are sound.
    shares: BTreeMap<ShareNumber, Container>,
    /// Why nothing is known of some other, when that is the disk's fault.
    failed: Option<StorageError>,
}

/// The uploads in progress, as far as memory knows.
#[derive(Default)]
struct Uploads {
    /// The size of each, reserved until it is over.
    reserved: BTreeMap<(StorageIndex, ShareNumber), u64>,
    /// Files of uploads that were dropped; the next allocation removes them.
    abandoned: Vec<PathBuf>,
}

impl Shared {
    /// Runs disk work as a job, and turns its error into the client's.
    pub async fn job<T: Send + 'static>(
        self: &Arc<Self>,
        kind: &'static str,
        job: impl FnOnce(&Arc<Shared>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let shared = self.clone();
        let done = self.runtime.blocking(kind, move || job(&shared)).await;
        done.map_err(StorageError::from).flatten().map_err(ServerError::from)
    }

    pub fn files(&self) -> Arc<dyn Files> {
        self.runtime.files()
    }

    /// Where complete shares of a file are.
    pub fn shareset(&self, index: &StorageIndex) -> PathBuf {
        below(self.root.join("shares"), index)
    }

    /// Where shares of a file are while they are uploaded.
    pub fn incoming(&self, index: &StorageIndex) -> PathBuf {
        below(self.root.join("shares").join("incoming"), index)
    }

    /// Until dropped, no share file is moved and no lease is changed by anyone else of this server.
    pub fn change(&self) -> RwLockWriteGuard<'_, ()> {
        self.disk.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves room and the place for an upload.
    pub fn reserve(&self, index: StorageIndex, share: ShareNumber, size: u64) {
        lock(&self.uploads).reserved.insert((index, share), size);
    }

    /// Takes the reservation of an upload back that is over.
    pub fn release(&self, index: StorageIndex, share: ShareNumber) {
        lock(&self.uploads).reserved.remove(&(index, share));
    }

    /// Takes the reservation of a dropped upload back, and notes its file for removal.
    pub fn abandon(&self, index: StorageIndex, share: ShareNumber, incoming: PathBuf) {
        let mut uploads = lock(&self.uploads);
        uploads.reserved.remove(&(index, share));
        uploads.abandoned.push(incoming);
    }

    pub fn id(&self) -> &ServerId {
        &self.id
    }

    pub fn access(&self) -> Access {
        self.access
    }

    /// Until dropped, nothing is changed by anyone else of this server.
    pub fn still(&self) -> std::sync::RwLockReadGuard<'_, ()> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn share(&self, index: &StorageIndex, share: ShareNumber) -> PathBuf {
        self.shareset(index).join(share.to_string())
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.runtime.unix_time().as_secs()
    }

    /// Where complete shares under a prefix are.
    pub fn prefix(&self, prefix: Prefix) -> PathBuf {
        self.root.join("shares").join(prefix.to_string())
    }

    /// The names in a directory; none when it is not there.
    pub fn names(&self, directory: &Path) -> Result<Vec<PathBuf>, StorageError> {
        match self.files().list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => Ok(names?),
        }
    }

    /// All sound complete shares of a file, in order.
    fn complete(&self, index: &StorageIndex, mode: OpenMode) -> Result<Complete, StorageError> {
        let files = self.files();
        let shareset = self.shareset(index);
        let mut complete = Complete::default();
        for share in self.names(&shareset)?.iter().filter_map(|name| parse_share(name)) {
            match Container::open(&*files, &shareset.join(share.to_string()), mode) {
                Ok(container) => {
                    complete.shares.insert(share, container);
                }
                Err(error) => {
                    reached!("storage: share file left out");
                    let server = &self.id;
                    tracing::warn!(%server, %index, share, %error, "a share file is unusable and left out");
                    if let StorageError::Disk(_) = error {
                        complete.failed.get_or_insert(error);
                    }
                }
            }
        }
        Ok(complete)
    }

    /// Adds or renews a lease on each of these shares, and makes sure that their names are durable, whoever published them.
    /// One whose leases make no sense, or are too many, harms only itself; so does one that the disk fails for, but the
    /// first such error is told.
    fn renew_leases(
        &self,
        index: &StorageIndex,
        shares: &BTreeMap<ShareNumber, Container>,
        lease: &LeaseRequest,
    ) -> Result<(), StorageError> {
        let mut failed = None;
        for (share, container) in shares {
            let Err(error) = container.add_or_renew_lease(lease) else { continue };
            let server = &self.id;
            tracing::warn!(%server, %index, share, %error, "a share file takes no lease");
            if !matches!(error, StorageError::Unusable(_) | StorageError::TooManyLeases) {
                failed.get_or_insert(error);
            }
        }
        if !shares.is_empty() {
            self.make_names_durable(&self.shareset(index))?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes durable which shares are in a shareset, then that it is there: its directories may be new.
    pub fn make_names_durable(&self, shareset: &Path) -> Result<(), StorageError> {
        Ok(shareset.ancestors().take(3).try_for_each(|directory| self.files().sync_dir(directory))?)
    }

    /// The rules of leasedb-and-storage §3.3.
    fn allocate(self: &Arc<Self>, request: &Allocate) -> Result<Allocated, StorageError> {
        let _alone = self.change();
        if self.access == Access::Read {
            let already = immutable(&self.complete(&request.index, OpenMode::Read)?.shares);
            return Ok(Allocated { already, writers: BTreeMap::new() });
        }
        self.remove_abandoned();

        let Allocate { index, size, renew, cancel, .. } = *request;
        let lease = LeaseRequest { owner: 0, renew, cancel, now: self.now(), lasts: LEASE };
        let complete = self.complete(&index, OpenMode::Write)?.shares;
        // What is there is told also when it takes no lease, as when the disk is full (lease-bugs A5).
        if let Err(error) = self.renew_leases(&index, &complete, &lease) {
            let server = &self.id;
            tracing::warn!(%server, %index, %error, "the shares that are there have no new lease");
        }
        let already = immutable(&complete);

        let mut writers: BTreeMap<ShareNumber, Box<dyn ShareWriter>> = BTreeMap::new();
        let mut room = self.room()?;
        for &share in request.shares.difference(&already) {
            // A file that is there but unusable is not ours to replace, nor one that the disk does not tell of.
            match self.files().kind(&self.share(&index, share)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && size <= room => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => continue,
            }
            if let Some(upload) = Upload::start(self, index, share, size, &lease)? {
                room -= size;
                writers.insert(share, Box::new(Writer(Arc::new(upload))));
            }
        }
        Ok(Allocated { already, writers })
    }

    /// Bytes that are neither used nor promised to an upload, as far as one share can take them.
    fn room(&self) -> Result<u64, StorageError> {
        let available = self.files().available_space(&self.root)?;
        let reserved =
            lock(&self.uploads).reserved.values().fold(0, |sum: u64, size| sum.saturating_add(*size));
        Ok(available.saturating_sub(reserved).min(MAX_SHARE))
    }

    fn remove_abandoned(&self) {
        let abandoned = std::mem::take(&mut lock(&self.uploads).abandoned);
        for path in abandoned {
            if let Err(error) = self.files().remove_file(&path) {
                let server = &self.id;
                tracing::warn!(%server, path = %path.display(), %error, "cannot remove an abandoned upload");
            }
        }
    }
}

/// Which of these shares are immutable.
fn immutable(shares: &BTreeMap<ShareNumber, Container>) -> BTreeSet<ShareNumber> {
    let immutable = shares.iter().filter(|(_, container)| container.kind() == Kind::Immutable);
    immutable.map(|(share, _)| *share).collect()
}
