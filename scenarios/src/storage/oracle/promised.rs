//! **promised**: a client that was told that its lease stands has one, on each share that it was told of, for at least 31
//! days of the server's clock (leasedb-and-storage §16, I11).

use storage::share::ShareId;

use crate::storage::look::Seen;
use crate::storage::model::Model;
use crate::storage::model::leases::Leases;

/// Checks the leases of shares that must be there. A lease of another account that lasts as long will do. `before` are the
/// promises as they were when the look began: what was promised since need not have been seen.
pub fn check_promised(
    before: &Leases,
    model: &Model,
    ids: impl Iterator<Item = ShareId>,
    seen: &Seen,
) -> Result<(), String> {
    for id in ids.filter(|id| model.is_certain(*id) && !model.unnoticed.contains(id)) {
        let (Some(before), Some(promise)) = (before.promise(id), model.leases.promise(id)) else { continue };
        let until = before.expires.min(promise.expires);
        let leases = seen.leases.get(&id).cloned().unwrap_or_default();
        let lasts = |expires: Option<u64>| expires.is_none_or(|expires| expires >= until);
        if !leases.values().any(|lease| lasts(lease.expires)) {
            return Err(format!("share {id} is promised until {until}, and has {leases:?}"));
        }
    }
    Ok(())
}
