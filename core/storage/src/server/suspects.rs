//! Objects without a row that make no whole share, and when the crawler first saw them as they are: somebody may be
//! copying a share in (leasedb-and-storage §10).

use std::collections::BTreeMap;
use std::sync::Mutex;

use protocol::StorageIndex;
use protocol::server::ShareNumber;

use crate::lock::lock;
use crate::share::ShareId;

/// How many are remembered. The others wait until some of these are gone.
const REMEMBERED: usize = 65_536;

/// What was seen.
#[derive(Default)]
pub(crate) struct Suspects(Mutex<BTreeMap<ShareId, Suspect>>);

struct Suspect {
    /// The bytes that it used.
    used: u64,
    /// The cycle in which it was first seen so.
    first: u64,
    /// The last cycle in which it was seen.
    last: u64,
}

impl Suspects {
    /// Notes what is seen in this cycle; true when it was the same in an earlier one.
    pub fn seen_before(&self, id: ShareId, used: u64, cycle: u64) -> bool {
        let mut seen = lock(&self.0);
        match seen.get_mut(&id) {
            Some(suspect) if suspect.used == used => {
                suspect.last = cycle;
                suspect.first < cycle
            }
            known => {
                if known.is_none() && seen.len() >= REMEMBERED {
                    // Nobody has come by those of files that are gone altogether.
                    seen.retain(|_, suspect| suspect.last.saturating_add(1) >= cycle);
                }
                if seen.len() < REMEMBERED || seen.contains_key(&id) {
                    seen.insert(id, Suspect { used, first: cycle, last: cycle });
                }
                false
            }
        }
    }

    /// Those of this file that are not `still` there are gone, or have become shares.
    pub fn keep_only(&self, index: StorageIndex, still: impl Fn(ShareNumber) -> bool) {
        let of_file = ShareId { index, share: 0 }..=ShareId { index, share: ShareNumber::MAX };
        let mut seen = lock(&self.0);
        let gone: Vec<_> = seen.range(of_file).map(|(id, _)| *id).filter(|id| !still(id.share)).collect();
        for id in gone {
            seen.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::StorageIndex;

    #[test]
    fn what_stays_the_same_for_a_cycle_is_known_again() {
        let suspects = Suspects::default();
        let id = ShareId { index: StorageIndex([3; 16]), share: 1 };
        assert!(!suspects.seen_before(id, 10, 1));
        assert!(!suspects.seen_before(id, 10, 1), "the same cycle");
        assert!(!suspects.seen_before(id, 11, 2), "it grows");
        assert!(suspects.seen_before(id, 11, 3));
        suspects.keep_only(id.index, |share| share == 1);
        assert!(suspects.seen_before(id, 11, 4));
        suspects.keep_only(StorageIndex([4; 16]), |_| false);
        assert!(suspects.seen_before(id, 11, 4), "another file's");
        suspects.keep_only(id.index, |share| share != 1);
        assert!(!suspects.seen_before(id, 11, 4));
    }

    #[test]
    fn those_that_nobody_has_come_by_make_room() {
        let suspects = Suspects::default();
        let id = |n: usize| ShareId { index: StorageIndex((n as u128).to_be_bytes()), share: 1 };
        for n in 0..REMEMBERED {
            suspects.seen_before(id(n), 10, 1);
        }
        suspects.seen_before(id(0), 10, 2);
        suspects.seen_before(id(REMEMBERED), 10, 2);
        assert!(!suspects.seen_before(id(REMEMBERED), 10, 3), "there was no room");
        assert!(suspects.seen_before(id(REMEMBERED), 10, 4), "now there is");
        assert!(suspects.seen_before(id(0), 10, 4) && !suspects.seen_before(id(1), 10, 4));
    }
}
