//! PCT for message passing: priorities belong to chains of events, each of which caused the next.
//!
//! Ozkan, Majumdar, Niksic, Tabaei Befrouei, Weissenbacher: "Randomized Testing of Distributed Systems with Probabilistic
//! Guarantees", OOPSLA 2018. In this world each call is a task of its own that lives for a few steps, so that the number
//! of tasks, by which PCT's bound divides, says little about how much runs at a time. Here an event is a step. It goes to
//! the end of a chain whose last event is one of its causes: the task's own step before, or else the step that woke it (or
//! bore it), whichever is still the last of its chain; failing both it begins a new chain. A call so goes on with the
//! chain of its caller, and the caller with that of the call.
//!
//! A bug of depth d is found with probability at least 1/(c·k^(d−1)), for c chains and k decisions. The paper's
//! partition, which compares each event with all chains, keeps c below w², w being the most events that are independent of
//! each other; this one costs no comparisons, and its c is at most the number of steps that are no chain's
//! continuation.

use super::priorities::Priorities;
use super::{Candidate, Schedule};
use crate::case::Dice;

pub(super) struct Pctcp {
    /// Of chains.
    priorities: Priorities,
    /// By task: the chain of its last event, or of the event that it is ready for.
    chain_of: Vec<usize>,
    /// By chain: the task whose event is the last.
    last_of: Vec<u32>,
}

/// The chain of a task that has not been ready yet.
const NONE: usize = usize::MAX;

impl Pctcp {
    pub(super) fn new(seed: u64, depth: u32, steps: u32) -> Self {
        let priorities = Priorities::new(Dice::new(seed, "pctcp"), depth, steps);
        Pctcp { priorities, chain_of: Vec::with_capacity(256), last_of: Vec::with_capacity(64) }
    }

    /// The chain that ends with the last event of `task`.
    fn chain_that_ends_with(&self, task: u32) -> Option<usize> {
        let chain = *self.chain_of.get(task as usize)?;
        (*self.last_of.get(chain)? == task).then_some(chain)
    }

    fn new_chain(&mut self, task: u32) -> usize {
        self.last_of.push(task);
        self.priorities.add()
    }
}

impl Schedule for Pctcp {
    fn spawned(&mut self, _task: Candidate, _parent: Option<u32>) {
        self.chain_of.push(NONE);
    }

    fn woken(&mut self, Candidate { task, .. }: Candidate, by: Option<u32>) {
        let after = |cause| self.chain_that_ends_with(cause);
        let chain = after(task).or_else(|| by.and_then(after)).unwrap_or_else(|| self.new_chain(task));
        self.last_of[chain] = task;
        self.chain_of[task as usize] = chain;
    }

    fn pick(&mut self, ready: &[Candidate]) -> usize {
        let Pctcp { priorities, chain_of, .. } = self;
        priorities.pick(ready, |candidate| chain_of[candidate.task as usize])
    }
}
