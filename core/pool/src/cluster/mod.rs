//! Clusters: several repositories behind a gateway that are one to their clients (annex-p2p §8).
//!
//! What is stored goes to every node that lacks it, what is removed is removed from all, and what is read comes from one. A
//! node that fails, or that cannot be reached, or that does not get on, affects only its own part of that.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`upload`] | an object on its way to several nodes, whose offsets may differ |
//! | [`clocks`] | limits of removals, by a node's own clock |
//! | [`located`], [`directory`] | which repository has which object; a log of that on a disk |

pub mod clocks;
pub mod directory;
pub mod located;
pub mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use runtime::{Runtime, reached, relapse};

use crate::asked::Asked;
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError, Verdict};
use crate::uuid::Uuid;
use crate::version::Version;
use located::{Located, News, record_all};
use upload::Fanout;

/// A node of a cluster.
pub struct Node {
    /// Costs of using it: the lower are preferred.
    pub cost: u32,
    /// The node.
    pub peer: Box<dyn Peer>,
}

/// What all requests to clusters have in common.
#[derive(Clone)]
pub struct Settings {
    /// How many nodes one request may be busy with at a time: at least 1 (`--clusterjobs`, §8.5).
    pub jobs: usize,
    /// How long a node may take for one step of a request.
    pub patience: Duration,
    /// Which repository has which object.
    pub located: Arc<dyn Located>,
}

impl Settings {
    /// With how many of so many nodes a request is busy at a time.
    fn at_a_time(&self, nodes: usize) -> usize {
        let jobs = if relapse!("annex-B9") { self.jobs * nodes } else { self.jobs };
        jobs.max(1)
    }
}

/// A cluster, as one client's requests see it.
pub struct Cluster {
    uuid: Uuid,
    runtime: Runtime,
    settings: Settings,
    /// By cost, the lowest first.
    nodes: Vec<Member>,
    /// Those that requests must not go to.
    passed: Vec<Member>,
}

/// A node, and what it is to be told before it is asked anything.
struct Member {
    cost: u32,
    peer: Box<dyn Peer>,
    /// The gateway that it is reached through, if it is one that our requests may have passed.
    gateway: Option<Uuid>,
    /// The version of our client, and the gateways that its requests have passed; none when the node knows.
    untold: Option<(Version, BTreeSet<Uuid>)>,
}

impl Member {
    fn uuid(&self) -> &Uuid {
        self.peer.uuid()
    }

    /// Tells the node what it has to know before it is asked something. Nobody connects to a node that is asked nothing: one
    /// that cannot be reached would keep those waiting who do not need it.
    async fn tell(&mut self) -> Result<(), PeerError> {
        if let Some((version, bypass)) = &self.untold {
            // It agrees on a version of its own.
            let version = self.peer.begin(*version, bypass).await?;
            if self.gateway.is_some() && !version.has_plus() {
                let (uuid, why) =
                    (self.uuid().clone(), format!("it speaks version {version}, which tells no gateways"));
                return Err(PeerError::Unreachable { uuid, why });
            }
            self.untold = None;
        }
        Ok(())
    }

    /// Whether requests that speak this version and have passed these gateways must not go there: they have come from there,
    /// or could come back and nobody would know (§8.2).
    fn is_passed(&self, version: Version, bypass: &BTreeSet<Uuid>) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| !version.has_plus() || bypass.contains(gateway))
    }
}

impl Cluster {
    /// The cluster of these nodes.
    pub fn new(runtime: Runtime, uuid: Uuid, settings: Settings, nodes: Vec<Node>) -> Cluster {
        let member = |Node { cost, peer }| {
            let peer = Box::new(Asked::new(runtime.clone(), settings.patience, peer));
            Member { cost, peer, gateway: None, untold: None }
        };
        let mut nodes: Vec<_> = nodes.into_iter().map(member).collect();
        nodes.sort_by_key(|node| node.cost);
        Cluster { uuid, runtime, settings, nodes, passed: Vec::new() }
    }

    /// Adds a node that is reached through another gateway: this cluster, as that one has it, or a part of it. Requests that
    /// have come from there do not go back (§8.2).
    pub fn through(mut self, gateway: Uuid, Node { cost, peer }: Node) -> Cluster {
        let peer = Box::new(Asked::new(self.runtime.clone(), self.settings.patience, peer));
        self.nodes.push(Member { cost, peer, gateway: Some(gateway), untold: None });
        self.nodes.sort_by_key(|node| node.cost);
        self
    }

    /// The nodes to read from, by their places: those that are said to have the object, the cheapest first, those of one
    /// cost in an order that chance decides (§8.3). The others follow if the log may not know all.
    fn sources(&self, holders: &BTreeSet<Uuid>) -> Vec<usize> {
        let located = &self.settings.located;
        let is_said = |node: &Member| holders.contains(node.uuid());
        let mut sources: Vec<_> = self.nodes.iter().enumerate().collect();
        sources.retain(|(_, node)| is_said(node) || !located.is_complete());
        let chance: [u8; 32] = self.runtime.entropy();
        let order = |place: usize| chance[place % chance.len()];
        sources.sort_by_key(|(place, node)| (!is_said(node), node.cost, order(*place), *place));
        sources.into_iter().map(|(place, _)| place).collect()
    }

    /// Has every node do something, so many at a time, and gathers what came of it.
    async fn all<T: Send>(
        &mut self,
        ask: impl for<'a> Fn(&'a mut dyn Peer) -> BoxFuture<'a, Result<T, PeerError>> + Sync,
    ) -> Vec<(Uuid, Result<T, PeerError>)> {
        let ask = &ask;
        let mut asked: Vec<BoxFuture<'_, (Uuid, Result<T, PeerError>)>> = Vec::new();
        for node in &mut self.nodes {
            asked.push(Box::pin(async move {
                let uuid = node.uuid().clone();
                let answer = match node.tell().await {
                    Ok(()) => ask(&mut *node.peer).await,
                    Err(error) => Err(error),
                };
                if answer.as_ref().is_err_and(|error| !matches!(error, PeerError::Refused(_))) {
                    node.peer.close().await;
                }
                (uuid, answer)
            }));
        }
        let at_a_time = self.settings.at_a_time(asked.len());
        let mut answers: Vec<_> = stream::iter(asked).buffer_unordered(at_a_time).collect().await;
        answers.sort_by(|(one, _), (other, _)| one.cmp(other));
        answers
    }
}

/// Removes an object from a node, if the gateway's clock is below `before`.
async fn remove_before(
    runtime: &Runtime,
    node: &mut dyn Peer,
    key: &Key,
    before: Option<i64>,
) -> Result<Outcome, PeerError> {
    let Some(before) = before else { return node.remove(key, None).await };
    let theirs = node.timestamp().await?;
    match clocks::limit(theirs, clocks::now(runtime), before) {
        Some(limit) => node.remove(key, Some(limit)).await,
        None => Err(PeerError::Refused(format!("the clock of {} makes no sense", node.uuid()))),
    }
}

#[async_trait]
impl Peer for Cluster {
    fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.append(&mut self.passed);
        nodes.sort_by_key(|node| node.cost);
        for mut node in nodes {
            node.untold = Some((version, bypass.clone()));
            if node.is_passed(version, bypass) { self.passed.push(node) } else { self.nodes.push(node) }
        }
        Ok(version)
    }

    /// The object is absent when no node has it that is said to. Where one of those cannot be asked that is not known: the
    /// client is told so, with an error, and takes the object for neither lost nor there. Others are asked on the off chance.
    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        let holders = self.settings.located.holders(key).await?;
        let mut unasked = None;
        for place in self.sources(&holders) {
            let Some(node) = self.nodes.get_mut(place) else { continue };
            let is_said = holders.contains(node.uuid());
            let present = match node.tell().await {
                Ok(()) => node.peer.check_present(key).await,
                Err(error) => Err(error),
            };
            match present {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => {
                    if !matches!(error, PeerError::Refused(_)) {
                        node.peer.close().await;
                    }
                    if is_said {
                        reached!("cluster: a node that may have an object cannot be asked");
                        unasked.get_or_insert(error);
                    }
                }
            }
        }
        match unasked {
            None => Ok(false),
            Some(error) => {
                Err(PeerError::Refused(format!("a node that is said to have it cannot be asked: {error}")))
            }
        }
    }

    /// Clients lock an object on single nodes.
    async fn lock<'a>(&'a mut self, _: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        Ok(None)
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        if self.nodes.is_empty() {
            return Ok(Outcome::of(false));
        }
        let removed = News::Removed { since: self.settings.located.moment() };
        let runtime = self.runtime.clone();
        let answers = self
            .all(|peer| {
                let (key, runtime) = (key.clone(), runtime.clone());
                Box::pin(async move { remove_before(&runtime, peer, &key, before).await })
            })
            .await;
        let mut outcome = Outcome::of(true);
        let mut refusal = None;
        for (uuid, answer) in answers {
            match answer {
                Ok(Outcome { done, also }) => {
                    outcome.done &= done;
                    outcome.also.extend(Some(uuid).filter(|uuid| done && !uuid.is_cluster()));
                    outcome.also.extend(also);
                }
                Err(error) => {
                    outcome.done = false;
                    reached!("cluster: a node does not remove an object");
                    tracing::info!(cluster = %self.uuid, node = %uuid, %error, "a node does not remove an object");
                    if let PeerError::Refused(text) = error {
                        refusal.get_or_insert(text);
                    }
                }
            }
        }
        record_all(&*self.settings.located, key, &outcome.also, removed).await?;
        match refusal {
            Some(text) if outcome.also.is_empty() => Err(PeerError::Refused(text)),
            _ => Ok(outcome),
        }
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        Ok(clocks::now(&self.runtime))
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let holders = self.settings.located.holders(key).await?;
        let sources = self.sources(&holders);
        let mut nodes: BTreeMap<_, _> = self.nodes.iter_mut().enumerate().collect();
        for node in sources.into_iter().filter_map(|place| nodes.remove(&place)) {
            // A log that is out of date must not hide the object (§8.3): the next one is asked.
            if node.tell().await.is_err() || node.peer.check_present(key).await != Ok(true) {
                reached!("cluster: a node does not have what the log says it has");
                continue;
            }
            let Ok(mut download) = node.peer.get(offset, file, key).await else {
                reached!("cluster: a node fails before it sends an object");
                continue;
            };
            if download.length() > 0 {
                return Ok(download);
            }
            // Nothing comes: because of the offset, or the object has been removed since it was there.
            let verdict = download.verdict().await;
            let ended = download.end(verdict == Ok(Verdict::Valid)).await;
            if ended.is_ok() && verdict == Ok(Verdict::Valid) {
                return Ok(Box::new(Nothing(Verdict::Valid)));
            }
            reached!("cluster: an object is removed from a node before it is sent");
        }
        if relapse!("annex-B21") {
            return Err(PeerError::Refused("no node has it".into()));
        }
        Ok(Box::new(Nothing(Verdict::Invalid)))
    }

    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        let holders = self.settings.located.holders(key).await?;
        let lacks = |node: &Member| !holders.contains(node.uuid());
        let some_lack_it = self.nodes.iter().any(lacks);
        let chosen = self.nodes.iter_mut().filter(|node| !some_lack_it || lacks(node)).collect();
        Fanout::offer(&self.settings, chosen, file, key).await
    }

    fn is_reusable(&self) -> bool {
        self.nodes.iter().all(|node| node.peer.is_reusable())
    }

    /// Nodes that are in the middle of nothing keep their connections.
    async fn close(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| !node.peer.is_reusable()) {
            node.peer.close().await;
        }
    }
}

/// No bytes, where an object was asked for: it is not there, or nothing of it was wanted.
struct Nothing(Verdict);

#[async_trait]
impl Download for Nothing {
    fn length(&self) -> u64 {
        0
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>, PeerError> {
        Ok(None)
    }

    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        Ok(self.0)
    }

    async fn end(self: Box<Self>, _: bool) -> Result<(), PeerError> {
        Ok(())
    }
}
