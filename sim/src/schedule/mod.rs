//! Who runs next. At each step the world asks the run's schedule to pick one ready task.
//!
//! | kind | picks | guarantee |
//! | --- | --- | --- |
//! | `fifo` | the task that has been ready longest | |
//! | `uniform` | any ready task, each with the same chance | every interleaving is possible |
//! | `bounded` | first in first out, but for so many departures at random decisions | every set of so many departures is as likely |
//! | `pct` | the ready task of the highest priority; priorities are random, and drop at depth − 1 random decisions | a bug of depth d with probability 1/(n·k^(d−1)): n tasks, k decisions |
//! | `pctcp` | the same with priorities of chains of events, each of which caused the next | 1/(c·k^(d−1)): c chains |
//! | `urw` | a ready task with a chance in proportion to the steps that it and its unborn children have left | every interleaving is as likely, when the counts are right |
//! | `replay` | first in first out, but for these departures | the very run that they were taken from |
//!
//! A *decision* is a step at which more than one task is ready. With one ready task a schedule is not asked.

mod bounded;
mod fifo;
mod pct;
mod pctcp;
mod portfolio;
mod priorities;
mod replay;
mod uniform;
mod urw;

use serde::{Deserialize, Serialize};

pub use portfolio::{PORTFOLIO, ScheduleKind};
pub use replay::Departure;
pub(crate) use urw::{Census, StepCounts};

/// Which schedule a case runs under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleSpec {
    /// The task that has been ready longest.
    #[default]
    Fifo,
    /// Any ready task, each with the same chance, from the run's own dice.
    Uniform,
    /// First in, first out, but for at most so many departures.
    Bounded {
        /// How many decisions are taken otherwise: 0 ..= [`MOST_DEPARTURES`], and no more than `steps`.
        departures: u32,
        /// They are drawn from the first so many decisions: 1 ..= [`MOST_STEPS`].
        steps: u32,
    },
    /// Probabilistic concurrency testing: Burckhardt et al., ASPLOS 2010.
    Pct {
        /// The depth of the bugs looked for, one more than there are priority changes: 1 ..= [`MOST_DEPTH`].
        depth: u32,
        /// The changes are drawn from the first so many decisions: 1 ..= [`MOST_STEPS`].
        steps: u32,
    },
    /// The same for message passing: Ozkan et al., OOPSLA 2018.
    Pctcp {
        /// The depth of the bugs looked for, one more than there are priority changes: 1 ..= [`MOST_DEPTH`].
        depth: u32,
        /// The changes are drawn from the first so many decisions: 1 ..= [`MOST_STEPS`].
        steps: u32,
    },
    /// The uniform random walk: Zhao et al., ASPLOS 2025. The case is first played first in first out, to count steps,
    /// which costs a second run.
    Urw,
    /// First in, first out, but for these departures: how a run is kept and shrunk.
    Replay {
        /// The steps at which another task than the first was picked.
        departures: Vec<Departure>,
    },
}

/// The most departures of [`ScheduleSpec::Bounded`].
pub const MOST_DEPARTURES: u32 = 1000;
/// The largest depth of [`ScheduleSpec::Pct`] and [`ScheduleSpec::Pctcp`].
pub const MOST_DEPTH: u32 = 100;
/// The most steps that parameters can be drawn from: no run has more.
pub const MOST_STEPS: u32 = 1_000_000;

/// A ready task, as a schedule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number: unique in a run, ascending by birth.
    pub task: u32,
    /// The hash of its label, the same in every run and build.
    pub label: u64,
    /// How often it has been polled.
    pub polls: u32,
}

/// Picks who runs next.
pub trait Schedule {
    /// A task was born, in a step of `parent`; none when the harness bore it. Numbers ascend from 0 without a gap.
    fn spawned(&mut self, _task: Candidate, _parent: Option<u32>) {}

    /// A task became ready, by birth or otherwise, in a step of `by`; none when a timer or the task itself woke it.
    fn woken(&mut self, _task: Candidate, _by: Option<u32>) {}

    /// An index into `ready`, which holds at least two and is in the order in which the tasks became ready.
    fn pick(&mut self, ready: &[Candidate]) -> usize;
}

impl ScheduleSpec {
    /// The name of its kind, on the command line and in case files.
    pub fn name(&self) -> &'static str {
        match self {
            ScheduleSpec::Fifo => "fifo",
            ScheduleSpec::Uniform => "uniform",
            ScheduleSpec::Bounded { .. } => "bounded",
            ScheduleSpec::Pct { .. } => "pct",
            ScheduleSpec::Pctcp { .. } => "pctcp",
            ScheduleSpec::Urw => "urw",
            ScheduleSpec::Replay { .. } => "replay",
        }
    }

    /// Whether its parameters are in range. The error says which is not.
    pub fn check(&self) -> Result<(), String> {
        match *self {
            ScheduleSpec::Bounded { departures, steps } => {
                within("departures", departures, 0..=MOST_DEPARTURES.min(steps))?;
                within("steps", steps, 1..=MOST_STEPS)
            }
            ScheduleSpec::Pct { depth, steps } | ScheduleSpec::Pctcp { depth, steps } => {
                within("depth", depth, 1..=MOST_DEPTH)?;
                within("steps", steps, 1..=MOST_STEPS)
            }
            ScheduleSpec::Fifo | ScheduleSpec::Uniform | ScheduleSpec::Urw | ScheduleSpec::Replay { .. } => {
                Ok(())
            }
        }
    }

    /// The schedule itself, with its dice. Only [`ScheduleSpec::Urw`] looks at `counts`.
    pub(crate) fn start(&self, seed: u64, counts: StepCounts) -> Box<dyn Schedule> {
        match *self {
            ScheduleSpec::Fifo => Box::new(fifo::Fifo),
            ScheduleSpec::Uniform => Box::new(uniform::Uniform::new(seed)),
            ScheduleSpec::Bounded { departures, steps } => {
                Box::new(bounded::Bounded::new(seed, departures, steps))
            }
            ScheduleSpec::Pct { depth, steps } => Box::new(pct::Pct::new(seed, depth, steps)),
            ScheduleSpec::Pctcp { depth, steps } => Box::new(pctcp::Pctcp::new(seed, depth, steps)),
            ScheduleSpec::Urw => Box::new(urw::Urw::new(seed, counts)),
            ScheduleSpec::Replay { ref departures } => Box::new(replay::Replay::new(departures)),
        }
    }
}

fn within(name: &str, value: u32, range: std::ops::RangeInclusive<u32>) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => {
            Err(format!("the schedule's `{name}` is {value}, not in {}..={}", range.start(), range.end()))
        }
    }
}
