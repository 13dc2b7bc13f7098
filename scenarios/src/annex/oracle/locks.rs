//! **locks**: an object that is locked stays where it is until it is unlocked, or for 600 seconds if the lock's holder is
//! lost, whatever becomes of connection and process (annex-p2p §16, I9).

use std::collections::BTreeSet;

/// Checks the nodes that have an object against those that must keep it.
pub fn check_kept(object: usize, kept: &BTreeSet<usize>, holders: &BTreeSet<usize>) -> Result<(), String> {
    match kept.difference(holders).next() {
        Some(node) => Err(format!("object {object} is locked on node {node}, and it is not there")),
        None => Ok(()),
    }
}
