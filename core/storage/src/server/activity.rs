//! What is being done to shares just now, counted for whoever looks at the server from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::lock::lock;
use crate::share::ShareId;

/// What is being done to shares in the backend, and how many times at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Uploads that are open. More than one of a share is a defect.
    pub uploads: BTreeMap<ShareId, u32>,
    /// Writes, publications and changes under way.
    pub writes: BTreeMap<ShareId, u32>,
    /// Deletions under way.
    pub deletions: BTreeMap<ShareId, u32>,
}

/// Counts. Clones are the same counters.
#[derive(Clone, Default)]
pub(crate) struct Counters(Arc<Mutex<Activity>>);

/// Something that is being done, until dropped.
pub(crate) struct Doing {
    counters: Counters,
    id: ShareId,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Upload,
    Write,
    Deletion,
}

impl Counters {
    pub fn upload(&self, id: ShareId) -> Doing {
        self.begin(id, What::Upload)
    }

    pub fn write(&self, id: ShareId) -> Doing {
        self.begin(id, What::Write)
    }

    pub fn deletion(&self, id: ShareId) -> Doing {
        self.begin(id, What::Deletion)
    }

    pub fn read_out(&self) -> Activity {
        lock(&self.0).clone()
    }

    fn begin(&self, id: ShareId, what: What) -> Doing {
        *lock(&self.0).of(what).entry(id).or_default() += 1;
        Doing { counters: self.clone(), id, what }
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        let mut activity = lock(&self.counters.0);
        let counts = activity.of(self.what);
        match counts.get_mut(&self.id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.id);
            }
        }
    }
}

impl Activity {
    fn of(&mut self, what: What) -> &mut BTreeMap<ShareId, u32> {
        match what {
            What::Upload => &mut self.uploads,
            What::Write => &mut self.writes,
            What::Deletion => &mut self.deletions,
        }
    }
}
