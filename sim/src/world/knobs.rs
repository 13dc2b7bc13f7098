//! What a run's world is like where it is not faulty: drawn per case, and printed with it.

use std::cell::{Cell, RefCell};

use serde::{Deserialize, Serialize};

use crate::case::Dice;

/// What a world is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// The longest that a background job (hashing, coding) may take, in microseconds; each draws its own.
    pub job_us: u64,
}

thread_local! {
    static KNOBS: Cell<Knobs> = const { Cell::new(Knobs { job_us: 0 }) };
    static JOBS: RefCell<Option<Dice>> = const { RefCell::new(None) };
    static ENTROPY: RefCell<Option<Dice>> = const { RefCell::new(None) };
}

/// Sets the knobs of the run on this thread, and its dice.
pub(crate) fn set(knobs: Knobs, seed: u64) {
    KNOBS.set(knobs);
    JOBS.set(Some(Dice::new(seed, "jobs")));
    ENTROPY.set(Some(Dice::new(seed, "entropy")));
}

pub(crate) fn job_delay() -> u64 {
    let longest = KNOBS.get().job_us;
    let drawn = JOBS.with_borrow_mut(|dice| dice.as_mut().map_or(0, |dice| dice.between(0, longest)));
    if drawn > 0 {
        super::took_effect("slow-job");
    }
    drawn * 1000
}

pub(crate) fn fill_entropy(bytes: &mut [u8]) {
    ENTROPY.with_borrow_mut(|dice| {
        if let Some(dice) = dice {
            dice.fill(bytes);
        }
    });
}
