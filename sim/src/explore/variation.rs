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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Dice, Draft, Manner, Scenario, Workload};
    use crate::world::World;

    struct Nothing;

    impl Scenario for Nothing {
        fn name(&self) -> &'static str {
            "nothing"
        }

        fn about(&self) -> &'static str {
            "nothing happens"
        }

        fn draw(&self, _dice: &mut Dice) -> Draft {
            Draft {
                workload: std::sync::Arc::new(toml::Table::new()),
                faults: Vec::new(),
                knobs: Default::default(),
            }
        }

        fn load(&self, workload: toml::Table) -> Result<std::sync::Arc<dyn Workload>, String> {
            Ok(std::sync::Arc::new(workload))
        }

        fn play(
            &self,
            _case: std::sync::Arc<Case>,
            _world: World,
        ) -> futures::future::BoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    #[test]
    fn deviations_are_added_in_their_order() {
        let depart = |run: &str| Departure { instead_of: "a.0#0".into(), run: run.into() };
        let cancel = Cancel { operation: "a.0/b.0".into(), after: None, by: Manner::Drop };
        let fault = Fault::Point { at: "c.0".into(), nth: 1, effect: "lose".into() };
        let mut base = Case::draw(&Nothing, 1);
        base.schedule = ScheduleSpec::Fifo;
        let case = base.varied(&[
            Deviation::Depart(depart("b.0")),
            Deviation::Fail(fault.clone()),
            Deviation::Depart(depart("c.0")),
            Deviation::Cancel(cancel.clone()),
        ]);
        let departures = vec![depart("b.0"), depart("c.0")];
        assert_eq!(case.schedule, ScheduleSpec::Replay { departures });
        assert_eq!((case.faults, case.cancels), (vec![fault], vec![cancel]));
    }
}
