//! Staying on one core for a while.
//!
//! A run has a thread of its own, and somebody waits for it. When the new thread begins on another core, that core
//! has to be woken first, and then the first one again: measured, three times the cost of a small run. Between
//! chunks of runs the kernel is free to move the worker.

/// The calling thread, and those that it starts, stay on the core where they are, until this is dropped.
pub(super) struct OneCore(#[cfg(target_os = "linux")] Option<rustix::thread::CpuSet>);

impl OneCore {
    #[cfg(target_os = "linux")]
    pub(super) fn stay() -> OneCore {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
        let Ok(before) = sched_getaffinity(None) else { return OneCore(None) };
        let here = sched_getcpu();
        if here >= CpuSet::MAX_CPU || !before.is_set(here) {
            return OneCore(None);
        }
        let mut one = CpuSet::new();
        one.set(here);
        OneCore(sched_setaffinity(None, &one).is_ok().then_some(before))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn stay() -> OneCore {
        OneCore()
    }
}

#[cfg(target_os = "linux")]
impl Drop for OneCore {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // At worst the thread stays where it is.
            let _ = rustix::thread::sched_setaffinity(None, before);
        }
    }
}
