//! **deletes**: nothing of a share is deleted before its row says that it is going; and only a client's own wish makes a
//! share go that has a lease (leasedb-and-storage §16, I4 and I5).

use std::collections::BTreeMap;

use storage::database::{AccountId, Lease, Row, State};
use storage::share::ShareId;

/// Checks a share that the backend is about to delete. `wished`: a client asked for that, or gave its upload up.
pub fn check_delete(
    id: ShareId,
    row: Option<&Row>,
    leases: &BTreeMap<AccountId, Lease>,
    wished: bool,
) -> Result<(), String> {
    match row.map(|row| row.state) {
        Some(State::Going) if leases.is_empty() || wished => Ok(()),
        Some(State::Going) => Err(format!("share {id} is collected, and has a lease of {:?}", leases.keys())),
        Some(state) => Err(format!("objects of share {id} are deleted, and its row is {state:?}")),
        None => Err(format!("objects of share {id} are deleted, and it has no row")),
    }
}
