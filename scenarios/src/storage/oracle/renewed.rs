//! **renewed**: the end of a lease never moves back, whatever the clock does (leasedb-and-storage §16, I9; §4).

use std::collections::BTreeMap;

use storage::database::{AccountId, Lease, Row};
use storage::share::ShareId;

use crate::storage::look::Seen;

/// The leases that were seen last, each with the row that it belonged to.
#[derive(Clone, Debug, Default)]
pub struct LeasesSeen(BTreeMap<(ShareId, AccountId), Lease>);

impl LeasesSeen {
    /// Checks the leases that are seen now of the shares of `ids` against those of the last time, and remembers them. A
    /// lease that is gone may come back with any times.
    pub fn check(&mut self, ids: impl Iterator<Item = ShareId>, seen: &Seen) -> Result<(), String> {
        for id in ids {
            let now = seen.leases.get(&id).cloned().unwrap_or_default();
            let row: Option<&Row> = seen.rows.get(&id);
            for (account, lease) in &now {
                let Some(old) = self.0.get(&(id, *account)) else { continue };
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
            self.0.retain(|(of, _), _| *of != id);
            self.0.extend(now.into_iter().map(|(account, lease)| ((id, account), lease)));
        }
        Ok(())
    }

    /// Forgets a share, whose leases were deleted with it, or may have been.
    pub fn forget(&mut self, id: ShareId) {
        self.0.retain(|(of, _), _| *of != id);
    }

    /// Forgets everything: the database may be an older one.
    pub fn forget_all(&mut self) {
        self.0.clear();
    }
}
