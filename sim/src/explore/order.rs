//! What a parent and its worker say to each other: an order a line, an answer a line, in JSON.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Candidate, Comparison, Deviation, Outcome, Plan, Tally, Traced, Variations};
use crate::case::{Case, CaseError, Scenarios, Symptom};
use crate::schedule::{Departure, ScheduleKind};
use crate::trace::{Happening, StepDigests};
use crate::world::{CrashPoint, Points};

/// What a worker is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Run these runs of a plan, and tell what is asked for.
    Sweep {
        /// The plan.
        plan: Plan,
        /// Which of its runs.
        runs: Range<u64>,
        /// What to tell.
        telling: Telling,
    },
    /// Run variations of a case, and tell the findings.
    Vary {
        /// The case and the variations of this order.
        variations: Variations,
        /// The number of the first of them.
        first: u64,
    },
    /// Run a case and tell the points at which others can part from it.
    Points {
        /// Where the case comes from.
        source: Source,
        /// What to vary in it.
        deviations: Vec<Deviation>,
    },
    /// Run variations of a case and tell the points of each at which an actor could have gone down.
    Crashes {
        /// The case and the variations.
        variations: Variations,
    },
    /// Run one run of a plan with everything recorded.
    Record {
        /// The plan.
        plan: Plan,
        /// Which of its runs.
        run: u64,
        /// Only says whether the case is drawn or made from its TOML.
        telling: Telling,
    },
    /// Make a case, and give it back as TOML.
    Make {
        /// From what.
        source: Source,
        /// What to change in it, in this order.
        edits: Vec<Edit>,
    },
    /// Run a case with everything recorded.
    Trace {
        /// The case as TOML.
        case: String,
        /// The command that repeats it.
        replay: String,
    },
    /// Find the nearest run that passes.
    Compare {
        /// The case as TOML.
        case: String,
        /// The cases to compare it with. A worker that dies on one of them is on the run of its number.
        candidates: Vec<Candidate>,
    },
    /// Run a case and tell everything.
    Play {
        /// The case as TOML.
        case: String,
        /// The command that repeats it.
        replay: String,
        /// Whether to tell the story as well.
        story: bool,
    },
    /// Run a case, and say what it looks like.
    Examine {
        /// The case as TOML.
        case: String,
    },
    /// Run cases until one fails as wanted.
    Try {
        /// The cases as JSON of the same shape. What cannot be read or played is passed over.
        cases: Vec<String>,
        /// What is looked for.
        wanted: Wanted,
    },
}

/// Which failure is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// What it looks like.
    pub like: Symptom,
    /// It must be due to the case's relapses: without them, the same case passes.
    pub by_relapse: bool,
    /// The run has no more steps than so many.
    pub most_steps: u64,
}

/// What to tell about the runs of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Telling {
    /// Findings.
    Findings,
    /// Findings that the same runs without the relapses do not have.
    Relapses,
    /// Every run.
    Each,
    /// Every run, with its step digests.
    Steps,
    /// Every run, with its step digests, each made from its case's TOML instead of drawn.
    FromToml,
}

/// Where a case comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Source {
    /// A seed draws it.
    Seed {
        /// The scenario's name.
        scenario: String,
        /// The seed.
        seed: u64,
        /// The kind of schedule, instead of the one that the seed draws.
        schedule: Option<ScheduleKind>,
    },
    /// A run of a plan.
    Run {
        /// The plan.
        plan: Plan,
        /// Which of its runs.
        index: u64,
    },
    /// Somebody wrote it.
    Toml(String),
    /// A case and what it has more.
    Varied {
        /// The case as TOML.
        base: String,
        /// What it has more.
        deviations: Vec<Deviation>,
    },
}

/// A change to a case: the value at a dotted path of its TOML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Names and numbers, separated by dots.
    pub path: String,
    /// A TOML value, or a string without quotes.
    pub value: String,
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Order::Sweep`] and [`Order::Vary`].
    Swept {
        /// Which runs.
        runs: Range<u64>,
        /// What they came to.
        tally: Tally,
        /// What was to be told, with the run's number, in order.
        told: Vec<(u64, Outcome)>,
    },
    /// To [`Order::Points`].
    Points {
        /// The case as TOML, without what was varied.
        case: String,
        /// What became of it.
        outcome: Outcome,
        /// Its points.
        points: Points,
    },
    /// To [`Order::Crashes`].
    Crashes(Vec<Vec<CrashPoint>>),
    /// To [`Order::Record`].
    Recorded(Record),
    /// To [`Order::Make`].
    Made(String),
    /// To [`Order::Trace`].
    Traced(Box<Traced>),
    /// To [`Order::Compare`].
    Compared(Box<Comparison>),
    /// To [`Order::Play`].
    Played(Told),
    /// To [`Order::Examine`].
    Examined(Examined),
    /// To [`Order::Try`]: the first case that fails as wanted, by its place.
    Tried(Option<(usize, Examined)>),
    /// To anything: the input is at fault, in one line.
    Refused(String),
}

/// Everything about one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// What became of it.
    pub outcome: Outcome,
    /// The story, a line each, when it was asked for.
    pub story: Vec<String>,
    /// When it hung: who waits for what.
    pub waits: Option<String>,
}

/// Scenario and seed of a case file that nobody has read closely.
pub fn named_in(case: &str) -> Option<(String, u64)> {
    let case: toml::Table = toml::from_str(case).ok()?;
    let seed = case.get("seed")?.as_integer()?;
    Some((case.get("scenario")?.as_str()?.into(), u64::try_from(seed).ok()?))
}

/// What a run looks like to those who compare runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// What became of it.
    pub outcome: Outcome,
    /// What that looks like.
    pub symptom: Symptom,
    /// Where it departs from first in, first out; none when it took its process along.
    pub departures: Option<Vec<Departure>>,
    /// The coverage marks that it came by; for an examination only.
    pub reached: Vec<String>,
}

/// All that one run did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The running digest after each step.
    pub steps: StepDigests,
    /// What happened.
    pub happenings: Vec<Happening>,
}

impl Source {
    /// The case, edited, as TOML that has been read back and found good. The error is one line.
    pub(super) fn make(self, edits: &[Edit], scenarios: Scenarios) -> Result<String, String> {
        let unwritable = |error: toml::ser::Error| format!("the case cannot be written as TOML: {error}");
        let text = match self {
            Source::Toml(text) => text,
            Source::Seed { scenario, seed, schedule } => {
                let scenario = scenarios.find(&scenario).ok_or(CaseError::UnknownScenario(scenario));
                let mut case = Case::draw(scenario.map_err(|error| error.to_string())?, seed);
                if let Some(kind) = schedule {
                    case.schedule = kind.schedule(seed);
                }
                case.to_toml().map_err(unwritable)?
            }
            Source::Varied { base, deviations } => {
                let base = Case::from_toml(&base, scenarios).map_err(|error| error.to_string())?;
                base.varied(&deviations).to_toml().map_err(unwritable)?
            }
            Source::Run { plan, index } => plan.case(index, scenarios)?.to_toml().map_err(unwritable)?,
        };
        let text = edits.iter().try_fold(text, |text, edit| edit.apply(&text))?;
        let case = Case::from_toml(&text, scenarios).map_err(|error| error.to_string())?;
        case.to_toml().map_err(unwritable)
    }
}

impl Plan {
    /// The case of a run.
    pub(super) fn case(&self, index: u64, scenarios: Scenarios) -> Result<Case, String> {
        let (scenario, seed) = self.coordinate(index);
        let name = &self.scenarios[scenario];
        let scenario =
            scenarios.find(name).ok_or_else(|| CaseError::UnknownScenario(name.clone()).to_string())?;
        let mut case = Case::draw(scenario, seed);
        case.relapses.clone_from(&self.relapses);
        if let Some(kind) = self.schedule {
            case.schedule = kind.schedule(seed);
        }
        Ok(case)
    }
}

impl Edit {
    /// Reads `path=value`.
    pub fn parse(text: &str) -> Result<Edit, String> {
        match text.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() => {
                Ok(Edit { path: path.trim().into(), value: value.trim().into() })
            }
            _ => Err("write path=value, as in knobs.job_us=0".into()),
        }
    }

    /// Puts known bugs back.
    pub fn relapses(names: &[String]) -> Edit {
        let list = names.iter().map(|name| toml::Value::String(name.clone())).collect();
        Edit { path: "relapses".into(), value: toml::Value::Array(list).to_string() }
    }

    fn apply(&self, text: &str) -> Result<String, String> {
        let mut case: toml::Table = toml::from_str(text).map_err(|error| error.message().to_string())?;
        let (parents, last) = match self.path.rsplit_once('.') {
            Some((parents, last)) => (parents.split('.').collect(), last),
            None => (Vec::new(), self.path.as_str()),
        };
        let nothing = |name: &str| format!("cannot set {}: the case has no `{name}` there", self.path);
        // A table is needed at the top, a value below: the top is wrapped to make it one.
        let mut top = toml::Value::Table(std::mem::take(&mut case));
        let mut place = &mut top;
        for name in parents {
            place = match place {
                toml::Value::Table(table) => table.get_mut(name),
                toml::Value::Array(array) => name.parse().ok().and_then(|at: usize| array.get_mut(at)),
                _ => None,
            }
            .ok_or_else(|| nothing(name))?;
        }
        match place {
            toml::Value::Table(table) => {
                table.insert(last.into(), self.value());
            }
            toml::Value::Array(array) => {
                let at: Option<usize> = last.parse().ok();
                let at = at.filter(|at| *at <= array.len()).ok_or_else(|| nothing(last))?;
                match array.get_mut(at) {
                    Some(slot) => *slot = self.value(),
                    None => array.push(self.value()),
                }
            }
            _ => return Err(nothing(last)),
        }
        toml::to_string(&top).map_err(|error| error.to_string())
    }

    /// The value as TOML; what is no TOML is a string.
    fn value(&self) -> toml::Value {
        let table = toml::from_str::<toml::Table>(&format!("value = {}", self.value));
        let value = table.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        value.unwrap_or_else(|| toml::Value::String(self.value.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(edit: &str) -> Result<toml::Table, String> {
        let text = "seed = 1\n[schedule]\nkind = \"fifo\"\n[[fault]]\nserver = 3\n";
        let text = Edit::parse(edit).unwrap().apply(text)?;
        Ok(toml::from_str(&text).unwrap())
    }

    #[test]
    fn an_edit_reaches_tables_arrays_and_the_top() {
        assert_eq!(edited("seed=7").unwrap()["seed"].as_integer(), Some(7));
        assert_eq!(edited("schedule.kind=uniform").unwrap()["schedule"]["kind"].as_str(), Some("uniform"));
        assert_eq!(edited("fault.0.server=4").unwrap()["fault"][0]["server"].as_integer(), Some(4));
        assert_eq!(edited("fault.1={server = 5}").unwrap()["fault"][1]["server"].as_integer(), Some(5));
        assert_eq!(edited("seed=1\nx=2").unwrap()["seed"].as_str(), Some("1\nx=2"));
    }

    #[test]
    fn an_edit_of_what_is_not_there_says_so() {
        assert!(edited("knobs.job_us=1").unwrap_err().contains("no `knobs`"));
        assert!(edited("fault.2.server=1").unwrap_err().contains("no `2`"));
        assert!(edited("fault.2=1").unwrap_err().contains("no `2`"));
        assert!(edited("seed.x=1").unwrap_err().contains("no `x`"));
        assert!(Edit::parse("seed").is_err() && Edit::parse("=1").is_err());
    }
}
