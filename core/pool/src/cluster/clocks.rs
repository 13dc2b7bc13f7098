//! The nodes' clocks, as clients of the gateway see them (annex-p2p §6.2, §7.6).
//!
//! A client is told the gateway's own time, and sets limits by it. Each node is given the limit by its own clock: its time
//! when the client was told, and as much as the client has added. A node whose time is not known gets no limit that would
//! mean anything, so it is not asked to remove anything.

use std::collections::BTreeMap;

use runtime::relapse;

use crate::peer::PeerError;
use crate::uuid::Uuid;

/// What the clocks showed when a client last asked.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    asked: Option<(i64, BTreeMap<Uuid, i64>)>,
}

/// The limit of a removal, for each node.
pub struct Limits<'a> {
    clocks: &'a Clocks,
    before: Option<i64>,
}

impl Clocks {
    /// The gateway's own clock, and those of the nodes that have answered, in seconds.
    pub fn of(own: i64, nodes: BTreeMap<Uuid, i64>) -> Clocks {
        Clocks { asked: Some((own, nodes)) }
    }

    /// The limits for a removal that the client allows before `before`, if it sets a limit.
    pub fn limits(&self, before: Option<i64>) -> Limits<'_> {
        Limits { clocks: self, before }
    }
}

impl Limits<'_> {
    /// The limit by a node's own clock; none when the client has set none.
    ///
    /// # Errors
    /// The client has set one, and the node's clock is not known.
    pub fn of(&self, node: &Uuid) -> Result<Option<i64>, PeerError> {
        let Some(before) = self.before else { return Ok(None) };
        if relapse!("annex-L12") {
            return Ok(Some(before));
        }
        let known = self.clocks.asked.as_ref();
        let known = known.and_then(|(own, nodes)| Some((own, nodes.get(node)?)));
        let limit = known.and_then(|(own, theirs)| theirs.checked_add(before.checked_sub(*own)?));
        limit
            .map(Some)
            .ok_or_else(|| PeerError::Refused(format!("the clock of {node} is not known; ask for it first")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(name: &str) -> Uuid {
        Uuid::new(name).unwrap()
    }

    #[test]
    fn a_limit_is_by_the_clock_of_the_node() {
        let clocks = Clocks::of(1000, [(uuid("behind"), 10), (uuid("ahead"), 5000)].into());
        let limit = |before, node| clocks.limits(before).of(&uuid(node));
        assert_eq!(limit(Some(1060), "behind"), Ok(Some(70)));
        assert_eq!(limit(Some(1060), "ahead"), Ok(Some(5060)));
        assert_eq!(limit(Some(940), "behind"), Ok(Some(-50)));
        assert_eq!(limit(None, "silent"), Ok(None));
        assert!(limit(Some(1060), "silent").is_err());
        assert!(limit(Some(i64::MIN), "ahead").is_err());
        assert!(Clocks::default().limits(Some(1)).of(&uuid("ahead")).is_err(), "nobody has asked");
    }
}
