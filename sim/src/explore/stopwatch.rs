//! Real time, for those who supervise runs. Nothing in a run ever sees it.
#![allow(clippy::disallowed_types, reason = "the harness itself is outside of any world")]

use std::time::{Duration, Instant};

/// Measures real time from when it was started.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time since.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
