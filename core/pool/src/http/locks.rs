//! Locks over HTTP (annex-p2p §10.5, §15.4). They outlast the request that takes them: a lock is held until somebody who
//! keeps it says that it is no longer needed, or until its time is over, which does not run out while somebody keeps it.
//!
//! ```text
//! free ──(somebody keeps it)──> kept ──(unlock)──> over
//!   │ <──(it goes away without unlock: the deadline is the first one again)──┘
//!   └──(deadline)──> over
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::{Instant, Runtime, reached, relapse};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The locks that are held, by name.
pub struct Locks {
    runtime: Runtime,
    permits: Arc<Semaphore>,
    held: Mutex<BTreeMap<String, Arc<Entry>>>,
}

/// Room for one lock, until it is dropped.
pub struct Permit(OwnedSemaphorePermit);

/// A lock that is held, as the task sees that holds it. Dropped, it is over.
pub struct Held {
    locks: Arc<Locks>,
    name: String,
    entry: Arc<Entry>,
    _permit: Permit,
}

/// A lock that is held, as a request sees that keeps it. Dropped, the lock's time runs again.
pub struct Keep(Arc<Entry>);

/// How a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its client no longer needs it.
    Unlocked,
    /// Nobody kept it.
    Expired,
}

struct Entry {
    state: Mutex<State>,
    /// Wakes the task that holds the lock.
    changed: Notify,
    /// Closed when the lock is over.
    over: Semaphore,
}

#[derive(Default)]
struct State {
    keepers: u32,
    unlocked: bool,
}

impl Locks {
    /// Room for so many locks.
    pub fn new(runtime: Runtime, limit: usize) -> Arc<Locks> {
        let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Arc::new(Locks { runtime, permits, held: Mutex::default() })
    }

    /// Room for one more lock, if there is any now.
    pub fn permit(&self) -> Option<Permit> {
        self.permits.clone().try_acquire_owned().ok().map(Permit)
    }

    /// How many more locks there is room for.
    pub fn room(&self) -> usize {
        self.permits.available_permits()
    }

    /// A lock was taken: it has a name from now on.
    pub fn hold(self: &Arc<Self>, permit: Permit) -> Held {
        let bytes: [u8; 16] = self.runtime.entropy();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let entry =
            Arc::new(Entry { state: Mutex::default(), changed: Notify::new(), over: Semaphore::new(0) });
        self.held().insert(name.clone(), entry.clone());
        Held { locks: self.clone(), name, entry, _permit: permit }
    }

    /// Keeps a lock; none when there is none with this name.
    pub fn keep(&self, name: &str) -> Option<Keep> {
        let entry = self.held().get(name)?.clone();
        entry.change(|state| state.keepers += 1);
        // Its time stands still from now on.
        entry.changed.notify_one();
        Some(Keep(entry))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        // Nothing here can panic half-way through a change.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The permit is never given back.
    pub fn forget(self) {
        self.0.forget();
    }
}

impl Held {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for its end.
    pub async fn end(&self, deadline: Instant) -> End {
        loop {
            let (keepers, unlocked) = self.entry.change(|state| (state.keepers, state.unlocked));
            if unlocked {
                return End::Unlocked;
            }
            if keepers > 0 {
                self.entry.changed.notified().await;
                continue;
            }
            let runtime = &self.locks.runtime;
            if runtime.timeout(deadline - runtime.now(), self.entry.changed.notified()).await.is_err() {
                return End::Expired;
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.held().remove(&self.name);
        self.entry.over.close();
    }
}

impl Keep {
    /// The lock is no longer needed. Resolves when it is over.
    pub async fn unlock(&self) {
        self.0.change(|state| state.unlocked = true);
        self.0.changed.notify_one();
        self.over().await;
    }

    /// Resolves when the lock is over.
    pub async fn over(&self) {
        // There are no permits: it is only ever closed.
        let _ = self.0.over.acquire().await;
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        let lost = self.0.change(|state| {
            state.keepers -= 1;
            if relapse!("annex-L1") {
                state.unlocked = true;
            }
            !state.unlocked
        });
        if lost {
            reached!("http: who kept a lock went away");
        }
        // Whoever holds the lock waits for a word, and must learn that none will come.
        if !relapse!("annex-B5") {
            self.0.changed.notify_one();
        }
    }
}

impl Entry {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use runtime::real::RealWorld;
    use std::time::Duration;

    fn locks(limit: usize) -> (Runtime, Arc<Locks>) {
        let runtime = RealWorld::runtime();
        (runtime.clone(), Locks::new(runtime, limit))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_nobody_keeps_expires_and_gives_its_permit_back() {
        let (runtime, locks) = locks(1);
        let start = runtime.now();
        let held = locks.hold(locks.permit().unwrap());
        assert!(locks.permit().is_none());
        assert_eq!(held.end(start + Duration::from_secs(600)).await, End::Expired);
        assert_eq!((runtime.now() - start).as_secs(), 600);
        let name = held.name().to_owned();
        drop(held);
        assert!(locks.keep(&name).is_none());
        assert_eq!(locks.room(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_lock_lasts_and_a_lost_keeper_gives_it_its_first_deadline_again() {
        let (runtime, locks) = locks(1);
        let start = runtime.now();
        let deadline = start + Duration::from_secs(600);
        let held = locks.hold(locks.permit().unwrap());
        let keep = locks.keep(held.name()).unwrap();
        assert!(runtime.timeout(Duration::from_secs(5000), held.end(deadline)).await.is_err());
        drop(keep);
        assert_eq!(held.end(deadline).now_or_never(), Some(End::Expired), "its time was over long ago");

        let (start, held2) = (runtime.now(), held);
        let deadline = start + Duration::from_secs(600);
        let keep = locks.keep(held2.name()).unwrap();
        assert!(runtime.timeout(Duration::from_secs(10), held2.end(deadline)).await.is_err());
        drop(keep);
        assert_eq!(held2.end(deadline).await, End::Expired);
        assert!((600..602).contains(&(runtime.now() - start).as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_lasts_that_somebody_keeps_after_its_time_began_to_run() {
        let (runtime, locks) = locks(1);
        let deadline = runtime.now() + Duration::from_secs(600);
        let held = locks.hold(locks.permit().unwrap());
        let mut ending = Box::pin(held.end(deadline));
        assert!(runtime.timeout(Duration::from_secs(10), &mut ending).await.is_err());
        let keep = locks.keep(held.name()).unwrap();
        assert!(runtime.timeout(Duration::from_secs(5000), &mut ending).await.is_err());
        drop(keep);
        assert_eq!(ending.await, End::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn who_unlocks_waits_until_the_lock_is_over() {
        let (runtime, locks) = locks(1);
        let held = locks.hold(locks.permit().unwrap());
        let (one, two) = (locks.keep(held.name()).unwrap(), locks.keep(held.name()).unwrap());
        let deadline = runtime.now() + Duration::from_secs(600);
        let mut unlocking = Box::pin(one.unlock());
        assert!(unlocking.as_mut().now_or_never().is_none());
        assert_eq!(held.end(deadline).now_or_never(), Some(End::Unlocked), "one of two is enough");
        drop(held);
        assert!(unlocking.now_or_never().is_some());
        assert!(two.over().now_or_never().is_some());
    }
}
