//! The plan of a sweep: which runs there are, and what all of them share.
//!
//! A plan numbers its runs. The seeds go round: run 0 is the first seed of the first scenario, run 1 the same
//! seed of the second, so that a sweep that is cut short has treated all scenarios alike.

use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleKind;

/// Which runs there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The names of the scenarios, at least one.
    pub scenarios: Vec<String>,
    /// The first seed of each scenario.
    pub first_seed: u64,
    /// How many runs there are, of all scenarios together.
    pub runs: u64,
    /// The kind of schedule for all runs, instead of the one that each seed draws; parameters are drawn all the same.
    pub schedule: Option<ScheduleKind>,
    /// Known bugs that are put back.
    pub relapses: Vec<String>,
}

/// The largest seed: a case file has no larger numbers.
pub const LAST_SEED: u64 = i64::MAX as u64;

impl Plan {
    /// All seeds from `first` to the end of the range, for each scenario; none when that is too much to number.
    pub fn new(scenarios: Vec<String>, seeds: std::ops::Range<u64>) -> Option<Plan> {
        let count = seeds.end.min(LAST_SEED).checked_sub(seeds.start)?;
        let runs = count.checked_mul(scenarios.len() as u64)?;
        Some(Plan { scenarios, first_seed: seeds.start, runs, schedule: None, relapses: Vec::new() })
    }

    /// The scenario (by its place in the plan) and the seed of a run.
    pub fn coordinate(&self, index: u64) -> (usize, u64) {
        let count = self.scenarios.len() as u64;
        ((index % count) as usize, self.first_seed + index / count)
    }

    /// The run of that scenario and seed, if the plan has it.
    pub fn index(&self, scenario: &str, seed: u64) -> Option<u64> {
        let place = self.scenarios.iter().position(|name| name == scenario)? as u64;
        let round = seed.checked_sub(self.first_seed)?;
        let index = round.checked_mul(self.scenarios.len() as u64)?.checked_add(place)?;
        (index < self.runs).then_some(index)
    }

    /// The command that repeats a run alone, from a clone of the project.
    pub fn replay(&self, index: u64) -> String {
        let (scenario, seed) = self.coordinate(index);
        let mut command = format!("cargo run --release -- run {} --seed {seed}", self.scenarios[scenario]);
        for relapse in &self.relapses {
            command += &format!(" --relapse {relapse}");
        }
        if let Some(kind) = self.schedule {
            command += &format!(" --schedule {kind}");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_go_round_the_scenarios() {
        let plan = Plan::new(vec!["a".into(), "b".into()], 5..7).unwrap();
        assert_eq!(plan.runs, 4);
        let all: Vec<_> = (0..4).map(|index| plan.coordinate(index)).collect();
        assert_eq!(all, [(0, 5), (1, 5), (0, 6), (1, 6)]);
        for (index, (scenario, seed)) in all.iter().enumerate() {
            assert_eq!(plan.index(&plan.scenarios[*scenario], *seed), Some(index as u64));
        }
        assert_eq!((plan.index("c", 5), plan.index("a", 4), plan.index("b", 7)), (None, None, None));
        assert_eq!(plan.replay(3), "cargo run --release -- run b --seed 6");
    }

    #[test]
    fn a_plan_that_cannot_be_numbered_is_none() {
        assert!(Plan::new(vec!["a".into(); 3], 0..u64::MAX).is_none());
    }

    #[test]
    fn a_replay_command_carries_what_the_runs_share() {
        let plan = Plan {
            schedule: Some(ScheduleKind::Uniform),
            relapses: vec!["x-B1".into()],
            ..Plan::new(vec!["a".into()], 0..1).unwrap()
        };
        assert_eq!(plan.replay(0), "cargo run --release -- run a --seed 0 --relapse x-B1 --schedule uniform");
    }
}
