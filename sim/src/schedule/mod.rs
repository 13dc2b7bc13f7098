//! Who runs next. At each step the world asks the run's schedule to pick one ready task.

mod fifo;
mod replay;
mod uniform;

use serde::{Deserialize, Serialize};

pub use replay::Departure;

/// Which schedule a case runs under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleSpec {
    /// The task that has been ready longest.
    #[default]
    Fifo,
    /// Any ready task, each with the same chance, from the run's own dice.
    Uniform,
    /// First in, first out, but for these departures: how a run is kept and shrunk.
    Replay {
        /// The steps at which another task than the first was picked.
        departures: Vec<Departure>,
    },
}

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
    /// A task was born.
    fn spawned(&mut self, _task: Candidate) {}

    /// An index into `ready`, which is not empty and in the order in which the tasks became ready.
    fn pick(&mut self, ready: &[Candidate]) -> usize;
}

impl ScheduleSpec {
    /// The schedule itself, with its dice.
    pub(crate) fn start(&self, seed: u64) -> Box<dyn Schedule> {
        match self {
            ScheduleSpec::Fifo => Box::new(fifo::Fifo),
            ScheduleSpec::Uniform => Box::new(uniform::Uniform::new(seed)),
            ScheduleSpec::Replay { departures } => Box::new(replay::Replay::new(departures)),
        }
    }
}
