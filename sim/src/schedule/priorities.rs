//! Random priorities that drop at a few random decisions: what PCT and its message-passing form have in common.
//!
//! Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs",
//! ASPLOS 2010. Who has the highest priority runs. The paper draws a random order of n tasks, above the numbers 1..d,
//! and d − 1 steps out of k; after the i-th of them, whoever took it has priority i from then on.
//!
//! Three things are different here, and leave the bound of 1/(n·k^(d−1)) as it is:
//!
//! - *Tasks are born during the run.* Each draws a 63-bit number at birth. Independent numbers lie in every order with
//!   the same probability, so this is the paper's order, revealed bit by bit; n is the number of tasks ever born.
//! - *Only decisions count*, steps at which two or more are ready (section 4.1 of the paper: sequential execution needs
//!   no change points). A drop has an effect only where there is a choice.
//! - *Whoever would take a chosen step drops before it*, not whoever took the step before. A priority says nothing while
//!   its owner is not picked, so dropping at any moment between two of its steps is the same; and a task of a single
//!   step, as most calls are, can be put off too. After a drop the choice is made anew and counts as a further decision,
//!   so that two drops can fall between the same two steps. k is thus the most decisions of a run, plus d − 1.

use crate::case::Dice;

pub(super) struct Priorities {
    dice: Dice,
    /// By owner; the highest runs.
    of: Vec<u64>,
    /// (decision, priority to drop to), the next one last.
    drops: Vec<(u64, u64)>,
    decisions: u64,
}

/// What is drawn lies above all that a drop leads to.
const DRAWN: u64 = 1 << 63;

impl Priorities {
    pub(super) fn new(mut dice: Dice, depth: u32, steps: u32) -> Self {
        let drop = |priority| (dice.between(1, u64::from(steps)), u64::from(priority));
        let mut drops: Vec<_> = (1..depth).map(drop).collect();
        drops.sort_unstable_by(|one, other| other.cmp(one));
        Priorities { dice, of: Vec::with_capacity(256), drops, decisions: 0 }
    }

    /// A new owner, by number: the next in order.
    pub(super) fn add(&mut self) -> usize {
        self.of.push(DRAWN | self.dice.below(DRAWN));
        self.of.len() - 1
    }

    /// Which of the `ready`, given by their owners, runs.
    pub(super) fn pick<T>(&mut self, ready: &[T], owner: impl Fn(&T) -> usize) -> usize {
        loop {
            self.decisions += 1;
            let highest = self.highest(ready, &owner);
            match self.drops.last() {
                Some(&(decision, priority)) if decision <= self.decisions => {
                    self.drops.pop();
                    self.of[owner(&ready[highest])] = priority;
                }
                _ => return highest,
            }
        }
    }

    fn highest<T>(&self, ready: &[T], owner: impl Fn(&T) -> usize) -> usize {
        let mut highest = (0, 0);
        for (index, candidate) in ready.iter().enumerate() {
            let priority = self.of[owner(candidate)];
            if priority > highest.1 {
                highest = (index, priority);
            }
        }
        highest.0
    }
}
