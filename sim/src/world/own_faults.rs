//! Faults of a scenario's own: points at which the code of an actor asks whether something is to go wrong.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{World, executor};
use crate::fault::Fault;

/// What goes wrong at one place: effects by how often the place has been come by.
#[derive(Default)]
struct Place {
    times: u32,
    effects: BTreeMap<u32, String>,
}

thread_local! {
    static PLACES: RefCell<BTreeMap<String, Place>> = const { RefCell::new(BTreeMap::new()) };
}

/// Prepares this thread for a run with these faults.
pub(crate) fn start(faults: &[Fault]) {
    let mut places = BTreeMap::<String, Place>::new();
    for fault in faults {
        if let Fault::Point { at, nth, effect } = fault {
            places.entry(at.clone()).or_default().effects.insert(*nth, effect.clone());
        }
    }
    PLACES.set(places);
}

impl World {
    /// A point at which something may go wrong: at `KIND.INDEX`, which is counted. Gives the one of `effects` that the case
    /// wants there this time. To make it happen is up to the caller.
    ///
    /// ```toml
    /// [[fault]]
    /// on = "point"
    /// at = "replica.2"
    /// nth = 1
    /// effect = "lose the message"
    /// ```
    pub fn fault(&self, kind: &str, index: u64, effects: &[&'static str]) -> Option<&'static str> {
        let at = format!("{kind}.{index}");
        let (nth, effect) = PLACES.with_borrow_mut(|places| {
            let place = places.entry(at.clone()).or_default();
            place.times += 1;
            (place.times, place.effects.get(&place.times).cloned())
        });
        executor::could_fail(|| {
            let fault = |effect: &&str| Fault::Point { at: at.clone(), nth, effect: (*effect).into() };
            effects.iter().map(fault).collect()
        });
        let effect = effects.iter().copied().find(|known| effect.as_deref() == Some(*known))?;
        executor::did(|| xxhash_rust::xxh3::xxh3_64(effect.as_bytes()));
        self.took_effect(effect);
        tracing::debug!(target: "fault", at, nth, "{effect}");
        Some(effect)
    }
}
