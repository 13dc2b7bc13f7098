//! What a case does: a gateway with its nodes, clients with their steps, and what befalls the nodes.

use bytes::Bytes;
use pool::hash::HashKind;
use pool::key::Key;
use serde::{Deserialize, Serialize};

use crate::table::is_default;

/// What a case does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnexWorkload {
    /// Bytes of each object.
    pub sizes: [u64; OBJECTS],
    /// How many idle connections the gateway keeps.
    pub idle: usize,
    /// With how many nodes one request may be busy at a time.
    pub jobs: usize,
    /// How many requests the gateway serves over HTTP at a time.
    #[serde(default = "one")]
    pub workers: usize,
    /// How many locks it holds for clients that speak HTTP.
    #[serde(default = "one")]
    pub locks: usize,
    /// Links carry one byte at a time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bytes: bool,
    /// The gateway's machine was started so many seconds before the run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uptime_s: u64,
    /// The nodes of the cluster.
    #[serde(rename = "node", default)]
    pub nodes: Vec<NodePlan>,
    /// The clients, all at once.
    #[serde(rename = "client", default)]
    pub clients: Vec<ClientPlan>,
    /// A node that went down is down for so many seconds.
    #[serde(default = "one_second", skip_serializing_if = "is_one_second")]
    pub down_s: u64,
    /// What befalls nodes, one after the other.
    #[serde(rename = "deed", default, skip_serializing_if = "Vec::is_empty")]
    pub deeds: Vec<Deed>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodePlan {
    /// The newest version that it speaks.
    pub version: u64,
    /// It is reached over HTTP.
    #[serde(skip_serializing_if = "is_default")]
    pub http: bool,
    /// It is a directory special remote, which the gateway speaks for.
    #[serde(skip_serializing_if = "is_default")]
    pub special: bool,
    /// It is older than versions are, if it speaks version 0 over a connection.
    #[serde(skip_serializing_if = "is_default")]
    pub ancient: bool,
    /// Each connection to it has a process of its own, as over ssh, if it is neither reached over HTTP nor special.
    #[serde(skip_serializing_if = "is_default")]
    pub processes: bool,
    /// Its machine was started so many seconds before the run.
    #[serde(skip_serializing_if = "is_default")]
    pub uptime_s: u64,
    /// Objects that it has from the start, which the gateway does not know of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub has: Vec<usize>,
}

/// A client: steps one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// The newest version that it speaks.
    pub version: u64,
    /// It speaks HTTP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http: bool,
    /// How often it does all of it; once, when that is not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rounds: u64,
    /// What it does.
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
}

impl ClientPlan {
    /// All its steps, in all rounds.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        (0..self.rounds.max(1)).flat_map(|_| &self.steps)
    }
}

/// A step of a client: a request, and what is particular about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// It waits so many milliseconds first.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ms: u64,
    /// What it asks for.
    #[serde(rename = "do")]
    pub what: What,
    /// Of which node alone; of the cluster, when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<usize>,
    /// Which object.
    pub object: usize,
    /// From where on it gets the object.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// What it sends for the object.
    #[serde(skip_serializing_if = "is_default")]
    pub body: Body,
    /// In how many pieces.
    #[serde(skip_serializing_if = "is_default")]
    pub pieces: u64,
    /// So many seconds after it asked for the time, the object may no longer be removed.
    #[serde(skip_serializing_if = "is_default")]
    pub limit_s: i64,
    /// How long it keeps a lock, or waits between asking for the time and removing, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub hold_ms: u64,
    /// It hangs up afterwards, instead of unlocking if it has a lock.
    #[serde(skip_serializing_if = "is_default")]
    pub leaves: bool,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// CHECKPRESENT
    #[default]
    Check,
    /// GET
    Get,
    /// PUT
    Put,
    /// REMOVE
    Remove,
    /// GETTIMESTAMP and REMOVE-BEFORE
    RemoveBefore,
    /// LOCKCONTENT
    Lock,
}

/// What a client sends for an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// All of it.
    #[default]
    Whole,
    /// Less than it has announced: it hangs up in the middle, or, over HTTP, says that this was all.
    Short,
    /// As many bytes, of which the last is wrong, as valid ones.
    Wrong,
    /// It announces more than the object has, sends some of that as well, and hangs up; over HTTP, it sends more than it has
    /// announced.
    Excess,
    /// All of it, but not whether it is valid: it asks something else instead. Over HTTP nothing can be left out.
    Mute,
    /// Nothing: it says that the object has come there in another way, which is not so. Below version 4, and over HTTP, as
    /// when there is nothing to send.
    Present,
    /// Nothing, and says that this is not valid: it only wants to know the offset. Over HTTP nothing either, from further
    /// on than is wanted.
    Nothing,
}

/// What befalls a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deed {
    /// So many milliseconds after the last.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ms: u64,
    /// Which node.
    pub node: usize,
    /// The power fails; otherwise its process alone dies.
    #[serde(skip_serializing_if = "is_default")]
    pub power: bool,
}

/// How many objects there are.
pub const OBJECTS: usize = 2;

/// An object, and what it is called.
pub struct Object {
    /// Its key, which tells its hash.
    pub key: Key,
    /// Its bytes.
    pub content: Bytes,
}

impl Object {
    /// The object of that number and size.
    pub fn new(number: usize, size: u64) -> Object {
        let byte = |place: u64| (place ^ place >> 7) as u8 ^ (number as u8 * 85);
        let content: Bytes = (0..size).map(byte).collect();
        let mut hasher = HashKind::Sha256.hasher();
        hasher.update(&content);
        let hash: String = hasher.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        let key = Key::parse(format!("SHA256E-s{size}--{hash}.txt"));
        Object { key: key.expect("this is what keys look like"), content }
    }
}

impl AnnexWorkload {
    /// Checks what a person may have written: every part must mean something, and not be too much of it.
    pub fn check(&self) -> Result<(), String> {
        let steps = || self.clients.iter().flat_map(|client| &client.steps);
        let most = self.clients.iter().map(|client| client.rounds).max().unwrap_or(0).max(1);
        let mut versions =
            self.nodes.iter().map(|node| node.version).chain(self.clients.iter().map(|c| c.version));
        let nodes = steps().filter_map(|step| step.node).chain(self.deeds.iter().map(|deed| deed.node));
        match () {
            () if !(1..=8).contains(&self.nodes.len()) => Err("a cluster has 1 to 8 nodes".into()),
            () if nodes.max().is_some_and(|node| node >= self.nodes.len()) => {
                Err(format!("the nodes are 0 to {}", self.nodes.len() - 1))
            }
            () if self.down_s > 1_000_000 => Err("a node is down for 1000000 s at the most".into()),
            () if self.nodes.iter().any(|node| node.special && node.http) => {
                Err("a special remote is not reached over HTTP".into())
            }
            () if versions.any(|version| version > 4) => Err("the versions are 0 to 4".into()),
            () if self.clients.len() > 40
                || (steps().count() as u64).saturating_mul(most) > 100_000
                || self.deeds.len() > 1000 =>
            {
                Err("more than 40 clients, 100000 steps in all rounds, or 1000 deeds".into())
            }
            () if self.nodes.iter().flat_map(|node| &node.has).any(|object| *object >= OBJECTS) => {
                Err(format!("the objects are 0 to {}", OBJECTS - 1))
            }
            () if steps().any(|step| step.object >= OBJECTS || step.pieces > 100) => {
                Err(format!("there are {OBJECTS} objects, in 100 pieces at the most"))
            }
            () if self.sizes.iter().any(|size| !(1..=1 << 20).contains(size)) => {
                Err("an object has 1 to 1048576 bytes".into())
            }
            () => Ok(()),
        }
    }
}

impl NodePlan {
    /// Whether it does not know what VERSION means.
    pub fn is_ancient(&self) -> bool {
        self.ancient && self.version == 0 && !self.http && !self.special
    }
}

fn one() -> usize {
    1
}

fn one_second() -> u64 {
    1
}

fn is_one_second(seconds: &u64) -> bool {
    *seconds == one_second()
}
