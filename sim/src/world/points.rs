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
use crate::fault::Fault;
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
