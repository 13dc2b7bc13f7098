//! What our gateway says, against what the real one of 10.20261026 said to the same lines (annex-p2p §17): with a cluster of
//! two nodes, and with one of them alone. The order of repositories in an answer is not specified; ours is by name.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

mod playing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use playing::play;
use pool::Peer;
use pool::cluster::Settings;
use pool::cluster::located::{Located, MemoryLog, News};
use pool::connections::Counts;
use pool::gateway::{Gateway, Member, Way};
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::mode::Mode;
use pool::peer::{Offer, PeerError};
use pool::pooled::Dial;
use pool::repository::Repository;
use pool::session::client::Remote;
use pool::session::server::{Manner, serve};
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::real::RealWorld;
use runtime::{Runtime, Scope};
use tokio::io::duplex;

const NODE1: &str = "22222222-0000-4000-8000-000000000000";
const NODE2: &str = "11111111-0000-4000-8000-000000000000";
const CLUSTER: &str = "ac000000-0000-8000-8000-000000000000";
const K7: &str = "SHA256E-s7--7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a.txt";

/// A node: a repository of its own at the other end of a connection.
struct Node {
    repository: Repository,
    away: AtomicBool,
    sessions: Scope,
    _root: tempfile::TempDir,
}

#[async_trait]
impl Dial for Node {
    fn uuid(&self) -> &Uuid {
        self.repository.uuid()
    }

    async fn dial(&self, newest: Version, bypass: &BTreeSet<Uuid>) -> Result<Remote, PeerError> {
        let uuid = self.repository.uuid().clone();
        if self.away.load(Ordering::Relaxed) {
            return Err(PeerError::Unreachable { uuid, why: "it is away".into() });
        }
        let (client, server) = duplex(1 << 12);
        let manner = manner(&uuid, Mode::ReadWrite, false);
        let mut peer = self.repository.peer();
        self.sessions.spawn("session", 0, async move {
            let _ = serve(&mut Wire::new(Box::new(server)), &mut peer, &manner).await;
        });
        Remote::meet(uuid, Wire::new(Box::new(client)), newest, bypass).await
    }
}

fn manner(own: &Uuid, mode: Mode, proxy: bool) -> Manner {
    Manner { mode, version: Version::MAX, proxy, own: own.clone() }
}

/// A gateway with both nodes, and the nodes.
struct Gate {
    gateway: Gateway,
    nodes: [Arc<Node>; 2],
    log: Arc<MemoryLog>,
}

impl Gate {
    async fn new() -> Gate {
        let runtime = RealWorld::runtime();
        let log: Arc<MemoryLog> = Arc::default();
        let settings = Settings { jobs: 2, patience: Duration::from_secs(10), located: log.clone() };
        let mut gateway = Gateway::new(runtime.clone(), Uuid::new("GATEWAY").unwrap(), settings, 10);
        let nodes = [node(&runtime, NODE1).await, node(&runtime, NODE2).await];
        for node in &nodes {
            let way = Way::Dial(node.clone());
            gateway.add(Member { uuid: node.repository.uuid().clone(), cost: 100, way });
        }
        let both = nodes.iter().map(|node| node.repository.uuid().clone()).collect();
        gateway.add_cluster(Uuid::new(CLUSTER).unwrap(), both);
        Gate { gateway, nodes, log }
    }

    /// Plays a transcript with a repository behind the gateway. All that is lent is given back.
    async fn play(&self, server: &str, mode: Mode, transcript: &str) {
        let (mut client, ours) = duplex(1 << 16);
        let client_uuid = Uuid::new("CLIENT").unwrap();
        let serving = async {
            let server =
                Uuid::new(server.replace("NODE1", NODE1).replace("CLUSTER", CLUSTER).as_str()).unwrap();
            let mut peer = self.gateway.peer(&server, &client_uuid).unwrap();
            let mut wire = Wire::new(Box::new(ours));
            let _ = serve(&mut wire, &mut *peer, &manner(self.gateway.uuid(), mode, true)).await;
        };
        let names = [("NODE1", NODE1), ("NODE2", NODE2), ("CLUSTER", CLUSTER), ("K7", K7)];
        let transcript = format!("S> AUTH-SUCCESS {server}\n{transcript}");
        futures::join!(serving, play(&mut client, &transcript, &names));
        let all_given_back = async {
            loop {
                let Counts { opened, closed, idle } = self.gateway.connections().counts();
                if opened - closed == idle {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_given_back)
            .await
            .expect("a connection is not given back");
    }

    async fn with_cluster(&self, transcript: &str) {
        self.play("CLUSTER", Mode::ReadWrite, transcript).await;
    }

    async fn close(self) {
        self.gateway.close().await;
        let Counts { opened, closed, idle } = self.gateway.connections().counts();
        assert_eq!((closed, idle), (opened, 0));
        for node in self.nodes {
            node.sessions.drain().await;
            assert!(node.repository.is_quiet());
        }
    }
}

async fn node(runtime: &Runtime, uuid: &str) -> Arc<Node> {
    let root = tempfile::tempdir().unwrap();
    let uuid = Uuid::new(uuid).unwrap();
    let repository = Repository::open(runtime.clone(), uuid, root.path()).await.unwrap();
    Arc::new(Node { repository, away: AtomicBool::new(false), sessions: runtime.scope(), _root: root })
}

fn k7() -> Key {
    Key::parse(K7.as_bytes().to_vec()).unwrap()
}

const V4: &str = "C> VERSION 4\nS> VERSION 4\n";
const PUT: &str = "C> PUT  K7\nS> PUT-FROM 0\nC> DATA 7\nC> <abcdefg>\nC> VALID\n";

#[tokio::test]
async fn a_cluster_at_version_4() {
    let gate = Gate::new().await;
    gate.with_cluster(&format!(
        "{V4}{PUT}\
        S> SUCCESS-PLUS NODE2 NODE1\n\
        C> PUT  K7\nS> ALREADY-HAVE-PLUS NODE2 NODE1\n\
        C> GET 0  K7\nS> DATA 7\nS> <abcdefg>\nS> VALID\nC> SUCCESS\n\
        C> GET 3  K7\nS> DATA 4\nS> <defg>\nS> VALID\nC> SUCCESS\n\
        C> GET 7  K7\nS> DATA 0\nS> VALID\nC> SUCCESS\n\
        C> LOCKCONTENT K7\nS> FAILURE\n\
        C> GETTIMESTAMP\nS> TIMESTAMP T\n\
        C> REMOVE-BEFORE T-5 K7\nS> FAILURE\n\
        C> REMOVE-BEFORE T+30 K7\nS> SUCCESS-PLUS NODE2 NODE1\n\
        C> GET 0  K7\nS> DATA 0\nS> INVALID\nC> FAILURE\n\
        C> CHECKPRESENT K7\nS> FAILURE\n\
        C> REMOVE K7\nS> SUCCESS-PLUS NODE2 NODE1\n\
        C> PUT  K7\nS> PUT-FROM 0\nC> DATA-PRESENT\nS> FAILURE"
    ))
    .await;
    gate.close().await;
}

#[tokio::test]
async fn a_cluster_at_version_1_names_no_nodes() {
    let gate = Gate::new().await;
    gate.with_cluster(&format!(
        "C> VERSION 1\nS> VERSION 1\n{PUT}\
        S> SUCCESS\n\
        C> PUT  K7\nS> ALREADY-HAVE\n\
        C> GET 0  K7\nS> DATA 7\nS> <abcdefg>\nS> VALID\nC> SUCCESS\n\
        C> LOCKCONTENT K7\nS> FAILURE\n\
        C> REMOVE K7\nS> SUCCESS\n\
        C> GET 0  K7\nS> DATA 0\nS> INVALID\nC> FAILURE"
    ))
    .await;
    gate.close().await;
}

#[tokio::test]
async fn a_cluster_at_version_0_has_no_verdicts() {
    let gate = Gate::new().await;
    gate.with_cluster(
        "C> CHECKPRESENT K7\nS> FAILURE\n\
        C> GET 0  K7\nS> DATA 0\nC> FAILURE\n\
        C> PUT a%b K7\nS> PUT-FROM 0\nC> DATA 7\nC> <abcdefg>\nS> SUCCESS\n\
        C> CHECKPRESENT K7\nS> SUCCESS\n\
        C> PUT  K7\nS> ALREADY-HAVE\n\
        C> GET 3  K7\nS> DATA 4\nS> <defg>\nC> SUCCESS\n\
        C> GET 7  K7\nS> DATA 0\nC> SUCCESS\n\
        C> REMOVE K7\nS> SUCCESS\n\
        C> GET 0  K7\nS> DATA 0\nC> FAILURE",
    )
    .await;
    gate.close().await;
}

/// The real node's session ends then, and is connected anew for the next request; ours answers, and its connection is kept.
#[tokio::test]
async fn what_one_node_keeps_locked_is_not_removed_there() {
    for (version, answer) in [(4, "FAILURE-PLUS NODE2"), (1, "FAILURE")] {
        let gate = Gate::new().await;
        gate.with_cluster(&format!("{V4}{PUT}S> SUCCESS-PLUS NODE2 NODE1")).await;
        let (mut elsewhere, key) = (gate.nodes[0].repository.peer(), k7());
        let lock = elsewhere.lock(&key).await.unwrap().unwrap();
        let hello = format!("C> VERSION {version}\nS> VERSION {version}\n");
        gate.with_cluster(&format!("{hello}C> REMOVE K7\nS> {answer}\nC> CHECKPRESENT K7\nS> SUCCESS")).await;
        assert_eq!(gate.gateway.connections().counts().opened, if version == 4 { 2 } else { 4 });
        lock.unlock().await.unwrap();
        gate.with_cluster(&format!("{V4}C> REMOVE K7\nS> SUCCESS-PLUS NODE2 NODE1")).await;
        gate.close().await;
    }
}

#[tokio::test]
async fn the_least_offset_is_asked_for() {
    let gate = Gate::new().await;
    {
        let mut peer = gate.nodes[0].repository.peer();
        let Ok(Offer::From(0, mut upload)) = peer.put(&AssociatedFile::default(), &k7()).await else {
            panic!()
        };
        upload.begin(7).await.unwrap();
        upload.write("abc".into()).await.unwrap();
    }
    gate.play(
        "NODE1",
        Mode::ReadWrite,
        &format!("{V4}C> PUT  K7\nS> PUT-FROM 3\nC> DATA 0\nC> INVALID\nS> FAILURE"),
    )
    .await;
    gate.with_cluster(&format!("{V4}{PUT}S> SUCCESS-PLUS NODE2 NODE1")).await;
    gate.close().await;
}

#[tokio::test]
async fn a_read_only_gateway_says_why() {
    let gate = Gate::new().await;
    for server in ["CLUSTER", "NODE1"] {
        let read_only = "ERROR this repository is read-only; write access denied";
        let append_only = "ERROR this repository is append-only; removal denied";
        let refused = format!(
            "{V4}C> REMOVE K7\nS> {read_only}\nC> PUT  K7\nS> {read_only}\nC> CHECKPRESENT K7\nS> FAILURE"
        );
        gate.play(server, Mode::ReadOnly, &refused).await;
        let refused = format!("{V4}C> REMOVE K7\nS> {append_only}\nC> REMOVE-BEFORE 1 K7\nS> {append_only}");
        gate.play(server, Mode::AppendOnly, &refused).await;
    }
    gate.close().await;
}

#[tokio::test]
async fn what_makes_no_sense_ends_the_session() {
    let gate = Gate::new().await;
    for server in ["CLUSTER", "NODE1"] {
        gate.play(
            server,
            Mode::ReadWrite,
            &format!("{V4}C> UNLOCKCONTENT\nS> ERROR protocol error\nC> CHECKPRESENT K7"),
        )
        .await;
        gate.play(server, Mode::ReadWrite, &format!("{V4}C> FROBNICATE x\nC> CHECKPRESENT K7")).await;
    }
    gate.close().await;
}

#[tokio::test]
async fn a_single_node_is_relayed_as_it_is() {
    let gate = Gate::new().await;
    let script = format!(
        "{V4}{PUT}\
        S> SUCCESS\n\
        C> PUT  K7\nS> ALREADY-HAVE\n\
        C> GET 3  K7\nS> DATA 4\nS> <defg>\nS> VALID\nC> SUCCESS\n\
        C> LOCKCONTENT K7\nS> SUCCESS\nC> UNLOCKCONTENT\n\
        C> GETTIMESTAMP\nS> TIMESTAMP T\n\
        C> REMOVE-BEFORE T-5 K7\nS> FAILURE\n\
        C> REMOVE-BEFORE T+30 K7\nS> SUCCESS\n\
        C> GET 0  K7\nS> DATA 0\nS> INVALID\nC> FAILURE"
    );
    gate.play("NODE1", Mode::ReadWrite, &script).await;
    // The cluster knows what was stored on the node, and then that it has gone.
    assert_eq!(gate.log.holders(&k7()).await, Ok(BTreeSet::new()));
    gate.play("NODE1", Mode::ReadWrite, &format!("{V4}{PUT}S> SUCCESS")).await;
    gate.with_cluster(&format!("{V4}C> CHECKPRESENT K7\nS> SUCCESS\nC> PUT  K7\nS> PUT-FROM 0\nC> DATA 7\nC> <abcdefg>\nC> VALID\nS> SUCCESS-PLUS NODE2")).await;
    gate.close().await;
}

/// Here the real gateway ends the session: `Unable to connect to remote.` (annex-bugs L9). What is there already on one node
/// is no failure either when the other one is away (L10).
#[tokio::test]
async fn a_node_that_is_away_does_not_end_the_session() {
    let gate = Gate::new().await;
    gate.nodes[1].away.store(true, Ordering::Relaxed);
    gate.with_cluster(&format!(
        "{V4}{PUT}\
        S> SUCCESS-PLUS NODE1\n\
        C> CHECKPRESENT K7\nS> SUCCESS\n\
        C> REMOVE K7\nS> FAILURE-PLUS NODE1\n\
        C> CHECKPRESENT K7\nS> FAILURE"
    ))
    .await;
    gate.play("NODE1", Mode::ReadWrite, &format!("{V4}{PUT}S> SUCCESS")).await;
    gate.log
        .record(&k7(), gate.nodes[0].repository.uuid(), News::Removed { since: gate.log.moment() })
        .await
        .unwrap();
    gate.with_cluster(&format!("{V4}C> PUT  K7\nS> ALREADY-HAVE-PLUS NODE1")).await;
    gate.close().await;
}

/// Here the real gateway's nodes may be left waiting for the rest (annex-bugs B10); the retry goes on where it ended.
#[tokio::test]
async fn an_upload_that_is_cut_off_is_gone_on_with() {
    let gate = Gate::new().await;
    gate.with_cluster(&format!("{V4}C> PUT  K7\nS> PUT-FROM 0\nC> DATA 7\nC> <abc>")).await;
    gate.gateway.close().await;
    for node in &gate.nodes {
        node.sessions.drain().await;
    }
    gate.with_cluster(&format!(
        "{V4}C> PUT  K7\nS> PUT-FROM 3\nC> DATA 4\nC> <defg>\nC> VALID\nS> SUCCESS-PLUS NODE2 NODE1"
    ))
    .await;
    gate.close().await;
}

/// The real gateway connects git to its own repository, whichever node the client has asked for; ours has none. No node is
/// connected to for that. News of references there are none at either (§7.3).
#[tokio::test]
async fn what_only_a_git_repository_has_is_refused_and_ends_the_session() {
    let gate = Gate::new().await;
    gate.nodes.iter().for_each(|node| node.away.store(true, Ordering::Relaxed));
    for server in ["CLUSTER", "NODE1"] {
        let refused = |service: &str| {
            format!(
                "C> CONNECT {service}\nS> ERROR there is no git repository here to connect to\nC> CHECKPRESENT K7"
            )
        };
        gate.play(server, Mode::ReadWrite, &refused("git-upload-pack")).await;
        gate.play(server, Mode::ReadWrite, &refused("git-receive-pack")).await;
        gate.play(server, Mode::ReadOnly, &refused("git-upload-pack")).await;
        let read_only = "C> CONNECT git-receive-pack\n\
            S> ERROR this repository is read-only; write access denied\nC> CHECKPRESENT K7";
        gate.play(server, Mode::ReadOnly, read_only).await;
        gate.play(server, Mode::ReadWrite, "C> CONNECT nonsense\nC> CHECKPRESENT K7").await;
        let news = "C> NOTIFYCHANGE\nS> ERROR protocol error\nC> CHECKPRESENT K7";
        gate.play(server, Mode::ReadWrite, news).await;
    }
    gate.close().await;
}

/// The real gateway asks one node and passes its answer on; ours asks all that may have it (§8.3).
#[tokio::test]
async fn what_a_node_that_cannot_be_asked_may_have_is_not_said_to_be_absent() {
    let gate = Gate::new().await;
    gate.nodes[1].away.store(true, Ordering::Relaxed);
    gate.log.record(&k7(), gate.nodes[1].repository.uuid(), News::Present).await.unwrap();
    gate.with_cluster(&format!(
        "{V4}C> CHECKPRESENT K7\n\
        S> ERROR a node that is said to have it cannot be asked: cannot connect to NODE2: it is away\n\
        C> GET 0  K7\nS> DATA 0\nS> INVALID\nC> FAILURE\n\
        {PUT}S> SUCCESS-PLUS NODE1\n\
        C> CHECKPRESENT K7\nS> SUCCESS"
    ))
    .await;
    gate.close().await;
}
