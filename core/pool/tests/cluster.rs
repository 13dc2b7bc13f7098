//! Clusters of repositories behind connections: what goes to all, what comes from one, and what a node's failure does.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pool::Peer;
use pool::asked::Asked;
use pool::cluster::located::{Located, MemoryLog, News};
use pool::cluster::{Cluster, Node, Settings};
use pool::connections::{Connections, Counts};
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::mode::Mode;
use pool::peer::{Offer, Outcome, PeerError, Verdict};
use pool::pooled::{Dial, Pooled};
use pool::repository::Repository;
use pool::session::client::Remote;
use pool::session::server::{Manner, SessionError, serve};
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::real::RealWorld;
use runtime::{Runtime, Scope};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::Notify;

const K11: &str = "SHA256E-s11--b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9.txt";
const TEXT: &str = "hello world";
const PATIENCE: Duration = Duration::from_secs(10);

/// A node: a repository, reached over a connection in memory.
struct Reached {
    repository: Repository,
    version: Version,
    /// It cannot be connected to.
    away: AtomicBool,
    sessions: Scope,
    /// Ends the sessions that there are.
    hang_up: Arc<Notify>,
    _root: TempDir,
}

impl Reached {
    async fn new(runtime: &Runtime, name: &str, version: u64) -> Arc<Reached> {
        let root = tempfile::tempdir().unwrap();
        let repository = Repository::open(runtime.clone(), uuid(name), root.path()).await.unwrap();
        let version = Version::new(version).unwrap();
        let (away, sessions) = (AtomicBool::new(false), runtime.scope());
        Arc::new(Reached { repository, version, away, sessions, hang_up: Arc::default(), _root: root })
    }
}

#[async_trait]
impl Dial for Reached {
    fn uuid(&self) -> &Uuid {
        self.repository.uuid()
    }

    async fn dial(&self, newest: Version, bypass: &BTreeSet<Uuid>) -> Result<Remote, PeerError> {
        let uuid = self.repository.uuid().clone();
        if self.away.load(Ordering::Relaxed) {
            return Err(PeerError::Unreachable { uuid, why: "it is away".into() });
        }
        let (client, server) = duplex(1 << 12);
        let manner = Manner { mode: Mode::ReadWrite, version: self.version, proxy: false, own: uuid.clone() };
        let (mut peer, hang_up) = (self.repository.peer(), self.hang_up.clone());
        self.sessions.spawn("session", 0, async move {
            let mut wire = Wire::new(Box::new(server));
            let served = serve(&mut wire, &mut peer, &manner);
            futures::future::select(pin!(served), pin!(hang_up.notified())).await;
        });
        Remote::meet(uuid, Wire::new(Box::new(client)), newest, bypass).await
    }
}

struct Grid {
    connections: Arc<Connections>,
    nodes: Vec<Arc<Reached>>,
    runtime: Runtime,
    log: Arc<MemoryLog>,
}

impl Grid {
    /// A node of each of these versions: `n0`, `n1`, …
    async fn new(versions: &[u64]) -> Grid {
        let runtime = RealWorld::runtime();
        let mut nodes = Vec::new();
        for (number, version) in versions.iter().enumerate() {
            nodes.push(Reached::new(&runtime, &format!("n{number}"), *version).await);
        }
        Grid { connections: Connections::new(runtime.clone(), 10), nodes, runtime, log: Arc::default() }
    }

    async fn cluster(&self, version: u64) -> Cluster {
        self.cluster_that_knows(version, self.log.clone()).await
    }

    async fn cluster_that_knows(&self, version: u64, located: Arc<dyn Located>) -> Cluster {
        let peers = self.nodes.iter().map(|node| {
            let dial: Arc<dyn Dial> = node.clone();
            let peer = Pooled::new(self.connections.clone(), dial, uuid("client"));
            Node { cost: 100, peer: Box::new(peer) }
        });
        let settings = Settings { jobs: 2, patience: PATIENCE, located };
        let mut cluster = Cluster::new(self.runtime.clone(), uuid("cluster"), settings, peers.collect());
        cluster.begin(Version::new(version).unwrap(), &BTreeSet::new()).await.unwrap();
        cluster
    }

    /// The first node alone, as the gateway's log learns of it.
    async fn alone(&self) -> Asked {
        let peer = Pooled::new(self.connections.clone(), self.nodes[0].clone(), uuid("client"));
        let mut alone = Asked::new(self.runtime.clone(), PATIENCE, Box::new(peer)).logged(self.log.clone());
        alone.begin(Version::MAX, &BTreeSet::new()).await.unwrap();
        alone
    }

    /// All connections are closed, and nobody is about any object.
    async fn close(&self) {
        self.connections.close().await;
        let Counts { opened, closed, idle } = self.connections.counts();
        assert_eq!((opened, 0), (closed, idle));
        for node in &self.nodes {
            node.sessions.drain().await;
            assert!(node.repository.is_quiet());
        }
    }
}

fn uuid(name: &str) -> Uuid {
    Uuid::new(name).unwrap()
}

fn key() -> Key {
    Key::parse(K11).unwrap()
}

fn names(names: &[&str]) -> BTreeSet<Uuid> {
    names.iter().map(|name| uuid(name)).collect()
}

async fn put(peer: &mut dyn Peer, text: &'static str) -> Result<Outcome, PeerError> {
    let file = AssociatedFile::default();
    match peer.put(&file, &key()).await? {
        Offer::AlreadyHave(also) => Ok(Outcome { done: true, also }),
        Offer::From(offset, mut upload) => {
            let rest = &text[offset as usize..];
            upload.begin(rest.len() as u64).await?;
            for piece in rest.as_bytes().chunks(4) {
                upload.write(piece.into()).await?;
            }
            upload.finish(Verdict::Valid).await
        }
    }
}

async fn get(peer: &mut dyn Peer) -> Option<String> {
    let file = AssociatedFile::default();
    let mut download = peer.get(0, &file, &key()).await.unwrap();
    let mut text = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    let verdict = download.verdict().await.unwrap();
    download.end(verdict == Verdict::Valid).await.unwrap();
    (verdict == Verdict::Valid).then(|| String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn what_is_stored_is_on_every_node_and_what_is_removed_on_none() {
    for versions in [[4, 4], [0, 4], [0, 0], [1, 2]] {
        let grid = Grid::new(&versions).await;
        let mut cluster = grid.cluster(4).await;
        let both = Outcome { done: true, also: names(&["n0", "n1"]) };
        assert_eq!(put(&mut cluster, TEXT).await, Ok(both.clone()), "{versions:?}");
        assert_eq!(put(&mut cluster, TEXT).await, Ok(both.clone()));
        assert_eq!(get(&mut cluster).await.as_deref(), Some(TEXT));
        for node in &grid.nodes {
            assert_eq!(node.repository.peer().check_present(&key()).await, Ok(true));
        }
        assert_eq!(cluster.remove(&key(), None).await, Ok(both));
        assert_eq!(cluster.check_present(&key()).await, Ok(false));
        assert_eq!(get(&mut cluster).await, None);
        drop(cluster);
        grid.close().await;
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_affects_only_its_part() {
    let grid = Grid::new(&[4, 4]).await;
    grid.nodes[0].away.store(true, Ordering::Relaxed);
    let mut cluster = grid.cluster(4).await;
    let one = Outcome { done: true, also: names(&["n1"]) };
    assert_eq!(put(&mut cluster, TEXT).await, Ok(one));
    assert_eq!(get(&mut cluster).await.as_deref(), Some(TEXT));
    let removed = Outcome { done: false, also: names(&["n1"]) };
    assert_eq!(cluster.remove(&key(), None).await, Ok(removed));
    drop(cluster);
    grid.close().await;
}

#[tokio::test]
async fn each_node_gets_what_it_lacks() {
    let grid = Grid::new(&[4, 4, 4]).await;
    // One has the first bytes from an earlier attempt, and one more than there are: of something else, which it begins anew.
    for (node, bytes) in [(1, "hello"), (2, "hello world, and more")] {
        let mut peer = grid.nodes[node].repository.peer();
        let Ok(Offer::From(0, mut upload)) = peer.put(&AssociatedFile::default(), &key()).await else {
            panic!()
        };
        upload.begin(100).await.unwrap();
        upload.write(bytes.into()).await.unwrap();
    }
    let mut cluster = grid.cluster(4).await;
    let Ok(Offer::From(0, upload)) = cluster.put(&AssociatedFile::default(), &key()).await else { panic!() };
    upload.withdraw().await.unwrap();
    let all = Outcome { done: true, also: names(&["n0", "n1", "n2"]) };
    assert_eq!(put(&mut cluster, TEXT).await, Ok(all));
    drop(cluster);
    grid.close().await;
}

#[tokio::test]
async fn an_upload_that_is_cut_off_can_be_gone_on_with_and_costs_no_capacity() {
    let grid = Grid::new(&[4, 4]).await;
    for length in 0..TEXT.len() {
        let mut cluster = grid.cluster(4).await;
        let Ok(Offer::From(_, mut upload)) = cluster.put(&AssociatedFile::default(), &key()).await else {
            panic!()
        };
        upload.begin(100).await.unwrap();
        if length > 0 {
            upload.write(TEXT[..length].into()).await.unwrap();
        }
        drop(upload);
        assert!(!cluster.is_reusable());
        drop(cluster);
        grid.connections.close().await;
        for node in &grid.nodes {
            node.sessions.drain().await;
            // Begin anew for the next length.
            let path = Path::new(node._root.path()).join("incoming");
            for file in std::fs::read_dir(path).unwrap() {
                std::fs::remove_file(file.unwrap().path()).unwrap();
            }
        }
    }
    let mut cluster = grid.cluster(4).await;
    assert!(put(&mut cluster, TEXT).await.unwrap().done);
    drop(cluster);
    grid.close().await;
}

#[tokio::test]
async fn a_limit_is_by_the_nodes_own_clocks() {
    let grid = Grid::new(&[4, 4]).await;
    let mut cluster = grid.cluster(4).await;
    put(&mut cluster, TEXT).await.unwrap();
    let now = cluster.timestamp().await.unwrap();
    assert_eq!(cluster.remove(&key(), Some(now - 60)).await, Ok(Outcome::of(false)));
    assert!(cluster.remove(&key(), Some(now + 60)).await.unwrap().done);
    drop(cluster);
    grid.close().await;
}

#[tokio::test]
async fn an_idle_connection_that_has_gone_is_replaced_without_a_word() {
    let grid = Grid::new(&[4]).await;
    let mut cluster = grid.cluster(4).await;
    put(&mut cluster, TEXT).await.unwrap();
    drop(cluster);
    assert_eq!(grid.connections.counts(), Counts { opened: 1, closed: 0, idle: 1 });
    let mut cluster = grid.cluster(4).await;
    assert_eq!(cluster.check_present(&key()).await, Ok(true));
    drop(cluster);
    assert_eq!(grid.connections.counts(), Counts { opened: 1, closed: 0, idle: 1 }, "it is used again");
    grid.nodes[0].hang_up.notify_waiters();
    grid.nodes[0].sessions.drain().await;
    let mut cluster = grid.cluster(4).await;
    assert_eq!(cluster.check_present(&key()).await, Ok(true));
    drop(cluster);
    let Counts { opened, idle, .. } = grid.connections.counts();
    assert_eq!((opened, idle), (2, 1));
    grid.close().await;
}

#[tokio::test]
async fn what_happens_on_a_single_node_is_known_to_the_cluster() {
    let grid = Grid::new(&[4, 4]).await;
    let (mut alone, mut cluster) = (grid.alone().await, grid.cluster(4).await);
    assert!(put(&mut alone, TEXT).await.unwrap().done);
    assert_eq!(cluster.check_present(&key()).await, Ok(true));
    assert_eq!(grid.log.holders(&key()).await, Ok(names(&["n0"])));
    // The log is told even of what was there before it.
    grid.log.record(&key(), &uuid("n0"), News::Removed { since: grid.log.moment() }).await.unwrap();
    assert!(put(&mut alone, TEXT).await.unwrap().done);
    assert_eq!(grid.log.holders(&key()).await, Ok(names(&["n0"])));
    assert!(alone.remove(&key(), None).await.unwrap().done);
    assert_eq!(grid.log.holders(&key()).await, Ok(names(&[])));
    drop((alone, cluster));
    grid.close().await;
}

#[tokio::test]
async fn what_a_node_says_of_others_is_recorded_and_what_it_does_not_do_is_not() {
    let log = Arc::new(MemoryLog::default());
    let recorded = |name, reply| {
        Asked::new(RealWorld::runtime(), PATIENCE, Box::new(Scripted(uuid(name), reply))).logged(log.clone())
    };
    assert!(put(&mut recorded("n0", Reply::HavePlus), TEXT).await.unwrap().done);
    assert_eq!(log.holders(&key()).await, Ok(names(&["beyond", "n0"])));
    let cluster = "acaaaaaa-0000-8000-8000-000000000000";
    assert!(uuid(cluster).is_cluster());
    assert!(put(&mut recorded(cluster, Reply::From), TEXT).await.unwrap().done);
    assert!(put(&mut recorded("n1", Reply::Refuse), TEXT).await.is_err());
    assert_eq!(log.holders(&key()).await, Ok(names(&["beyond", "n0"])));
}

/// What a node can answer to an offer, or do when it is asked for an object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reply {
    From,
    /// More than there is has come, of something else; it takes what is announced, and no more.
    Beyond,
    Have,
    HavePlus,
    Refuse,
    Lose,
    /// It begins to send an object, and never goes on.
    Stall,
    /// It begins to send an object, and ends too early.
    Stop,
}

/// A node that answers as it is told.
struct Scripted(Uuid, Reply);

#[async_trait]
impl Peer for Scripted {
    fn uuid(&self) -> &Uuid {
        &self.0
    }
    async fn begin(&mut self, version: Version, _: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        Ok(version)
    }
    async fn check_present(&mut self, _: &Key) -> Result<bool, PeerError> {
        Ok(true)
    }
    async fn lock<'a>(&'a mut self, _: &Key) -> Result<Option<Box<dyn pool::peer::Lock + 'a>>, PeerError> {
        Ok(None)
    }
    async fn remove(&mut self, _: &Key, _: Option<i64>) -> Result<Outcome, PeerError> {
        Ok(Outcome::of(true))
    }
    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        Ok(0)
    }
    async fn get<'a>(
        &'a mut self,
        _: u64,
        _: &AssociatedFile,
        _: &Key,
    ) -> Result<Box<dyn pool::peer::Download + 'a>, PeerError> {
        match self.1 {
            Reply::Stall => Ok(Box::new(Stalled)),
            Reply::Stop => Ok(Box::new(Stopped)),
            _ => Err(PeerError::Lost { uuid: self.0.clone(), why: "gone".into() }),
        }
    }
    async fn put<'a>(&'a mut self, _: &AssociatedFile, _: &Key) -> Result<Offer<'a>, PeerError> {
        match self.1 {
            Reply::From => Ok(Offer::From(0, Box::new(Taken(TEXT.len() as u64, Verdict::Valid)))),
            Reply::Beyond => Ok(Offer::From(100, Box::new(Taken(0, Verdict::Invalid)))),
            Reply::Have => Ok(Offer::AlreadyHave(BTreeSet::new())),
            Reply::HavePlus => Ok(Offer::AlreadyHave(names(&["beyond"]))),
            Reply::Refuse => Err(PeerError::Refused("read-only".into())),
            Reply::Lose | Reply::Stall | Reply::Stop => {
                Err(PeerError::Lost { uuid: self.0.clone(), why: "gone".into() })
            }
        }
    }
    fn is_reusable(&self) -> bool {
        true
    }
    async fn close(&mut self) {}
}

struct Stalled;

#[async_trait]
impl pool::peer::Download for Stalled {
    fn length(&self) -> u64 {
        1
    }
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, PeerError> {
        std::future::pending().await
    }
    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        std::future::pending().await
    }
    async fn end(self: Box<Self>, _: bool) -> Result<(), PeerError> {
        std::future::pending().await
    }
}

struct Stopped;

#[async_trait]
impl pool::peer::Download for Stopped {
    fn length(&self) -> u64 {
        2
    }
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, PeerError> {
        Ok(None)
    }
    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        Ok(Verdict::Invalid)
    }
    async fn end(self: Box<Self>, _: bool) -> Result<(), PeerError> {
        Ok(())
    }
}

/// Takes an object of which so much is lacking, and of which it must be told this.
struct Taken(u64, Verdict);

#[async_trait]
impl pool::peer::Upload for Taken {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        assert_eq!(length, self.0);
        Ok(())
    }
    async fn write(&mut self, piece: bytes::Bytes) -> Result<(), PeerError> {
        self.0 -= piece.len() as u64;
        Ok(())
    }
    async fn finish(self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        assert_eq!((self.0, self.1), (0, verdict));
        Ok(Outcome::of(verdict == Verdict::Valid))
    }
    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        Ok(Outcome::of(true))
    }
    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        Ok(())
    }
}

/// Every pair of answers (annex-bugs L10): an object is stored where it is wanted, and only when it is nowhere is there an
/// error.
#[tokio::test]
async fn every_pair_of_answers_to_an_offer_comes_to_something() {
    use Reply::*;
    for first in [From, Have, HavePlus, Refuse, Lose] {
        for second in [From, Have, HavePlus, Refuse, Lose] {
            let nodes = [("n0", first), ("n1", second)];
            let nodes =
                nodes.map(|(name, reply)| Node { cost: 0, peer: Box::new(Scripted(uuid(name), reply)) });
            let located = Arc::new(MemoryLog::default());
            let settings = Settings { jobs: 1, patience: PATIENCE, located };
            let runtime = RealWorld::runtime();
            let mut cluster = Cluster::new(runtime, uuid("cluster"), settings, nodes.into());
            let result = put(&mut cluster, TEXT).await;
            let replies = [("n0", first), ("n1", second)];
            let of = |wanted: &[Reply]| {
                replies
                    .iter()
                    .filter(|(_, reply)| wanted.contains(reply))
                    .map(|(name, _)| *name)
                    .collect::<Vec<_>>()
            };
            let (wants, has) = (of(&[From]), of(&[Have, HavePlus]));
            match (wants.is_empty(), has.is_empty()) {
                (true, true) => {
                    assert!(matches!(result, Err(PeerError::Refused(_))), "{replies:?}: {result:?}")
                }
                (true, false) => {
                    let beyond = if of(&[HavePlus]).is_empty() { vec![] } else { vec!["beyond"] };
                    let also = names(&[has, beyond].concat());
                    assert_eq!(result, Ok(Outcome { done: true, also }), "{replies:?}");
                }
                (false, _) => {
                    assert_eq!(result, Ok(Outcome { done: true, also: names(&wants) }), "{replies:?}")
                }
            }
        }
    }
}

/// A node may have more of something else than there is of the object (annex-bugs B14).
#[tokio::test]
async fn a_node_that_has_more_than_there_is_is_sent_nothing_and_told_that_it_is_not_the_object() {
    let nodes = [("n0", Reply::From), ("n1", Reply::Beyond)];
    let nodes = nodes.map(|(name, reply)| Node { cost: 0, peer: Box::new(Scripted(uuid(name), reply)) });
    let settings = Settings { jobs: 1, patience: PATIENCE, located: Arc::new(MemoryLog::default()) };
    let mut cluster = Cluster::new(RealWorld::runtime(), uuid("cluster"), settings, nodes.into());
    let one = Outcome { done: true, also: names(&["n0"]) };
    assert_eq!(put(&mut cluster, TEXT).await, Ok(one));
}

#[tokio::test]
async fn an_object_is_absent_when_every_node_that_may_have_it_says_so() {
    let grid = Grid::new(&[4, 4, 0]).await;
    let mut cluster = grid.cluster(4).await;
    assert_eq!(cluster.check_present(&key()).await, Ok(false));
    grid.nodes[0].away.store(true, Ordering::Relaxed);
    assert_eq!(cluster.check_present(&key()).await, Ok(false), "it is not said to have it");
    for node in ["n0", "n1"] {
        grid.log.record(&key(), &uuid(node), News::Present).await.unwrap();
        let checked = cluster.check_present(&key()).await;
        assert!(matches!(checked, Err(PeerError::Refused(_))), "{node}: {checked:?}");
    }
    put(&mut grid.nodes[1].repository.peer(), TEXT).await.unwrap();
    assert_eq!(cluster.check_present(&key()).await, Ok(true));
    drop(cluster);
    grid.close().await;
}

/// A log that somebody began to keep when there were objects already.
struct BegunLate(MemoryLog);

#[async_trait]
impl Located for BegunLate {
    async fn holders(&self, key: &Key) -> Result<BTreeSet<Uuid>, PeerError> {
        self.0.holders(key).await
    }
    fn is_complete(&self) -> bool {
        false
    }
    async fn record(&self, key: &Key, repository: &Uuid, news: News) -> Result<(), PeerError> {
        self.0.record(key, repository, news).await
    }
}

#[tokio::test]
async fn a_node_that_is_away_and_not_said_to_have_an_object_keeps_nobody_from_storing_it() {
    let log = Arc::new(BegunLate(MemoryLog::default()));
    let grid = Grid::new(&[4, 4]).await;
    let mut cluster = grid.cluster_that_knows(4, log.clone()).await;
    grid.nodes[0].away.store(true, Ordering::Relaxed);
    assert_eq!(cluster.check_present(&key()).await, Ok(false));
    put(&mut grid.nodes[1].repository.peer(), TEXT).await.unwrap();
    assert_eq!(cluster.check_present(&key()).await, Ok(true), "it is asked on the off chance");
    log.record(&key(), &uuid("n0"), News::Present).await.unwrap();
    assert!(grid.nodes[1].repository.peer().remove(&key(), None).await.unwrap().done);
    assert!(matches!(cluster.check_present(&key()).await, Err(PeerError::Refused(_))));
    drop(cluster);
    grid.close().await;
}

#[tokio::test]
async fn a_node_that_stops_in_the_midst_of_an_object_holds_nobody_for_ever() {
    let log = Arc::new(MemoryLog::default());
    for name in ["n0", "n1"] {
        log.record(&key(), &uuid(name), News::Present).await.unwrap();
    }
    // The cheaper one fails before it sends anything, so the other is asked.
    let nodes = [("n0", Reply::Lose), ("n1", Reply::Stall)].into_iter().enumerate();
    let nodes = nodes.map(|(cost, (name, reply))| Node {
        cost: cost as u32,
        peer: Box::new(Scripted(uuid(name), reply)) as Box<dyn Peer>,
    });
    let settings = Settings { jobs: 1, patience: Duration::ZERO, located: log.clone() };
    let mut cluster = Cluster::new(RealWorld::runtime(), uuid("cluster"), settings, nodes.collect());
    let mut download = cluster.get(0, &AssociatedFile::default(), &key()).await.unwrap();
    assert_eq!(download.length(), 1);
    assert!(matches!(download.next().await, Err(PeerError::Lost { .. })));
    assert!(matches!(download.verdict().await, Err(PeerError::Lost { .. })));
    assert!(matches!(download.end(true).await, Err(PeerError::Lost { .. })));
}

/// A client of version 0 has nothing but the bytes to wait for.
#[tokio::test]
async fn a_node_that_sends_less_than_it_announced_ends_the_session() {
    for version in ["", "VERSION 4\n"] {
        let (mut client, server) = duplex(1 << 12);
        client.write_all(format!("{version}GET 0  {K11}\n").as_bytes()).await.unwrap();
        let manner =
            Manner { mode: Mode::ReadWrite, version: Version::MAX, proxy: true, own: uuid("gateway") };
        let (mut wire, mut node) = (Wire::new(Box::new(server)), Scripted(uuid("n0"), Reply::Stop));
        let served = serve(&mut wire, &mut node, &manner);
        let served =
            RealWorld::runtime().timeout(PATIENCE, served).await.expect("it waits for what does not come");
        assert!(matches!(served, Err(SessionError::Peer(PeerError::Lost { .. }))), "{served:?}");
        drop(wire);
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, format!("AUTH-SUCCESS n0\n{version}DATA 2\n"));
    }
}
