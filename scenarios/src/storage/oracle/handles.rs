//! **handles**: nobody writes a share that is being deleted, and nobody else one that somebody uploads (leasedb-and-storage
//! §16, I2 and I12).

use storage::database::{Row, State};
use storage::share::ShareId;

/// Checks a share for which the backend is asked for a place; `live` uploads of it have one already.
pub fn check_creation(id: ShareId, live: u32) -> Result<(), String> {
    match live {
        0 => Ok(()),
        _ => Err(format!("share {id} is uploaded twice at once")),
    }
}

/// Checks a share that the backend is asked to delete: its live uploads, and its writes under way.
pub fn check_deletion(id: ShareId, live: u32, writes: u32) -> Result<(), String> {
    match (live, writes) {
        (0, 0) => Ok(()),
        (_, 0) => Err(format!("share {id} is deleted, and an upload of it is still open")),
        _ => Err(format!("share {id} is deleted while {writes} writes of it are under way")),
    }
}

/// Checks a share whose bytes are about to be written.
pub fn check_not_going(id: ShareId, row: Option<&Row>) -> Result<(), String> {
    match row {
        Some(row) if row.state == State::Going => Err(format!("share {id} is written while it is deleted")),
        _ => Ok(()),
    }
}
