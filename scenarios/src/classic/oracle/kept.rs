//! **kept**: a share that is there stays until its leases have ended, and is not replaced; nothing comes out of nothing.

use std::collections::BTreeSet;

use protocol::server::ShareNumber;
use storage::share::ShareId;

/// Checks whether a share is on the disk: it must be, or may be.
pub fn check_disk(id: ShareId, there: bool, must: bool, may: bool) -> Result<(), String> {
    match there {
        false if must => Err(format!("share {id} is gone")),
        true if !may => Err(format!("share {id} is there, and nobody has published it")),
        _ => Ok(()),
    }
}

/// Checks the shares that a client was told of.
pub fn check_told(
    told: &BTreeSet<ShareNumber>,
    must: &BTreeSet<ShareNumber>,
    may: &BTreeSet<ShareNumber>,
) -> Result<(), String> {
    if let Some(share) = must.difference(told).next() {
        return Err(format!("share {share} is there, and nobody is told of it"));
    }
    match told.difference(may).next() {
        Some(share) => Err(format!("share {share} is told of, and is none")),
        None => Ok(()),
    }
}

/// Checks the shares whose places were granted.
pub fn check_granted(granted: &BTreeSet<ShareNumber>, must: &BTreeSet<ShareNumber>) -> Result<(), String> {
    match granted.intersection(must).next() {
        Some(share) => Err(format!("share {share} is there, and its place is given to an upload")),
        None => Ok(()),
    }
}
