//! The one pure function: [`run`] takes a [`Case`], which holds all that a run depends on, and gives a
//! [`Report`].

mod bytes;
mod cancel;
mod dice;
mod file;
mod report;
mod run;
mod scenario;
mod script;
mod symptom;

use std::sync::Arc;

pub use cancel::{Cancel, Manner};
pub use dice::Dice;
pub use file::CaseError;
pub use report::{Report, Verdict};
pub use run::{Detail, run};
pub use scenario::{Draft, Scenario, Scenarios, Workload};
pub use script::Script;
pub use symptom::{Expect, Symptom, WaitEnd};
pub use toml::Table;

use crate::fault::Fault;
use crate::schedule::{ScheduleKind, ScheduleSpec};
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
    /// Which operations are cancelled, and when.
    pub cancels: Vec<Cancel>,
}

impl Case {
    /// The case that `seed` draws for a scenario, under a schedule that it draws from the
    /// [portfolio](crate::schedule::PORTFOLIO).
    pub fn draw(scenario: &'static dyn Scenario, seed: u64) -> Case {
        let draft = scenario.draw(&mut Dice::new(seed, scenario.name()));
        Case {
            scenario,
            seed,
            relapses: Vec::new(),
            knobs: draft.knobs,
            schedule: ScheduleKind::draw(seed).schedule(seed),
            workload: draft.workload,
            faults: draft.faults,
            cancels: Vec::new(),
        }
    }

    /// What tells the case's grid from others before anything has happened: a hash of the damage that is done at once, and
    /// of the clocks.
    pub(crate) fn standing(&self) -> u64 {
        let standing = |fault: &&Fault| matches!(fault, Fault::Share { .. } | Fault::Clock { .. });
        let damage = self.faults.iter().filter(standing);
        let texts = damage.map(|fault| format!("{fault:?}")).collect::<std::collections::BTreeSet<_>>();
        texts
            .iter()
            .fold(0, |hash, text| crate::trace::mix(hash, xxhash_rust::xxh3::xxh3_64(text.as_bytes())))
    }
}
