//! Each worker on a core of its own.
//!
//! A run has a thread of its own, and somebody waits for it. When the new thread begins on another core, that core has
//! to be woken first, and then the first one again: measured, three times the cost of a small run. And two workers
//! that come to share a core stay together for a while, with the other core idle.

/// Keeps the calling thread, and every thread and process that it starts from now on, on one core: the `nth` of those
/// that it may use, beginning anew when there are fewer. Where that cannot be had it does nothing.
#[cfg(target_os = "linux")]
pub(super) fn stay_on(nth: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    if cores.is_empty() {
        return;
    }
    let mut one = CpuSet::new();
    one.set(cores[nth % cores.len()]);
    // At worst the thread stays where it is.
    let _ = sched_setaffinity(None, &one);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn stay_on(_nth: usize) {}
