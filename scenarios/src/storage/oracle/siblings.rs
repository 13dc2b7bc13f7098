//! **siblings**: an operation on a share touches the objects of no other (leasedb-and-storage §16, I10).

use std::collections::BTreeMap;

use storage::share::ShareId;

/// Checks a share of which an object is about to be written or removed; `about` are those that the server is about.
pub fn check_touched(id: ShareId, about: &BTreeMap<ShareId, u32>) -> Result<(), String> {
    match about.contains_key(&id) {
        true => Ok(()),
        false => Err(format!("an object of share {id} is touched by an operation on {:?}", about.keys())),
    }
}
