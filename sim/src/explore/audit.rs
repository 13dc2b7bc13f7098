//! The audit: a seed is a coordinate. The same case has the same digest wherever and whenever it runs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::crew::{Manner, Runs};
use super::{Crew, CrewError, Plan, Telling};

/// A run's name that means the same in every build: scenario and seed.
pub type Coordinate = (String, u64);
/// The digests of many runs.
pub type Digests = BTreeMap<Coordinate, u64>;

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// The digests, as the runs alone in fresh processes have them.
    pub digests: Digests,
    /// Where a run elsewhere had another, by scenario and seed.
    pub differences: Vec<Difference>,
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
}

/// Runs a plan alone in fresh processes and in sweeps, and compares; with `others`, also with the digests from
/// another build. `progress` is called now and then with the number of runs done, of `3 * plan.runs`.
pub fn audit(
    crew: &Crew,
    plan: &Plan,
    others: Option<(&str, &Digests)>,
    progress: &mut dyn FnMut(u64),
) -> Result<Audit, CrewError> {
    let mut done = 0;
    let mut digests = |crew: &Crew, fresh| {
        let digests = digests(crew, plan, fresh, &mut |runs| progress(done + runs));
        done += plan.runs;
        digests
    };
    let alone = digests(crew, true)?;
    let mut differences = Vec::new();
    for (jobs, place) in [(1, "in a sweep with 1 job"), (2, "in a sweep with 2 jobs")] {
        let swept = digests(&Crew { jobs, ..crew.clone() }, false)?;
        differences.extend(compare(&alone, place, &swept));
    }
    if let Some((place, others)) = others {
        differences.extend(compare(&alone, place, others));
    }
    differences.sort_by(|one, other| one.coordinate.cmp(&other.coordinate));
    Ok(Audit { digests: alone, differences })
}

/// The digests of a plan's runs.
fn digests(
    crew: &Crew,
    plan: &Plan,
    fresh: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, CrewError> {
    let mut digests = Digests::new();
    let telling = if fresh { Telling::FromToml } else { Telling::Each };
    crew.work_through(Runs::Planned(plan), Manner { telling, fresh, at_most: None }, &mut |swept| {
        let told = swept.told.into_iter();
        digests.extend(told.map(|(_, outcome)| ((outcome.scenario, outcome.seed), outcome.digest)));
        progress(digests.len() as u64);
        ControlFlow::Continue(())
    })?;
    match crew.stop.is_wanted() {
        true => Err(CrewError::Stopped),
        false => Ok(digests),
    }
}

fn compare(alone: &Digests, place: &str, there: &Digests) -> Vec<Difference> {
    let differs = |(coordinate, digest): (&Coordinate, &u64)| {
        let other = there.get(coordinate).copied();
        (other != Some(*digest)).then(|| Difference {
            coordinate: coordinate.clone(),
            alone: *digest,
            place: place.into(),
            there: other,
        })
    };
    alone.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digest_and_a_missing_one_are_differences() {
        let digests = |digests: &[(u64, u64)]| -> Digests {
            digests.iter().map(|(seed, digest)| (("a".into(), *seed), *digest)).collect()
        };
        let differences =
            compare(&digests(&[(1, 10), (2, 20), (3, 30)]), "there", &digests(&[(1, 10), (2, 21)]));
        let told: Vec<_> = differences.iter().map(|it| (it.coordinate.1, it.alone, it.there)).collect();
        assert_eq!(told, [(2, 20, Some(21)), (3, 30, None)]);
    }
}
