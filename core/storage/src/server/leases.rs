//! Leases that clients ask for: protocol G of leasedb-and-storage §9.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::StorageIndex;
use protocol::server::{ServerError, ShareNumber};
use runtime::{reached, relapse};

use super::Mode;
use super::reconcile::Sight;
use super::shared::Shared;
use crate::config::LEASE;
use crate::database::{AccountId, DatabaseError, Lease, Row, State};
use crate::share::ShareId;

impl Shared {
    /// Adds or renews the clients' lease on every share of the file, adopting first what the backend has, and
    /// forgetting what it has no more.
    pub(super) async fn add_lease(self: Arc<Self>, index: StorageIndex) -> Result<(), ServerError> {
        let held = self.lock(index).await;
        if !relapse!("lease-L5")
            && let Some(renewed) = self.renew_what_agrees(index).await?
        {
            self.looks.note(index, self.runtime.now());
            return Ok(renewed);
        }
        let sight = if relapse!("lease-L5") {
            // The rows are believed, whatever became of the shares.
            Sight::of_rows(index, self.rows(index).await?)
        } else {
            self.look(&held, Mode::Request).await?
        };
        match self.renew_all(&sight).await? {
            0 => {
                reached!("storage: a lease finds no share");
                Err(ServerError::NoSuchShare)
            }
            _ => Ok(()),
        }
    }

    /// Renews the clients' lease in a single transaction, if every share of the file is STABLE and has its name in the
    /// backend, and nothing else has one there: the ordinary case. None when there is more to do. The caller holds the
    /// file's lock.
    async fn renew_what_agrees(&self, index: StorageIndex) -> Result<Option<()>, ServerError> {
        let named = self.backend.names(index).await?;
        let now = self.now();
        let renewed = self.database.update("G", move |write| {
            let rows = write.rows(index)?;
            let stable = rows.values().all(|row| row.state == State::Stable);
            if rows.is_empty() || !stable || !rows.keys().eq(&named) {
                return Ok(None);
            }
            let lease = Lease { renewed: now, expires: Some(now.saturating_add(LEASE)) };
            for &share in &named {
                write.extend(ShareId { index, share }, AccountId::ANONYMOUS, lease)?;
            }
            Ok::<_, DatabaseError>(Some(()))
        });
        Ok(renewed.await?)
    }

    /// Renews the clients' lease on all shares that take one, in one transaction, and says on how many.
    pub(super) async fn renew_all(&self, sight: &Sight) -> Result<usize, ServerError> {
        let leased = leasable(sight.index, &sight.rows);
        if leased.is_empty() {
            return Ok(0);
        }
        let now = self.now();
        let renewed = self.database.update("G", move |write| {
            let mut renewed = 0;
            for id in leased {
                let lease = write.renew(id, AccountId::ANONYMOUS, now, Some(now.saturating_add(LEASE)))?;
                renewed += usize::from(lease.is_ok());
            }
            Ok::<_, DatabaseError>(renewed)
        });
        Ok(renewed.await?)
    }
}

/// The shares that take a lease (§8.3): those that come or go do not.
fn leasable(index: StorageIndex, rows: &BTreeMap<ShareNumber, Row>) -> Vec<ShareId> {
    let takes = |row: &Row| match row.state {
        State::Stable | State::Changing => true,
        State::Coming => false,
        State::Going => relapse!("lease-L4"),
    };
    rows.iter().filter(|(_, row)| takes(row)).map(|(&share, _)| ShareId { index, share }).collect()
}
