//! Shares as objects of a store (leasedb-and-storage §12): `shares/<prefix>/<storage index>/<n>` holds the first chunk of a
//! share's container, and `….<c>` the chunk `c`. All chunks but the last are of one size, that of the first; new shares
//! get [`CHUNK`].
//!
//! An object is whole or not there, but a share has many. Whether all are there is told by the length in the header of
//! an immutable share (none of 4 GiB or more: nothing tells there) and by that of the data of a mutable one. Every put and
//! delete carries the epoch of the share's row, and is tried again as `retry` says. A listing is all or an error, and is
//! corrected by what this process did since; what it misses of a share is asked for by name.

mod change;
mod keys;
mod look;
mod retry;
mod store;
#[cfg(test)]
mod tests;
mod trail;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::{Runtime, relapse};

use super::{Backend, BackendError, Body, Incoming, SlotChange, Survey, WriteEnabler};
use crate::container::immutable::{HEADER, MAX_SHARE};
use crate::container::{HEAD, Header, MAX_READ, mutable};
use crate::error::StorageError;
use crate::share::{Prefix, ShareId};
use keys::ChunkId;
use look::Look;
use retry::retrying;
pub use store::{ObjectStore, Page, StoreError};
use trail::{Mark, Trail};
use upload::Upload;

/// The preferred size of a chunk, in bytes.
pub const CHUNK: u64 = 524_288;

/// How many puts of one upload are on their way at a time.
const PIPELINE: u32 = 5;

/// Shares as objects of a store. Clones are the same backend.
#[derive(Clone)]
pub struct Cloud(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    store: Arc<dyn ObjectStore>,
    /// The size of the chunks of new shares.
    chunk: u64,
    trail: Trail,
}

impl Cloud {
    /// Keeps shares in `store`, in chunks of so many bytes ([`CHUNK`]; at least 128). One process has a store for itself.
    pub fn new(runtime: Runtime, store: Arc<dyn ObjectStore>, chunk: u64) -> Cloud {
        Cloud(Arc::new(Shared { runtime, store, chunk: chunk.max(128), trail: Trail::default() }))
    }
}

#[async_trait]
impl Backend for Cloud {
    /// From page to page, but from each prefix at once to the next: as many calls as there are prefixes, at the most.
    async fn prefixes(&self) -> Result<BTreeSet<Prefix>, BackendError> {
        let mut found = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.0.page(keys::ALL, after.as_deref()).await?;
            let Some((last, _)) = page.objects.last() else { break };
            found.extend(
                page.objects.iter().filter_map(|(key, _)| Some(Prefix::of(&keys::parse(key)?.0.index))),
            );
            if !page.more {
                break;
            }
            let next = keys::parse(last).map(|(id, _)| keys::after_prefix(Prefix::of(&id.index)));
            let next = next.unwrap_or_default().max(last.clone());
            if after.as_ref() >= Some(&next) {
                return Err(BackendError::Failed("the store's listing gets no further".into()));
            }
            after = Some(next);
        }
        Ok(found)
    }

    async fn files(&self, prefix: Prefix) -> Result<BTreeSet<StorageIndex>, BackendError> {
        let listed = self.0.list(&keys::of_prefix(prefix), prefix.first(), prefix.last()).await?;
        Ok(listed.into_keys().map(|(id, _)| id.index).collect())
    }

    async fn list(&self, index: StorageIndex) -> Result<BTreeMap<ShareNumber, Body>, BackendError> {
        let mut shares: BTreeMap<ShareId, BTreeMap<u64, u64>> = BTreeMap::new();
        for ((id, chunk), size) in self.0.list(&keys::of_file(&index), index, index).await? {
            shares.entry(id).or_default().insert(chunk, size);
        }
        self.0.bodies(shares).await
    }

    /// One listing tells of all files.
    async fn survey(
        &self,
        prefix: Prefix,
        _known: BTreeSet<StorageIndex>,
    ) -> Result<(Survey, BTreeSet<StorageIndex>), BackendError> {
        let listed = self.0.list(&keys::of_prefix(prefix), prefix.first(), prefix.last()).await?;
        let mut files: BTreeMap<StorageIndex, BTreeMap<ShareId, BTreeMap<u64, u64>>> = BTreeMap::new();
        for ((id, chunk), size) in listed {
            files.entry(id.index).or_default().entry(id).or_default().insert(chunk, size);
        }
        let mut survey = Survey::new();
        for (index, shares) in files {
            survey.insert(index, self.0.bodies(shares).await);
        }
        Ok((survey, BTreeSet::new()))
    }

    async fn read(&self, id: ShareId, offset: u64, length: u64) -> Result<Bytes, BackendError> {
        let look = self.0.sound(id).await?.ok_or(BackendError::NoSuchShare(id))?;
        let (start, data_len) = match &look.header {
            Ok(Header::Immutable(header)) => (HEADER, header.data_len),
            Ok(Header::Mutable(header)) => (mutable::DATA, header.data_len),
            Err(flaw) => return Err(StorageError::from(flaw.clone()).about(id)),
        };
        let length = length.min(data_len.saturating_sub(offset));
        if length > MAX_READ {
            return Err(StorageError::ReadTooLong(length).into());
        }
        match length {
            0 => Ok(Bytes::new()),
            _ => self.0.get(id, &look, start + offset..start + offset + length).await,
        }
    }

    async fn create(&self, id: ShareId, size: u64, epoch: u64) -> Result<Box<dyn Incoming>, BackendError> {
        if size > MAX_SHARE {
            return Err(BackendError::NoSpace);
        }
        Ok(Box::new(Upload::new(self.0.clone(), id, size, epoch)))
    }

    /// Nothing: uploads go under the names of their shares.
    async fn incoming(&self) -> Result<BTreeSet<ShareId>, BackendError> {
        Ok(BTreeSet::new())
    }

    /// An object that can be listed is durable.
    async fn make_durable(&self, _index: StorageIndex) -> Result<(), BackendError> {
        Ok(())
    }

    async fn discard(&self, _id: ShareId) -> Result<(), BackendError> {
        Ok(())
    }

    /// The last chunk first: what an interrupted deletion leaves is an incomplete share and not a corrupted one.
    async fn delete(&self, id: ShareId, epoch: u64) -> Result<(), BackendError> {
        let mut chunks: BTreeSet<ChunkId> = self.0.chunks(id).await?.into_keys().collect();
        chunks.extend(self.0.trail.tried(id).into_iter().map(|chunk| (id, chunk)));
        // Without its first chunk there is no share, however much a listing that is behind the time has left out.
        chunks.insert((id, 0));
        for chunk in chunks.into_iter().rev() {
            self.0.delete(chunk, epoch).await?;
        }
        Ok(())
    }

    async fn write_enabler(&self, id: ShareId) -> Result<WriteEnabler, BackendError> {
        match self.0.sound(id).await?.ok_or(BackendError::NoSuchShare(id))?.header {
            Ok(Header::Mutable(header)) => Ok(header.enabler),
            Ok(Header::Immutable(_)) => Err(StorageError::NotMutable.into()),
            Err(flaw) => Err(StorageError::from(flaw).about(id)),
        }
    }

    async fn change(&self, id: ShareId, change: SlotChange, epoch: u64) -> Result<u64, BackendError> {
        self.0.change(id, &change, epoch).await
    }

    /// 256 MiB: a change has the share in memory.
    fn largest_slot(&self) -> u64 {
        MAX_READ
    }

    /// There is no telling.
    async fn available_space(&self) -> Result<Option<u64>, BackendError> {
        Ok(None)
    }
}

impl Shared {
    /// What the shares of a file come to whose chunks, with their sizes, were listed.
    async fn bodies(
        &self,
        shares: BTreeMap<ShareId, BTreeMap<u64, u64>>,
    ) -> Result<BTreeMap<ShareNumber, Body>, BackendError> {
        let mut bodies = BTreeMap::new();
        for (id, listed) in shares {
            match self.look(id, listed).await {
                Ok(None) => {}
                Ok(Some(look)) => _ = bodies.insert(id.share, look.body()),
                Err(_) if relapse!("lease-L13") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bodies)
    }

    /// All objects of the files between these two, both included, whose keys begin so; with their sizes.
    async fn list(
        &self,
        prefix: &str,
        first: StorageIndex,
        last: StorageIndex,
    ) -> Result<BTreeMap<ChunkId, u64>, BackendError> {
        let mut found = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.page(prefix, after.as_deref()).await?;
            let last = page.objects.last().map(|(key, _)| key.clone());
            for (key, size) in page.objects {
                if let Some(chunk) = keys::parse(&key).filter(|_| key.starts_with(prefix)) {
                    found.insert(chunk, size);
                }
            }
            if !page.more {
                break;
            }
            if last <= after {
                return Err(BackendError::Failed(format!("the store's listing of {prefix} gets no further")));
            }
            after = last;
        }
        let (first, last) =
            (ShareId { index: first, share: 0 }, ShareId { index: last, share: ShareNumber::MAX });
        self.trail.correct(&mut found, first, last, self.runtime.now());
        Ok(found)
    }

    /// One page of a listing.
    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, BackendError> {
        let page = retrying(&self.runtime, "list", prefix, || self.store.list(prefix, after));
        page.await.map_err(|error| BackendError::Failed(error.to_string()))
    }

    /// All objects of a share, with their sizes.
    async fn chunks(&self, id: ShareId) -> Result<BTreeMap<ChunkId, u64>, BackendError> {
        let prefix = keys::key((id, 0));
        let mut found = self.list(&prefix, id.index, id.index).await?;
        let begins_alike = |(other, _): &ChunkId| other.share.to_string().starts_with(&id.share.to_string());
        match relapse!("lease-L12") {
            true => found.retain(|chunk, _| begins_alike(chunk)),
            false => found.retain(|(other, _), _| *other == id),
        }
        Ok(found)
    }

    /// Stores a chunk. Carries its `turn`.
    async fn put(&self, chunk: ChunkId, bytes: Bytes, turn: u64) -> Result<(), BackendError> {
        let (key, size) = (keys::key(chunk), bytes.len() as u64);
        self.trail.note(chunk, Mark::Unknown, self.runtime.now());
        let done = retrying(&self.runtime, "put", &key, || self.store.put(&key, bytes.clone(), turn));
        done.await.map_err(|error| about(chunk.0, error))?;
        self.trail.note(chunk, Mark::Put(size), self.runtime.now());
        Ok(())
    }

    /// Removes a chunk; nothing there is no error.
    async fn delete(&self, chunk: ChunkId, epoch: u64) -> Result<(), BackendError> {
        let key = keys::key(chunk);
        match retrying(&self.runtime, "delete", &key, || self.store.delete(&key, first_turn(epoch))).await {
            Ok(()) | Err(StoreError::Status(404)) => {
                self.trail.note(chunk, Mark::Gone, self.runtime.now());
                Ok(())
            }
            Err(error) => Err(about(chunk.0, error)),
        }
    }

    /// The bytes of a chunk within `range`, cut at its end; none when there is no such chunk.
    async fn get_chunk(&self, chunk: ChunkId, range: Range<u64>) -> Result<Option<Bytes>, BackendError> {
        let key = keys::key(chunk);
        match retrying(&self.runtime, "get", &key, || self.store.get(&key, range.clone())).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Status(404)) => Ok(None),
            Err(error) => Err(about(chunk.0, error)),
        }
    }

    /// All bytes of the container within `range`, which it has.
    async fn get(&self, id: ShareId, look: &Look, range: Range<u64>) -> Result<Bytes, BackendError> {
        let size = look.chunks.first().copied().unwrap_or_default().max(1);
        let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
        for number in range.start / size..range.end.div_ceil(size) {
            let within = range.start.max(number * size) - number * size
                ..range.end.min((number + 1) * size) - number * size;
            bytes.extend_from_slice(&self.get_whole((id, number), within).await?);
        }
        Ok(bytes.freeze())
    }

    /// The bytes of a chunk within `range`, all of which it has. A shorter answer is no answer.
    async fn get_whole(&self, chunk: ChunkId, range: Range<u64>) -> Result<Bytes, BackendError> {
        let key = keys::key(chunk);
        let got = retrying(&self.runtime, "get", &key, || async {
            let bytes = self.store.get(&key, range.clone()).await?;
            match bytes.len() as u64 == range.end - range.start {
                true => Ok(bytes),
                false => {
                    Err(StoreError::Connection(format!("an answer of {} bytes is cut off", bytes.len())))
                }
            }
        });
        got.await.map_err(|error| about(chunk.0, error))
    }
}

/// The number that a write carries: of two that change an object, the later one has the greater number. An epoch has two
/// of them, since one change may write an object twice.
fn first_turn(epoch: u64) -> u64 {
    if relapse!("lease-A8") { 0 } else { epoch.saturating_mul(2) }
}

/// The number of a write of an object that the same change has written before.
fn second_turn(epoch: u64) -> u64 {
    first_turn(epoch).saturating_add(1)
}

/// What befell this share.
fn about(id: ShareId, error: StoreError) -> BackendError {
    match error {
        StoreError::Stale => BackendError::Stale(id),
        StoreError::Status(404) => BackendError::NoSuchShare(id),
        error => BackendError::Failed(error.to_string()),
    }
}
