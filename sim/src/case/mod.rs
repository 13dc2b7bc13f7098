//! The one pure function: [`run`] takes a [`Case`], which holds all that a run depends on, and gives a
//! [`Report`].

mod dice;
mod file;
mod report;
mod run;
mod scenario;

use std::sync::Arc;

pub use dice::Dice;
pub use file::CaseError;
pub use report::{Report, Verdict};
pub use run::{Detail, run};
pub use scenario::{Draft, Scenario, Scenarios, Workload};

use crate::fault::Fault;
use crate::schedule::ScheduleSpec;
use crate::world::Knobs;

/// All that a run depends on, as data.
#[derive(Clone)]
pub struct Case {
    /// The scenario that plays it.
    pub scenario: &'static dyn Scenario,
    /// Where the dice of the world start: latencies, jobs, entropy and a random schedule.
    pub seed: u64,
    /// Known bugs that are put back.
    pub relapses: Vec<String>,
    /// What the world is like where it is not faulty.
    pub knobs: Knobs,
    /// Who runs next.
    pub schedule: ScheduleSpec,
    /// What is done: files, servers, readers.
    pub workload: Arc<dyn Workload>,
    /// What goes wrong, and at which logical points.
    pub faults: Vec<Fault>,
}

impl Case {
    /// The case that `seed` draws for a scenario, under a schedule of its own drawing.
    pub fn draw(scenario: &'static dyn Scenario, seed: u64) -> Case {
        let draft = scenario.draw(&mut Dice::new(seed, scenario.name()));
        let mut dice = Dice::new(seed, "which schedule");
        let schedule = dice.weighted(&[(1, ScheduleSpec::Fifo), (2, ScheduleSpec::Uniform)]).clone();
        Case {
            scenario,
            seed,
            relapses: Vec::new(),
            knobs: draft.knobs,
            schedule,
            workload: draft.workload,
            faults: draft.faults,
        }
    }
}
