//! Variations: cases that differ from a base in a few deviations, each at a named point.

use serde::{Deserialize, Serialize};

use crate::case::{Cancel, Case};
use crate::fault::Fault;
use crate::schedule::{Departure, ScheduleSpec};

/// One thing that a case has more than its base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deviation {
    /// Not the first ready task runs.
    Depart(Departure),
    /// Something goes wrong.
    Fail(Fault),
    /// An operation is cancelled.
    Cancel(Cancel),
}

/// Cases that differ from one base.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Variations {
    /// The base, as TOML.
    pub base: String,
    /// What each case has more than the base.
    pub deviations: Vec<Vec<Deviation>>,
}

impl Case {
    /// The case with some deviations more. Departures are from the first-in-first-out order, or from that of a case that is
    /// a replay already.
    pub(super) fn varied(&self, deviations: &[Deviation]) -> Case {
        let mut case = self.clone();
        for deviation in deviations {
            match deviation {
                Deviation::Fail(fault) => case.faults.push(fault.clone()),
                Deviation::Cancel(cancel) => case.cancels.push(cancel.clone()),
                Deviation::Depart(departure) => match &mut case.schedule {
                    ScheduleSpec::Replay { departures } => departures.push(departure.clone()),
                    schedule => *schedule = ScheduleSpec::Replay { departures: vec![departure.clone()] },
                },
            }
        }
        case
    }
}
