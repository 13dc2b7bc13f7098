//! Every crash point of a case, taken one after the other: each operation that changes an exposed disk, by a crash of the
//! process and by a loss of power, with nothing, everything and some of what was not durable surviving. Then, if wanted,
//! a second crash at every operation of the recovery from the first.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::crew::{Manner as Working, Runs};
use super::{Answer, Crew, CrewError, Deviation, Order, Outcome, Source, Tally, Telling, Variations};
use crate::case::Dice;
use crate::fault::{CrashKind, DiskEffect, DiskOp, Fault};
use crate::world::CrashPoint;

/// How to crash.
#[derive(Clone, Copy, Debug)]
pub struct Crashing {
    /// For how many drawn numbers of survivors each power loss is tried, beside none and all.
    pub drawn: u64,
    /// The most runs in which a second crash falls into the recovery from the first; 0 for none.
    pub twice: u64,
}

/// What was crashed in a case, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Crashed {
    /// By what the scenario said was going on.
    pub stages: BTreeMap<String, CrashedStage>,
    /// Runs with one crash, or two, in which as many came about.
    pub taken: u64,
    /// How many runs with a second crash there could have been.
    pub twice_possible: u64,
    /// What was found, each with its case as TOML.
    pub findings: Vec<(Outcome, String)>,
}

/// What was crashed in a stage of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CrashedStage {
    /// Crash points.
    pub points: u64,
    /// Runs in which the process crashed.
    pub process: u64,
    /// Runs in which the power went, and nothing or everything survived.
    pub power: u64,
    /// Runs in which the power went, and what survived was drawn.
    pub drawn: u64,
    /// Runs in which a second crash fell into the recovery.
    pub twice: u64,
    /// Findings.
    pub findings: u64,
}

impl CrashedStage {
    /// All runs.
    pub fn runs(&self) -> u64 {
        self.process + self.power + self.drawn + self.twice
    }

    /// Adds what was crashed elsewhere.
    pub fn add(&mut self, other: &CrashedStage) {
        self.points += other.points;
        self.process += other.process;
        self.power += other.power;
        self.drawn += other.drawn;
        self.twice += other.twice;
        self.findings += other.findings;
    }
}

impl Crashed {
    /// All stages together.
    pub fn total(&self) -> CrashedStage {
        let mut total = CrashedStage::default();
        self.stages.values().for_each(|stage| total.add(stage));
        total
    }

    /// How many runs did not come by their crashes.
    pub fn missed(&self) -> u64 {
        self.total().runs() - self.taken
    }

    /// Adds what was crashed in another case.
    pub fn add(&mut self, other: Crashed) {
        for (name, stage) in other.stages {
            self.stages.entry(name).or_default().add(&stage);
        }
        self.taken += other.taken;
        self.twice_possible += other.twice_possible;
        self.findings.extend(other.findings);
    }
}

/// How many runs are asked at a time where a second crash could fall.
const BATCH: usize = 256;

/// Takes every crash point of a case, that has no crashes of its own. `progress` is called with the number of runs done so
/// far and of those to do.
///
/// A case that fails before anything is crashed is the only finding then. When the crew's [`Stop`](super::Stop) is wanted
/// meanwhile, what was found until then is given.
pub fn crash_everywhere(
    crew: &Crew,
    source: Source,
    crashing: Crashing,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Crashed, CrewError> {
    let (base, points) = match crew.ask(&Order::Points { source, deviations: Vec::new() })? {
        Answer::Points { case, outcome: Outcome { evidence: None, .. }, points, .. } => {
            (case, points.crashes)
        }
        Answer::Points { outcome, case, .. } => {
            // What fails anyway says nothing about crashing.
            let nothing = CrashedStage { findings: 1, ..CrashedStage::default() };
            let stages = BTreeMap::from([(String::new(), nothing)]);
            return Ok(Crashed { stages, findings: vec![(outcome, case)], ..Crashed::default() });
        }
        _ => return Err(CrewError::Defect("a worker answered what it was not asked".into())),
    };
    let mut crashed = Crashed::default();
    for point in &points {
        crashed.stages.entry(point.stage.clone()).or_default().points += 1;
    }
    let once: Vec<Run> = points
        .iter()
        .zip(0..)
        .flat_map(|(point, number)| {
            ways(point, number, crashing.drawn).map(|crash| Run::of(&point.stage, crash))
        })
        .collect();
    let passed = work_through(crew, &base, &once, &mut crashed, progress)?;
    if crashing.twice > 0 {
        let passed = once.iter().zip(passed).filter(|(_, passed)| *passed).map(|(run, _)| run);
        let twice = second_crashes(crew, &base, passed.collect(), crashing, &mut crashed)?;
        work_through(crew, &base, &twice, &mut crashed, progress)?;
    }
    Ok(crashed)
}

/// A run with a crash, or two.
#[derive(Clone)]
struct Run {
    /// What was going on when the first one fell.
    stage: String,
    crashes: Vec<Crash>,
}

/// A crash.
#[derive(Clone)]
struct Crash {
    actor: String,
    nth: u32,
    how: CrashKind,
    survivors: u64,
}

impl Run {
    fn of(stage: &str, crash: Crash) -> Run {
        Run { stage: stage.into(), crashes: vec![crash] }
    }

    fn deviations(&self) -> Vec<Deviation> {
        let fault = |crash: &Crash| Fault::Disk {
            disk: crash.actor.clone(),
            op: DiskOp::Change,
            nth: crash.nth,
            effect: DiskEffect::crash(crash.how, crash.survivors),
        };
        self.crashes.iter().map(|crash| Deviation::Fail(fault(crash))).collect()
    }
}

/// The ways in which an actor goes down at its point of that number. The numbers of survivors that are drawn differ from
/// point to point, so that many of them are tried.
fn ways(point: &CrashPoint, number: u64, drawn: u64) -> impl Iterator<Item = Crash> {
    let survivors = move |how| match how {
        CrashKind::Process => 0..2,
        CrashKind::Power => 0..2 + drawn,
    };
    let kinds = point.kinds.clone().into_iter();
    let ways = kinds.flat_map(move |how| survivors(how).map(move |survivors| (how, survivors)));
    let (actor, nth) = (point.actor.clone(), point.nth);
    ways.map(move |(how, survivors)| {
        let survivors = if survivors < 2 { survivors } else { survivors + number * drawn };
        Crash { actor: actor.clone(), nth, how, survivors }
    })
}

/// Runs with a second crash, at the operations between the first one and the end of the recovery: all of them, or as many
/// as are wanted, drawn.
fn second_crashes(
    crew: &Crew,
    base: &str,
    firsts: Vec<&Run>,
    crashing: Crashing,
    crashed: &mut Crashed,
) -> Result<Vec<Run>, CrewError> {
    let mut dice = Dice::new(crashing.twice, "second crashes");
    let mut chosen: Vec<Run> = Vec::new();
    for batch in firsts.chunks(BATCH) {
        let deviations = batch.iter().map(|run| run.deviations()).collect();
        let variations = Variations { base: base.into(), deviations };
        let Answer::Crashes(points) = crew.ask(&Order::Crashes { variations })? else {
            return Err(CrewError::Defect("a worker answered what it was not asked".into()));
        };
        for (first, points) in batch.iter().zip(points) {
            let recovering = points.iter().filter(|point| point.recovering).zip(0..);
            for crash in recovering.flat_map(|(point, number)| ways(point, number, crashing.drawn)) {
                crashed.twice_possible += 1;
                let place = match (chosen.len() as u64) < crashing.twice {
                    true => chosen.len() as u64,
                    // Each of those so far is among the chosen with the same chance (Vitter's algorithm R, 1985).
                    false => dice.below(crashed.twice_possible),
                };
                let run = || Run {
                    stage: first.stage.clone(),
                    crashes: first.crashes.iter().chain([&crash]).cloned().collect(),
                };
                match chosen.get_mut(place as usize) {
                    Some(other) => *other = run(),
                    None if place < crashing.twice => chosen.push(run()),
                    None => {}
                }
            }
        }
    }
    Ok(chosen)
}

/// Makes runs, and counts them. Says which passed.
fn work_through(
    crew: &Crew,
    base: &str,
    runs: &[Run],
    crashed: &mut Crashed,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<bool>, CrewError> {
    let deviations = runs.iter().map(Run::deviations).collect();
    let variations = Variations { base: base.into(), deviations };
    let (mut tally, mut found, mut done) = (Tally::new(1), Vec::new(), vec![false; runs.len()]);
    let working = Working { telling: Telling::Findings, fresh: false, at_most: None };
    crew.work_through(Runs::Varied(&variations), working, &mut |swept| {
        tally.add(&swept.tally);
        found.extend(swept.told);
        done[swept.runs.start as usize..swept.runs.end as usize].fill(true);
        progress(tally.total().runs, runs.len() as u64);
        ControlFlow::Continue(())
    })?;
    for (run, _) in runs.iter().zip(&done).filter(|(_, done)| **done) {
        let stage = crashed.stages.entry(run.stage.clone()).or_default();
        match &run.crashes[..] {
            [Crash { how: CrashKind::Process, .. }] => stage.process += 1,
            [Crash { how: CrashKind::Power, survivors: 0 | 1, .. }] => stage.power += 1,
            [_] => stage.drawn += 1,
            _ => stage.twice += 1,
        }
        crashed.taken += 1;
    }
    // Each run has as many crashes as any other of its kind.
    let each = runs.first().map_or(1, |run| run.crashes.len() as u64);
    let wanted = done.iter().filter(|done| **done).count() as u64 * each;
    crashed.taken = crashed.taken.saturating_sub(wanted.saturating_sub(tally.total().crashes));
    for (run, outcome) in found {
        crashed.stages.entry(runs[run as usize].stage.clone()).or_default().findings += 1;
        crashed.findings.push((outcome, crew.case_of(&variations, run)?));
        done[run as usize] = false;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_is_taken_in_each_way_that_it_may_be() {
        let point = CrashPoint {
            actor: "S0".into(),
            nth: 7,
            kinds: CrashKind::ALL.into(),
            stage: String::new(),
            recovering: false,
        };
        let told = |point: &CrashPoint, number, drawn| -> Vec<_> {
            ways(point, number, drawn).map(|crash| (crash.how, crash.survivors)).collect()
        };
        let (process, power) = (CrashKind::Process, CrashKind::Power);
        let first = [(process, 0), (process, 1), (power, 0), (power, 1), (power, 2), (power, 3)];
        assert_eq!(told(&point, 0, 2), first);
        assert_eq!(told(&point, 3, 2)[4..], [(power, 8), (power, 9)]);
        let only = CrashPoint { kinds: vec![process], ..point };
        assert_eq!(told(&only, 3, 2), first[..2]);
    }
}
