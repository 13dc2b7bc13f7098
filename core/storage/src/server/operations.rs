//! Calls that change something run as tasks of the server: a client that goes away in the middle changes nothing, and
//! nothing is left half done but by a crash.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use runtime::{Runtime, Scope};
use tokio::sync::oneshot;

use crate::lock::lock;

/// The server is closed, or was closed in the middle of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is closed")]
pub struct Closed;

/// The tasks of a server.
pub(crate) struct Operations {
    /// Taken when the server is closed.
    scope: Mutex<Option<Arc<Scope>>>,
    next: AtomicU64,
}

impl Operations {
    pub fn new(runtime: &Runtime) -> Self {
        Operations { scope: Mutex::new(Some(Arc::new(runtime.scope()))), next: AtomicU64::new(0) }
    }

    /// Starts a task; false when the server is closed.
    pub fn spawn(&self, kind: &'static str, task: impl Future<Output = ()> + Send + 'static) -> bool {
        // Not under the lock: the task may be refused and dropped at once, and spawn from its destructors.
        let scope = lock(&self.scope).clone();
        let Some(scope) = scope else { return false };
        scope.spawn(kind, self.next.fetch_add(1, Ordering::Relaxed), task);
        true
    }

    /// Runs a call to its end, whether or not the caller waits for it.
    pub async fn run<T: Send + 'static>(
        &self,
        kind: &'static str,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Closed> {
        self.start(kind, call).await.map_err(|_| Closed)
    }

    /// Starts a call that runs to its end. No answer comes from a server that is closed.
    pub fn start<T: Send + 'static>(
        &self,
        kind: &'static str,
        call: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        self.spawn(kind, async move {
            // Nobody may be waiting any more: that is the caller's right.
            let _ = answer.send(call.await);
        });
        answered
    }

    /// Takes no more tasks, and gives those that run.
    pub fn close(&self) -> Option<Arc<Scope>> {
        lock(&self.scope).take()
    }
}
