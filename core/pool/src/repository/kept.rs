//! Which objects are known to survive a loss of power: looking that up each time would cost a sync of four directories.
//!
//! An object is known by its file. One that somebody has removed and put again, be it another process, is another file, of which
//! nothing is known.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::files::{Files, Stamp};

use super::layout::Layout;
use crate::key::Key;

/// How many objects are remembered to be durable.
const MOST: usize = 10_000;

/// Objects that have been seen, or made, to be durable. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Mutex<BTreeMap<Key, Stamp>>>);

impl Kept {
    /// Whether an object is there, so that clients can be told so: it survives a loss of power. Called in jobs.
    pub fn holds(&self, layout: &Layout, files: &dyn Files, key: &Key) -> io::Result<bool> {
        let Some((place, stamp)) = layout.find(files, key)? else { return Ok(false) };
        if self.knows(key, &stamp) {
            return Ok(true);
        }
        let kept = layout.keep(files, &place)?;
        if kept {
            self.note(key, stamp);
        }
        Ok(kept)
    }

    /// Whether an object is known to be durable, if it is this file.
    pub fn knows(&self, key: &Key, stamp: &Stamp) -> bool {
        self.keys().get(key) == Some(stamp)
    }

    /// An object is durable, if it is still this file.
    pub fn note(&self, key: &Key, stamp: Stamp) {
        let mut keys = self.keys();
        if keys.len() >= MOST {
            keys.clear();
        }
        keys.insert(key.clone(), stamp);
    }

    /// Nobody will ask for an object again.
    pub fn forget(&self, key: &Key) {
        self.keys().remove(key);
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<Key, Stamp>> {
        // Nothing here can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::files::OpenMode;
    use runtime::real::RealWorld;

    #[tokio::test]
    async fn what_somebody_else_has_removed_and_put_again_is_not_known() {
        let place = tempfile::tempdir().unwrap();
        let (files, layout) = (RealWorld::runtime().files(), Layout::new(place.path()));
        let (kept, key) = (Kept::default(), Key::parse("WORM-s5--hello").unwrap());
        let put = |name: &str| {
            let path = place.path().join(name);
            files.open(&path, OpenMode::CreateNew).unwrap();
            layout.publish(&*files, &path, &key).unwrap();
            layout.find(&*files, &key).unwrap().unwrap().1
        };
        let first = put("one");
        assert!(!kept.knows(&key, &first));
        assert!(kept.holds(&layout, &*files, &key).unwrap());
        assert!(kept.knows(&key, &first));
        layout.remove(&*files, &key).unwrap();
        let second = put("other");
        assert!(!kept.knows(&key, &second), "whoever put it may not have made it durable yet");
        assert!(kept.holds(&layout, &*files, &key).unwrap());
        assert!(kept.knows(&key, &second));
    }
}
