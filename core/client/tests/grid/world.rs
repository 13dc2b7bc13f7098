//! A world for tests: tokio's tasks and paused clock, and background jobs that can be held back.
#![allow(clippy::disallowed_methods, reason = "this is the other side of the door")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::files::Files;
use runtime::net::Network;
use runtime::{BoxFuture, Instant, Runtime, TaskHandle, World};

type Job = Box<dyn FnOnce() + Send>;

/// Holds background jobs back while it is closed.
#[derive(Clone, Default)]
pub struct Gate {
    held: Arc<Mutex<Option<Vec<Job>>>>,
}

impl Gate {
    pub fn close(&self) {
        self.held.lock().unwrap().get_or_insert_default();
    }

    /// Lets the jobs run; says how many there were.
    pub fn open(&self) -> usize {
        let jobs = self.held.lock().unwrap().take().unwrap_or_default();
        let count = jobs.len();
        jobs.into_iter().for_each(|job| job());
        count
    }
}

pub struct TestWorld {
    origin: tokio::time::Instant,
    gate: Gate,
}

impl TestWorld {
    pub fn runtime(gate: Gate) -> Runtime {
        Runtime::new(Arc::new(TestWorld { origin: tokio::time::Instant::now(), gate }))
    }
}

struct Task(tokio::task::AbortHandle);

impl TaskHandle for Task {
    fn abort(&self) {
        self.0.abort();
    }
}

impl World for TestWorld {
    fn spawn(&self, _: &'static str, _: u64, future: BoxFuture<'static, ()>) -> Box<dyn TaskHandle> {
        Box::new(Task(tokio::spawn(future).abort_handle()))
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let deadline = self.origin.checked_add(Duration::from_nanos(deadline.as_nanos()));
        Box::pin(async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        })
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }

    fn fill_entropy(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn run_job(&self, _: &'static str, job: Job) {
        match &mut *self.gate.held.lock().unwrap() {
            Some(held) => held.push(job),
            None => drop(tokio::spawn(async move { job() })),
        }
    }

    fn files(&self) -> Arc<dyn Files> {
        unreachable!("a download uses no files")
    }

    fn network(&self) -> Arc<dyn Network> {
        unreachable!("a download uses its servers alone")
    }
}
