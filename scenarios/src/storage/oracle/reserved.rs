//! **reserved**: the room that is kept free is that of the uploads in progress, each of which has a row that says so
//! (leasedb-and-storage §16, I8).

use std::collections::BTreeMap;

use storage::database::{Row, State};
use storage::share::ShareId;

/// Checks the uploads that a server reserves room for against their rows before and after: one that had it at both times
/// must have been coming.
pub fn check_reserved(
    before: &BTreeMap<ShareId, u64>,
    rows: &BTreeMap<ShareId, Row>,
    after: &BTreeMap<ShareId, u64>,
) -> Result<(), String> {
    for (id, size) in before.iter().filter(|(id, size)| after.get(id) == Some(size)) {
        match rows.get(id).map(|row| (row.state, row.expected_size)) {
            Some((State::Coming, Some(expected))) if expected == *size => {}
            Some((State::Going, _)) => {}
            other => return Err(format!("{size} bytes are reserved for share {id}, whose row is {other:?}")),
        }
    }
    Ok(())
}

/// Checks the room that a server says it has, when nothing is under way, against what its disk has.
pub fn check_none_reserved(uploads: &BTreeMap<ShareId, u64>) -> Result<(), String> {
    match uploads.is_empty() {
        true => Ok(()),
        false => Err(format!("nobody uploads anything, and room is reserved for {uploads:?}")),
    }
}
