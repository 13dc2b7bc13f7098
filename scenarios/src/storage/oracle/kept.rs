//! **kept**: a share that was acknowledged is there, with the bytes that were acknowledged, until something that may
//! remove it: all its leases over, a client's wish, damage from outside (leasedb-and-storage §16, I7 and Q5).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::server::ShareNumber;
use storage::database::State;
use storage::share::{Kind, ShareId};

use crate::storage::look::{Kept, Seen};
use crate::storage::model::Model;
use crate::storage::model::shares::Share;

/// Checks the shares that a client was told of; `shares` is what there may have been since it asked.
pub fn check_told(told: &BTreeSet<ShareNumber>, shares: &BTreeMap<ShareNumber, Share>) -> Result<(), String> {
    for (number, share) in shares {
        if share.certain && !share.wild && !told.contains(number) {
            return Err(format!("share {number} was acknowledged, and is not reported"));
        }
    }
    let known = |share: &ShareNumber| {
        shares.get(share).is_some_and(|share| share.wild || share.certain || !share.may.is_empty())
    };
    match told.iter().find(|share| !known(share)) {
        Some(share) => Err(format!("share {share} is reported, and nobody has made it")),
        None => Ok(()),
    }
}

/// Checks what a client read of a share: bytes from `offset`, at most `length`, or that there is no share.
pub fn check_read(share: &Share, offset: u64, length: u64, read: Option<&Bytes>) -> Result<(), String> {
    let cut = |text: &Bytes| {
        let start = (offset as usize).min(text.len());
        text.slice(start..(start + length as usize).min(text.len()))
    };
    match read {
        _ if share.wild => Ok(()),
        None if share.certain => Err("a share that was acknowledged cannot be read".into()),
        Some(bytes) if !share.may.iter().any(|text| cut(text) == *bytes) => {
            Err(format!("{} bytes were read at {offset} that nobody wrote there", bytes.len()))
        }
        _ => Ok(()),
    }
}

/// Checks that no share is offered anew which a client must find.
pub fn check_granted(
    granted: &BTreeSet<ShareNumber>,
    shares: &BTreeMap<ShareNumber, Share>,
) -> Result<(), String> {
    let certain = |share: &ShareNumber| shares.get(share).is_some_and(|share| share.certain && !share.wild);
    match granted.iter().find(|share| certain(share)) {
        Some(share) => Err(format!("share {share} was acknowledged, and is offered anew")),
        None => Ok(()),
    }
}

/// Checks what is on the server against what must be there, when nothing is under way. `noticed`: the server has had time
/// to find what was put there behind its back.
pub fn check_there(model: &Model, seen: &Seen) -> Result<(), String> {
    for id in model.ids().into_iter().filter(|id| !model.is_wild(*id)) {
        let kept = seen.kept.get(&id).map(|(kept, _)| kept);
        let certain = model.is_certain(id);
        let fits = match (kept, model.slots.get(&id.index)) {
            (None, _) => !certain,
            (Some(Kept::Immutable(bytes)), None) => {
                unpublished(id, seen) || model.shares.get(id).may.contains(bytes)
            }
            (Some(Kept::Mutable(bytes)), Some(slots)) => {
                slots.may_be(id.share).is_none_or(|may| may.contains(&Some(bytes.to_vec())))
                    || !seen.rows.contains_key(&id)
                    || unpublished(id, seen)
            }
            // Half an upload, or half a deletion, in a store.
            (Some(_), _) => !certain,
        };
        if !fits {
            return Err(format!("share {id} is not what it must be, but {}", describe(kept)));
        }
        let row = seen.rows.get(&id);
        let shown = row.is_some_and(|row| {
            matches!(row.state, State::Stable | State::Changing) && row.kind != Kind::Corrupted
        });
        if certain && !shown && !model.unnoticed.contains(&id) {
            return Err(format!("share {id} was acknowledged, and its row is {row:?}"));
        }
    }
    Ok(())
}

/// The share is on its way in or out, as its row says.
fn unpublished(id: ShareId, seen: &Seen) -> bool {
    seen.rows.get(&id).is_some_and(|row| matches!(row.state, State::Coming | State::Going))
}

fn describe(kept: Option<&Kept>) -> String {
    match kept {
        None => "absent".into(),
        Some(Kept::Bad) => "no share".into(),
        Some(Kept::Immutable(bytes)) => format!("{} immutable bytes", bytes.len()),
        Some(Kept::Mutable(bytes)) => format!("{} mutable bytes", bytes.len()),
    }
}
