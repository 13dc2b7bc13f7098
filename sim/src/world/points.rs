//! The points of a run at which another run can part from it: choices of the schedule, calls that a fault could hit,
//! births and steps at which an operation could be cancelled. With each step comes a fingerprint of the state after it.
//!
//! Two states with one fingerprint have the same future, as far as anybody can see from outside: every task did the
//! same things at the same times and was woken by the same tasks in the same order; the same tasks are ready in the same
//! order, and the same timers are set. What is passed from task to task without a wake-up, a span, an event or a call to
//! the world is not seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::context::HARNESS;
use crate::case::{Cancel, Manner};
use crate::fault::{CrashKind, Fault};
use crate::trace::mix;

/// The points of a run, in the order in which it came by them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Points {
    /// The labels of tasks, by number.
    pub tasks: Vec<String>,
    /// The labels of operations, by number.
    pub operations: Vec<String>,
    /// The points.
    pub log: Vec<Point>,
    /// The points at which an actor could have gone down.
    pub crashes: Vec<CrashPoint>,
}

impl Points {
    /// All cancel points of the run, in its order: each operation, at its birth and after each step in its life, by each
    /// manner.
    pub fn cancels(&self) -> Vec<Cancel> {
        let mut cancels = Vec::new();
        let mut take = |operation: usize, after: Option<String>| {
            let cancel =
                |by| Cancel { operation: self.operations[operation].clone(), after: after.clone(), by };
            cancels.extend(Manner::ALL.map(cancel));
        };
        for point in &self.log {
            match point {
                Point::Birth(operation) => take(*operation, None),
                Point::Step { task, polls, alive, .. } => {
                    let step = format!("{}#{polls}", self.tasks[*task as usize]);
                    alive.iter().for_each(|operation| take(*operation, Some(step.clone())));
                }
                Point::Choice { .. } | Point::Fault(_) => {}
            }
        }
        cancels
    }
}

/// A point at which an actor could have gone down: an operation that changes its disk, or one that the scenario names
/// ([`Actor::may_crash_here`](crate::world::Actor::may_crash_here)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashPoint {
    /// The name of the actor.
    pub actor: String,
    /// Which change of its disk, counted over the run: 1 is the first.
    pub nth: u32,
    /// In which way it may go down.
    pub kinds: Vec<CrashKind>,
    /// What the scenario says is going on ([`Actor::stage`](crate::world::Actor::stage)); empty when it says nothing.
    pub stage: String,
    /// It went down before, and the scenario has not said yet that it has recovered.
    pub recovering: bool,
}

/// A point at which another run can part from this one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Point {
    /// The schedule had a choice.
    Choice {
        /// How often the first ready task had been polled.
        polls: u32,
        /// The ready tasks, in order.
        ready: Vec<u32>,
    },
    /// Any of these faults could have hit.
    Fault(Vec<Fault>),
    /// An operation began.
    Birth(usize),
    /// A step of the world ended.
    Step {
        /// Who ran.
        task: u32,
        /// For the how-manieth time, counted from 0.
        polls: u32,
        /// The operations that are alive.
        alive: Vec<usize>,
        /// A fingerprint of the state.
        state: u64,
    },
}

/// What is noted while a run goes on.
#[derive(Default)]
pub(super) struct PointLog {
    pub(super) log: Vec<Point>,
    pub(super) alive: Vec<usize>,
    pub(super) crashes: Vec<CrashPoint>,
    /// Operations that will be cancelled when their turn comes, with how.
    pub(super) doomed: BTreeMap<usize, u64>,
    /// What each task did and had done to it; the harness comes first.
    histories: Vec<u64>,
    /// All histories together, whatever their order.
    together: u64,
}

impl PointLog {
    /// A log of a run on a grid that differs from others by `standing`, from the start.
    pub(super) fn new(standing: u64) -> PointLog {
        PointLog { together: standing, ..PointLog::default() }
    }

    /// Notes that `task` (of that label) did something, or that something was done to it.
    pub(super) fn did(&mut self, task: u32, label: u64, what: u64) {
        let place = if task == HARNESS { 0 } else { task as usize + 1 };
        if self.histories.len() <= place {
            self.histories.resize(place + 1, 0);
        }
        let history = &mut self.histories[place];
        let before = if *history == 0 { 0 } else { mix(label, *history) };
        *history = mix(*history, what) | 1;
        self.together = self.together.wrapping_sub(before).wrapping_add(mix(label, *history));
    }

    /// The fingerprint of the state, with what the executor has waiting.
    pub(super) fn fingerprint(&self, waiting: impl Iterator<Item = u64>) -> u64 {
        let doomed = self.doomed.iter().flat_map(|(operation, manner)| [*operation as u64, *manner]);
        waiting.chain(doomed).fold(self.together, mix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_in_an_operations_life_is_a_point_by_every_manner() {
        let step = |polls, alive| Point::Step { task: 0, polls, alive, state: 0 };
        let points = Points {
            tasks: vec!["reader.0".into()],
            operations: vec!["reader.0/read.0".into(), "reader.0/read.1".into()],
            log: vec![
                step(0, vec![]),
                Point::Birth(0),
                step(1, vec![0]),
                step(2, vec![0]),
                Point::Birth(1),
                step(3, vec![1]),
            ],
            crashes: Vec::new(),
        };
        let cancels = points.cancels();
        assert_eq!(cancels.len(), 3 * (2 + 3));
        let after: Vec<_> = cancels.iter().step_by(3).map(|cancel| cancel.after.as_deref()).collect();
        assert_eq!(after, [None, Some("reader.0#1"), Some("reader.0#2"), None, Some("reader.0#3")]);
    }
}
