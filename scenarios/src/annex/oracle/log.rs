//! **log**: the gateway's location log has every object that was stored through the gateway and is still there, in whatever
//! order requests came to their ends (annex-p2p §7, §8.3).

use std::collections::BTreeSet;

/// Checks the nodes that the log has for an object against those that it must have.
pub fn check_listed(object: usize, must: &BTreeSet<usize>, listed: &BTreeSet<usize>) -> Result<(), String> {
    match must.difference(listed).next() {
        Some(node) => Err(format!(
            "object {object} was stored on node {node} and is there, and the log does not say so"
        )),
        None => Ok(()),
    }
}
