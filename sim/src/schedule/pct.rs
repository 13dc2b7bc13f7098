//! Probabilistic concurrency testing: the ready task of the highest priority, under random priorities that drop at
//! depth − 1 random decisions. See `priorities` for the rules and what they guarantee.

use super::priorities::Priorities;
use super::{Candidate, Schedule};
use crate::case::Dice;

pub(super) struct Pct {
    /// Of tasks.
    priorities: Priorities,
}

impl Pct {
    pub(super) fn new(seed: u64, depth: u32, steps: u32) -> Self {
        Pct { priorities: Priorities::new(Dice::new(seed, "pct"), depth, steps) }
    }
}

impl Schedule for Pct {
    fn spawned(&mut self, _task: Candidate, _parent: Option<u32>) {
        self.priorities.add();
    }

    fn pick(&mut self, ready: &[Candidate]) -> usize {
        self.priorities.pick(ready, |candidate| candidate.task as usize)
    }
}
