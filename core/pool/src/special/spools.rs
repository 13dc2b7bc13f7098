//! The files of uploads that there are: whoever ends waits until theirs have gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How many files of uploads there are. Clones are the same.
#[derive(Clone, Default)]
pub struct Spools(Arc<Tally>);

#[derive(Default)]
struct Tally {
    count: AtomicU64,
    none: Notify,
}

/// A file, until it has gone, among those of its client and among all of the remote.
pub struct Counted([Spools; 2]);

impl Spools {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    /// Waits until there is none.
    pub async fn drain(&self) {
        loop {
            let mut none = std::pin::pin!(self.0.none.notified());
            none.as_mut().enable();
            if self.is_empty() {
                return;
            }
            none.await;
        }
    }
}

impl Counted {
    /// One more.
    pub fn new(among: [Spools; 2]) -> Counted {
        for Spools(tally) in &among {
            tally.count.fetch_add(1, Ordering::AcqRel);
        }
        Counted(among)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Whoever waits for theirs finds it gone from all.
        for Spools(tally) in self.0.iter().rev() {
            if tally.count.fetch_sub(1, Ordering::AcqRel) == 1 {
                tally.none.notify_waiters();
            }
        }
    }
}
