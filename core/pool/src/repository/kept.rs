//! Which objects are known to survive a loss of power: looking that up each time would cost a sync of four directories.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::files::Files;

use super::layout::Layout;
use crate::key::Key;

/// How many objects are remembered to be durable.
const MOST: usize = 10_000;

/// Objects that have been seen, or made, to be durable. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Mutex<BTreeSet<Key>>>);

impl Kept {
    /// Whether an object is there, so that clients can be told so: it survives a loss of power. Called in jobs.
    pub fn holds(&self, layout: &Layout, files: &dyn Files, key: &Key) -> io::Result<bool> {
        if self.keys().contains(key) {
            return layout.is_present(files, key);
        }
        let kept = layout.is_kept(files, key)?;
        if kept {
            self.note(key);
        }
        Ok(kept)
    }

    /// An object is durable.
    pub fn note(&self, key: &Key) {
        let mut keys = self.keys();
        if keys.len() >= MOST {
            keys.clear();
        }
        keys.insert(key.clone());
    }

    /// An object is about to be removed.
    pub fn forget(&self, key: &Key) {
        self.keys().remove(key);
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        // Nothing here can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
