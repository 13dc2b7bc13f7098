//! Limits of removals, by a node's own clock (annex-p2p §6.2, §7.6).
//!
//! A client sets a limit by the gateway's clock. Before a node is asked to remove an object it is asked for its time, and
//! then given as much longer as is left of the limit. That is done each time: a node that was started anew has another
//! clock than it had when the client asked for the time, and over HTTP there is no session to remember anything in.
//!
//! A peer whose version has no limits is asked by our own clock, and not at all when it is too late (§7.2).

use runtime::{Runtime, relapse};

/// Our own clock, in whole seconds.
pub fn now(runtime: &Runtime) -> i64 {
    i64::try_from(runtime.boot_time().as_secs()).unwrap_or(i64::MAX)
}

/// The limit by the clock of a node that has just said that it is `theirs`; then our own clock was `own`, by which the
/// limit is `before`. All in seconds. Since our clock was looked at last, what passed in between makes the limit shorter.
/// None when it cannot be said, which no honest clock leads to.
pub fn limit(theirs: i64, own: i64, before: i64) -> Option<i64> {
    if relapse!("annex-L12") {
        return Some(before);
    }
    theirs.checked_add(before.checked_sub(own)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_by_the_clock_of_the_node() {
        assert_eq!(limit(10, 1000, 1060), Some(70), "a clock that is behind");
        assert_eq!(limit(5000, 1000, 1060), Some(5060), "a clock that is ahead");
        assert_eq!(limit(10, 1000, 940), Some(-50), "it is too late");
        assert_eq!(limit(10, 1000, i64::MIN), None);
        assert_eq!(limit(i64::MAX, 0, 1), None);
    }
}
