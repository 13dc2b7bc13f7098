//! **untouched**: what nobody can make sense of stays as it is, byte for byte.

use storage::share::ShareId;

use crate::classic::container::Kept;

/// Checks a file against what it was.
pub fn check_file(id: ShareId, before: &Kept, now: Option<&Kept>) -> Result<(), String> {
    match now {
        Some(now) if now == before => Ok(()),
        Some(now) => Err(format!("share {id} made no sense, and was changed: {} bytes", now.length)),
        None => Err(format!("share {id} made no sense, and was removed")),
    }
}
