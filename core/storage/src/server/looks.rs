//! When the server last compared a file's rows with the backend, so that reads need not each time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use protocol::StorageIndex;
use runtime::Instant;

use crate::lock::lock;

/// How many files are remembered. Of more, the backend is asked again.
const REMEMBERED: usize = 16_384;

/// The last looks.
#[derive(Default)]
pub(crate) struct Looks(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    last: BTreeMap<StorageIndex, Instant>,
    /// In the order in which they were noted; some are outdated.
    noted: VecDeque<(StorageIndex, Instant)>,
}

impl Looks {
    /// The file was looked at now.
    pub fn note(&self, index: StorageIndex, now: Instant) {
        let mut inner = lock(&self.0);
        inner.last.insert(index, now);
        inner.noted.push_back((index, now));
        if inner.noted.len() > REMEMBERED
            && let Some((oldest, then)) = inner.noted.pop_front()
            && inner.last.get(&oldest) == Some(&then)
        {
            inner.last.remove(&oldest);
        }
    }

    /// What was seen of the file is no longer believed.
    pub fn forget(&self, index: &StorageIndex) {
        lock(&self.0).last.remove(index);
    }

    /// True when the file was looked at within `interval` before `now`.
    pub fn fresh(&self, index: &StorageIndex, now: Instant, interval: Duration) -> bool {
        lock(&self.0).last.get(index).is_some_and(|then| now.since(*then) < interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ages_and_memory_is_bounded() {
        let looks = Looks::default();
        let index = |n: u64| StorageIndex(u128::from(n).to_be_bytes());
        let (start, hour) = (Instant::from_nanos(7), Duration::from_secs(3600));
        looks.note(index(0), start);
        assert!(looks.fresh(&index(0), start, hour));
        assert!(!looks.fresh(&index(0), start + hour, hour));
        assert!(!looks.fresh(&index(1), start, hour));
        looks.note(index(0), start + hour);
        assert!(looks.fresh(&index(0), start + hour, hour));
        looks.forget(&index(0));
        assert!(!looks.fresh(&index(0), start + hour, hour));
        for n in 0..2 * REMEMBERED as u64 {
            looks.note(index(n), start);
        }
        assert_eq!(lock(&looks.0).last.len(), REMEMBERED);
        assert_eq!(lock(&looks.0).noted.len(), REMEMBERED);
        assert!(!looks.fresh(&index(0), start, hour));
        assert!(looks.fresh(&index(2 * REMEMBERED as u64 - 1), start, hour));
    }
}
