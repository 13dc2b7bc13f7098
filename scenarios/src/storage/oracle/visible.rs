//! **visible**: no client is told of a share that is still being made, that is being deleted, or that is corrupted
//! (leasedb-and-storage §16, I6).

use std::collections::{BTreeMap, BTreeSet};

use protocol::server::ShareNumber;
use storage::database::{Row, State};
use storage::share::Kind;

/// Checks the shares that a client was told of against the rows before the question and after the answer. A row that was
/// the same at both times was so in between.
pub fn check_visible(
    told: &BTreeSet<ShareNumber>,
    before: &BTreeMap<ShareNumber, Row>,
    after: &BTreeMap<ShareNumber, Row>,
) -> Result<(), String> {
    for share in told {
        let (Some(old), Some(new)) = (before.get(share), after.get(share)) else { continue };
        let hidden = matches!(new.state, State::Coming | State::Going) || new.kind == Kind::Corrupted;
        if old.epoch == new.epoch && hidden {
            return Err(format!("share {share} was reported, and is {:?} and {:?}", new.state, new.kind));
        }
    }
    Ok(())
}
