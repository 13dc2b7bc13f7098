//! Every run within so many deviations of a base: a departure from its schedule, a fault at any logical point, the cancelling
//! of an operation at any step, in any combination.
//!
//! A run with some deviations is extended by each deviation that is possible behind its last one, so that every combination
//! is met just once. Where a run comes into a state that an extended one has been in, with as many deviations left, all
//! that could follow has been covered; such extensions are left out and counted (stateful search in the manner of
//! Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", 1996; what a state is, and what it does
//! not see, says [`Points`]).

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use super::crew::{Manner as Working, Runs};
use super::{Answer, Crew, CrewError, Deviation, Order, Outcome, Source, Telling, Variations, WorkerProcess};
use crate::case::{Cancel, Manner};
use crate::schedule::Departure;
use crate::world::{Point, Points};

/// What to search.
#[derive(Clone, Debug)]
pub struct Searching {
    /// The base, as TOML.
    pub base: String,
    /// How many deviations at the most.
    pub deviations: u32,
    /// Whether extensions of states that have been covered are left out.
    pub prune: bool,
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Covered {
    /// Runs with fewer deviations than the most whose extensions have all been run.
    pub extended: u64,
    /// Runs made.
    pub runs: u64,
    /// Runs left out, since all that they could bring had been covered.
    pub pruned: u64,
    /// Deviations that were the last of their run, by kind: departures, faults, cancellations.
    pub kinds: [u64; 3],
    /// Findings.
    pub findings: u64,
}

/// What a search is told of, and may stop.
pub trait Watch {
    /// The base was run: there are so many runs to extend at this level.
    fn level(&mut self, _deviations: u32, _to_extend: u64) {}

    /// Some runs have been extended.
    fn covered(&mut self, _covered: &Covered) -> Result<(), CrewError> {
        Ok(())
    }

    /// Something was found: what, and the case as TOML.
    fn found(&mut self, outcome: Outcome, case: String);
}

/// How many runs are collected before they are handed out.
const BATCH: usize = 4096;
/// How many findings are told of with their cases.
const FINDINGS_TOLD: u64 = 1000;

/// Searches. `covered` is how far an earlier search of the same got, on its last level: what it covered is not run again.
pub fn exhaust(
    crew: &Crew,
    searching: &Searching,
    covered: Covered,
    watch: &mut dyn Watch,
) -> Result<Covered, CrewError> {
    let mut search =
        Search { crew, searching, watch, guide: None, visited: BTreeMap::new(), covered: Covered::default() };
    let mut level = vec![Node { deviations: Vec::new(), place: None }];
    for deviations in 0..searching.deviations {
        let last = deviations + 1 == searching.deviations;
        search.watch.level(deviations, level.len() as u64);
        let before = if last { covered } else { Covered::default() };
        level = search.extend_all(level, searching.deviations - deviations, before, last)?;
        if crew.stop.is_wanted() {
            return Err(CrewError::Stopped);
        }
    }
    Ok(search.covered)
}

/// A run to be extended.
struct Node {
    deviations: Vec<Deviation>,
    /// Where its last deviation is: in the log of its points, and among the operations alive there.
    place: Option<Place>,
}

type Place = (usize, usize);

/// What is possible behind a run's last deviation.
struct Extensions {
    found: Vec<(Place, Deviation)>,
    pruned: u64,
}

struct Search<'a> {
    crew: &'a Crew,
    searching: &'a Searching,
    watch: &'a mut dyn Watch,
    /// The worker that tells the points of runs.
    guide: Option<WorkerProcess>,
    /// States from which everything has been covered, with so many deviations left.
    visited: BTreeMap<u64, u32>,
    covered: Covered,
}

impl Search<'_> {
    /// Extends the runs of one level. Gives those of the next, unless there is none.
    fn extend_all(
        &mut self,
        level: Vec<Node>,
        left: u32,
        before: Covered,
        last: bool,
    ) -> Result<Vec<Node>, CrewError> {
        let mut next = Vec::new();
        let mut batch = Vec::new();
        // On the last level, what an earlier search covered takes the place of what is skipped.
        if before.extended > 0 {
            self.covered = before;
        }
        let all = level.len();
        for (number, node) in level.into_iter().enumerate() {
            if self.crew.stop.is_wanted() {
                return Err(CrewError::Stopped);
            }
            let points = self.points(&node.deviations)?;
            let extensions = self.extensions(&points, &node, left);
            if (number as u64) < before.extended {
                continue;
            }
            self.covered.pruned += extensions.pruned;
            for (place, deviation) in extensions.found {
                let mut deviations = node.deviations.clone();
                deviations.push(deviation);
                batch.push(Node { deviations, place: Some(place) });
            }
            if batch.len() >= BATCH || number + 1 == all {
                let passed = self.run(std::mem::take(&mut batch))?;
                if last {
                    self.covered.extended = number as u64 + 1;
                } else {
                    next.extend(passed);
                }
                self.watch.covered(&self.covered)?;
            }
        }
        Ok(next)
    }

    /// Runs a batch. Gives those that passed.
    fn run(&mut self, batch: Vec<Node>) -> Result<Vec<Node>, CrewError> {
        for node in &batch {
            let kind = match node.deviations.last() {
                Some(Deviation::Depart(_)) | None => 0,
                Some(Deviation::Fail(_)) => 1,
                Some(Deviation::Cancel(_)) => 2,
            };
            self.covered.kinds[kind] += 1;
        }
        let deviations = batch.iter().map(|node| node.deviations.clone()).collect();
        let variations = Variations { base: self.searching.base.clone(), deviations };
        let working = Working { telling: Telling::Findings, fresh: false, at_most: None };
        let (mut done, mut told) = (0, Vec::new());
        self.crew.work_through(Runs::Varied(&variations), working, &mut |swept| {
            done += swept.runs.end - swept.runs.start;
            told.extend(swept.told);
            ControlFlow::Continue(())
        })?;
        if done < batch.len() as u64 {
            return Err(CrewError::Stopped);
        }
        self.covered.runs += done;
        let failed: std::collections::BTreeSet<u64> = told.iter().map(|(run, _)| *run).collect();
        for (run, outcome) in told {
            self.covered.findings += 1;
            if self.covered.findings <= FINDINGS_TOLD {
                let case = self.crew.case_of(&variations, run)?;
                self.watch.found(outcome, case);
            }
        }
        let passed = batch.into_iter().zip(0..).filter(|(_, run)| !failed.contains(run));
        Ok(passed.map(|(node, _)| node).collect())
    }

    /// The points of a run.
    fn points(&mut self, deviations: &[Deviation]) -> Result<Points, CrewError> {
        let source = Source::Toml(self.searching.base.clone());
        let order = Order::Points { source, deviations: deviations.to_vec() };
        let guide = match &mut self.guide {
            Some(guide) => guide,
            none => none.insert(WorkerProcess::start(self.crew.patience, &self.crew.stop)?),
        };
        match guide.ask(&order) {
            Ok(Answer::Points { outcome, points, .. })
                if deviations.is_empty() && outcome.evidence.is_none() =>
            {
                self.covered.runs += 1;
                Ok(points)
            }
            Ok(Answer::Points { outcome, .. }) if deviations.is_empty() => Err(CrewError::Refused(format!(
                "the case is {} before anything deviates: explain it first",
                outcome.verdict
            ))),
            Ok(Answer::Points { points, .. }) => Ok(points),
            Ok(Answer::Refused(why)) => Err(CrewError::Refused(why)),
            Ok(_) => Err(CrewError::Defect("a worker answered what it was not asked".into())),
            Err(death) => Err(death.into()),
        }
    }

    /// What is possible behind a run's last deviation, and not covered by another run; notes the states that are covered
    /// from now on.
    fn extensions(&mut self, points: &Points, node: &Node, left: u32) -> Extensions {
        let from = node.place.map_or(0, |(point, _)| point);
        let cut = match self.searching.prune {
            true => self.cut(points, node.place, left),
            false => points.log.len(),
        };
        let possible = |range: Range<usize>| range.flat_map(|at| deviations_at(points, at));
        let behind =
            |place: &Place| node.place.is_none_or(|last| *place > last && may_follow(points, last, *place));
        let found = possible(from..cut).filter(|(place, _)| behind(place)).collect();
        let pruned = possible(cut.max(from)..points.log.len()).filter(|(place, _)| behind(place)).count();
        Extensions { found, pruned: pruned as u64 }
    }

    /// The first point behind the last deviation from which on all has been covered.
    fn cut(&mut self, points: &Points, last: Option<Place>, left: u32) -> usize {
        let first = last.map_or(0, |(point, _)| point + 1);
        for (at, point) in points.log.iter().enumerate().skip(first) {
            let Point::Step { state, .. } = point else { continue };
            let covered = self.visited.entry(*state).or_default();
            if *covered >= left {
                return at;
            }
            *covered = left;
        }
        points.log.len()
    }
}

/// Whether a deviation at the same point as the last one is another one, and not the same or its contrary.
fn may_follow(points: &Points, last: Place, place: Place) -> bool {
    place.0 > last.0 || (matches!(points.log[place.0], Point::Step { .. }) && place.1 > last.1)
}

/// All single deviations that are possible at a point, each with its place.
fn deviations_at(points: &Points, at: usize) -> Vec<(Place, Deviation)> {
    let task = |task: u32| points.tasks.get(task as usize).cloned().unwrap_or_default();
    let cancels = |operation: usize, after: Option<String>| {
        let name = points.operations.get(operation).cloned().unwrap_or_default();
        Manner::ALL.map(|by| {
            let cancel = Cancel { operation: name.clone(), after: after.clone(), by };
            ((at, operation), Deviation::Cancel(cancel))
        })
    };
    match &points.log[at] {
        Point::Choice { polls, ready } => {
            let Some((head, others)) = ready.split_first() else { return Vec::new() };
            let instead_of = format!("{}#{polls}", task(*head));
            let depart = |other: &u32| Departure { instead_of: instead_of.clone(), run: task(*other) };
            others.iter().map(|other| ((at, 0), Deviation::Depart(depart(other)))).collect()
        }
        Point::Fault(faults) => {
            faults.iter().map(|fault| ((at, 0), Deviation::Fail(fault.clone()))).collect()
        }
        Point::Birth(operation) => cancels(*operation, None).into(),
        Point::Step { task: ran, polls, alive, .. } => {
            let after = format!("{}#{polls}", task(*ran));
            alive.iter().flat_map(|operation| cancels(*operation, Some(after.clone()))).collect()
        }
    }
}
