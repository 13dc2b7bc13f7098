//! **answers**: a call fails only for a reason: what was asked is wrong, there is no room, or the server's disk, backend or
//! power failed a short while ago. A damaged share is no reason for its siblings (leasedb-and-storage §14).

use std::time::Duration;

use protocol::server::ServerError;
use runtime::Instant;

/// For how long the server may feel what went wrong: its retries, and those of what waited for them.
const AFTERMATH: Duration = Duration::from_secs(120);

/// Checks an error. `begun` is when the call began, `trouble` when something last went wrong with the server.
pub fn check_error(error: &ServerError, begun: Instant, trouble: Option<Instant>) -> Result<(), String> {
    match error {
        _ if !is_calm(begun, trouble) => Ok(()),
        ServerError::Disconnected => Ok(()),
        error => Err(format!("a call failed without a reason: {error}")),
    }
}

/// Whether nothing went wrong with the server since a call began, or shortly before.
pub fn is_calm(begun: Instant, trouble: Option<Instant>) -> bool {
    trouble.is_none_or(|moment| moment + AFTERMATH < begun)
}
