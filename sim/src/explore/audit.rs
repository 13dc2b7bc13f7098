//! The audit: a seed is a coordinate. The same case has the same digest wherever and whenever it runs.
//!
//! Runs happen alone in fresh processes, each made from its case's TOML, then in sweeps, drawn. Of what differs, the
//! first of each kind is run once more, with everything recorded, to name the first event that differs.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::crew::{Manner, Runs};
use super::trail::{Coordinate, Trail, Trails};
use super::{Answer, Crew, CrewError, Order, Outcome, Plan, Record, Telling};
use crate::trace::{FirstDifference, StepDigests};

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// What the runs alone in fresh processes came to.
    pub trails: Trails,
    /// Where a run elsewhere had another digest, by scenario and seed.
    pub differences: Vec<Difference>,
    /// What the runs alone in fresh processes found; but for runs that differ when they are repeated at once, no matter
    /// of determinism.
    pub findings: Vec<Outcome>,
}

/// A run that had two digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub coordinate: Coordinate,
    /// Its digest alone in a fresh process.
    pub alone: u64,
    /// Where it had another.
    pub place: String,
    /// Which; none when it did not run there.
    pub there: Option<u64>,
    /// What differed first; none when another difference of that scenario and place is named, or it cannot be named.
    pub first: Option<FirstDifference>,
}

/// What the runs alone in fresh processes are called.
pub const ALONE: &str = "alone in a fresh process";
/// The places that every audit compares these with, each with its number of jobs.
const SWEEPS: [(usize, &str); 2] = [(1, "in a sweep with 1 job"), (2, "in a sweep with 2 jobs")];
/// How many runs of a sweep are repeated to come by the process that a run of it found.
const LONGEST_PAST: u64 = 1000;

/// Runs a plan alone in fresh processes and in sweeps, and compares; with `others`, also with the trails from another
/// build. `progress` is called now and then with the number of runs done, of `3 * plan.runs`.
pub fn audit(
    crew: &Crew,
    plan: &Plan,
    others: Option<(&str, &Trails)>,
    progress: &mut dyn FnMut(u64),
) -> Result<Audit, CrewError> {
    let alone = walk(crew, plan, true, progress)?;
    let mut differences = Vec::new();
    let mut done = plan.runs;
    for (jobs, place) in SWEEPS {
        let crew = Crew { jobs, ..crew.clone() };
        let swept = walk(&crew, plan, false, &mut |runs| progress(done + runs))?;
        done += plan.runs;
        differences.extend(compare(&alone.trails, place, &swept.trails));
    }
    if let Some((place, others)) = others {
        differences.extend(compare(&alone.trails, place, others));
    }
    differences.sort_by(|one, other| one.0.coordinate.cmp(&other.0.coordinate));
    let mut named = BTreeSet::new();
    for (difference, steps) in &mut differences {
        if named.insert((difference.coordinate.0.clone(), difference.place.clone())) {
            difference.first = first_difference(crew, plan, difference, steps.as_ref())?;
        }
    }
    let differences = differences.into_iter().map(|(difference, _)| difference).collect();
    Ok(Audit { trails: alone.trails, differences, findings: alone.findings })
}

impl Audit {
    /// The runs that differ when they are repeated at once.
    pub fn moody(&self) -> impl Iterator<Item = &Outcome> {
        self.findings.iter().filter(|finding| finding.verdict == "nondeterministic")
    }
}

/// What the runs of a plan came to in one place.
#[derive(Default)]
struct Walked {
    trails: Trails,
    findings: Vec<Outcome>,
}

fn walk(crew: &Crew, plan: &Plan, fresh: bool, progress: &mut dyn FnMut(u64)) -> Result<Walked, CrewError> {
    let mut walked = Walked::default();
    let manner = Manner { telling: telling(fresh), fresh, at_most: None };
    crew.work_through(Runs::Planned(plan), manner, &mut |swept| {
        for (_, mut outcome) in swept.told {
            let steps = outcome.step_digests.take().unwrap_or_default();
            let coordinate = (outcome.scenario.clone(), outcome.seed);
            walked.trails.insert(coordinate, Trail { digest: outcome.digest, steps });
            if outcome.evidence.is_some() {
                walked.findings.push(outcome);
            }
        }
        progress(walked.trails.len() as u64);
        ControlFlow::Continue(())
    })?;
    match crew.stop.is_wanted() {
        true => Err(CrewError::Stopped),
        false => Ok(walked),
    }
}

fn telling(fresh: bool) -> Telling {
    if fresh { Telling::FromToml } else { Telling::Steps }
}

/// The runs with another digest there, each with its step digests there.
fn compare(alone: &Trails, place: &str, there: &Trails) -> Vec<(Difference, Option<StepDigests>)> {
    let differs = |(coordinate, trail): (&Coordinate, &Trail)| {
        let other = there.get(coordinate);
        let difference = || Difference {
            coordinate: coordinate.clone(),
            alone: trail.digest,
            place: place.into(),
            there: other.map(|other| other.digest),
            first: None,
        };
        let differs = other.map(|other| other.digest) != Some(trail.digest);
        differs.then(|| (difference(), other.map(|other| other.steps.clone())))
    };
    alone.iter().filter_map(differs).collect()
}

/// Runs the case again, alone and, if it can be had, with the past that it had in its sweep, to see what differs first.
/// What ran in another build is known by its step digests only.
fn first_difference(
    crew: &Crew,
    plan: &Plan,
    difference: &Difference,
    steps_there: Option<&StepDigests>,
) -> Result<Option<FirstDifference>, CrewError> {
    let (scenario, seed) = &difference.coordinate;
    let Some(run) = plan.index(scenario, *seed) else { return Ok(None) };
    let Some(here) = record(crew, plan, run, 0, true)? else { return Ok(None) };
    let was_swept = SWEEPS.iter().any(|(_, place)| *place == difference.place);
    if was_swept
        && let Some(there) = record(crew, plan, run, run.min(LONGEST_PAST), false)?
        && let Some(first) = FirstDifference::between(&here.happenings, &there.happenings)
    {
        return Ok(Some(first));
    }
    let by_steps = |there| FirstDifference::by_steps(&here.happenings, &here.steps, there);
    Ok(steps_there.and_then(by_steps))
}

/// Runs one run of a plan, after `past` runs before it, in one process, with everything recorded. None when the process
/// does not live to tell.
fn record(crew: &Crew, plan: &Plan, run: u64, past: u64, fresh: bool) -> Result<Option<Record>, CrewError> {
    let past = Order::Sweep { plan: plan.clone(), runs: run - past..run, telling: Telling::Findings };
    let order = Order::Record { plan: plan.clone(), run, telling: telling(fresh) };
    match crew.ask_in_turn(&[past, order]) {
        Ok(Answer::Recorded(record)) => Ok(Some(record)),
        Ok(_) => Err(CrewError::Defect("a worker answered what it was not asked".into())),
        Err(CrewError::Stopped) => Err(CrewError::Stopped),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digest_and_a_missing_one_are_differences() {
        let trails = |digests: &[(u64, u64)]| -> Trails {
            let trail = |digest| Trail { digest, ..Trail::default() };
            digests.iter().map(|(seed, digest)| (("a".into(), *seed), trail(*digest))).collect()
        };
        let differences =
            compare(&trails(&[(1, 10), (2, 20), (3, 30)]), "there", &trails(&[(1, 10), (2, 21)]));
        let told: Vec<_> = differences.iter().map(|(it, _)| (it.coordinate.1, it.alone, it.there)).collect();
        assert_eq!(told, [(2, 20, Some(21)), (3, 30, None)]);
    }
}
