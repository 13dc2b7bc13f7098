//! **connects**: one request to the gateway connects to a node once, at the most: a connection is used for all that a
//! request takes (annex-p2p §16, I15; §15.2).

/// Checks how often each node was connected to for so many requests, when nothing was wrong and nobody else asked.
pub fn check_connects(connects: &[u64], requests: u64) -> Result<(), String> {
    match connects.iter().enumerate().find(|(_, connects)| **connects > requests) {
        Some((node, connects)) => Err(format!(
            "node {node} was connected to {connects} times for {requests} requests, and nothing is wrong"
        )),
        None => Ok(()),
    }
}
