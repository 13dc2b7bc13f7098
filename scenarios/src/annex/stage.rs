//! The stage: a gateway with its cluster, nodes on machines of their own, links between them, and what must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use pool::cluster::Settings;
use pool::cluster::located::{Located, MemoryLog};
use pool::gateway::{Gateway, Member, Way};
use pool::http::access::Access;
use pool::http::server::{Config, Server};
use pool::http::site::Site;
use pool::mode::Mode;
use pool::peer::PeerError;
use pool::pooled::Dial;
use pool::repository::Repository;
use pool::repository::layout::Layout;
use pool::session::client::Remote;
use pool::session::server::{Manner, serve};
use pool::special::Special;
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::files::{Files, OpenMode};
use runtime::{Runtime, Scope};
use seedgrid::case::Case;
use seedgrid::fault::{DiskEffect, Fault};
use seedgrid::world::{Actor, World};
use tokio::io::DuplexStream;
use tokio::sync::Notify;

use super::ancient::Ancient;
use super::link::{Far, GARBLES, link, relay};
use super::model::Model;
use super::mounted::{self, Mounted};
use super::near::{Counted, NearEnd};
use super::oracle;
use super::traffic::{Asking, Traffic};
use super::watched::Watched;
use super::workload::{AnnexWorkload, Object};
use crate::storage::stage::lock;

/// The machine of the links, and its port for the first node.
const LINKS: &str = "links";
const PORT: u16 = 9417;
/// Where a node has its objects.
pub(super) const ROOT: &str = "srv/annex";
/// The name of the cluster.
const CLUSTER: &str = "cluster";
/// How long it takes until somebody looks again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the gateway waits for a client that speaks HTTP. Of several that are slow, one after the other has a worker.
const WEB_PATIENCE: Duration = Duration::from_secs(17);
/// How long a job of a node that is well may take: a request is a few of them.
const HASTE: Duration = Duration::from_millis(200);
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
    /// Carries bytes, and the door of the machine where that is done.
    pub links: Scope,
    door: Runtime,
    /// All trouble is over.
    pub healed: AtomicBool,
    /// The objects.
    pub objects: Vec<Object>,
    /// The nodes.
    pub nodes: Vec<NodeHost>,
    /// The gateway.
    pub gateway: Arc<Gateway>,
    sessions: Scope,
    located: Arc<MemoryLog>,
    /// The gateway's HTTP server.
    web: Server,
    healing: Notify,
    /// How often a link went wrong, by who is at its end, and links that stand still.
    troubles: Mutex<BTreeMap<Far, u64>>,
    still: Mutex<BTreeMap<Far, u64>>,
    garbled: Mutex<BTreeSet<Far>>,
    /// Links to nodes whose near end is there.
    near_ends: Arc<AtomicU64>,
    model: Mutex<Model>,
    /// What goes on, in numbers.
    pub traffic: Traffic,
    /// With how many nodes a request may be busy at a time.
    jobs: usize,
    /// How long a node's process is down after a crash.
    down: Duration,
    /// How many locks the gateway may hold for clients that speak HTTP.
    locks: usize,
    /// Nodes whose disks fail now and then, or are slower than the gateway is patient.
    sick: BTreeSet<String>,
    /// Nodes whose disks rot, which no healing mends, and those whose wall clocks are wrong.
    rotten: BTreeSet<String>,
    skewed: BTreeSet<String>,
    /// Something may come between the bytes of a link.
    pub garbles: bool,
    /// Links carry one byte at a time.
    pub bytes: bool,
}

/// How it was at a time with those whom a request has to do with.
pub struct Weather(Vec<(Far, Condition)>);

/// How it is with one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    /// Nothing is wrong now.
    is_sound: bool,
    /// Which life of the machine it is.
    life: u32,
    /// How often something has gone wrong with its links.
    troubles: u64,
}

/// With whom nothing has gone wrong for a while.
pub struct Calm {
    /// The client.
    pub client: bool,
    /// The nodes, by their numbers.
    pub nodes: BTreeSet<usize>,
    /// Nodes that were down all the time.
    pub away: BTreeSet<usize>,
}

/// A node's machine.
pub struct NodeHost {
    /// The node.
    pub uuid: Uuid,
    /// The machine.
    pub actor: Actor,
    /// The newest version that it speaks.
    pub version: Version,
    /// What is there in a life of its process, and the number of that life.
    open: Mutex<Option<(u32, Open)>>,
    sessions: Arc<AtomicU64>,
    /// Whether it is older than versions are.
    ancient: bool,
    /// Whether each connection has a process of its own.
    processes: bool,
    /// Whether it is reached over HTTP.
    pub http: bool,
    /// Connections of the gateway's over HTTP.
    visits: Arc<AtomicU64>,
    /// Its HTTP server in this life of its process.
    web: Mutex<Option<Arc<Server>>>,
    /// Whether it is a special remote.
    pub is_special: bool,
}

/// What a node has its objects in.
#[derive(Clone)]
enum Open {
    Repository(Repository),
    Special(Special),
}

impl Stage {
    /// Sets the stage; the nodes are not started yet.
    pub fn set(case: &Case, world: World) -> Arc<Stage> {
        let workload = case.workload.of::<AnnexWorkload>();
        let script = world.actor("script").runtime();
        let host = world.actor("gateway");
        let door = world.actor(LINKS).runtime();
        host.booted_before(Duration::from_secs(workload.uptime_s));
        let power = workload.deeds.iter().any(|deed| deed.power) || case.faults.iter().any(is_power_loss);
        let objects: Vec<_> =
            workload.sizes.iter().enumerate().map(|(number, size)| Object::new(number, *size)).collect();
        let nodes = workload.nodes.iter().enumerate().map(|(number, plan)| {
            let actor = world.actor(format!("node{number}"));
            actor.booted_before(Duration::from_secs(plan.uptime_s));
            // The machine is older than its repository.
            let _ = actor.disk().create_dir_all(Path::new(ROOT).parent().unwrap_or(Path::new(ROOT)));
            if plan.special {
                mounted::make(actor.disk()).expect("nothing goes wrong with a disk before the run");
            }
            plan.has.iter().for_each(|object| place(actor.disk(), &objects[*object], plan.special));
            actor.disk().sync_all();
            if power {
                actor.disk().track();
            }
            NodeHost {
                uuid: uuid(&format!("node{number}")),
                actor,
                version: Version::new(plan.version).unwrap_or(Version::MAX),
                open: Mutex::default(),
                sessions: Arc::default(),
                ancient: plan.is_ancient(),
                processes: plan.processes,
                http: plan.http,
                visits: Arc::default(),
                web: Mutex::default(),
                is_special: plan.special,
            }
        });
        let nodes: Vec<_> = nodes.collect();
        let located = Arc::new(MemoryLog::default());
        let settings = Settings { jobs: workload.jobs, patience: PATIENCE, located: located.clone() };
        let mut gateway = Gateway::new(host.runtime(), uuid("gateway"), settings, workload.idle);
        gateway.add_cluster(uuid(CLUSTER), nodes.iter().map(|node| node.uuid.clone()).collect());
        let config = Config { jobs: workload.workers, locked_files: workload.locks, ..web(Version::MAX) };
        Arc::new_cyclic(|stage| {
            for (number, node) in nodes.iter().enumerate() {
                let way = way_to(stage, number, node);
                gateway.add(Member { uuid: node.uuid.clone(), cost: 100, way });
            }
            let gateway = Arc::new(gateway);
            Stage {
                web: Server::new(host.runtime(), gateway.clone(), config),
                scope: script.scope(),
                links: door.scope(),
                door,
                sessions: host.runtime().scope(),
                healed: AtomicBool::new(false),
                objects,
                nodes,
                located,
                healing: Notify::new(),
                troubles: Mutex::default(),
                still: Mutex::default(),
                garbled: Mutex::default(),
                near_ends: Arc::default(),
                model: Mutex::default(),
                traffic: Traffic::of(workload.nodes.len()),
                jobs: workload.jobs.max(1),
                down: Duration::from_secs(workload.down_s),
                sick: case.faults.iter().filter_map(fails).collect(),
                rotten: case.faults.iter().filter_map(rots).collect(),
                skewed: case.faults.iter().filter_map(skews).collect(),
                garbles: case.faults.iter().any(garbles),
                bytes: workload.bytes,
                locks: workload.locks,
                gateway,
                script,
                world,
            }
        })
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

    /// Something came between the bytes of a link: from now on, what is said there may be an answer to something else.
    pub fn garbled(&self, far: Far) {
        lock(&self.garbled).insert(far);
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

    /// How it is with each of them now.
    pub fn weather(&self, of: impl IntoIterator<Item = Far>) -> Weather {
        Weather(of.into_iter().map(|far| (far, self.condition(far))).collect())
    }

    /// Whether nothing at all has gone wrong with them since.
    pub fn was_calm(&self, weather: &Weather) -> bool {
        weather.0.iter().all(|(far, then)| then.is_sound && self.condition(*far) == *then)
    }

    /// With whom of them nothing has gone wrong since, and who was away.
    pub fn calm(&self, weather: &Weather) -> Calm {
        let mut calm = Calm { client: true, nodes: BTreeSet::new(), away: BTreeSet::new() };
        for (far, then) in &weather.0 {
            let same = self.condition(*far) == *then;
            match far {
                Far::Client(_) => calm.client &= same && then.is_sound,
                Far::Node(number) if same && then.is_sound => _ = calm.nodes.insert(*number),
                Far::Node(number) if same && !self.nodes[*number].actor.is_up() => {
                    calm.away.insert(*number);
                }
                Far::Node(_) => {}
            }
        }
        calm
    }

    /// How it is with who is at the end of a link.
    fn condition(&self, far: Far) -> Condition {
        let healed = self.healed.load(Ordering::Relaxed);
        let (up, life, sick) = match far {
            Far::Client(_) => (true, 0, false),
            Far::Node(number) => {
                let node = &self.nodes[number];
                let name = node.uuid.as_str();
                let sick = self.rotten.contains(name) || self.sick.contains(name) && !healed;
                (node.open().is_some(), node.actor.life(), sick)
            }
        };
        let still = lock(&self.still).get(&far).is_some_and(|links| *links > 0);
        let confused = !healed && lock(&self.garbled).contains(&far);
        let troubles = lock(&self.troubles).get(&far).copied().unwrap_or_default();
        Condition { is_sound: up && !still && !confused && !sick, life, troubles }
    }

    /// Whether nothing at all has gone wrong with anybody so far, and nothing may that would not be noticed.
    fn was_always_calm(&self) -> bool {
        let sound = |node: &NodeHost| node.actor.life() == 0 && node.repository().is_some();
        lock(&self.troubles).is_empty() && self.sick.is_empty() && self.nodes.iter().all(sound)
    }

    /// The nodes that a request has to do with that is for one of them, or for the cluster.
    pub fn numbers(&self, node: Option<usize>) -> BTreeSet<usize> {
        match node {
            Some(node) => [node].into(),
            None => (0..self.nodes.len()).collect(),
        }
    }

    /// Whether objects may rot.
    pub fn rots(&self) -> bool {
        !self.rotten.is_empty()
    }

    /// The nodes that the gateway's log says have an object.
    pub fn listed(&self, object: usize) -> BTreeSet<usize> {
        let holders = self.located.holders(&self.objects[object].key).now_or_never();
        let holders = holders.and_then(Result::ok).unwrap_or_default();
        (0..self.nodes.len()).filter(|node| holders.contains(&self.nodes[*node].uuid)).collect()
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
            self.nodes[number].actor.expose_disk(&DiskEffect::KINDS);
            self.scope.spawn("keeper", number as u64, async move {
                let node = &stage.nodes[number];
                loop {
                    if !node.actor.is_up() {
                        stage.script.sleep(stage.down).await;
                        if !node.actor.is_up() {
                            node.actor.restart();
                        }
                    }
                    if let Some(life) = node.begin().await {
                        node.actor.down(life).await;
                        lock(&node.open).take();
                        lock(&node.web).take();
                        stage.check_disks();
                    } else {
                        stage.script.sleep(AGAIN).await;
                    }
                }
            });
        }
    }

    /// Passes on what is sent to nodes over HTTP, from when this returns on.
    pub async fn pass_on(self: &Arc<Self>) {
        let network = self.door.network();
        for number in (0..self.nodes.len()).filter(|number| self.nodes[*number].http) {
            let here = SocketAddr::from(([0, 0, 0, 0], PORT + number as u16));
            let Ok(listener) = network.listen(here).await else { continue };
            let stage = self.clone();
            self.links.spawn("door", number as u64, async move {
                while let Ok((near, _)) = listener.accept().await {
                    // Where nobody serves, who comes is hung up on.
                    if let Some(server) = lock(&stage.nodes[number].web).clone() {
                        let near = NearEnd::new(near, &stage.nodes[number].visits);
                        server.attach(Box::new(relay(&stage, Far::Node(number), near)));
                    }
                }
            });
        }
    }

    /// Waits until all nodes are up.
    pub async fn up(&self) {
        while self.nodes.iter().any(|node| node.open().is_none()) {
            self.script.sleep(AGAIN).await;
        }
    }

    /// A client's connection to the gateway: to its cluster, or to one of its nodes through it.
    pub fn knock(self: &Arc<Self>, client: u64, node: Option<usize>) -> Wire {
        let (near, far) = link(self, Far::Client(client));
        let stage = self.clone();
        self.sessions.spawn("session", client, async move {
            let Some(mut peer) = stage.gateway.peer(&stage.name_of(node), &stage.name_of_client(client))
            else {
                return;
            };
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
        self.web.attach(Box::new(near));
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

    /// The object as a node has it on its disk.
    pub fn stored(&self, node: usize, object: usize) -> Option<Bytes> {
        let (layout, disk) = (Layout::new(Path::new(ROOT)), self.nodes[node].actor.disk());
        let file = layout.open(disk, &self.objects[object].key).ok()??;
        let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
        let length = file.read_full_at(0, &mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes.into())
    }

    /// Whether what a node has of an object, from uploads that did not end, is not how the object begins.
    pub fn is_spoilt(&self, node: usize, object: usize) -> bool {
        let (layout, disk) = (Layout::new(Path::new(ROOT)), self.nodes[node].actor.disk());
        let Object { key, content } = &self.objects[object];
        let Ok(file) = disk.open(&layout.incoming(key), OpenMode::Read) else { return false };
        let mut bytes = vec![0; usize::try_from(file.len().unwrap_or_default()).unwrap_or_default()];
        file.read_full_at(0, &mut bytes).is_err() || !content.starts_with(&bytes)
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
                    holders.insert(node);
                    if self.rotten.contains(self.nodes[node].uuid.as_str()) {
                        continue;
                    }
                    self.judge("content", oracle::content::check_stored(node, &object.content, &stored));
                }
            }
            let must = self.model().must(number).clone();
            let mut kept = self.model().kept(number, now);
            // A process that begins anew has only the wall clock to go by, and so has one that knows of others.
            kept.retain(|node| {
                let node = &self.nodes[*node];
                let knows = node.actor.life() == 0 && !node.processes;
                knows || !self.skewed.contains(node.uuid.as_str())
            });
            self.judge("locks", oracle::locks::check_kept(number, &kept, &holders));
            self.judge("stored", oracle::stored::check_there(number, &must, &holders));
        }
    }

    /// Looks at the gateway's log when nobody asks for anything. Where a node's disk fails, nobody knows what it did.
    pub fn check_log(&self) {
        for object in 0..self.objects.len() {
            let mut must = self.model().must_be_listed(object);
            must.retain(|node| {
                let node = &self.nodes[*node];
                node.actor.life() == 0 && !self.sick.contains(node.uuid.as_str())
            });
            let there = &must & &self.holders(object);
            self.judge("log", oracle::log::check_listed(object, &there, &self.listed(object)));
        }
    }

    /// Looks at how much nodes are doing at a time.
    pub fn check_actions(&self) {
        let (actions, requests) = self.traffic.actions();
        if self.was_always_calm() {
            self.judge("actions", oracle::actions::check_actions(actions, requests, self.jobs as u64));
        }
    }

    /// Looks at how often nodes were connected to for a request.
    pub fn check_connects(&self, asking: &Asking<'_>) {
        if let Some((connects, requests)) = asking.connects().filter(|_| self.was_always_calm()) {
            self.judge("connects", oracle::connects::check_connects(&connects, requests));
        }
    }

    /// Looks at the gateway's capacity, whoever is using it.
    pub fn check_counts(&self, limit: usize) {
        self.judge(
            "capacity",
            oracle::capacity::check_counts(self.gateway.connections().counts(), limit as u64),
        );
    }

    /// Looks at all capacity when nobody uses any.
    pub fn check_quiet(&self, limit: usize) {
        self.check_counts(limit);
        self.check_idle(limit);
        self.judge("capacity", oracle::capacity::check_sessions("the gateway", self.sessions.len() as u64));
        self.check_web("the gateway", &self.web, self.locks, 0);
        for node in &self.nodes {
            if let Some(server) = lock(&node.web).clone() {
                // An idle connection has a task on both sides.
                let idle = node.visits.load(Ordering::Relaxed);
                self.check_web(node.uuid.as_str(), &server, Config::default().locked_files, idle);
            }
        }
        for node in &self.nodes {
            self.judge("capacity", oracle::capacity::check_repository(&node.uuid, node.is_quiet()));
            // What was on its way when the disk went away stays there.
            let whole = node.actor.life() == 0 && !self.sick.contains(node.uuid.as_str());
            if node.is_special && whole {
                let spools = mounted::spools(node.actor.disk());
                self.judge("capacity", oracle::capacity::check_spools(&node.uuid, spools));
            }
        }
    }

    /// Looks at the connections that are there when nobody asks for anything.
    fn check_idle(&self, limit: usize) {
        let visits = self.nodes.iter().map(|node| node.visits.load(Ordering::Relaxed)).sum::<u64>();
        let there = self.near_ends.load(Ordering::Relaxed) + visits;
        // A server over HTTP hangs up on who has nothing to ask, and that is noticed with the next request.
        let gone = self.nodes.iter().any(|node| node.http);
        let counts = self.gateway.connections().counts();
        self.judge("capacity", oracle::capacity::check_quiet(counts, there, gone, limit as u64));
    }

    fn check_web(&self, of: &str, server: &Server, locks: usize, idle: u64) {
        let (held, tasks) = (locks - server.room_for_locks(), server.tasks().saturating_sub(idle as usize));
        self.judge("capacity", oracle::capacity::check_web(of, server.busy(), tasks, held));
    }

    /// The gateway closes all connections; looks at what is left on either side.
    pub async fn close(&self) {
        self.gateway.close().await;
        self.script.sleep(AGAIN).await;
        self.check_idle(0);
        for node in &self.nodes {
            let sessions = node.sessions.load(Ordering::Relaxed);
            self.judge("capacity", oracle::capacity::check_sessions(node.uuid.as_str(), sessions));
        }
    }
}

impl NodeHost {
    /// What is there now, and since which life; none while the node's process is down.
    fn open(&self) -> Option<(u32, Open)> {
        let (life, open) = lock(&self.open).clone()?;
        (self.actor.is_up() && self.actor.life() == life).then_some((life, open))
    }

    /// The repository; none while the node's process is down.
    fn repository(&self) -> Option<Repository> {
        match self.open()? {
            (_, Open::Repository(repository)) => Some(repository),
            (_, Open::Special(_)) => None,
        }
    }

    /// The special remote, and in which life; none while its disk is away.
    pub fn special(&self) -> Option<(u32, Special)> {
        match self.open()? {
            (life, Open::Special(special)) => Some((life, special)),
            (_, Open::Repository(_)) => None,
        }
    }

    /// Whether nobody is about any object.
    fn is_quiet(&self) -> bool {
        self.open().is_none_or(|(_, open)| match open {
            Open::Repository(repository) => repository.is_quiet(),
            Open::Special(special) => special.is_quiet(),
        })
    }

    /// Begins to serve; tells in which life of the process. None when that goes down meanwhile, or its disk fails.
    async fn begin(&self) -> Option<u32> {
        let life = self.actor.life();
        let (runtime, name) = (self.actor.runtime(), self.uuid.clone());
        let open = if self.is_special {
            Open::Special(Special::new(runtime, name, Path::new(ROOT)))
        } else {
            let opening = async move { Repository::open(runtime, name, Path::new(ROOT)).await };
            let repository = self.actor.ask("open", 0, opening).await.ok()?.ok()?;
            *lock(&self.web) = self
                .http
                .then(|| Arc::new(Server::new(self.actor.runtime(), repository.clone(), web(self.version))));
            Open::Repository(repository)
        };
        *lock(&self.open) = Some((life, open));
        self.actor.recovered();
        Some(life)
    }
}

/// The way to a node over a connection.
struct Route {
    stage: Weak<Stage>,
    node: usize,
    uuid: Uuid,
}

impl Route {
    fn new(stage: &Weak<Stage>, number: usize, node: &NodeHost) -> Route {
        Route { stage: stage.clone(), node: number, uuid: node.uuid.clone() }
    }
}

#[async_trait]
impl Dial for Route {
    fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    async fn dial(&self, newest: Version, bypass: &BTreeSet<Uuid>) -> Result<Remote, PeerError> {
        let (stage, uuid) = (self.stage.upgrade(), self.uuid.clone());
        let reached = stage.as_ref().and_then(|stage| Some((stage, stage.nodes[self.node].repository()?)));
        let Some((stage, repository)) = reached else {
            return Err(PeerError::Unreachable { uuid, why: "it is down".into() });
        };
        let node = &stage.nodes[self.node];
        let (near, far) = link(stage, Far::Node(self.node));
        let manner = Manner { mode: Mode::ReadWrite, version: node.version, proxy: false, own: uuid.clone() };
        let counted = Counted::new(&node.sessions);
        let watching = stage.clone();
        let mut wire = match node.ancient {
            true => Wire::new(Box::new(Ancient::new(far))),
            false => Wire::new(Box::new(far)),
        };
        stage.traffic.connects(self.node);
        let own = node.processes.then(|| (node.actor.runtime(), uuid.clone()));
        node.actor.spawn("session", 0, async move {
            let _counted = counted;
            let repository = match own {
                Some((runtime, uuid)) => Repository::open(runtime, uuid, Path::new(ROOT)).await,
                None => Ok(repository),
            };
            if let Ok(repository) = repository {
                let _ = serve(&mut wire, &mut Watched::new(repository.peer(), watching), &manner).await;
            }
        });
        let near = NearEnd::new(near, &stage.near_ends);
        Remote::meet(uuid, Wire::new(Box::new(near)), newest, bypass).await
    }
}

/// The way to a node. Over HTTP the links' machine passes everything on.
fn way_to(stage: &Weak<Stage>, number: usize, node: &NodeHost) -> Way {
    let uuid = node.uuid.clone();
    if node.is_special {
        let stage = stage.clone();
        return Way::Here(Box::new(move || Box::new(Mounted::new(stage.clone(), number, uuid.clone()))));
    }
    match node.http {
        true => Way::Http(Site { host: LINKS.into(), port: PORT + number as u16, server: uuid }, None),
        false => Way::Dial(Arc::new(Route::new(stage, number, node))),
    }
}

/// How everybody serves HTTP, who speaks versions up to `newest`.
fn web(newest: Version) -> Config {
    let access = Access { anybody: Some(Mode::ReadWrite), ..Access::default() };
    Config { patience: WEB_PATIENCE, access, newest, ..Config::default() }
}

/// Somebody puts an object where a node has its objects, past the node.
fn place(disk: &dyn Files, Object { key, content }: &Object, special: bool) {
    let layout = Layout::new(Path::new(ROOT));
    let from = if special { layout.spools().join("placed") } else { layout.incoming(key) };
    let made = if special { mounted::make(disk) } else { layout.make(disk) };
    let placed = made.and_then(|()| {
        disk.open(&from, OpenMode::CreateOrOpen)?.write_all_at(0, content)?;
        layout.publish(disk, &from, key)
    });
    placed.expect("nothing goes wrong with a disk before the run");
}

fn is_power_loss(fault: &Fault) -> bool {
    matches!(fault, Fault::Disk { effect, .. } if effect.name() == "power-loss")
}

/// The disk that rots.
fn rots(fault: &Fault) -> Option<String> {
    match fault {
        Fault::Disk { disk, effect: DiskEffect::Rot { .. }, .. } => Some(disk.clone()),
        _ => None,
    }
}

/// The machine whose wall clock is wrong.
fn skews(fault: &Fault) -> Option<String> {
    match fault {
        Fault::Clock { of, .. } => Some(of.clone()),
        _ => None,
    }
}

/// Whether something comes between the bytes of a link.
fn garbles(fault: &Fault) -> bool {
    matches!(fault, Fault::Point { effect, .. } if GARBLES.contains(&effect.as_str()))
}

/// The disk that this fault makes fail, or slower than the gateway is patient.
fn fails(fault: &Fault) -> Option<String> {
    match fault {
        Fault::Disk { disk, effect: DiskEffect::Fail { .. } | DiskEffect::Full { .. }, .. } => {
            Some(disk.clone())
        }
        Fault::Disk { disk, effect: DiskEffect::Slow { us, .. }, .. }
            if Duration::from_micros(*us) > HASTE =>
        {
            Some(disk.clone())
        }
        _ => None,
    }
}

fn uuid(name: &str) -> Uuid {
    Uuid::new(name).expect("this is what names look like")
}
