//! Shrinking: a case that fails is made smaller, as long as it fails alike.
//!
//! Workload, faults, cancellations and schedule shrink together, down to where removing any one thing loses the failure
//! (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002). It works on the case's TOML and so
//! for every scenario; what [`Scenario::load`](crate::case::Scenario::load) refuses is no candidate.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `search` | what is tried, in which order: a pure function |
//! | `tree` | a case as a tree: what can go, and how the rest is renumbered |
//! | `jury` | workers that try cases |
//! | `layout` | the smaller case as a person would write it |

mod jury;
mod layout;
mod search;
pub(super) mod tree;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use toml::{Table, Value};

use self::jury::Jury;
use self::search::{Ended, Judge, Search, Timing, replay, under};
use super::examiner::{Examiner, unasked, without_relapses};
use super::{Answer, Crew, CrewError, Order, Source, Stopwatch, Wanted};
use crate::case::Symptom;

/// When a search that has not come to its end is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most cases that are tried.
    pub attempts: u64,
    /// The most real time.
    pub time: Duration,
}

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smaller case, as TOML.
    pub case: String,
    /// What its failure looks like.
    pub symptom: Symptom,
    /// How large the case was.
    pub before: Size,
    /// How large it is.
    pub after: Size,
    /// How many cases were tried.
    pub attempts: u64,
    /// How much real time that took.
    pub took: Duration,
    /// Removing any one thing loses the failure. Otherwise the limits, or somebody, ended the search.
    pub minimal: bool,
}

/// How large a case is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Faults.
    pub faults: usize,
    /// Cancellations.
    pub cancels: usize,
    /// Elements of the workload, by the names of the arrays that they are in: servers, readers, reads.
    pub workload: BTreeMap<String, usize>,
    /// Departures from first in, first out.
    pub departures: usize,
    /// Polls.
    pub steps: u64,
}

/// Shrinks a case; nothing when it passes. `progress` is called now and then with the number of cases tried.
///
/// # Errors
/// [`CrewError::Refused`] when the case cannot be read or played.
pub fn shrink(
    crew: &Crew,
    case: &str,
    limits: Limits,
    progress: &mut dyn FnMut(u64),
) -> Result<Option<Shrunk>, CrewError> {
    let watch = Stopwatch::start();
    let Some(start) = Start::of(crew, case)? else { return Ok(None) };
    let mut jury = Jury::new(crew);
    let mut tried = 0;
    let mut judge = |cases: &[String], most_steps| {
        if tried >= limits.attempts || watch.elapsed() >= limits.time || crew.stop.is_wanted() {
            return Err(Ended::Budget);
        }
        tried += cases.len() as u64;
        progress(tried);
        let wanted = Wanted { most_steps, ..start.wanted.clone() };
        jury.first(cases, &wanted).map_err(|error| match error {
            CrewError::Stopped => Ended::Budget,
            error => Ended::Failed(error),
        })
    };
    let mut attempts = 0;
    let mut best: Option<Found> = None;
    for timing in [Timing::Levelled, Timing::Kept] {
        let found = start.search(timing, &mut judge)?;
        attempts += found.attempts;
        let minimal = found.minimal;
        if best.as_ref().is_none_or(|best| minimal && found.size.weight() < best.size.weight()) {
            best = Some(found);
        }
        // With few departures left, there is little that timing could do for them.
        if !minimal || best.as_ref().is_some_and(|best| best.size.departures <= search::FEW_DEPARTURES) {
            break;
        }
    }
    let Some(best) = best else { return Err(CrewError::Stopped) };
    let case = layout::lay_out(&made(crew, &best.case)?);
    Ok(Some(Shrunk {
        // Alike, but of this case.
        symptom: Examiner::new(crew).examine(&case)?.symptom,
        case,
        before: start.size,
        after: best.size,
        attempts,
        took: watch.elapsed(),
        minimal: best.minimal,
    }))
}

/// What one search came to.
struct Found {
    case: Table,
    size: Size,
    attempts: u64,
    minimal: bool,
}

/// Where a search starts.
struct Start {
    case: Table,
    size: Size,
    wanted: Wanted,
}

impl Start {
    /// The case, read and written again, with its schedule as departures; and what its failure looks like.
    fn of(crew: &Crew, case: &str) -> Result<Option<Start>, CrewError> {
        let mut examiner = Examiner::new(crew);
        let mut case = made(crew, &parsed(case)?)?;
        let text = layout::lay_out(&case);
        let examined = examiner.examine(&text)?;
        if examined.symptom.verdict == "pass" {
            return Ok(None);
        }
        let by_relapse = match without_relapses(&text) {
            Some(healthy) => examiner.examine(&healthy)?.symptom.verdict == "pass",
            None => false,
        };
        if let Some(departures) = examined.departures {
            case = under(&case, replay(&departures));
        }
        let size = Size::of(&case, examined.outcome.steps);
        let wanted = Wanted { like: examined.symptom, by_relapse, most_steps: u64::MAX };
        Ok(Some(Start { case, size, wanted }))
    }

    fn search(&self, timing: Timing, judge: &mut Judge<'_>) -> Result<Found, CrewError> {
        let mut search = Search::new(self.case.clone(), self.size.steps, timing, judge);
        let minimal = match search.run() {
            Ok(()) => true,
            Err(Ended::Budget) => false,
            Err(Ended::Failed(error)) => return Err(error),
        };
        let Search { case, steps, attempts, .. } = search;
        Ok(Found { size: Size::of(&case, steps), case, attempts, minimal })
    }
}

impl Size {
    /// How much there is to understand.
    fn weight(&self) -> usize {
        self.faults + self.cancels + self.departures + self.workload.values().sum::<usize>()
    }

    fn of(case: &Table, steps: u64) -> Size {
        let length = |key: &str| case.get(key).and_then(Value::as_array).map_or(0, Vec::len);
        let mut workload = BTreeMap::new();
        if let Some(value) = case.get("workload") {
            count_elements(value, &mut workload);
        }
        let departures = tree::at(case, &search::departures()).and_then(Value::as_array);
        Size {
            faults: length("fault"),
            cancels: length("cancel"),
            workload,
            departures: departures.map_or(0, Vec::len),
            steps,
        }
    }
}

/// Counts the tables in arrays, by the arrays' names.
fn count_elements(value: &Value, counts: &mut BTreeMap<String, usize>) {
    let Value::Table(table) = value else { return };
    for (key, value) in table {
        match value {
            Value::Array(array) if !array.is_empty() && array.iter().all(Value::is_table) => {
                *counts.entry(key.clone()).or_default() += array.len();
                array.iter().for_each(|element| count_elements(element, counts));
            }
            value => count_elements(value, counts),
        }
    }
}

fn parsed(text: &str) -> Result<Table, CrewError> {
    toml::from_str(text).map_err(|error| CrewError::Refused(format!("not a case file: {}", error.message())))
}

/// A case as TOML that has been read back and found good.
fn made(crew: &Crew, case: &Table) -> Result<Table, CrewError> {
    let source = Source::Toml(toml::to_string(case).map_err(|error| CrewError::Refused(error.to_string()))?);
    match crew.ask(&Order::Make { source, edits: Vec::new() })? {
        Answer::Made(case) => parsed(&case),
        _ => Err(unasked()),
    }
}
