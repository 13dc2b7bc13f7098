//! Effects: what really went wrong in a run, counted by kind. That a fault is in the case says nothing: its call may never
//! be made, its share never be read.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::World;

thread_local! {
    static EFFECTS: RefCell<BTreeMap<&'static str, u32>> = const { RefCell::new(BTreeMap::new()) };
}

impl World {
    /// Counts that trouble of this kind took effect, for [`Report::effects`](crate::case::Report::effects). To be said
    /// when somebody feels it, not when it is prepared.
    pub fn took_effect(&self, kind: &'static str) {
        took_effect(kind);
    }
}

/// Counts that trouble of this kind took effect.
pub(crate) fn took_effect(kind: &'static str) {
    EFFECTS.with_borrow_mut(|effects| *effects.entry(kind).or_default() += 1);
}

/// Takes what has been counted on this thread since the last call.
pub(crate) fn take() -> BTreeMap<&'static str, u32> {
    EFFECTS.take()
}
