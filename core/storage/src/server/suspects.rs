//! Objects without a row that make no whole share, and when the crawler first saw them as they are: somebody may be
//! copying a share in (leasedb-and-storage §10).

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::lock::lock;
use crate::share::ShareId;

/// How many are remembered. The others wait until some of these are gone.
const REMEMBERED: usize = 65_536;

/// What was seen: the bytes that it used, and in which cycle it was first seen so.
#[derive(Default)]
pub(crate) struct Suspects(Mutex<BTreeMap<ShareId, (u64, u64)>>);

impl Suspects {
    /// Notes what is seen in this cycle; true when it was the same in an earlier one.
    pub fn seen_before(&self, id: ShareId, used: u64, cycle: u64) -> bool {
        let mut seen = lock(&self.0);
        match seen.get(&id) {
            Some(&(then, first)) if then == used => first < cycle,
            _ => {
                if seen.len() < REMEMBERED || seen.contains_key(&id) {
                    seen.insert(id, (used, cycle));
                }
                false
            }
        }
    }

    /// It is gone, or has become a share.
    pub fn forget(&self, id: ShareId) {
        lock(&self.0).remove(&id);
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
        suspects.forget(id);
        assert!(!suspects.seen_before(id, 11, 4));
    }
}
