//! **agreed**: when all is quiet, database and backend agree which shares there are, of which kind, and how much they use
//! (leasedb-and-storage, Q2 and Q4).

use storage::share::Kind;

use crate::storage::look::{Kept, Seen};

/// Checks rows against what is kept.
pub fn check_agreed(seen: &Seen) -> Result<(), String> {
    for (id, (kept, used)) in &seen.kept {
        let Some(row) = seen.rows.get(id) else {
            return Err(format!("share {id} is there, and has no row"));
        };
        let kind = match kept {
            Kept::Immutable(_) => Kind::Immutable,
            Kept::Mutable(_) => Kind::Mutable,
            Kept::Bad => Kind::Corrupted,
        };
        if (row.kind, row.used_space) != (kind, *used) {
            return Err(format!(
                "share {id} is {kind:?} of {used} bytes, and its row says {:?} of {}",
                row.kind, row.used_space
            ));
        }
    }
    match seen.rows.keys().find(|id| !seen.kept.contains_key(id)) {
        Some(id) => Err(format!("share {id} has a row, and is not there")),
        None => Ok(()),
    }
}
