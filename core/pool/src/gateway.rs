//! A gateway: repositories elsewhere, and clusters of them, that clients reach through one place (annex-p2p §7, §8).
//!
//! It holds nothing itself. Each request is for one of its nodes or for a cluster of several; what nodes store and remove
//! is recorded in its location log before the client is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runtime::Runtime;

use crate::Peer;
use crate::asked::Asked;
use crate::cluster::{Cluster, Node, Settings};
use crate::connections::Connections;
use crate::http::site::Site;
use crate::http::{HttpRemote, Peers};
use crate::pooled::{Dial, Pooled};
use crate::uuid::Uuid;
use crate::version::Version;

/// A repository behind the gateway.
pub struct Member {
    /// Who it is.
    pub uuid: Uuid,
    /// Costs of using it: the lower are preferred.
    pub cost: u32,
    /// How it is reached.
    pub way: Way,
}

/// How a repository is reached.
pub enum Way {
    /// Over a connection that is kept when it is idle.
    Dial(Arc<dyn Dial>),
    /// It is here: a directory.
    Here(Box<dyn Fn() -> Box<dyn Peer> + Send + Sync>),
    /// Behind a URL, and as this user with this password if that is needed. Its connections are kept as well.
    Http(Site, Option<(String, String)>),
}

/// A gateway.
pub struct Gateway {
    runtime: Runtime,
    uuid: Uuid,
    settings: Settings,
    connections: Arc<Connections>,
    members: BTreeMap<Uuid, Member>,
    clusters: BTreeMap<Uuid, Group>,
}

/// A cluster's nodes: those that are our own, and those that other gateways have.
#[derive(Default)]
struct Group {
    nodes: Vec<Uuid>,
    through: Vec<(Uuid, Member)>,
}

impl Gateway {
    /// The gateway `uuid`, which keeps at most `idle` idle connections and has no nodes yet.
    pub fn new(runtime: Runtime, uuid: Uuid, settings: Settings, idle: usize) -> Gateway {
        let connections = Connections::new(runtime.clone(), idle);
        Gateway { runtime, uuid, settings, connections, members: BTreeMap::new(), clusters: BTreeMap::new() }
    }

    /// Adds a node. Of several ways to one the cheapest is used.
    pub fn add(&mut self, member: Member) {
        let cheaper = self.members.get(&member.uuid).is_some_and(|known| known.cost <= member.cost);
        if !cheaper {
            self.members.insert(member.uuid.clone(), member);
        }
    }

    /// Adds a cluster of these nodes.
    pub fn add_cluster(&mut self, uuid: Uuid, nodes: Vec<Uuid>) {
        self.clusters.entry(uuid).or_default().nodes.extend(nodes);
    }

    /// Adds what another gateway has of a cluster: requests that have not passed that gateway go there as well (annex-p2p
    /// §8.2).
    pub fn add_cluster_through(&mut self, cluster: Uuid, gateway: Uuid, member: Member) {
        self.clusters.entry(cluster).or_default().through.push((gateway, member));
    }

    /// Who the gateway itself is.
    pub fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    /// Who is reached through it: nodes and clusters.
    pub fn served(&self) -> impl Iterator<Item = &Uuid> {
        self.members.keys().chain(self.clusters.keys())
    }

    /// The connections to its nodes.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// The node or cluster `server`, for requests of `client`; none when it is not here.
    pub fn peer(&self, server: &Uuid, client: &Uuid) -> Option<Box<dyn Peer>> {
        let Some(Group { nodes, through }) = self.clusters.get(server) else {
            let alone = self.reach(self.members.get(server)?, client);
            let alone = Asked::new(self.runtime.clone(), self.settings.patience, alone);
            return Some(Box::new(alone.logged(self.settings.located.clone())));
        };
        let node = |member: &Member| Node { cost: member.cost, peer: self.reach(member, client) };
        let nodes = nodes.iter().filter_map(|node| self.members.get(node)).map(node).collect();
        let cluster = Cluster::new(self.runtime.clone(), server.clone(), self.settings.clone(), nodes);
        let cluster = through
            .iter()
            .fold(cluster, |cluster, (gateway, member)| cluster.through(gateway.clone(), node(member)));
        Some(Box::new(cluster))
    }

    /// Closes all connections, and waits until they are.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    fn reach(&self, member: &Member, client: &Uuid) -> Box<dyn Peer> {
        match &member.way {
            Way::Dial(dial) => Box::new(Pooled::new(self.connections.clone(), dial.clone(), client.clone())),
            Way::Here(peer) => peer(),
            Way::Http(site, login) => {
                // Who asks over there is the gateway.
                let mut remote = HttpRemote::new(self.connections.clone(), site.clone(), self.uuid.clone());
                if let Some((user, password)) = login {
                    remote.log_in(user, password);
                }
                Box::new(remote)
            }
        }
    }
}

impl Peers for Arc<Gateway> {
    fn peer(
        &self,
        server: &Uuid,
        client: &Uuid,
        bypass: &BTreeSet<Uuid>,
        _: Version,
    ) -> Option<Box<dyn Peer>> {
        // A request that has been here before would go round for ever.
        if bypass.contains(&self.uuid) { None } else { Gateway::peer(self, server, client) }
    }

    fn gateway(&self) -> Option<&Uuid> {
        Some(&self.uuid)
    }
}
