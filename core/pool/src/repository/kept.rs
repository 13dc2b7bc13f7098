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
pub struct Kept(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    keys: BTreeSet<Key>,
    /// How many removals have begun.
    removals: u64,
}

/// A moment, by the removals that have begun.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

impl Kept {
    /// Whether an object is there, so that clients can be told so: it survives a loss of power. Called in jobs.
    pub fn holds(&self, layout: &Layout, files: &dyn Files, key: &Key) -> io::Result<bool> {
        if self.knows(key) {
            return layout.is_present(files, key);
        }
        let before = self.moment();
        let kept = layout.is_kept(files, key)?;
        if kept {
            self.note(key, before);
        }
        Ok(kept)
    }

    /// Whether an object is known to be durable, if it is there.
    pub fn knows(&self, key: &Key) -> bool {
        self.inner().keys.contains(key)
    }

    /// Now.
    pub fn moment(&self) -> Moment {
        Moment(self.inner().removals)
    }

    /// An object that appeared after this moment is durable. When something has been removed since, it may have been that:
    /// what appears next under its name is not known to be durable.
    pub fn note(&self, key: &Key, since: Moment) {
        let mut inner = self.inner();
        if inner.removals != since.0 {
            return;
        }
        if inner.keys.len() >= MOST {
            inner.keys.clear();
        }
        inner.keys.insert(key.clone());
    }

    /// An object is about to be removed, or has just been.
    pub fn forget(&self, key: &Key) {
        let mut inner = self.inner();
        inner.removals += 1;
        inner.keys.remove(key);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing here can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
