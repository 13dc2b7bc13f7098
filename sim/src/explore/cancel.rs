//! Every cancel point of a case, taken one after the other: each operation, at its birth and after each step of the world in
//! its life, by each manner. Then pairs of them, by sample.

use std::ops::ControlFlow;

use super::crew::{Manner as Working, Runs};
use super::{Answer, Crew, CrewError, Deviation, Order, Outcome, Source, Tally, Telling, Variations};
use crate::case::{Cancel, Dice};

/// What was cancelled in a case, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Cancelled {
    /// Operations that the case has.
    pub operations: u64,
    /// Cancel points: an operation, a step, a manner.
    pub points: u64,
    /// How many of them were to be taken: all, or a sample.
    pub wanted: u64,
    /// How many of those were taken: the run came by and the operation was cancelled.
    pub taken: u64,
    /// Pairs of points that were tried.
    pub pairs: u64,
    /// In how many of them both were taken. The first one changes the run, so the second need not come about.
    pub pairs_taken: u64,
    /// What was found, each with its case as TOML.
    pub findings: Vec<(Outcome, String)>,
}

/// Takes every cancel point of a case, or `at_most` so many that are spread evenly over them, and then `pairs` pairs of
/// points. `progress` is called with the number of runs done so far and of those to do.
///
/// A case that fails before anything is cancelled is the only finding then. When the crew's [`Stop`](super::Stop) is
/// wanted meanwhile, what was found until then is given.
pub fn cancel_everywhere(
    crew: &Crew,
    source: Source,
    at_most: Option<u64>,
    pairs: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Cancelled, CrewError> {
    let (base, points) = match crew.ask(&Order::Points { source, deviations: Vec::new() })? {
        Answer::Points { case, outcome: Outcome { evidence: None, .. }, points, .. } => (case, points),
        Answer::Points { outcome, case, .. } => {
            // What fails anyway says nothing about cancelling.
            return Ok(Cancelled { findings: vec![(outcome, case)], ..Cancelled::default() });
        }
        _ => return Err(CrewError::Defect("a worker answered what it was not asked".into())),
    };
    let cancels = points.cancels();
    let single = spread(&cancels, at_most).map(|cancel| vec![Deviation::Cancel(cancel.clone())]);
    let single: Vec<_> = single.collect();
    let double = sample_pairs(&cancels, pairs);
    let single_count = single.len() as u64;
    let all = single_count + double.len() as u64;
    let mut cancelled = Cancelled {
        operations: points.operations.len() as u64,
        points: cancels.len() as u64,
        wanted: single_count,
        ..Cancelled::default()
    };
    let single = Variations { base: base.clone(), deviations: single };
    let tally = work_through(crew, &single, &mut cancelled.findings, &mut |runs| progress(runs, all))?;
    cancelled.taken = tally.total().cancels;
    let double = Variations { base, deviations: double };
    let tally =
        work_through(crew, &double, &mut cancelled.findings, &mut |runs| progress(single_count + runs, all))?;
    cancelled.pairs = tally.total().runs;
    cancelled.pairs_taken = tally.total().cancels.saturating_sub(cancelled.pairs);
    Ok(cancelled)
}

/// All of them, or so many, as far from each other as may be.
fn spread<T>(all: &[T], at_most: Option<u64>) -> impl Iterator<Item = &T> {
    let count = all.len().min(at_most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)));
    (0..count).map(move |number| &all[(number as u128 * all.len() as u128 / count as u128) as usize])
}

/// Runs variations. Findings are told with their cases.
fn work_through(
    crew: &Crew,
    variations: &Variations,
    findings: &mut Vec<(Outcome, String)>,
    progress: &mut dyn FnMut(u64),
) -> Result<Tally, CrewError> {
    let mut tally = Tally::new(1);
    let mut found = Vec::new();
    let working = Working { telling: Telling::Findings, fresh: false, at_most: None };
    crew.work_through(Runs::Varied(variations), working, &mut |swept| {
        tally.add(&swept.tally);
        found.extend(swept.told);
        progress(tally.total().runs);
        ControlFlow::Continue(())
    })?;
    for (run, outcome) in found {
        findings.push((outcome, crew.case_of(variations, run)?));
    }
    Ok(tally)
}

/// Pairs of points of different operations, in the run's order.
fn sample_pairs(cancels: &[Cancel], count: u64) -> Vec<Vec<Deviation>> {
    let mut dice = Dice::new(cancels.len() as u64, "pairs of cancel points");
    let mut pair = || {
        let mut places = [dice.below(cancels.len() as u64), dice.below(cancels.len() as u64)];
        places.sort_unstable();
        let [first, second] = places.map(|place| &cancels[place as usize]);
        let both = || vec![Deviation::Cancel(first.clone()), Deviation::Cancel(second.clone())];
        (first.operation != second.operation).then(both)
    };
    match cancels.first() {
        Some(one) if cancels.iter().any(|other| other.operation != one.operation) => {
            std::iter::repeat_with(&mut pair).flatten().take(count as usize).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Manner;

    #[test]
    fn a_sample_of_points_is_spread_over_them() {
        let all: Vec<_> = (0..10).collect();
        let sample = |at_most| spread(&all, at_most).copied().collect::<Vec<_>>();
        assert_eq!(sample(None), all);
        assert_eq!(sample(Some(10)), all);
        assert_eq!(sample(Some(u64::MAX)), all);
        assert_eq!(sample(Some(4)), [0, 2, 5, 7]);
        assert_eq!(sample(Some(1)), [0]);
        assert_eq!(spread(&[0; 0], Some(3)).count(), 0);
    }

    #[test]
    fn pairs_are_of_different_operations_in_the_runs_order() {
        let cancel = |operation: &str| Cancel { operation: operation.into(), after: None, by: Manner::Drop };
        let cancels = ["read.0", "read.0", "read.0", "read.1", "read.1"].map(cancel);
        let pairs = sample_pairs(&cancels, 50);
        assert_eq!(pairs.len(), 50);
        for pair in pairs {
            let [Deviation::Cancel(first), Deviation::Cancel(second)] = &pair[..] else { panic!("{pair:?}") };
            assert_eq!((&*first.operation, &*second.operation), ("read.0", "read.1"));
        }
        assert!(sample_pairs(&cancels[..3], 50).is_empty());
    }
}
