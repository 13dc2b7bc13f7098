//! Who may do what to an object at a time (annex-p2p §4.2, §6.1), of those whom this process serves. Pure bookkeeping, but for
//! the clock. What others do who serve the same directory, the files there say.
//!
//! An object can be locked by many, or be removed by one; and it can be uploaded by one. A lock whose holder is lost keeps
//! the object for [`RETENTION`] from when it was taken.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::{Instant, Runtime, reached};
use tokio::sync::Notify;

use crate::key::Key;

/// For how long a lock keeps its object when its holder is lost (§6.1).
pub const RETENTION: Duration = Duration::from_secs(600);

/// For how long an upload waits for another one of the same object to end.
pub const GRACE: Duration = Duration::from_secs(1);

/// What is going on in a repository, by object.
pub struct Guards {
    runtime: Runtime,
    objects: Mutex<BTreeMap<Key, Object>>,
    /// Told when an upload has ended.
    freed: Notify,
}

#[derive(Default)]
struct Object {
    next: u64,
    /// Until when each lock keeps the object, and whether its holder is still there.
    locks: BTreeMap<u64, Lock>,
    removing: bool,
    uploading: bool,
}

struct Lock {
    until: Instant,
    held: bool,
}

impl Guards {
    /// Nothing is going on.
    pub fn new(runtime: Runtime) -> Arc<Guards> {
        Arc::new(Guards { runtime, objects: Mutex::default(), freed: Notify::new() })
    }

    /// Locks an object; none while it is being removed.
    pub fn lock(self: &Arc<Self>, key: &Key) -> Option<Locked> {
        let until = self.runtime.now() + RETENTION;
        let number = self.with(key, |object| {
            if object.removing {
                return None;
            }
            object.next += 1;
            object.locks.insert(object.next, Lock { until, held: true });
            Some(object.next)
        })?;
        Some(Locked { guards: self.clone(), key: key.clone(), number })
    }

    /// Begins to remove an object; none while it is locked or kept, and while somebody else removes it.
    pub fn remove(self: &Arc<Self>, key: &Key) -> Option<Doing> {
        let free = self.with(key, |object| {
            let free = object.locks.is_empty() && !object.removing;
            object.removing |= free;
            free
        });
        free.then(|| Doing { guards: self.clone(), key: key.clone(), what: |object| &mut object.removing })
    }

    /// Begins to upload an object; none while somebody else does. One that has just been given up is waited for: whoever
    /// tries again after a connection was lost comes before that has been noticed everywhere.
    pub async fn upload(self: &Arc<Self>, key: &Key) -> Option<Doing> {
        let deadline = self.runtime.now() + GRACE;
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(uploading) = self.try_upload(key) {
                return Some(uploading);
            }
            reached!("repository: an object is being uploaded already");
            if self.runtime.timeout(deadline - self.runtime.now(), freed).await.is_err() {
                return None;
            }
        }
    }

    fn try_upload(self: &Arc<Self>, key: &Key) -> Option<Doing> {
        let free = self.with(key, |object| !std::mem::replace(&mut object.uploading, true));
        free.then(|| Doing { guards: self.clone(), key: key.clone(), what: |object| &mut object.uploading })
    }

    /// Whether nobody is about any object.
    pub fn is_quiet(&self) -> bool {
        let objects = self.objects();
        let busy = |object: &Object| {
            object.removing || object.uploading || object.locks.values().any(|lock| lock.held)
        };
        !objects.values().any(busy)
    }

    /// Does something to an object, without the locks that are over.
    fn with<T>(&self, key: &Key, change: impl FnOnce(&mut Object) -> T) -> T {
        let now = self.runtime.now();
        let mut objects = self.objects();
        let object = objects.entry(key.clone()).or_default();
        object.locks.retain(|_, lock| lock.held || lock.until > now);
        let changed = change(object);
        if object.locks.is_empty() && !object.removing && !object.uploading {
            objects.remove(key);
        }
        changed
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, Object>> {
        // Nothing here can panic half-way through a change.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock. Dropped, it keeps the object for its retention time.
pub struct Locked {
    guards: Arc<Guards>,
    key: Key,
    number: u64,
}

impl Locked {
    /// Ends the lock, and all that it kept.
    pub fn unlock(self) {
        self.guards.with(&self.key, |object| object.locks.remove(&self.number));
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.guards.with(&self.key, |object| {
            if let Some(lock) = object.locks.get_mut(&self.number) {
                reached!("repository: a lock's holder was lost");
                lock.held = false;
            }
        });
    }
}

/// A removal or an upload, until it is dropped.
pub struct Doing {
    guards: Arc<Guards>,
    key: Key,
    what: fn(&mut Object) -> &mut bool,
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.guards.with(&self.key, |object| *(self.what)(object) = false);
        self.guards.freed.notify_waiters();
    }
}
