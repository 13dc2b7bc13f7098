//! Scopes: a task belongs to one, and dropping it aborts what is left of its tasks.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{Runtime, TaskHandle};

/// A set of tasks with one owner. Dropping the scope aborts every task that has not ended.
///
/// A scope remembers only its live tasks, so it can serve for as long as its owner does.
#[derive(Debug)]
pub struct Scope {
    runtime: Runtime,
    children: Arc<Children>,
}

#[derive(Default)]
struct Children {
    live: Mutex<Live>,
    /// Told each time the last live task ends.
    empty: Notify,
}

#[derive(Default)]
struct Live {
    next: u64,
    /// A task is listed before it is started, and has its handle from then on.
    tasks: BTreeMap<u64, Option<Box<dyn TaskHandle>>>,
}

impl Scope {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Scope { runtime, children: Arc::default() }
    }

    /// Starts `future` as a task of this scope. `kind` and `index` name it for people and for replay.
    pub fn spawn(&self, kind: &'static str, index: u64, future: impl Future<Output = ()> + Send + 'static) {
        let id = {
            let mut live = self.children.lock();
            let id = live.next;
            live.next += 1;
            live.tasks.insert(id, None);
            id
        };
        let ended = Ended { children: self.children.clone(), id };
        let task = Box::pin(async move {
            let _ended = ended;
            future.await;
        });
        // Not under the lock: the task may end, or be refused and dropped, before this returns.
        let handle = self.runtime.spawn(kind, index, task);
        if let Some(listed) = self.children.lock().tasks.get_mut(&id) {
            *listed = Some(handle);
        }
    }

    /// How many tasks have not ended.
    pub fn len(&self) -> usize {
        self.children.lock().tasks.len()
    }

    /// True when every task has ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until every task has ended. Bound it with [`Runtime::timeout`].
    pub async fn drain(&self) {
        loop {
            let empty = self.children.empty.notified();
            if self.is_empty() {
                return;
            }
            empty.await;
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut self.children.lock().tasks);
        for task in tasks.values().flatten() {
            task.abort();
        }
    }
}

/// Takes its task off the list, whichever way the task ends.
struct Ended {
    children: Arc<Children>,
    id: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let mut live = self.children.lock();
        let handle = live.tasks.remove(&self.id);
        if live.tasks.is_empty() {
            self.children.empty.notify_waiters();
        }
        drop(live);
        drop(handle);
    }
}

impl Children {
    fn lock(&self) -> MutexGuard<'_, Live> {
        // Nothing here can panic half-way through a change, so a poisoned list is still whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Children {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} live tasks", self.lock().tasks.len())
    }
}
