//! [`Runtime`], the handle that core is given, and [`World`], what stands behind it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::files::Files;
use crate::net::Network;
use crate::{Elapsed, Instant, Scope};

/// A handle to the world: cheap to clone, and the only way from core to anything outside it.
#[derive(Clone)]
pub struct Runtime {
    world: Arc<dyn World>,
}

/// What a world provides. Core calls [`Runtime`], which is kinder; only a world implements this.
pub trait World: Send + Sync {
    /// Starts a task. `kind` and `index` name it for people and for replay ("call", 7).
    fn spawn(&self, kind: &'static str, index: u64, future: BoxFuture<'static, ()>) -> Box<dyn TaskHandle>;

    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// Resolves at `deadline`; at once when that has passed. Dropping it forgets the timer.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// The wall clock: time since the Unix epoch. It may step and run backwards.
    fn unix_time(&self) -> Duration;

    /// The machine's own clock: time since it was started, its sleep included. Never runs backwards, and goes on when
    /// the process is started again.
    fn boot_time(&self) -> Duration {
        self.now() - Instant::default()
    }

    /// Fills `bytes` with unpredictable bytes (in simulation: with the run's own).
    fn fill_entropy(&self, bytes: &mut [u8]);

    /// Runs CPU or disk work away from the tasks: a thread in the real world, a task of its own in
    /// the simulated one. The job runs to its end even when nobody waits for it any more.
    fn run_job(&self, kind: &'static str, job: Box<dyn FnOnce() + Send>);

    /// The same for work that takes some microseconds, unless the disk is in trouble: a world may do it on the spot.
    fn run_brief_job(&self, kind: &'static str, job: Box<dyn FnOnce() + Send>) {
        self.run_job(kind, job);
    }

    /// Files and directories. Their calls block: make them inside [`Runtime::blocking`].
    fn files(&self) -> Arc<dyn Files>;

    /// Streams, datagrams and name resolution.
    fn network(&self) -> Arc<dyn Network>;
}

/// A started task, as its [`Scope`] sees it.
pub trait TaskHandle: Send {
    /// Asks for the task to be dropped at its next suspension; it may be a little later.
    fn abort(&self);
}

/// The job given to [`Runtime::blocking`] ended without a result: it panicked, or the world shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the background job `{0}` ended without a result")]
pub struct JobLost(pub &'static str);

impl Runtime {
    /// A handle to `world`.
    pub fn new(world: Arc<dyn World>) -> Self {
        Runtime { world }
    }

    /// A new, empty scope for tasks: the only way to start one.
    pub fn scope(&self) -> Scope {
        Scope::new(self.clone())
    }

    /// The monotonic clock.
    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// Waits for `length`.
    pub fn sleep(&self, length: Duration) -> BoxFuture<'static, ()> {
        self.world.sleep_until(self.now() + length)
    }

    /// Waits until `deadline`.
    pub fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.world.sleep_until(deadline)
    }

    /// Waits for `future`, but no longer than `limit`; then drops it.
    ///
    /// When both are ready at once, the result of `future` wins.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut alarm = self.sleep(limit);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            alarm.as_mut().poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }

    /// The wall clock: time since the Unix epoch. It may step and run backwards.
    pub fn unix_time(&self) -> Duration {
        self.world.unix_time()
    }

    /// The machine's own clock: time since it was started, its sleep included. Never runs backwards, and goes on when
    /// the process is started again.
    pub fn boot_time(&self) -> Duration {
        self.world.boot_time()
    }

    /// `N` unpredictable bytes.
    pub fn entropy<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.world.fill_entropy(&mut bytes);
        bytes
    }

    /// Runs CPU or disk work (hashing, coding, files) away from the tasks; the future waits for its result.
    ///
    /// The job begins at once. Dropping the future does not stop it; its result is then discarded.
    pub fn blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        kind: &'static str,
        job: F,
    ) -> impl Future<Output = Result<T, JobLost>> + Send + 'static + use<T, F> {
        let (job, done) = with_result(job);
        self.world.run_job(kind, job);
        async move { done.await.map_err(|_| JobLost(kind)) }
    }

    /// As [`Self::blocking`], for work that takes some microseconds unless the disk is in trouble: a look at a file, the
    /// reading or writing of some KiB that need not be durable. The real world may do it on the spot, which spares two
    /// switches of threads.
    pub fn brief<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        kind: &'static str,
        job: F,
    ) -> impl Future<Output = Result<T, JobLost>> + Send + 'static + use<T, F> {
        let (job, done) = with_result(job);
        self.world.run_brief_job(kind, job);
        async move { done.await.map_err(|_| JobLost(kind)) }
    }

    /// Starts CPU or disk work away from the tasks and does not wait for it. It runs to its end.
    pub fn start_blocking(&self, kind: &'static str, job: impl FnOnce() + Send + 'static) {
        self.world.run_job(kind, Box::new(job));
    }

    /// Files and directories. Their calls block: make them inside [`Runtime::blocking`].
    pub fn files(&self) -> Arc<dyn Files> {
        self.world.files()
    }

    /// Streams, datagrams and name resolution.
    pub fn network(&self) -> Arc<dyn Network> {
        self.world.network()
    }

    pub(crate) fn spawn(
        &self,
        kind: &'static str,
        index: u64,
        future: BoxFuture<'static, ()>,
    ) -> Box<dyn TaskHandle> {
        self.world.spawn(kind, index, future)
    }
}

/// The job, and where its result comes out.
fn with_result<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> (Box<dyn FnOnce() + Send>, oneshot::Receiver<T>) {
    let (result, done) = oneshot::channel();
    let job = move || {
        // Nobody may be waiting any more: that is the caller's right.
        let _ = result.send(job());
    };
    (Box::new(job), done)
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}
