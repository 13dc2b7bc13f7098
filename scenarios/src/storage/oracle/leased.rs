//! **leased**: when all is quiet and leases end, every share has one that has not ended (leasedb-and-storage, Q3).

use storage::config::{Expire, ExpireMode};
use storage::database::Lease;

use crate::storage::look::Seen;

/// Checks the leases of all shares. Those that ended after `since`, on the server's clock, need not have been noticed.
pub fn check_leased(seen: &Seen, expire: &Expire, since: u64) -> Result<(), String> {
    if !expire.enabled {
        return Ok(());
    }
    let lives = |lease: &Lease| match expire.mode {
        ExpireMode::Age(None) => lease.expires.is_none_or(|expires| expires >= since),
        ExpireMode::Age(Some(age)) => lease.renewed + age >= since,
        ExpireMode::CutOff(moment) => lease.renewed >= moment || since < moment,
    };
    for id in seen.rows.keys() {
        let leases = seen.leases.get(id).cloned().unwrap_or_default();
        if !leases.values().any(lives) {
            return Err(format!("share {id} is there, and has no lease but {leases:?} at {since}"));
        }
    }
    Ok(())
}
