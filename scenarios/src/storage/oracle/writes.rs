//! **writes**: nothing of a share is written to the backend before its row says that it is coming, or being changed
//! (leasedb-and-storage §16, I3).

use storage::database::{Row, State};
use storage::share::ShareId;

/// Checks a share that the backend is about to make a place for, or to change, on behalf of the row with that epoch.
pub fn check_write(id: ShareId, row: Option<&Row>, epoch: u64) -> Result<(), String> {
    match row {
        Some(row) if matches!(row.state, State::Coming | State::Changing) && row.epoch == epoch => Ok(()),
        // A later operation has it already: this one will find that out.
        Some(row) if row.epoch > epoch => Ok(()),
        Some(row) => Err(format!(
            "share {id} is written with epoch {epoch}, and its row is {:?} with epoch {}",
            row.state, row.epoch
        )),
        None => Err(format!("share {id} is written, and has no row")),
    }
}
