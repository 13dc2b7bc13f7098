//! **renewed**: the end of a lease never moves back, whatever the clock does (leasedb-and-storage §16, I9; §4).

use std::collections::BTreeMap;

use storage::database::{AccountId, Lease, Row, State};
use storage::share::ShareId;

use crate::storage::look::Seen;

/// The leases that were seen last.
#[derive(Clone, Debug, Default)]
pub struct LeasesSeen {
    leases: BTreeMap<(ShareId, AccountId), Lease>,
    /// How often anything was forgotten, and at which of these times each share was, and everything.
    times: u64,
    forgotten: BTreeMap<ShareId, u64>,
    all_forgotten: u64,
}

impl LeasesSeen {
    /// Checks the leases that are seen now of the shares of `ids` against those of the last time, and remembers them. A
    /// lease that is gone may come back with any times. `begun` is what [`times`](Self::times) was when the look began: what
    /// was forgotten since may be seen here for the last time.
    pub fn check(
        &mut self,
        ids: impl Iterator<Item = ShareId>,
        seen: &Seen,
        begun: u64,
    ) -> Result<(), String> {
        for id in ids {
            if self.all_forgotten.max(self.forgotten.get(&id).copied().unwrap_or(0)) > begun {
                continue;
            }
            let now = seen.leases.get(&id).cloned().unwrap_or_default();
            let row: Option<&Row> = seen.rows.get(&id);
            for (account, lease) in &now {
                let Some(old) = self.leases.get(&(id, *account)) else { continue };
                let earlier = match (old.expires, lease.expires) {
                    (Some(old), Some(new)) => new < old,
                    (None, new) => new.is_some(),
                    (Some(_), None) => false,
                };
                if row.is_some() && (earlier || lease.renewed < old.renewed) {
                    return Err(format!(
                        "the lease of {account:?} on share {id} went from {old:?} to {lease:?}"
                    ));
                }
            }
            self.leases.retain(|(of, _), _| *of != id);
            if row.is_some_and(|row| row.state == State::Going) {
                // Its leases go with it: what comes next is another share.
                continue;
            }
            self.leases.extend(now.into_iter().map(|(account, lease)| ((id, account), lease)));
        }
        Ok(())
    }

    /// How often anything was forgotten.
    pub fn times(&self) -> u64 {
        self.times
    }

    /// Forgets a share, whose leases were deleted with it, or may have been.
    pub fn forget(&mut self, id: ShareId) {
        self.times += 1;
        self.forgotten.insert(id, self.times);
        self.leases.retain(|(of, _), _| *of != id);
    }

    /// Forgets everything: the database may be an older one.
    pub fn forget_all(&mut self) {
        self.times += 1;
        self.all_forgotten = self.times;
        self.leases.clear();
    }
}

#[cfg(test)]
mod tests {
    use protocol::StorageIndex;
    use storage::share::Kind;

    use super::*;

    const ID: ShareId = ShareId { index: StorageIndex([1; 16]), share: 2 };

    fn seen(state: State, renewed: u64) -> Seen {
        let row = Row { state, kind: Kind::Mutable, used_space: 0, expected_size: None, since: 0, epoch: 1 };
        let lease = Lease { renewed, expires: Some(renewed + 10) };
        let leases = BTreeMap::from([(ID, BTreeMap::from([(AccountId::ANONYMOUS, lease)]))]);
        Seen { rows: BTreeMap::from([(ID, row)]), leases, ..Seen::default() }
    }

    #[test]
    fn a_lease_may_only_move_back_with_another_share() {
        for (between, fine) in [(State::Stable, false), (State::Changing, false), (State::Going, true)] {
            let mut leases = LeasesSeen::default();
            let mut look = |seen| leases.check([ID].into_iter(), &seen, 0);
            look(seen(State::Stable, 100)).unwrap();
            look(seen(between, 100)).unwrap();
            assert_eq!(look(seen(State::Stable, 99)).is_ok(), fine, "{between:?}");
        }
    }
}
