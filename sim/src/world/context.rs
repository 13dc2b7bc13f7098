//! What the running thread's world is doing right now: the few numbers that everything asks for, in cells.

use std::cell::Cell;

/// The task number that stands for the harness itself.
pub(crate) const HARNESS: u32 = u32::MAX;

/// How many runtime calls and trace events one poll may make before it counts as a hot loop.
const FUEL_PER_POLL: u64 = 100_000;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
    static STEP: Cell<u64> = const { Cell::new(0) };
    static TASK: Cell<u32> = const { Cell::new(HARNESS) };
    static FUEL: Cell<u64> = const { Cell::new(u64::MAX) };
    static MOST_BURNT: Cell<u64> = const { Cell::new(0) };
}

/// Thrown, as a panic without a message, out of a poll that used up its fuel.
pub(crate) struct OutOfFuel;

/// Simulated nanoseconds since the run began.
pub(crate) fn now() -> u64 {
    NOW.get()
}

pub(crate) fn set_now(now: u64) {
    NOW.set(now);
}

/// The number of polls so far.
pub(crate) fn step() -> u64 {
    STEP.get()
}

pub(crate) fn set_step(step: u64) {
    STEP.set(step);
}

/// The task that runs now, or [`HARNESS`].
pub(crate) fn task() -> u32 {
    TASK.get()
}

/// Makes `task` the running one, and says which was.
pub(crate) fn set_task(task: u32) -> u32 {
    TASK.replace(task)
}

/// Does something in the harness's own name: a span that is opened there is the harness's.
pub(crate) fn as_harness<T>(work: impl FnOnce() -> T) -> T {
    let task = set_task(HARNESS);
    let result = work();
    set_task(task);
    result
}

/// Fills the tank for one poll.
pub(crate) fn refuel() {
    let burnt = FUEL_PER_POLL.saturating_sub(FUEL.replace(FUEL_PER_POLL));
    MOST_BURNT.set(MOST_BURNT.get().max(burnt));
}

/// Takes the fuel of one runtime call or trace event. Out of it, the poll is unwound.
pub(crate) fn burn() {
    match FUEL.get() {
        0 => {
            // Destructors may still call the runtime while the poll unwinds.
            FUEL.set(u64::MAX);
            if !std::thread::panicking() {
                std::panic::resume_unwind(Box::new(OutOfFuel));
            }
        }
        fuel => FUEL.set(fuel - 1),
    }
}

/// The most fuel that any poll has burnt.
pub(crate) fn most_burnt() -> u64 {
    MOST_BURNT.get()
}

/// Starts a run on this thread.
pub(crate) fn reset() {
    NOW.set(0);
    STEP.set(0);
    TASK.set(HARNESS);
    FUEL.set(u64::MAX);
    MOST_BURNT.set(0);
}
