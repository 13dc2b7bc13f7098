//! **settled**: when the server has started, and when all is quiet, no share is on its way in or out, and nothing of an
//! unfinished upload is left (leasedb-and-storage §15, §17 and Q1).

use storage::database::State;

use crate::storage::look::Seen;

/// Checks rows and disk. `deletions`: some may have failed, and be tried again later.
pub fn check_settled(seen: &Seen, deletions: bool) -> Result<(), String> {
    for (id, row) in &seen.rows {
        if row.state == State::Going && deletions || row.state == State::Stable {
            continue;
        }
        return Err(format!("share {id} is {:?}, and nobody is about it", row.state));
    }
    match seen.incoming.first() {
        Some(left) if !deletions => Err(format!("{left} is left of an upload")),
        _ => Ok(()),
    }
}
