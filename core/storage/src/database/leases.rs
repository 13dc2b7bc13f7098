//! Adding, renewing and ending leases (leasedb-and-storage §4, §9 G).

use redb::ReadableTable;
use runtime::{reached, relapse};

use super::records::{LeaseKey, lease_from, lease_of};
use super::{AccountId, DatabaseError, Lease, Refused, State, Write, failed, read};
use crate::share::{Kind, Prefix, ShareId};

impl Write<'_> {
    /// Adds or renews the lease of an account on a share whose row is STABLE or being changed (G), or comes to be STABLE
    /// in this very transaction. Neither of its times ever moves back (I9). Gives the lease as it is then.
    pub fn renew(
        &mut self,
        id: ShareId,
        account: AccountId,
        renewed: u64,
        expires: Option<u64>,
    ) -> Result<Result<Lease, Refused>, DatabaseError> {
        let row = self.row(id)?;
        match row.map(|row| row.state) {
            Some(State::Stable | State::Changing) => {}
            Some(State::Going) if relapse!("lease-L4") => {}
            _ => return Ok(Err(Refused { row })),
        }
        self.extend(id, account, Lease { renewed, expires }).map(Ok)
    }

    /// The same, on a share whose row the caller has seen in this very transaction to take a lease.
    pub(crate) fn extend(
        &mut self,
        id: ShareId,
        account: AccountId,
        asked: Lease,
    ) -> Result<Lease, DatabaseError> {
        let held = self.lease(id, account)?;
        let lease = match held {
            Some(held) if !relapse!("lease-A9") => later(held, asked),
            _ => asked,
        };
        if held != Some(lease) {
            self.put_lease(id, account, Some(&lease))?;
        }
        Ok(lease)
    }

    /// Deletes the leases under a prefix for which `over` is true, and says how many.
    pub fn end_leases(
        &mut self,
        prefix: Prefix,
        over: &dyn Fn(Kind, Lease) -> bool,
    ) -> Result<u64, DatabaseError> {
        let mut ended = Vec::new();
        let keys = read::leases_of(prefix);
        for entry in self.leases.range::<&LeaseKey>(keys.start()..=keys.end()).map_err(failed)? {
            let (key, record) = entry.map_err(failed)?;
            let (id, account) = lease_of(key.value());
            // What cannot be read is kept: deleting it might delete a share.
            let Ok(lease) = lease_from(id, record.value()) else { continue };
            ended.push((id, account, lease));
        }
        let mut kinds = None;
        ended.retain(|(id, _, lease)| {
            let kind = match kinds {
                Some((last, kind)) if last == *id => kind,
                _ => self.row(*id).ok().flatten().map(|row| row.kind),
            };
            kinds = Some((*id, kind));
            kind.is_some_and(|kind| over(kind, *lease))
        });
        for (id, account, _) in &ended {
            reached!("database: lease ended");
            self.put_lease(*id, *account, None)?;
        }
        Ok(ended.len() as u64)
    }
}

/// The later of the two, in each of their times. Without an end is later than any.
fn later(a: Lease, b: Lease) -> Lease {
    let expires = a.expires.zip(b.expires).map(|(a, b)| a.max(b));
    Lease { renewed: a.renewed.max(b.renewed), expires }
}
