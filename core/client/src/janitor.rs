//! The janitor: what a node leaves to be done after it, within a bound of time and number.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::{Runtime, Scope, reached};

use crate::event::Source;

/// Tells servers about corrupt shares, whether or not the node that found them is still there.
pub(crate) struct Janitor {
    runtime: Runtime,
    /// `None` when it was closed.
    scope: Mutex<Option<Scope>>,
    limit: Duration,
    most: usize,
}

impl Janitor {
    /// At most `most` pieces of advice at a time, each for at most `limit`.
    pub fn new(runtime: Runtime, limit: Duration, most: usize) -> Self {
        let scope = Mutex::new(Some(runtime.scope()));
        Janitor { runtime, scope, limit, most }
    }

    /// Sends advice. Nothing depends on whether it arrives.
    pub fn advise(&self, source: Source, reason: String) {
        let scope = self.lock();
        let Some(scope) = scope.as_ref().filter(|scope| scope.len() < self.most) else {
            reached!("janitor: advice was dropped");
            return;
        };
        let (runtime, limit) = (self.runtime.clone(), self.limit);
        scope.spawn("advise", u64::from(source.number), async move {
            let _ = runtime.timeout(limit, source.reader.advise_corrupt_share(&reason)).await;
        });
    }

    /// Takes no more advice, waits for what is under way for at most `limit`, and drops the rest.
    pub async fn close(&self, limit: Duration) {
        let scope = self.lock().take();
        if let Some(scope) = scope {
            let _ = self.runtime.timeout(limit, scope.drain()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Scope>> {
        // Spawning either happens or does not.
        self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
