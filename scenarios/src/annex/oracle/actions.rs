//! **actions**: a request asks no more nodes at a time than it may, however many nodes or requests there are (annex-p2p §16,
//! I23). Only the bytes of an upload go to all of its nodes at once.

/// Checks how much nodes are doing at a time, for so many requests of which each may be busy with `jobs` of them.
pub fn check_actions(actions: u64, requests: u64, jobs: u64) -> Result<(), String> {
    match actions > requests * jobs {
        true => Err(format!(
            "nodes are doing {actions} things at a time for {requests} requests, each of which may have {jobs} done"
        )),
        false => Ok(()),
    }
}
