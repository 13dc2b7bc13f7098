//! The stage: a gateway with its cluster, nodes on machines of their own, links between them, and what must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pool::Peer;
use pool::cluster::located::MemoryLog;
use pool::cluster::recorded::Recorded;
use pool::cluster::{Cluster, Node, Settings};
use pool::connections::{Connections, Dial};
use pool::http::Peers;
use pool::http::access::Access;
use pool::http::server::{Config, Server};
use pool::mode::Mode;
use pool::patient::Patient;
use pool::peer::PeerError;
use pool::repository::Repository;
use pool::repository::layout::Layout;
use pool::session::client::Remote;
use pool::session::server::{Manner, serve};
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::files::Files;
use runtime::{Runtime, Scope};
use seedgrid::case::Case;
use seedgrid::fault::{DiskEffect, Fault};
use seedgrid::world::{Actor, World};
use tokio::io::DuplexStream;
use tokio::sync::Notify;

use super::link::{Far, link};
use super::model::Model;
use super::near::{Counted, NearEnd};
use super::oracle;
use super::workload::{AnnexWorkload, Object};
use crate::storage::stage::lock;

/// Where a node has its objects.
const ROOT: &str = "srv/annex";
/// The name of the cluster.
const CLUSTER: &str = "cluster";
/// How long a node's process is down after a crash.
const DOWN: Duration = Duration::from_secs(1);
/// How long the gateway waits for a client that speaks HTTP. Of several that are slow, one after the other has a worker.
const WEB_PATIENCE: Duration = Duration::from_secs(17);
/// How long the gateway waits for a node.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The gateway, the nodes, and what is known of them.
pub struct Stage {
    /// The world.
    pub world: World,
    /// The harness's own door.
    pub script: Runtime,
    /// Keeps nodes up.
    pub scope: Scope,
    /// Carries bytes.
    pub links: Scope,
    /// All trouble is over.
    pub healed: AtomicBool,
    /// The objects.
    pub objects: Vec<Object>,
    /// The nodes.
    pub nodes: Vec<NodeHost>,
    /// The gateway's connections to nodes.
    pub connections: Arc<Connections>,
    /// The gateway's machine.
    pub gateway: Actor,
    sessions: Scope,
    settings: Settings,
    web: OnceLock<Server>,
    healing: Notify,
    /// How often a link went wrong, by who is at its end, and links that stand still.
    troubles: Mutex<BTreeMap<Far, u64>>,
    still: Mutex<BTreeMap<Far, u64>>,
    /// Links to nodes whose near end is there.
    near_ends: Arc<AtomicU64>,
    model: Mutex<Model>,
    /// How many locks the gateway may hold for clients that speak HTTP.
    locks: usize,
    /// Disks fail now and then.
    sick: bool,
}

/// A node's machine.
pub struct NodeHost {
    /// The node.
    pub uuid: Uuid,
    /// The machine.
    pub actor: Actor,
    /// The newest version that it speaks.
    pub version: Version,
    /// None while its process is down.
    repository: Mutex<Option<Repository>>,
    sessions: Arc<AtomicU64>,
}

impl Stage {
    /// Sets the stage; the nodes are not started yet.
    pub fn set(case: &Case, world: World) -> Arc<Stage> {
        let workload = case.workload.of::<AnnexWorkload>();
        let script = world.actor("script").runtime();
        let gateway = world.actor("gateway");
        let power = workload.deeds.iter().any(|deed| deed.power) || case.faults.iter().any(is_power_loss);
        let nodes = workload.nodes.iter().enumerate().map(|(number, plan)| {
            let actor = world.actor(format!("node{number}"));
            actor.booted_before(Duration::from_secs(plan.uptime_s));
            // The machine is older than its repository.
            let _ = actor.disk().create_dir_all(Path::new(ROOT).parent().unwrap_or(Path::new(ROOT)));
            actor.disk().sync_all();
            if power {
                actor.disk().track();
            }
            NodeHost {
                uuid: uuid(&format!("node{number}")),
                actor,
                version: Version::new(plan.version).unwrap_or(Version::MAX),
                repository: Mutex::default(),
                sessions: Arc::default(),
            }
        });
        let settings =
            Settings { jobs: workload.jobs, patience: PATIENCE, located: Arc::new(MemoryLog::default()) };
        let stage = Arc::new(Stage {
            scope: script.scope(),
            links: world.actor("links").runtime().scope(),
            sessions: gateway.runtime().scope(),
            healed: AtomicBool::new(false),
            objects: workload.sizes.iter().enumerate().map(|(n, size)| Object::new(n, *size)).collect(),
            nodes: nodes.collect(),
            connections: Connections::new(gateway.runtime(), workload.idle),
            settings,
            healing: Notify::new(),
            troubles: Mutex::default(),
            still: Mutex::default(),
            near_ends: Arc::default(),
            model: Mutex::default(),
            sick: case.faults.iter().any(fails),
            web: OnceLock::new(),
            locks: workload.locks,
            gateway,
            script,
            world,
        });
        let access = Access { anybody: Some(Mode::ReadWrite), ..Access::default() };
        let config = Config {
            jobs: workload.workers,
            locked_files: workload.locks,
            patience: WEB_PATIENCE,
            access,
            ..Config::default()
        };
        let behind = Behind(Arc::downgrade(&stage));
        stage.web.get_or_init(|| Server::new(stage.gateway.runtime(), behind, config));
        stage
    }

    /// The model. Keep it no longer than for a moment.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// Judges what an oracle found.
    pub fn judge(&self, oracle: &str, found: Result<(), String>) {
        if let Err(detail) = found {
            self.world.violated(oracle, detail);
        }
    }

    /// Something went wrong with a link, or with who is at its end.
    pub fn trouble(&self, far: Far) {
        *lock(&self.troubles).entry(far).or_default() += 1;
    }

    /// A link stands still for so long, unless all is healed before that.
    pub async fn stands_still(&self, far: Far, length: Duration) {
        *lock(&self.still).entry(far).or_default() += 1;
        let healed = self.healing.notified();
        if !self.healed.load(Ordering::Relaxed) {
            let _ = self.script.timeout(length, healed).await;
        }
        *lock(&self.still).entry(far).or_default() -= 1;
        self.trouble(far);
    }

    /// How much trouble there has been so far with who is at the end of a link; none while something is wrong there.
    pub fn sound(&self, far: Far) -> Option<u64> {
        let is_up = match far {
            Far::Client(_) => true,
            Far::Node(number) => lock(&self.nodes[number].repository).is_some(),
        };
        let still = lock(&self.still).get(&far).is_some_and(|links| *links > 0);
        let sick = self.sick && !self.healed.load(Ordering::Relaxed) && matches!(far, Far::Node(_));
        (is_up && !still && !sick).then(|| lock(&self.troubles).get(&far).copied().unwrap_or_default())
    }

    /// Ends all trouble that may come.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
        self.healing.notify_waiters();
        for node in &self.nodes {
            node.actor.disk().heal();
            node.actor.expose_disk(&[]);
        }
    }

    /// Keeps the nodes up: whenever one is not, it is started.
    pub fn keep_up(self: &Arc<Self>) {
        for number in 0..self.nodes.len() {
            let stage = self.clone();
            self.nodes[number].actor.expose_disk(&DiskEffect::CRASHES);
            self.scope.spawn("keeper", number as u64, async move {
                let node = &stage.nodes[number];
                loop {
                    let life = node.actor.life();
                    if !node.actor.is_up() {
                        stage.script.sleep(DOWN).await;
                        if !node.actor.is_up() {
                            node.actor.restart();
                        }
                    }
                    if node.actor.is_up() && node.open().await {
                        node.actor.down(life.max(node.actor.life())).await;
                        lock(&node.repository).take();
                        stage.trouble(Far::Node(number));
                        stage.check_disks();
                    } else {
                        stage.script.sleep(DOWN).await;
                    }
                }
            });
        }
    }

    /// Waits until all nodes are up.
    pub async fn up(&self) {
        while self.nodes.iter().any(|node| lock(&node.repository).is_none()) {
            self.script.sleep(DOWN).await;
        }
    }

    /// A client's connection to the gateway: to its cluster, or to one of its nodes through it.
    pub fn knock(self: &Arc<Self>, client: u64, node: Option<usize>) -> Wire {
        let (near, far) = link(self, Far::Client(client));
        let stage = self.clone();
        self.sessions.spawn("session", client, async move {
            let mut peer = stage.behind(node, stage.name_of_client(client));
            let manner =
                Manner { mode: Mode::ReadWrite, version: Version::MAX, proxy: true, own: uuid("gateway") };
            let ended = serve(&mut Wire::new(Box::new(near)), &mut *peer, &manner).await;
            tracing::debug!(target: "session", client, ?ended);
        });
        Wire::new(Box::new(far))
    }

    /// A client's connection to the gateway's HTTP server.
    pub fn visit(self: &Arc<Self>, client: u64) -> DuplexStream {
        let (near, far) = link(self, Far::Client(client));
        if let Some(server) = self.web.get() {
            server.attach(Box::new(near));
        }
        far
    }

    /// By what name a client comes: two at a time come by one, and use each other's connections.
    pub fn name_of_client(&self, client: u64) -> Uuid {
        uuid(&format!("client{}", client / 2))
    }

    /// The name of a node, or of the cluster.
    pub fn name_of(&self, node: Option<usize>) -> Uuid {
        node.map_or_else(|| uuid(CLUSTER), |node| self.nodes[node].uuid.clone())
    }

    /// A node, or the cluster, as a client reaches it through the gateway.
    fn behind(self: &Arc<Self>, node: Option<usize>, client: Uuid) -> Box<dyn Peer> {
        match node {
            Some(node) => {
                let patient = Patient::new(self.gateway.runtime(), PATIENCE, self.pooled(node, client));
                Box::new(Recorded::new(Box::new(patient), self.settings.located.clone()))
            }
            None => self.cluster(client),
        }
    }

    fn pooled(self: &Arc<Self>, node: usize, client: Uuid) -> Box<dyn Peer> {
        let route = Arc::new(Route { stage: self.clone(), node });
        Box::new(self.connections.peer(route, client))
    }

    fn cluster(self: &Arc<Self>, client: Uuid) -> Box<dyn Peer> {
        let nodes = (0..self.nodes.len())
            .map(|node| Node { cost: 100, peer: self.pooled(node, client.clone()) })
            .collect();
        let name = uuid(CLUSTER);
        Box::new(Cluster::new(self.gateway.runtime(), name, self.settings.clone(), nodes))
    }

    /// The object as a node has it on its disk.
    pub fn stored(&self, node: usize, object: usize) -> Option<Bytes> {
        let (layout, disk) = (Layout::new(Path::new(ROOT)), self.nodes[node].actor.disk());
        let file = layout.open(disk, &self.objects[object].key).ok()??;
        let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
        let length = file.read_full_at(0, &mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes.into())
    }

    /// Nodes that have an object on their disks.
    pub fn holders(&self, object: usize) -> BTreeSet<usize> {
        (0..self.nodes.len()).filter(|node| self.stored(*node, object).is_some()).collect()
    }

    /// Looks at all objects on all disks.
    pub fn check_disks(&self) {
        let now = self.script.now();
        for (number, object) in self.objects.iter().enumerate() {
            let mut holders = BTreeSet::new();
            for node in 0..self.nodes.len() {
                if let Some(stored) = self.stored(node, number) {
                    self.judge("content", oracle::content::check_stored(node, &object.content, &stored));
                    holders.insert(node);
                }
            }
            let must = self.model().must(number).clone();
            let kept = self.model().kept(number, now);
            self.judge("locks", oracle::locks::check_kept(number, &kept, &holders));
            self.judge("stored", oracle::stored::check_there(number, &must, &holders));
        }
    }

    /// Looks at the gateway's capacity, whoever is using it.
    pub fn check_counts(&self, limit: usize) {
        self.judge("capacity", oracle::capacity::check_counts(self.connections.counts(), limit as u64));
    }

    /// Looks at all capacity when nobody uses any.
    pub fn check_quiet(&self, limit: usize) {
        self.check_counts(limit);
        let near_ends = self.near_ends.load(Ordering::Relaxed);
        let idle = oracle::capacity::check_quiet(self.connections.counts(), near_ends, limit as u64);
        self.judge("capacity", idle);
        self.judge("capacity", oracle::capacity::check_sessions("the gateway", self.sessions.len() as u64));
        if let Some(server) = self.web.get() {
            let room = server.room_for_locks();
            self.judge(
                "capacity",
                oracle::capacity::check_web(server.busy(), server.tasks(), self.locks - room),
            );
        }
        let quiet = |node: &NodeHost| lock(&node.repository).as_ref().is_none_or(Repository::is_quiet);
        for node in &self.nodes {
            self.judge("capacity", oracle::capacity::check_repository(&node.uuid, quiet(node)));
        }
    }

    /// The gateway closes all connections; looks at what is left on either side.
    pub async fn close(&self) {
        self.connections.close().await;
        self.script.sleep(DOWN).await;
        let none = oracle::capacity::check_quiet(
            self.connections.counts(),
            self.near_ends.load(Ordering::Relaxed),
            0,
        );
        self.judge("capacity", none);
        for node in &self.nodes {
            let sessions = node.sessions.load(Ordering::Relaxed);
            self.judge("capacity", oracle::capacity::check_sessions(node.uuid.as_str(), sessions));
        }
    }
}

impl NodeHost {
    async fn open(&self) -> bool {
        let (runtime, name) = (self.actor.runtime(), self.uuid.clone());
        let opening = async move { Repository::open(runtime, name, Path::new(ROOT)).await };
        match self.actor.ask("open", 0, opening).await {
            Ok(Ok(repository)) => {
                *lock(&self.repository) = Some(repository);
                self.actor.recovered();
                true
            }
            _ => false,
        }
    }
}

/// What is behind the gateway, for those who come over HTTP.
struct Behind(Weak<Stage>);

impl Peers for Behind {
    fn peer(&self, server: &Uuid, client: &Uuid, _: &BTreeSet<Uuid>, _: Version) -> Option<Box<dyn Peer>> {
        let stage = self.0.upgrade()?;
        let node = stage.nodes.iter().position(|node| node.uuid == *server);
        (node.is_some() || server.as_str() == CLUSTER).then(|| stage.behind(node, client.clone()))
    }
}

/// The way to a node.
struct Route {
    stage: Arc<Stage>,
    node: usize,
}

#[async_trait]
impl Dial for Route {
    fn uuid(&self) -> &Uuid {
        &self.stage.nodes[self.node].uuid
    }

    async fn dial(&self, newest: Version, bypass: &BTreeSet<Uuid>) -> Result<Remote, PeerError> {
        let node = &self.stage.nodes[self.node];
        let uuid = node.uuid.clone();
        let Some(repository) = lock(&node.repository).clone() else {
            return Err(PeerError::Unreachable { uuid, why: "it is down".into() });
        };
        let (near, far) = link(&self.stage, Far::Node(self.node));
        let manner = Manner { mode: Mode::ReadWrite, version: node.version, proxy: false, own: uuid.clone() };
        let counted = Counted::new(&node.sessions);
        node.actor.spawn("session", 0, async move {
            let _counted = counted;
            let mut peer = repository.peer();
            let _ = serve(&mut Wire::new(Box::new(far)), &mut peer, &manner).await;
        });
        let near = NearEnd::new(near, &self.stage.near_ends);
        Remote::meet(uuid, Wire::new(Box::new(near)), newest, bypass).await
    }
}

fn is_power_loss(fault: &Fault) -> bool {
    matches!(fault, Fault::Disk { effect, .. } if effect.name() == "power-loss")
}

fn fails(fault: &Fault) -> bool {
    matches!(fault, Fault::Disk { effect: DiskEffect::Fail { .. } | DiskEffect::Full { .. }, .. })
}

fn uuid(name: &str) -> Uuid {
    Uuid::new(name).expect("this is what names look like")
}
