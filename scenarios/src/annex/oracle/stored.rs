//! **stored**: an object that is said to be stored is on every node that is named, and one that is said to be removed is on
//! none; it stays so while nobody asks for anything else (annex-p2p §16, I6, I8, I11).

use std::collections::BTreeSet;

/// Checks the nodes that have an object against those that must.
pub fn check_there(object: usize, must: &BTreeSet<usize>, holders: &BTreeSet<usize>) -> Result<(), String> {
    match must.difference(holders).next() {
        Some(node) => Err(format!("object {object} is not on node {node}, and nobody has removed it")),
        None => Ok(()),
    }
}

/// Checks that wrong bytes do not stay in the way of an object that all of was sent (annex-p2p §5).
pub fn check_discarded(object: usize, left: &BTreeSet<usize>) -> Result<(), String> {
    match left.first() {
        Some(node) => {
            Err(format!("wrong bytes of object {object} stay on node {node}, whatever is sent there"))
        }
        None => Ok(()),
    }
}

/// Checks the nodes that have an object against those that must not.
pub fn check_gone(object: usize, gone: &BTreeSet<usize>, holders: &BTreeSet<usize>) -> Result<(), String> {
    match gone.intersection(holders).next() {
        Some(node) => Err(format!("object {object} is said to be removed, and it is on node {node}")),
        None => Ok(()),
    }
}

/// Checks from where on an object is wanted all of which came, with too much behind it.
pub fn check_kept(object: usize, length: u64, from: u64) -> Result<(), String> {
    match from < length {
        true => Err(format!("all {length} bytes of object {object} came, and it is wanted from {from} on")),
        false => Ok(()),
    }
}
