//! First in, first out, but for a few departures at random decisions: a random search among the runs that are near to
//! FIFO, in the spirit of delay-bounded scheduling (Emmi, Qadeer, Rakamarić: POPL 2011).
//!
//! Every set of so many decisions out of the first `steps` is as likely, and at each of them every ready task but the
//! first. Decisions that a run does not come to are departures that it does not make.

use std::collections::BTreeSet;

use super::{Candidate, Schedule};
use crate::case::Dice;

pub(super) struct Bounded {
    dice: Dice,
    /// The decisions at which to depart, the next one last.
    departures: Vec<u64>,
    decisions: u64,
}

impl Bounded {
    pub(super) fn new(seed: u64, departures: u32, steps: u32) -> Self {
        let mut dice = Dice::new(seed, "bounded");
        let mut drawn = BTreeSet::new();
        // Floyd's way to draw without putting back: what is drawn a second time stands for the newest number.
        for newest in u64::from(steps.saturating_sub(departures)) + 1..=u64::from(steps) {
            let decision = dice.between(1, newest);
            if !drawn.insert(decision) {
                drawn.insert(newest);
            }
        }
        Bounded { dice, departures: drawn.into_iter().rev().collect(), decisions: 0 }
    }
}

impl Schedule for Bounded {
    fn pick(&mut self, ready: &[Candidate]) -> usize {
        self.decisions += 1;
        if self.departures.last() != Some(&self.decisions) {
            return 0;
        }
        self.departures.pop();
        1 + self.dice.below(ready.len() as u64 - 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The decisions, from 1, at which a schedule departs, and what it picks there.
    fn departures(mut bounded: Bounded, decisions: u64) -> Vec<(u64, usize)> {
        let ready = [Candidate { task: 0, label: 0, polls: 0 }; 3];
        (1..=decisions)
            .map(|decision| (decision, bounded.pick(&ready)))
            .filter(|(_, pick)| *pick > 0)
            .collect()
    }

    #[test]
    fn all_pairs_of_decisions_and_all_other_tasks_are_as_likely() {
        let mut counts = BTreeMap::new();
        for seed in 0..11_200 {
            *counts.entry(departures(Bounded::new(seed, 2, 8), 20)).or_insert(0u32) += 1;
        }
        // 8·7/2 pairs, two choices at each decision, 100 times each.
        assert_eq!(counts.len(), 112);
        assert!(counts.keys().all(|pair| pair.len() == 2 && pair[1].0 <= 8));
        assert!(counts.values().all(|count| (60..=140).contains(count)), "{counts:?}");
    }

    #[test]
    fn as_many_departures_as_steps_are_all_of_them() {
        assert_eq!(departures(Bounded::new(1, 5, 5), 9).len(), 5);
        assert_eq!(departures(Bounded::new(1, 0, 5), 9).len(), 0);
    }
}
