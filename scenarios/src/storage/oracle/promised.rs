//! **promised**: a client that was told that its lease stands has one, on each share that it was told of, for at least 31
//! days of the server's clock (leasedb-and-storage §16, I11). Likewise the server's own lease on a share that it found.

use storage::database::{AccountId, Lease};
use storage::share::ShareId;

use crate::storage::look::Seen;
use crate::storage::model::Model;
use crate::storage::model::leases::{Holder, Leases};

/// Checks the leases of shares that must be there. The clients' lease must be theirs: the one that a share gets when it is
/// found again does not stand for it. In place of that one, any will do that lasts as long. `before` are the promises as
/// they were when the look began: what was promised since need not have been seen.
pub fn check_promised(
    before: &Leases,
    model: &Model,
    ids: impl Iterator<Item = ShareId>,
    seen: &Seen,
) -> Result<(), String> {
    for id in ids.filter(|id| model.is_certain(*id) && !model.unnoticed.contains(id)) {
        let leases = seen.leases.get(&id).cloned().unwrap_or_default();
        for holder in [Holder::Clients, Holder::Starter] {
            let (Some(old), Some(promise)) = (before.promise(id, holder), model.leases.promise(id, holder))
            else {
                continue;
            };
            let until = old.expires.min(promise.expires);
            let lasts = |(account, lease): (&AccountId, &Lease)| {
                (holder == Holder::Starter || *account == AccountId::ANONYMOUS)
                    && lease.expires.is_none_or(|expires| expires >= until)
            };
            if !leases.iter().any(lasts) {
                return Err(format!(
                    "share {id}: {holder:?} are promised a lease until {until}, and there is {leases:?}"
                ));
            }
        }
    }
    Ok(())
}
