//! First in, first out, but for named departures.
//!
//! A departure is named by whom it passes over and whom it runs instead, each by label and poll count.
//! It so stays meaningful when code changes elsewhere, and one that no longer applies is passed by.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Candidate, Schedule};
use crate::world::label_hash;

/// One step at which not the first ready task ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Departure {
    /// The first ready task, as `LABEL#POLLS`.
    pub instead_of: String,
    /// The task that ran, by its label.
    pub run: String,
}

pub(super) struct Replay {
    /// What to run when a task (label, polls) comes first; several when it is passed over several times.
    plan: BTreeMap<(u64, u32), VecDeque<u64>>,
}

impl Replay {
    pub(super) fn new(departures: &[Departure]) -> Self {
        let mut plan = BTreeMap::<_, VecDeque<u64>>::new();
        for departure in departures {
            if let Some((label, polls)) = departure.instead_of.rsplit_once('#')
                && let Ok(polls) = polls.parse::<u32>()
            {
                let head = (label_hash(label), polls);
                plan.entry(head).or_default().push_back(label_hash(&departure.run));
            }
        }
        Replay { plan }
    }
}

impl Schedule for Replay {
    fn pick(&mut self, ready: &[Candidate]) -> usize {
        let head = (ready[0].label, ready[0].polls);
        let Some(queue) = self.plan.get_mut(&head) else { return 0 };
        let Some(wanted) = queue.front() else { return 0 };
        match ready.iter().position(|candidate| candidate.label == *wanted) {
            Some(index) => {
                queue.pop_front();
                index
            }
            None => 0,
        }
    }
}
