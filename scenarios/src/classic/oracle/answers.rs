//! **answers**: a call fails only for a reason, and what it says tells no secret.

use protocol::server::{LeaseSecret, ServerError};

use crate::storage::oracle::secrets::check_secrets;

/// Checks an error. `excused`: the disk fails now and then, or the share is no share.
pub fn check_error(error: &ServerError, excused: bool, secrets: &[LeaseSecret]) -> Result<(), String> {
    check_secrets(&format!("{error} {error:?}"), secrets)?;
    match excused {
        true => Ok(()),
        false => Err(format!("nothing is wrong, and a call fails: {error}")),
    }
}
