//! **progress**: a read for which k good shares are within reach ends with its bytes; another ends with the right
//! error (tahoe-immutable §17, D2–D4). That it ends at all, and in time, the world sees to.
//!
//! Good is meant cautiously: a share that nothing damaged, on a server that joined before the node looked for servers
//! and on which no fault took effect that could have cost the node that server. So a finding is never a matter of
//! how hard a client should have tried.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::grid::{Server, StoredFile};

/// How a read ended, in the harness's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All bytes were delivered.
    Complete,
    /// It was dropped before its end.
    Dropped,
    /// No usable share was found.
    NoShares,
    /// Some shares were found, and too few.
    NotEnoughShares,
    /// A segment's ciphertext was not what its hash says.
    BadCiphertextHash,
    /// An error that no fault of a grid can justify.
    Other(String),
}

/// What is known of a read that ended.
pub struct ReadFacts<'a> {
    /// The file.
    pub file: &'a StoredFile,
    /// The range that was asked for, within the file.
    pub range: Range<u64>,
    /// How many of its bytes were delivered.
    pub delivered: u64,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// The servers that had joined when its node looked for servers.
    pub known: &'a [&'a Server],
}

/// Checks how a read ended.
pub fn check_outcome(facts: &ReadFacts<'_>) -> Result<(), String> {
    let length = facts.range.end - facts.range.start;
    let end = facts.range.start + facts.delivered;
    let poisoned = facts.file.poisoned.and_then(|segment| facts.file.sizes.segment_range(segment));
    let reaches_poison = poisoned
        .is_some_and(|poison| length > 0 && facts.range.start < poison.end && poison.start < facts.range.end);
    match facts.outcome {
        Outcome::Dropped => Ok(()),
        Outcome::Complete if facts.delivered != length => {
            Err(format!("a read of {length} bytes ended well with {}", facts.delivered))
        }
        Outcome::Complete if reaches_poison => Err("a read ended well across an inconsistent segment".into()),
        Outcome::Complete => Ok(()),
        Outcome::BadCiphertextHash => match reaches_poison {
            true => Ok(()),
            false => Err("a consistent segment was said to have the wrong ciphertext hash".into()),
        },
        Outcome::NoShares | Outcome::NotEnoughShares => {
            let (good, needed) = (good_shares(facts.known), facts.file.cap.k as usize);
            match good.len() >= needed {
                true => Err(format!(
                    "a read gave up at {end} ({:?}) with {} good shares within reach and {needed} needed: {good:?}",
                    facts.outcome,
                    good.len()
                )),
                false => Ok(()),
            }
        }
        Outcome::Other(error) => Err(format!("no fault of a grid justifies this error: {error}")),
    }
}

fn good_shares(known: &[&Server]) -> BTreeSet<u32> {
    known.iter().filter(|server| !server.ledger().harmed).flat_map(|server| server.good_shares()).collect()
}
