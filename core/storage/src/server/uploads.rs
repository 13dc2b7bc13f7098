//! The uploads in progress, and the room that is promised to them (leasedb-and-storage §3.2).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::upload::Upload;
use crate::lock::lock;
use crate::share::ShareId;

/// The uploads in progress. The size of each is reserved as long as it is here. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Uploads(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    live: BTreeMap<ShareId, Arc<Upload>>,
    /// Bytes of the live uploads.
    reserved: u64,
    /// Bytes of uploads that are being allocated: no upload yet, but nobody else may have them.
    promised: u64,
}

impl Uploads {
    /// True when an upload of the share is in progress.
    pub fn has(&self, id: ShareId) -> bool {
        lock(&self.0).live.contains_key(&id)
    }

    /// Promises `size` bytes if they fit into what is `available` beside everything reserved and promised.
    pub fn promise(&self, size: u64, available: u64) -> Option<Promise> {
        let mut inner = lock(&self.0);
        let taken = inner.reserved.saturating_add(inner.promised);
        if size > available.saturating_sub(taken) {
            return None;
        }
        inner.promised = inner.promised.saturating_add(size);
        Some(Promise { uploads: self.clone(), size })
    }

    /// An upload begins: its promise becomes a reservation. True when it is the only one.
    pub fn insert(&self, upload: Arc<Upload>, promise: Promise) -> bool {
        let mut inner = lock(&self.0);
        inner.reserved = inner.reserved.saturating_add(upload.size);
        inner.live.insert(upload.id, upload);
        let only = inner.live.len() == 1;
        drop(inner);
        drop(promise);
        only
    }

    /// An upload is over (A6, B).
    pub fn remove(&self, id: ShareId) {
        let mut inner = lock(&self.0);
        let over = inner.live.remove(&id);
        inner.reserved = inner.reserved.saturating_sub(over.map_or(0, |upload| upload.size));
    }

    /// All uploads in progress.
    pub fn live(&self) -> Vec<Arc<Upload>> {
        lock(&self.0).live.values().cloned().collect()
    }
}

/// Room for an upload that is being allocated, until dropped.
pub(crate) struct Promise {
    uploads: Uploads,
    size: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut inner = lock(&self.uploads.0);
        inner.promised = inner.promised.saturating_sub(self.size);
    }
}
