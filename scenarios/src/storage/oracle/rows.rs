//! **rows**: every lease belongs to a share that has a row, and every row is filed under its storage index's prefix
//! (leasedb-and-storage §16, I1).

use storage::share::Prefix;

use crate::storage::look::Seen;

/// Checks what the database has. `prefix` asks it for the rows of one prefix again, or is what it was asked for.
pub fn check_rows(seen: &Seen) -> Result<(), String> {
    for (id, leases) in &seen.leases {
        if !seen.rows.contains_key(id) {
            return Err(format!("share {id} has leases of {:?} and no row", leases.keys()));
        }
    }
    match seen.rows.keys().find(|id| Prefix::of(&id.index).to_string() != id.index.to_string()[..2]) {
        Some(id) => Err(format!("the row of share {id} is filed under {}", Prefix::of(&id.index))),
        None => Ok(()),
    }
}
