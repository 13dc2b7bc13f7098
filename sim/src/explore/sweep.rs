//! A sweep: many seeds of several scenarios, and what they came to.

use std::ops::ControlFlow;
use std::time::Duration;

use super::crew::{Manner, Runs};
use super::{Crew, CrewError, Outcome, Plan, Stopwatch, Tally, Telling};

/// What to sweep, and how.
#[derive(Clone, Debug)]
pub struct Sweeping {
    /// Which runs.
    pub plan: Plan,
    /// Begin no more runs after this much real time.
    pub at_most: Option<Duration>,
    /// Whether every run is told of, or findings only.
    pub each: bool,
}

/// What a sweep came to.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Counts.
    pub tally: Tally,
    /// What was found: the run's number in the plan and the finding, by scenario and seed.
    pub findings: Vec<(u64, Outcome)>,
    /// Real time that it took.
    pub took: Duration,
}

/// Sweeps. `tell` is called for each outcome that is asked for, in the plan's order, and `progress` now and then
/// with the number of runs done.
pub fn sweep(
    crew: &Crew,
    sweeping: &Sweeping,
    tell: &mut dyn FnMut(&Outcome),
    progress: &mut dyn FnMut(u64),
) -> Result<Sweep, CrewError> {
    let watch = Stopwatch::start();
    let mut tally = Tally::new(sweeping.plan.scenarios.len());
    let mut findings = Vec::new();
    let telling = if sweeping.each { Telling::Each } else { Telling::Findings };
    let manner = Manner { telling, fresh: false, at_most: sweeping.at_most };
    crew.work_through(Runs::Planned(&sweeping.plan), manner, &mut |swept| {
        tally.add(&swept.tally);
        for (run, outcome) in swept.told {
            tell(&outcome);
            if outcome.evidence.is_some() {
                findings.push((run, outcome));
            }
        }
        progress(tally.total().runs);
        ControlFlow::Continue(())
    })?;
    findings.sort_by(|(_, one), (_, other)| (&one.scenario, one.seed).cmp(&(&other.scenario, other.seed)));
    Ok(Sweep { tally, findings, took: watch.elapsed() })
}
