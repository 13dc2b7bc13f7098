//! **settled**: when the server has started, and when all is quiet, no share is on its way in or out, and nothing of an
//! unfinished upload is left (leasedb-and-storage §15, §17 and Q1).

use std::collections::BTreeMap;

use protocol::server::ShareNumber;
use storage::database::{Row, State};

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

/// Checks shares of no bytes that a client was granted: there is nothing to wait for (lease-bugs L9).
pub fn check_empty(
    granted: impl Iterator<Item = ShareNumber>,
    rows: &BTreeMap<ShareNumber, Row>,
) -> Result<(), String> {
    let waits = |row: &Row| row.state == State::Coming && row.expected_size == Some(0);
    match granted.into_iter().find(|share| rows.get(share).is_some_and(waits)) {
        Some(share) => Err(format!("share {share} has no bytes, and waits for more")),
        None => Ok(()),
    }
}
