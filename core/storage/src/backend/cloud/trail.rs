//! What this process did to objects lately. A listing may not tell of it yet; and an attempt that was given up may still
//! arrive, so that a share is only gone when every chunk was deleted that was ever tried to be put.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use runtime::Instant;

use super::keys::ChunkId;
use crate::lock::lock;
use crate::share::ShareId;

/// No listing is older than this (§13).
const LAG: Duration = Duration::from_secs(10);

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was put, with so many bytes.
    Put(u64),
    /// It was deleted.
    Gone,
    /// An attempt to put it has not ended, or has failed: it may be there, or come.
    Unknown,
}

/// The marks, by object. Those that a listing must know of by now are forgotten, sooner or later.
#[derive(Default)]
pub(super) struct Trail(Mutex<Marks>);

#[derive(Default)]
struct Marks {
    last: BTreeMap<ChunkId, (Instant, Mark)>,
    /// How many there may be before the next sweep.
    most: usize,
}

impl Trail {
    pub fn note(&self, chunk: ChunkId, mark: Mark, now: Instant) {
        let marks = &mut *lock(&self.0);
        if marks.last.len() >= marks.most {
            marks.last.retain(|_, (at, mark)| *mark == Mark::Unknown || now - *at <= LAG);
            marks.most = (2 * marks.last.len()).max(1000);
        }
        marks.last.insert(chunk, (now, mark));
    }

    /// Corrects what was listed between these two shares, both included.
    pub fn correct(&self, listed: &mut BTreeMap<ChunkId, u64>, first: ShareId, last: ShareId, now: Instant) {
        for (chunk, (at, mark)) in lock(&self.0).last.range((first, 0)..=(last, u64::MAX)) {
            match mark {
                Mark::Put(size) if now - *at <= LAG => _ = listed.insert(*chunk, *size),
                Mark::Gone if now - *at <= LAG => _ = listed.remove(chunk),
                _ => {}
            }
        }
    }

    /// The chunks of a share that may be there, or come, whatever a listing says.
    pub fn tried(&self, id: ShareId) -> Vec<u64> {
        let marks = lock(&self.0);
        let marks = marks.last.range((id, 0)..=(id, u64::MAX));
        marks.filter(|(_, (_, mark))| *mark != Mark::Gone).map(|((_, chunk), _)| *chunk).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::StorageIndex;

    #[test]
    fn a_listing_is_corrected_until_it_must_know() {
        let id = ShareId { index: StorageIndex([7; 16]), share: 1 };
        let other = ShareId { share: 2, ..id };
        let at = |seconds: u64| Instant::default() + Duration::from_secs(seconds);
        let trail = Trail::default();
        trail.note((id, 0), Mark::Put(5), at(0));
        trail.note((id, 1), Mark::Gone, at(0));
        trail.note((id, 2), Mark::Unknown, at(0));
        trail.note((other, 0), Mark::Put(6), at(0));
        let corrected = |now| {
            let mut listed = BTreeMap::from([((id, 1), 3), ((id, 2), 4)]);
            trail.correct(&mut listed, id, id, now);
            listed.into_iter().map(|((_, chunk), size)| (chunk, size)).collect::<Vec<_>>()
        };
        assert_eq!(corrected(at(10)), [(0, 5), (2, 4)]);
        assert_eq!(corrected(at(11)), [(1, 3), (2, 4)]);
        assert_eq!(trail.tried(id), [0, 2]);
        for chunk in 0..2000 {
            trail.note((other, chunk), Mark::Gone, at(20));
        }
        assert_eq!(trail.tried(id), [2], "only what may still come is kept for ever");
    }
}
