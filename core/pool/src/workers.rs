//! Workers (annex-p2p §12): no more than so many requests are served at a time; the others wait for their turn.
//!
//! A request has exactly one slot, from before it asks anything of a peer until it is over, however it ends. Locks hold
//! none: they may last for minutes, and have permits of their own.

use std::sync::Arc;

use runtime::macros::tracing::Span;
use runtime::{hold, wait};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots for requests. Clones share them.
#[derive(Clone)]
pub struct Workers {
    slots: Arc<Semaphore>,
    count: usize,
}

/// A request's slot, until it is dropped.
pub struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    _held: Span,
}

impl Workers {
    /// So many requests at a time; at least one.
    pub fn new(count: usize) -> Workers {
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        Workers { slots: Arc::new(Semaphore::new(count)), count }
    }

    /// Waits for a slot. Who came first is served first.
    pub async fn take(&self) -> Slot {
        let waiting = wait!("worker");
        // It is never closed.
        let permit = self.slots.clone().acquire_owned().await.ok();
        drop(waiting);
        Slot { _permit: permit, _held: hold!("worker") }
    }

    /// How many requests are served now.
    pub fn busy(&self) -> usize {
        self.count - self.slots.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn who_is_one_too_many_waits_for_a_slot_and_gets_it() {
        let workers = Workers::new(2);
        let (first, _second) = (workers.take().await, workers.take().await);
        let mut third = Box::pin(workers.take());
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(workers.busy(), 2);
        drop(first);
        let third = third.now_or_never().unwrap();
        assert_eq!(workers.busy(), 2);
        drop(third);
        assert_eq!(workers.busy(), 1);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_nothing() {
        let workers = Workers::new(1);
        let slot = workers.take().await;
        assert!(Box::pin(workers.take()).now_or_never().is_none());
        drop(slot);
        assert_eq!(workers.busy(), 0);
        assert!(Box::pin(workers.take()).now_or_never().is_some());
    }
}
