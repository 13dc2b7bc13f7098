//! Shares as files, in the layout of Tahoe-LAFS (leasedb-and-storage §2, §12):
//!
//! ```text
//! ROOT/shares/<prefix>/<storage index>/<n>   published shares
//! ROOT/shares/incoming/<storage index>.<n>   shares on their way in, and changed ones on theirs
//! ```
//!
//! Tahoe-LAFS itself keeps `incoming/<prefix>/<storage index>/<n>`; what it left there is swept with the rest. A small
//! share is kept in memory until it is published: its file is then made, filled, made durable and renamed in one go, and a
//! crash before that loses what it would have lost anyway.
//!
//! A share is published, and a mutable one changed, by one rename of a file whose bytes are durable; then every
//! directory on the way to it is made durable too. What a power failure leaves is therefore the old, the new, or a file
//! in `incoming` that is of no account: names there never count as shares. Directories of prefixes stay for ever: they
//! are few, and other files' shares may be on their way into them.

mod memory;
mod place;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::files::{FileKind, Head, OpenMode};
use runtime::{JobLost, Runtime};
use tokio::sync::oneshot;

use super::{Backend, BackendError, Body, Glance, Incoming, SlotChange, Survey, WriteEnabler};
use crate::container::immutable::MAX_SHARE;
use crate::container::{Container, Header, mutable};
use crate::error::{Flaw, StorageError};
use crate::layout::parse_share;
use crate::share::{Prefix, ShareId};
use memory::Memory;
use place::{Place, absent};
use upload::Upload;

/// Containers of up to so many bytes are small, unless somebody says otherwise.
const SMALL: u64 = 64 << 10;

/// As many files are surveyed in one job.
const SURVEYED_AT_ONCE: usize = 16;

/// Of more than that, the rest is divided among so many jobs.
const SURVEYORS: usize = 4;

/// Shares as files below a directory.
#[derive(Clone)]
pub struct Disk {
    runtime: Runtime,
    place: Place,
    memory: Memory,
}

impl Disk {
    /// Keeps shares below `root`, which is made if it is not there. Changes nothing else.
    pub async fn open(runtime: Runtime, root: &Path) -> Result<Disk, BackendError> {
        let disk = Disk::look(runtime, root);
        disk.job("open storage directory", Place::make_root).await?;
        Ok(disk)
    }

    /// The shares below `root`, for looking at them: nothing is made, and an error comes only with the first look.
    pub fn look(runtime: Runtime, root: &Path) -> Disk {
        let place = Place::new(runtime.files(), root);
        Disk { place, runtime, memory: Memory::new(SMALL) }
    }

    /// From now on, containers of up to so many bytes are small: they are kept in memory until they are published.
    pub fn with_small(self, bytes: u64) -> Disk {
        Disk { memory: Memory::new(bytes), ..self }
    }

    /// Runs disk work as a job.
    async fn job<T: Send + 'static>(
        &self,
        kind: &'static str,
        job: impl FnOnce(&Place) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let place = self.place.clone();
        Ok(self.runtime.blocking(kind, move || job(&place)).await.map_err(StorageError::from).flatten()?)
    }

    /// The same for work that is soon done, unless the disk is in trouble.
    async fn brief<T: Send + 'static>(
        &self,
        kind: &'static str,
        job: impl FnOnce(&Place) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let place = self.place.clone();
        Ok(self.runtime.brief(kind, move || job(&place)).await.map_err(StorageError::from).flatten()?)
    }

    /// The same as a [`job`](Self::job), about one share.
    async fn share_job<T: Send + 'static>(
        &self,
        kind: &'static str,
        id: ShareId,
        job: impl FnOnce(&Place) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let place = self.place.clone();
        let done = self.runtime.blocking(kind, move || job(&place)).await;
        done.map_err(StorageError::from).flatten().map_err(|error| error.about(id))
    }
}

#[async_trait]
impl Backend for Disk {
    async fn prefixes(&self) -> Result<BTreeSet<Prefix>, BackendError> {
        self.job("list prefixes", Place::prefixes).await
    }

    async fn files(&self, prefix: Prefix) -> Result<BTreeSet<StorageIndex>, BackendError> {
        self.job("list prefix", move |place| place.indexes(prefix)).await
    }

    async fn list(&self, index: StorageIndex) -> Result<BTreeMap<ShareNumber, Body>, BackendError> {
        self.brief("list shares", move |place| bodies(place, &index)).await
    }

    async fn names(&self, index: StorageIndex) -> Result<BTreeSet<ShareNumber>, BackendError> {
        self.brief("list names", move |place| place.numbers(&index)).await
    }

    async fn glance(&self, index: StorageIndex) -> Result<Glance, BackendError> {
        self.brief("glance at shares", move |place| {
            Ok(match place.numbers(&index)?.is_empty() {
                true => Glance::Nothing { available: Some(place.available_space()?) },
                false => Glance::Something,
            })
        })
        .await
    }

    /// A job or two, so that a crawl costs little more than its system calls.
    async fn survey(
        &self,
        prefix: Prefix,
        known: BTreeSet<StorageIndex>,
    ) -> Result<(Survey, BTreeSet<StorageIndex>), BackendError> {
        let begun = self.job("survey prefix", move |place| {
            let all = place.indexes(prefix)?;
            let others = all.difference(&known).copied().collect();
            let mut files: Vec<_> = all.intersection(&known).copied().collect();
            let rest = files.split_off(files.len().min(SURVEYED_AT_ONCE));
            Ok((survey(place, &files), rest, others))
        });
        let (mut found, rest, others) = begun.await?;
        found.extend(self.survey_files(rest).await);
        Ok((found, others))
    }

    async fn survey_files(&self, files: Vec<StorageIndex>) -> Survey {
        let started: Vec<_> = files
            .chunks(files.len().div_ceil(SURVEYORS).max(1))
            .map(|files| {
                let (tell, told) = oneshot::channel();
                let (place, surveyed) = (self.place.clone(), files.to_vec());
                // Nobody may be waiting any more.
                self.runtime
                    .start_blocking("survey files", move || drop(tell.send(survey(&place, &surveyed))));
                (files, told)
            })
            .collect();
        let mut found = Survey::new();
        for (files, told) in started {
            let lost = |_| {
                files.iter().map(|index| (*index, Err(StorageError::from(JobLost("survey files")).into())))
            };
            found.extend(told.await.unwrap_or_else(|error| lost(error).collect()));
        }
        found
    }

    async fn read(&self, id: ShareId, offset: u64, length: u64) -> Result<Bytes, BackendError> {
        self.share_job("read share", id, move |place| {
            let opened = Container::open(place.files(), &place.share(id), OpenMode::Read);
            match absent(opened)? {
                Some(container) => container.read(offset, length),
                // Leases depend on it: a share that is missed here is forgotten.
                None => place.check_root().and(Err(io::Error::from(io::ErrorKind::NotFound).into())),
            }
        })
        .await
    }

    async fn create(&self, id: ShareId, size: u64, _epoch: u64) -> Result<Box<dyn Incoming>, BackendError> {
        if size > MAX_SHARE {
            return Err(BackendError::NoSpace);
        }
        Ok(Box::new(Upload::begin(self, id, size).await?))
    }

    async fn incoming(&self) -> Result<BTreeSet<ShareId>, BackendError> {
        self.job("list incoming shares", Place::all_incoming).await
    }

    async fn make_durable(&self, index: StorageIndex) -> Result<(), BackendError> {
        // Where there is no directory any more, nothing is listed that could be made durable.
        self.job("make shares durable", move |place| absent(place.make_durable(&index)).map(drop)).await
    }

    async fn discard(&self, id: ShareId) -> Result<(), BackendError> {
        self.share_job("discard incoming share", id, move |place| place.remove_incoming(id)).await
    }

    async fn delete(&self, id: ShareId, _epoch: u64) -> Result<(), BackendError> {
        self.share_job("delete share", id, move |place| {
            place.remove_incoming(id)?;
            place.remove_published(id)
        })
        .await
    }

    async fn write_enabler(&self, id: ShareId) -> Result<WriteEnabler, BackendError> {
        self.share_job("read write enabler", id, move |place| {
            match Container::open(place.files(), &place.share(id), OpenMode::Read)? {
                Container::Mutable(share) => Ok(share.enabler()),
                Container::Immutable(_) => Err(StorageError::NotMutable),
            }
        })
        .await
    }

    async fn change(&self, id: ShareId, change: SlotChange, _epoch: u64) -> Result<u64, BackendError> {
        self.share_job("change share", id, move |place| {
            let old = match absent(Container::open(place.files(), &place.share(id), OpenMode::Read))? {
                Some(Container::Mutable(share)) => Some(share),
                Some(Container::Immutable(_)) => return Err(StorageError::NotMutable),
                None => None,
            };
            let file = place.begin(id)?;
            let used = mutable::write_changed(&*file, old.as_ref(), &change)
                .and_then(|used| Ok(file.sync_data().map(|()| used)?));
            let used = place.forget_if_failed(id, used)?;
            place.publish(id)?;
            Ok(used)
        })
        .await
    }

    /// 16 GiB: each change copies the share.
    fn largest_slot(&self) -> u64 {
        mutable::MAX_DATA
    }

    async fn available_space(&self) -> Result<Option<u64>, BackendError> {
        self.job("look for room", |place| Ok(Some(place.available_space()?))).await
    }
}

/// What is kept of these files.
fn survey(place: &Place, files: &[StorageIndex]) -> Survey {
    files.iter().map(|index| (*index, bodies(place, index).map_err(BackendError::from))).collect()
}

/// What is kept of a file under the names of shares.
fn bodies(place: &Place, index: &StorageIndex) -> Result<BTreeMap<ShareNumber, Body>, StorageError> {
    let mut bodies = BTreeMap::new();
    for (name, head) in place.heads(index)? {
        // One that cannot be read says nothing of itself. One that has gone since is none.
        if let (Some(share), Some(head)) = (parse_share(&name), absent(head)?) {
            bodies.insert(share, judge(&head));
        }
    }
    Ok(bodies)
}

/// What is kept under the name of a share, by its header alone.
fn judge(head: &Head) -> Body {
    let header = match head.kind {
        FileKind::File => Header::parse(&head.bytes, head.length),
        // A pipe or a device, or a directory.
        _ => Err(Flaw::NotAFile),
    };
    match header {
        Ok(Header::Immutable(header)) => Body::Immutable { size: header.data_len, used: header.length },
        Ok(Header::Mutable(header)) => Body::Mutable { size: header.data_len, used: header.length },
        Err(flaw) => Body::Corrupted { used: flaw.length(), why: flaw.to_string() },
    }
}
