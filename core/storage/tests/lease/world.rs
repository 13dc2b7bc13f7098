//! A world for tests: tokio's paused time, a wall clock that is set, and jobs on the test's own thread.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the other side of the door")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::files::Files;
use runtime::net::Network;
use runtime::real::RealWorld;
use runtime::{BoxFuture, Instant, Runtime, TaskHandle, World};

pub struct TestWorld {
    real: Runtime,
    wall: AtomicU64,
}

impl TestWorld {
    /// A world whose wall clock shows `now`, in seconds since the Unix epoch.
    pub fn new(now: u64) -> Arc<TestWorld> {
        Arc::new(TestWorld { real: RealWorld::runtime(), wall: AtomicU64::new(now) })
    }

    pub fn set_wall(&self, now: u64) {
        self.wall.store(now, Ordering::Relaxed);
    }
}

impl World for TestWorld {
    fn spawn(&self, _kind: &'static str, _index: u64, future: BoxFuture<'static, ()>) -> Box<dyn TaskHandle> {
        Box::new(TestTask(tokio::spawn(future).abort_handle()))
    }

    fn now(&self) -> Instant {
        self.real.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.real.sleep_until(deadline)
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(self.wall.load(Ordering::Relaxed))
    }

    fn fill_entropy(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn run_job(&self, _kind: &'static str, job: Box<dyn FnOnce() + Send>) {
        tokio::spawn(async move { job() });
    }

    fn files(&self) -> Arc<dyn Files> {
        self.real.files()
    }

    fn network(&self) -> Arc<dyn Network> {
        self.real.network()
    }
}

struct TestTask(tokio::task::AbortHandle);

impl TaskHandle for TestTask {
    fn abort(&self) {
        self.0.abort();
    }
}
