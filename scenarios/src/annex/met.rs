//! What a request finds at its beginning, and what must therefore come of it.

use std::collections::BTreeSet;

use super::link::Far;
use super::model::Since;
use super::stage::{Stage, Weather};
use super::workload::{Body, Step, What};

/// What a request finds at its beginning.
pub struct Met {
    /// Who else was about the object.
    pub since: Since,
    /// The nodes that had the object on their disks.
    pub holders: BTreeSet<usize>,
    /// Nodes that must have it, of those that the request is for.
    must: BTreeSet<usize>,
    /// The nodes that the gateway's log says have it.
    listed: BTreeSet<usize>,
    /// The nodes that would be asked to take the object.
    asked: BTreeSet<usize>,
    /// Those of them that an upload cannot succeed with, the first time: what has come there is none of the object (§5).
    spoilt: BTreeSet<usize>,
    weather: Weather,
    http: bool,
}

impl Met {
    /// What a client's request finds now, over HTTP or not.
    pub fn now(stage: &Stage, client: u64, http: bool, step: &Step) -> Met {
        let nodes = stage.numbers(step.node);
        let holders = stage.holders(step.object);
        let listed = if step.node.is_none() { stage.listed(step.object) } else { BTreeSet::new() };
        let unlisted = &nodes - &listed;
        let asked = if unlisted.is_empty() { nodes.clone() } else { unlisted };
        let spoilt = (&asked - &holders).into_iter().filter(|node| stage.is_spoilt(*node, step.object));
        let whom = [Far::Client(client)].into_iter().chain(nodes.iter().copied().map(Far::Node));
        let model = stage.model();
        Met {
            since: model.begin(step.object, stage.script.now()),
            must: model.must(step.object) & &nodes,
            spoilt: spoilt.collect(),
            listed,
            asked,
            holders,
            weather: stage.weather(whom),
            http,
        }
    }

    /// Whether nothing at all has gone wrong since with whom the request has to do with.
    pub fn was_calm(&self, stage: &Stage) -> bool {
        stage.was_calm(&self.weather)
    }

    /// Whether the request must be answered, and not be refused. A cluster answers whatever is wrong with some of its nodes
    /// (I24); only what comes from one node can end with it.
    pub fn must_be_answered(&self, stage: &Stage, step: &Step) -> bool {
        let calm = stage.calm(&self.weather);
        match (step.what, step.node) {
            _ if !calm.client => false,
            (What::Put, _) => {
                self.is_alone(stage, step) && (self.was_calm(stage) || self.has_taker(stage, step))
            }
            (What::Get, _) | (_, Some(_)) => self.was_calm(stage),
            _ => true,
        }
    }

    /// Whether an object that is sent as it should be must be stored.
    pub fn must_be_stored(&self, stage: &Stage, step: &Step) -> bool {
        stage.calm(&self.weather).client && self.is_alone(stage, step) && self.has_taker(stage, step)
    }

    /// Whether bytes of the object that came before too many did must be kept: a node that sends and takes them one by one
    /// has them, and nobody else has to do with it.
    pub fn must_be_kept(&self, stage: &Stage, step: &Step) -> bool {
        let tells = |node: usize| {
            let node = &stage.nodes[node];
            !node.http && !node.is_special && node.version.has_verdict()
        };
        let alone = self.is_alone(stage, step) && stage.model().no_removals(step.object, self.since);
        step.node.is_some_and(tells) && alone && self.spoilt.is_empty() && self.was_calm(stage)
    }

    /// Nodes where what came before an upload, none of the object, is still in the way after it, though all of that went well.
    pub fn left(&self, stage: &Stage, step: &Step) -> BTreeSet<usize> {
        let well = step.body == Body::Whole && self.is_alone(stage, step) && self.was_calm(stage);
        let still = |node: &usize| well && stage.is_spoilt(*node, step.object);
        self.spoilt.iter().copied().filter(still).collect()
    }

    /// Whether no node that a request is for has lost the object since it said that it has it: nobody may say that it is absent,
    /// whatever is wrong with that node.
    pub fn is_still_there(&self, stage: &Stage, step: &Step) -> bool {
        !self.still(stage, step).is_empty()
    }

    /// Whether it can be said if the object is there: a node that is well has it, or all are well that may.
    pub fn can_be_said(&self, stage: &Stage, step: &Step) -> bool {
        let calm = stage.calm(&self.weather);
        let unchanged = stage.model().no_puts(step.object, self.since);
        let all_are_well = unchanged && self.listed.is_subset(&calm.nodes);
        self.was_calm(stage) || all_are_well || !self.still(stage, step).is_disjoint(&calm.nodes)
    }

    fn still(&self, stage: &Stage, step: &Step) -> BTreeSet<usize> {
        &self.must & stage.model().must(step.object)
    }

    /// Whether the object must be found where the request is for.
    pub fn must_be_there(&self, stage: &Stage, step: &Step) -> bool {
        let calm = stage.calm(&self.weather);
        let still = self.still(stage, step);
        // Over HTTP an object that is cut off looks like none, and so does one that has rotted.
        let whole = !((self.http || stage.rots()) && step.what == What::Get) || self.was_calm(stage);
        calm.client && whole && !still.is_disjoint(&calm.nodes)
    }

    /// Whether a removal that is not too late must be done: no lock keeps the object, and nobody else removes it just then.
    pub fn must_be_removed(&self, stage: &Stage, step: &Step) -> bool {
        let model = stage.model();
        let alone = self.since.no_removals && model.removals_since(step.object, self.since) <= 1;
        alone && self.was_calm(stage) && !model.may_be_locked(step.object, stage.script.now())
    }

    /// Whether a node that nothing was wrong with would have been asked to take the object, and could have; or one had it
    /// while those that lacked it were all away. A node that begins to take it and fails leaves no answer (§8.4).
    fn has_taker(&self, stage: &Stage, step: &Step) -> bool {
        let calm = stage.calm(&self.weather);
        // Who else removes the object changes who is asked; over HTTP, where to begin is asked in a request of its own, and
        // what is removed in between is then missing.
        let settled =
            stage.model().no_removals(step.object, self.since) || (self.was_calm(stage) && !self.http);
        // A special remote takes an object from the beginning, be it there or not.
        let (have, lack): (BTreeSet<usize>, BTreeSet<usize>) = self
            .asked
            .iter()
            .partition(|node| self.holders.contains(node) && !stage.nodes[**node].is_special);
        let takes = !(&lack - &self.spoilt).is_disjoint(&calm.nodes);
        let has = lack.is_subset(&calm.away) && !have.is_disjoint(&calm.nodes);
        // Over HTTP the offset is asked for first, and may be another by then.
        let at_once = !self.http || self.was_calm(stage);
        settled && at_once && (takes || has)
    }

    /// Whether nobody else was about to put the object that this step puts. Of two that do, the second is refused.
    fn is_alone(&self, stage: &Stage, step: &Step) -> bool {
        self.since.alone && stage.model().puts_since(step.object, self.since) <= 1
    }
}
