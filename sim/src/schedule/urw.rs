//! The uniform random walk over interleavings: who has more left to do is picked the more often.
//!
//! Zhao, Wolff, Mathur, Roychoudhury: "Selectively Uniform Concurrency Testing", ASPLOS 2025. A uniform *pick* is far from
//! a uniform *interleaving*: of a task with one step and one with ten it runs the short one late once in a thousand runs,
//! not once in eleven. Here a ready task has a chance in proportion to the steps that it and its children, born or not,
//! will take from here on, less what is left to the children that are born, who stand for themselves. For tasks that only
//! spawn and run this makes every interleaving as likely as any other.
//!
//! The counts come from a run of the same case, first in first out, by label. That is an estimate: tasks that wait for
//! each other, or live in some interleavings only, have other counts in the run itself. Whoever is ready counts for at
//! least one step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Candidate, Schedule};
use crate::case::Dice;

/// How many steps the tasks of a run take, by the hash of their label.
#[derive(Debug, Default)]
pub(crate) struct StepCounts(BTreeMap<u64, Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// By the task itself.
    own: u64,
    /// By its children, and theirs.
    children: u64,
}

pub(super) struct Urw {
    dice: Dice,
    counts: StepCounts,
    /// By task: how many steps it takes from birth to end, and its unborn children.
    lives: Vec<Count>,
}

impl Urw {
    pub(super) fn new(seed: u64, counts: StepCounts) -> Self {
        Urw { dice: Dice::new(seed, "urw"), counts, lives: Vec::with_capacity(256) }
    }

    fn weight(&self, candidate: &Candidate) -> u64 {
        let life = self.lives[candidate.task as usize];
        life.own.saturating_sub(u64::from(candidate.polls)).max(1) + life.children
    }
}

impl Schedule for Urw {
    fn spawned(&mut self, task: Candidate, parent: Option<u32>) {
        let count = self.counts.0.get(&task.label).copied().unwrap_or_default();
        if let Some(parent) = parent.and_then(|parent| self.lives.get_mut(parent as usize)) {
            parent.children = parent.children.saturating_sub(count.own + count.children);
        }
        self.lives.push(count);
    }

    fn pick(&mut self, ready: &[Candidate]) -> usize {
        let whole = ready.iter().map(|candidate| self.weight(candidate)).sum();
        let mut left = self.dice.below(whole);
        for (index, candidate) in ready.iter().enumerate() {
            match left.checked_sub(self.weight(candidate)) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        0
    }
}

/// First in, first out, with a count of steps that outlives the run.
#[derive(Clone, Default)]
pub(crate) struct Census(Arc<Mutex<Vec<Life>>>);

struct Life {
    label: u64,
    parent: Option<u32>,
    steps: u64,
}

impl Census {
    /// What was counted.
    pub(crate) fn counts(&self) -> StepCounts {
        let lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: Vec<_> = lives.iter().map(|life| Count { own: life.steps, children: 0 }).collect();
        // Children are younger than their parents: by the time that a task is come to, its own children are all in.
        for (task, life) in lives.iter().enumerate().rev() {
            let Count { own, children } = counts[task];
            if let Some(parent) = life.parent.and_then(|parent| counts.get_mut(parent as usize)) {
                parent.children += own + children;
            }
        }
        StepCounts(lives.iter().map(|life| life.label).zip(counts).collect())
    }
}

impl Schedule for Census {
    fn spawned(&mut self, task: Candidate, parent: Option<u32>) {
        let life = Life { label: task.label, parent, steps: 0 };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(life);
    }

    fn woken(&mut self, task: Candidate, _by: Option<u32>) {
        let mut lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(life) = lives.get_mut(task.task as usize) {
            life.steps = u64::from(task.polls) + 1;
        }
    }

    fn pick(&mut self, _ready: &[Candidate]) -> usize {
        0
    }
}
