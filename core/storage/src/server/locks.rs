//! One lock for each storage index that somebody works on.
//!
//! All state changes and backend mutations of a file happen under its lock (leasedb-and-storage §8.3). It is held for
//! one call, never from one call of a client to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::StorageIndex;
use runtime::{hold, wait};
use std::sync::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::lock::lock;

/// The locks in use. Clones are the same locks.
#[derive(Clone, Default)]
pub(crate) struct Locks(Arc<Mutex<BTreeMap<StorageIndex, Arc<Turn<()>>>>>);

/// The lock of one file, held until dropped.
pub(crate) struct Held {
    // Dropped in this order: the lock is free before its place is given up.
    _guard: OwnedMutexGuard<()>,
    _hold: tracing::Span,
    place: Place,
}

impl Locks {
    /// Takes the lock of a file, after those who came before. `server` names it in the log.
    pub async fn lock(&self, server: &str, index: StorageIndex) -> Held {
        let (place, turn) = self.place(index);
        let guard = match turn.clone().try_lock_owned() {
            Ok(guard) => guard,
            Err(_) => {
                let _waiting = wait!("storage index", server, index = %index);
                turn.lock_owned().await
            }
        };
        Held { _guard: guard, _hold: hold!("storage index", server, index = %index), place }
    }

    /// The same, if nobody has it.
    pub fn try_lock(&self, server: &str, index: StorageIndex) -> Option<Held> {
        let (place, turn) = self.place(index);
        let guard = turn.try_lock_owned().ok()?;
        Some(Held { _guard: guard, _hold: hold!("storage index", server, index = %index), place })
    }

    fn place(&self, index: StorageIndex) -> (Place, Arc<Turn<()>>) {
        let turn = lock(&self.0).entry(index).or_default().clone();
        (Place { locks: self.clone(), index }, turn)
    }
}

impl Held {
    /// Whose lock it is.
    pub fn index(&self) -> StorageIndex {
        self.place.index
    }
}

/// A use of a lock, waiting or holding, which ends after the lock itself was let go. The last one takes the lock off the map.
struct Place {
    locks: Locks,
    index: StorageIndex,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut locks = lock(&self.locks.0);
        // The map's alone: nobody uses it, and nobody can begin to without the map.
        if locks.get(&self.index).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            locks.remove(&self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn locks_go_when_nobody_uses_them() {
        let locks = Locks::default();
        let (a, b) = (StorageIndex([1; 16]), StorageIndex([2; 16]));
        let held = locks.lock("s", a).await;
        let other = locks.lock("s", b).await;
        assert!(locks.try_lock("s", a).is_none());
        assert_eq!(lock(&locks.0).len(), 2);
        let mut waiting = Box::pin(locks.lock("s", a));
        assert!(futures_poll(&mut waiting).is_none());
        drop(held);
        assert_eq!(lock(&locks.0).len(), 2, "somebody waits for it");
        drop(futures_poll(&mut waiting).unwrap());
        let mut given_up = Box::pin(locks.lock("s", b));
        assert!(futures_poll(&mut given_up).is_none());
        drop(other);
        drop(given_up);
        assert!(lock(&locks.0).is_empty());
    }

    fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
