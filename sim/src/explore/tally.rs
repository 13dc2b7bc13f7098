//! Tallies: what many runs came to together. Adding is all there is to it, so the order of runs is no matter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::case::Report;

/// What many runs came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// One for each scenario of the plan, in its order.
    pub scenarios: Vec<ScenarioTally>,
    /// One bit for each of [`runtime::MARKS`], in order: what any run came by.
    reached: Vec<u64>,
    /// How often trouble of each kind took effect, by its name.
    pub effects: BTreeMap<String, u64>,
}

/// What the runs of one scenario came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioTally {
    /// How many there were.
    pub runs: u64,
    /// How many passed.
    pub passed: u64,
    /// Polls.
    pub steps: u64,
    /// Cancellations that their cases wanted and that came about.
    pub cancels: u64,
    /// Crashes in the middle of an operation on a disk that their cases wanted and that came about.
    pub crashes: u64,
    /// Real time that they took, drawing included.
    pub busy: Duration,
}

impl ScenarioTally {
    /// Runs that did not pass.
    pub fn findings(&self) -> u64 {
        self.runs - self.passed
    }

    /// Runs for each second of one core.
    pub fn per_second(&self) -> f64 {
        self.runs as f64 / self.busy.as_secs_f64().max(1e-9)
    }

    fn add(&mut self, other: &ScenarioTally) {
        self.runs += other.runs;
        self.passed += other.passed;
        self.steps += other.steps;
        self.cancels += other.cancels;
        self.crashes += other.crashes;
        self.busy += other.busy;
    }
}

impl Tally {
    /// Nothing yet.
    pub fn new(scenarios: usize) -> Tally {
        Tally { scenarios: vec![ScenarioTally::default(); scenarios], ..Tally::default() }
    }

    /// Counts a run that gave a report.
    pub fn count(&mut self, scenario: usize, report: &Report, busy: Duration) {
        self.scenarios[scenario].add(&ScenarioTally {
            runs: 1,
            passed: u64::from(report.verdict.is_pass()),
            steps: report.steps,
            cancels: report.cancels,
            crashes: report.crashes,
            busy,
        });
        self.reach(&report.reached);
        for (kind, times) in &report.effects {
            self.count_effect(kind, (*times).into());
        }
    }

    /// Counts a finding that came without a report.
    pub fn count_lost(&mut self, scenario: usize, outcome: &Outcome) {
        let steps = outcome.steps;
        self.scenarios[scenario].add(&ScenarioTally { runs: 1, steps, ..ScenarioTally::default() });
    }

    /// Adds another tally of the same plan.
    pub fn add(&mut self, other: &Tally) {
        for (mine, others) in self.scenarios.iter_mut().zip(&other.scenarios) {
            mine.add(others);
        }
        self.reach(&other.reached);
        for (kind, times) in &other.effects {
            self.count_effect(kind, *times);
        }
    }

    /// All runs.
    pub fn total(&self) -> ScenarioTally {
        let mut total = ScenarioTally::default();
        self.scenarios.iter().for_each(|scenario| total.add(scenario));
        total
    }

    /// The names of the coverage marks that no run came by, sorted, each once.
    pub fn unreached(&self) -> Vec<&'static str> {
        let has =
            |index: usize| self.reached.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1);
        // One mark may be planted in several places; generic code plants it once for each type.
        let reached: BTreeSet<_> = (0..runtime::MARKS.len())
            .filter(|index| has(*index))
            .map(|index| runtime::MARKS[index].name)
            .collect();
        let all: BTreeSet<_> = runtime::MARKS.iter().map(|mark| mark.name).collect();
        all.difference(&reached).copied().collect()
    }

    fn count_effect(&mut self, kind: &str, times: u64) {
        match self.effects.get_mut(kind) {
            Some(so_far) => *so_far += times,
            None => _ = self.effects.insert(kind.into(), times),
        }
    }

    fn reach(&mut self, reached: &[u64]) {
        if self.reached.len() < reached.len() {
            self.reached.resize(reached.len(), 0);
        }
        for (mine, others) in self.reached.iter_mut().zip(reached) {
            *mine |= others;
        }
    }
}
