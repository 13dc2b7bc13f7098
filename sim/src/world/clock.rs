//! The wall clocks of actors: right, ahead, behind, or set while the actor runs. Time itself is the same for all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use super::{Actor, context, executor};
use crate::fault::{CLOCK_SKEW, CLOCK_STEP, Fault};

/// The wall clock at the start of a run: 2026-01-01 00:00 UTC.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// A clock that is set.
struct Setting {
    /// The name of its actor.
    of: String,
    at_ns: u64,
    step_s: i64,
    /// Somebody has read the clock since.
    felt: bool,
}

thread_local! {
    /// Whether any clock is wrong, which few are.
    static ANY: Cell<bool> = const { Cell::new(false) };
    static SETTINGS: RefCell<Vec<Setting>> = const { RefCell::new(Vec::new()) };
    /// How long before the run the machines were started that were.
    static UPTIMES: RefCell<BTreeMap<u32, Duration>> = const { RefCell::new(BTreeMap::new()) };
}

impl Actor {
    /// Says that the actor's machine was started so long before the run: its monotonic clock is ahead of others by that.
    pub fn booted_before(&self, uptime: Duration) {
        UPTIMES.with_borrow_mut(|uptimes| uptimes.insert(self.id, uptime));
    }
}

/// What the actor's machine shows as the time since it was started.
pub(crate) fn boot_time(actor: u32) -> Duration {
    let before = UPTIMES.with_borrow(|uptimes| uptimes.get(&actor).copied().unwrap_or_default());
    before.saturating_add(Duration::from_nanos(context::now()))
}

/// Prepares this thread for a run with these faults.
pub(crate) fn start(faults: &[Fault]) {
    let setting = |fault: &Fault| match fault {
        Fault::Clock { of, at_us, step_s } => {
            let at_ns = at_us.saturating_mul(1000);
            Some(Setting { of: of.clone(), at_ns, step_s: *step_s, felt: false })
        }
        _ => None,
    };
    let settings: Vec<_> = faults.iter().filter_map(setting).collect();
    ANY.set(!settings.is_empty());
    SETTINGS.set(settings);
    UPTIMES.take();
}

/// What the actor's wall clock says: time since the Unix epoch. No clock is set back before that.
pub(crate) fn unix_time(actor: u32) -> Duration {
    let right = EPOCH + Duration::from_nanos(context::now());
    if !ANY.get() {
        return right;
    }
    let name = executor::with(|executor| executor.actors[actor as usize].name.clone());
    let mut ahead_s = 0_i64;
    SETTINGS.with_borrow_mut(|settings| {
        let set = |setting: &&mut Setting| setting.of == name && setting.at_ns <= context::now();
        for setting in settings.iter_mut().filter(set) {
            ahead_s = ahead_s.saturating_add(setting.step_s);
            if !std::mem::replace(&mut setting.felt, true) {
                super::took_effect(if setting.at_ns == 0 { CLOCK_SKEW } else { CLOCK_STEP });
                tracing::debug!(target: "fault", clock = name, step_s = setting.step_s, "the clock was set");
            }
        }
    });
    let ahead = Duration::from_secs(ahead_s.unsigned_abs());
    if ahead_s < 0 { right.saturating_sub(ahead) } else { right.saturating_add(ahead) }
}
