//! Explanations: a case, what happened in it, and the nearest run that passes.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::without_one::{self, Candidate};
use super::{Answer, Crew, CrewError, Death, Order, Outcome, WorkerProcess, named_in};
use crate::case::{Case, Detail, Report, Scenarios, Verdict, run};
use crate::schedule::ScheduleSpec;
use crate::trace::{Line, Moment, Timeline, WaitGraph};

/// All that is known of how a case came to its end.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The case as TOML.
    pub case: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What happened; none when the run took its process along.
    pub traced: Option<Traced>,
    /// For a finding: the nearest run that passes.
    pub comparison: Option<Comparison>,
}

/// A run with everything that happened in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Traced {
    /// What became of it.
    pub outcome: Outcome,
    /// What happened.
    pub timeline: Timeline,
    /// Who waits for what at its end.
    pub waits: WaitGraph,
    /// The case with its schedule spelled out as departures from FIFO, if it runs the same that way.
    pub spelled_out: Option<String>,
}

/// What came of trying cases that lack one thing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// How many cases were tried.
    pub tried: usize,
    /// How many of them passed.
    pub passed: usize,
    /// How many were left untried, to be done in time.
    pub untried: usize,
    /// The one that passes and has most in common with the run.
    pub nearest: Option<Nearest>,
}

/// A run that passes, and where it parts from another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nearest {
    /// What its case lacks.
    pub lacks: String,
    /// Its case as TOML.
    pub case: String,
    /// How many lines of the log both runs have in common, from the start.
    pub common: usize,
    /// The last of them; none when they differ from the start.
    pub last_common: Option<Told>,
    /// How the run goes on that is to be explained: a few lines.
    pub explained: Vec<Told>,
    /// How the run goes on that passes: a few lines.
    pub passing: Vec<Told>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A line of a run's log in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at: Moment,
    /// The label of the task that did it.
    pub who: String,
    /// What it did.
    pub text: String,
    /// Where in the code: `file:line`.
    pub source: Option<String>,
}

/// How many steps of the world are taken for comparisons: some seconds.
const STEPS: u64 = 3_000_000;
/// How many lines of each run are told from where they part.
const LINES: usize = 4;
/// How many cases may take their worker along before the comparison is given up.
const LOST: usize = 2;

/// Runs a case with everything recorded, and looks for the nearest run that passes. `replay` is the command that repeats
/// the case.
pub fn explain(crew: &Crew, case: &str, replay: &str) -> Result<Explanation, CrewError> {
    let mut worker = WorkerProcess::start(crew.patience, &crew.stop)?;
    let traced = match worker.ask(&Order::Trace { case: case.into(), replay: replay.into() }) {
        Ok(Answer::Traced(traced)) => *traced,
        Ok(Answer::Refused(why)) => return Err(CrewError::Refused(why)),
        Ok(_) => return Err(CrewError::Defect("a worker answered what it was not asked".into())),
        Err(Death::OnRun { how, .. }) => return Ok(without_a_trace(case, how, replay)),
        Err(death) => return Err(death.into()),
    };
    let comparison = match traced.outcome.evidence {
        Some(_) => Some(compare_with_others(crew, worker, &traced, case)?),
        None => None,
    };
    Ok(Explanation { case: case.into(), outcome: traced.outcome.clone(), traced: Some(traced), comparison })
}

/// What can be said of a case that takes its process along.
fn without_a_trace(case: &str, how: String, replay: &str) -> Explanation {
    let (scenario, seed) = named_in(case).unwrap_or_default();
    let outcome = Outcome::without_report(Verdict::Stuck { detail: how }, &scenario, seed, replay);
    Explanation { case: case.into(), outcome, traced: None, comparison: None }
}

fn compare_with_others(
    crew: &Crew,
    mut worker: WorkerProcess,
    traced: &Traced,
    case: &str,
) -> Result<Comparison, CrewError> {
    let case = traced.spelled_out.as_deref().unwrap_or(case);
    let table: Table = toml::from_str(case).map_err(|error| CrewError::Defect(error.to_string()))?;
    let mut candidates = without_one::without_one(&table);
    let mut lost = 0;
    loop {
        match worker.ask(&Order::Compare { case: case.into(), candidates: candidates.clone() }) {
            Ok(Answer::Compared(comparison)) => return Ok(*comparison),
            Ok(Answer::Refused(why)) => return Err(CrewError::Refused(why)),
            Ok(_) => return Err(CrewError::Defect("a worker answered what it was not asked".into())),
            // Without that thing the case is worse still.
            Err(Death::OnRun { run, .. }) if lost < LOST && (run as usize) < candidates.len() => {
                lost += 1;
                candidates.remove(run as usize);
                worker = WorkerProcess::start(crew.patience, &crew.stop)?;
            }
            Err(Death::OnRun { .. }) => {
                return Ok(Comparison { untried: candidates.len(), ..Comparison::default() });
            }
            Err(death) => return Err(death.into()),
        }
    }
}

/// The worker's side: runs a case with everything recorded.
pub(super) fn trace(case: &Case, report: Report, replay: &str) -> Traced {
    Traced {
        outcome: Outcome::of(&report, case.scenario.name(), case.seed, replay),
        spelled_out: spelled_out(case, &report),
        timeline: report.timeline.unwrap_or_default(),
        waits: report.waits.unwrap_or_default(),
    }
}

fn spelled_out(case: &Case, report: &Report) -> Option<String> {
    let schedule = ScheduleSpec::Replay { departures: report.departures.clone() };
    let spelled_out = Case { schedule, ..case.clone() };
    let same = run(&spelled_out, Detail::Digest).digest == report.digest;
    same.then(|| spelled_out.to_toml().ok()).flatten()
}

/// The worker's side: finds the nearest run that passes. `on` is told which candidate's turn it is.
pub(super) fn compare(
    case: &Case,
    candidates: &[Candidate],
    scenarios: Scenarios,
    on: &mut dyn FnMut(usize),
) -> Comparison {
    let explained = run(case, Detail::Full).timeline.unwrap_or_default();
    let mut comparison = Comparison::default();
    let mut steps_left = STEPS;
    for (number, candidate) in candidates.iter().enumerate() {
        if steps_left == 0 {
            comparison.untried += 1;
            continue;
        }
        if candidate.last_resort && comparison.nearest.as_ref().is_some_and(|nearest| nearest.common > 0) {
            break;
        }
        on(number);
        // What the scenario cannot play is no case.
        let Ok(without) = Case::from_toml(&candidate.case, scenarios) else { continue };
        let report = run(&without, Detail::Digest);
        comparison.tried += 1;
        steps_left = steps_left.saturating_sub(report.steps);
        if !report.verdict.is_pass() {
            continue;
        }
        comparison.passed += 1;
        on(number);
        let report = run(&without, Detail::Full);
        steps_left = steps_left.saturating_sub(report.steps);
        let Some(passing) = &report.timeline else { continue };
        let common = in_common(&explained, passing);
        if comparison.nearest.as_ref().is_none_or(|nearest| common > nearest.common) {
            comparison.nearest = Some(Nearest {
                lacks: candidate.lacks.clone(),
                case: candidate.case.clone(),
                common,
                last_common: common.checked_sub(1).and_then(|last| told(&explained, last..common).pop()),
                explained: told(&explained, common..common + LINES),
                passing: told(passing, common..common + LINES),
                outcome: Outcome::of(&report, without.scenario.name(), without.seed, ""),
            });
        }
    }
    comparison
}

/// How many lines two logs have in common from the start: the same tasks do the same at the same time.
fn in_common(one: &Timeline, other: &Timeline) -> usize {
    let same = |(mine, theirs): &(&Line, &Line)| {
        mine.at.ns == theirs.at.ns
            && one.who(mine.task) == other.who(theirs.task)
            && one.words(mine) == other.words(theirs)
    };
    one.log.iter().zip(&other.log).take_while(same).count()
}

fn told(timeline: &Timeline, lines: std::ops::Range<usize>) -> Vec<Told> {
    let lines =
        timeline.log.get(lines.start.min(timeline.log.len())..).unwrap_or_default().iter().take(lines.len());
    let told = |line: &Line| Told {
        at: line.at,
        who: timeline.who(line.task).into(),
        text: timeline.words(line),
        source: line.source.clone(),
    };
    lines.map(told).collect()
}
