//! What the crawler keeps between two slices, as it is written to the database. What it reports has
//! [types of its own](super::report), so that no report can change what is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Counts;

/// A clock that moves further than this between two slices, beyond the time that passed, has stepped: 7 days.
const STEP: u64 = 7 * 24 * 60 * 60;

/// Corrupted shares that are named; more are only counted.
const NAMED: usize = 1000;

/// Where the crawler is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The number of the cycle in progress, or of the last one.
    pub cycle: u64,
    /// The prefix to go on with; none between two cycles.
    pub next: Option<u16>,
    /// When the cycle began, in seconds since the Unix epoch.
    pub started: u64,
    /// When the last slice ended; zero when there was none.
    pub last_slice: u64,
    /// The first cycle in which leases end again.
    pub expires_from: u64,
    /// What the cycle has found so far.
    pub found: Found,
}

/// What a cycle found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub counts: Counts,
    /// How many leases were last renewed so many days ago.
    pub lease_ages: BTreeMap<u64, u64>,
    /// Corrupted shares.
    pub corrupted: BTreeSet<String>,
}

/// A cycle that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub started: u64,
    pub ended: u64,
    pub found: Found,
}

impl State {
    /// Begins the next cycle.
    pub fn begin(&mut self, now: u64) {
        self.cycle += 1;
        self.next = Some(0);
        self.started = now;
        self.found = Found::default();
    }

    /// Seconds until the next cycle is due, when cycles begin at least `length` seconds apart.
    pub fn due_in(&self, now: u64, length: u64) -> u64 {
        match now.checked_sub(self.started) {
            Some(passed) if self.cycle > 0 => length.saturating_sub(passed),
            // The first, or the clock has moved back.
            _ => 0,
        }
    }

    /// True when the clock stepped forward since it was `last`, `elapsed` ago. Leases then end no more until a full
    /// cycle has passed (annex A9). A server that was off for so long cannot tell that from a step.
    pub fn note_clock(&mut self, last: u64, now: u64, elapsed: Duration) -> bool {
        let stepped = last > 0 && now.saturating_sub(last) > elapsed.as_secs().saturating_add(STEP);
        if stepped {
            // The next cycle, which is then a full one; the present one, if there is any, ends without.
            self.expires_from = self.cycle.saturating_add(2);
        }
        stepped
    }

    /// Whether leases end in this cycle.
    pub fn expires(&self) -> bool {
        self.cycle >= self.expires_from
    }
}

impl Found {
    /// Names a corrupted share, if there are not too many.
    pub fn name_corrupted(&mut self, share: String) {
        if self.corrupted.len() < NAMED {
            self.corrupted.insert(share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_keep_their_distance_by_the_clock() {
        let mut state = State::default();
        assert_eq!(state.due_in(1000, 100), 0, "the first at once");
        state.begin(1000);
        assert_eq!((state.due_in(1000, 100), state.due_in(1060, 100), state.due_in(1100, 100)), (100, 40, 0));
        assert_eq!(state.due_in(999, 100), 0, "the clock moved back");
    }

    #[test]
    fn a_step_of_the_clock_costs_a_full_cycle() {
        let mut state = State::default();
        state.begin(0);
        let day = 24 * 60 * 60;
        assert!(!state.note_clock(0, 900 * day, Duration::ZERO), "there was no slice before");
        assert!(!state.note_clock(day, 8 * day, Duration::ZERO), "not more than seven days");
        assert!(!state.note_clock(day, 20 * day, Duration::from_secs(13 * day)), "most of them have passed");
        assert!(!state.note_clock(20 * day, day, Duration::ZERO), "backwards");
        assert!(state.expires());
        assert!(state.note_clock(day, 8 * day + 1, Duration::ZERO));
        for expected in [false, false, true] {
            assert_eq!(state.expires(), expected, "cycle {}", state.cycle);
            state.begin(0);
        }
    }

    #[test]
    fn the_state_comes_back_as_it_was_written() {
        let mut state = State::default();
        state.begin(5);
        state.next = Some(77);
        state.found.lease_ages.insert(3, 9);
        state.found.name_corrupted("a/1".into());
        state.found.counts.files = 12;
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
