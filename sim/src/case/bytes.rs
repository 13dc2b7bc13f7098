//! Cases out of bytes: how a coverage-guided fuzzer makes them.

use super::{Cancel, Case, Detail, Dice, Scenarios, run};
use crate::schedule::ScheduleKind;

/// The most cancellations of a case out of bytes.
const MOST_CANCELS: u64 = 3;

impl Case {
    /// The case that `bytes` stand for; none when there are no scenarios. Every byte string is a case, and a small change of
    /// it is a small change of the case: [`Dice::from_bytes`] draws scenario, seed, cancellations, schedule, workload and
    /// faults, in this order.
    ///
    /// Cancellations are drawn from the points that the case has without them: it is played once to see which these are.
    pub fn from_bytes(scenarios: Scenarios, bytes: &[u8]) -> Option<Case> {
        let mut dice = Dice::from_bytes(bytes);
        let scenario = *scenarios.0.get(dice.below(scenarios.0.len() as u64) as usize)?;
        // TOML has signed numbers.
        let seed = dice.below(1 << 63);
        // Half of the cases have none.
        let count = (dice.below(2 * MOST_CANCELS + 1)).saturating_sub(MOST_CANCELS);
        let places: Vec<u64> = (0..count).map(|_| dice.below(1 << 16)).collect();
        let schedule = ScheduleKind::draw_from(&mut dice).schedule_from(&mut dice);
        let draft = scenario.draw(&mut dice);
        let mut case = Case {
            scenario,
            seed,
            relapses: Vec::new(),
            knobs: draft.knobs,
            schedule,
            workload: draft.workload,
            faults: draft.faults,
            cancels: Vec::new(),
        };
        if !places.is_empty() {
            let points = run(&case, Detail::Points).points.unwrap_or_default();
            let all = points.cancels();
            let at = |place: &u64| all.get(place.checked_rem(all.len() as u64)? as usize).cloned();
            case.cancels = places.iter().filter_map(at).collect::<Vec<Cancel>>();
        }
        Some(case)
    }
}
