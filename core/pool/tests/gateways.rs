//! A cluster that several gateways have: what one is asked to do the others do as well, and no request goes round.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use pool::Peer;
use pool::cluster::Settings;
use pool::cluster::located::{Located, MemoryLog, News};
use pool::gateway::{Gateway, Member, Way};
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::mode::Mode;
use pool::peer::{Offer, Outcome, PeerError, Verdict};
use pool::pooled::Dial;
use pool::repository::Repository;
use pool::session::client::Remote;
use pool::session::server::{Manner, serve};
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::Scope;
use runtime::real::RealWorld;
use tempfile::TempDir;
use tokio::io::duplex;

const CLUSTER: &str = "ac000000-0000-8000-8000-000000000000";
const K5: &str = "SHA256E-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824.txt";

/// A gateway, as the others reach it.
struct Beyond {
    cluster: Uuid,
    gateway: OnceLock<Arc<Gateway>>,
    /// Sessions that it has had.
    sessions: AtomicU32,
    /// The newest version that it speaks.
    version: Version,
    tasks: Scope,
}

#[async_trait]
impl Dial for Beyond {
    fn uuid(&self) -> &Uuid {
        &self.cluster
    }

    async fn dial(&self, newest: Version, bypass: &BTreeSet<Uuid>) -> Result<Remote, PeerError> {
        if self.sessions.fetch_add(1, Ordering::Relaxed) > 10 {
            return Err(PeerError::Unreachable {
                uuid: self.cluster.clone(),
                why: "requests go round".into(),
            });
        }
        let gateway = self.gateway.get().unwrap().clone();
        let (client, server) = duplex(1 << 12);
        let (cluster, own) = (self.cluster.clone(), gateway.uuid().clone());
        let version = self.version;
        self.tasks.spawn("session", 0, async move {
            let mut peer = gateway.peer(&cluster, &uuid("gateway")).unwrap();
            let manner = Manner { mode: Mode::ReadWrite, version, proxy: true, own };
            let _ = serve(&mut Wire::new(Box::new(server)), &mut *peer, &manner).await;
        });
        Remote::meet(self.cluster.clone(), Wire::new(Box::new(client)), newest, bypass).await
    }
}

/// Gateways `g0`, `g1`, … with a node each, `n0`, `n1`, …; each reaches the others that `links` names.
struct Gateways {
    beyond: Vec<Arc<Beyond>>,
    repositories: Vec<Repository>,
    logs: Vec<Arc<MemoryLog>>,
    _roots: Vec<TempDir>,
}

impl Gateways {
    async fn new(count: usize, links: &[(usize, usize)], version: Version) -> Gateways {
        let runtime = RealWorld::runtime();
        let beyond = |_| {
            let (gateway, sessions) = (OnceLock::new(), AtomicU32::new(0));
            Arc::new(Beyond { cluster: uuid(CLUSTER), gateway, sessions, version, tasks: runtime.scope() })
        };
        let beyond: Vec<_> = (0..count).map(beyond).collect();
        let (mut repositories, mut logs, mut roots) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let root = tempfile::tempdir().unwrap();
            let node = uuid(&format!("n{number}"));
            let repository = Repository::open(runtime.clone(), node.clone(), root.path()).await.unwrap();
            let log: Arc<MemoryLog> = Arc::default();
            let settings = Settings { jobs: 4, patience: Duration::from_secs(10), located: log.clone() };
            let mut gateway = Gateway::new(runtime.clone(), uuid(&format!("g{number}")), settings, 10);
            let here = repository.clone();
            let way = Way::Here(Box::new(move || Box::new(here.peer())));
            gateway.add(Member { uuid: node.clone(), cost: 100, way });
            gateway.add_cluster(uuid(CLUSTER), vec![node]);
            for (_, to) in links.iter().filter(|(from, _)| *from == number) {
                let member = Member { uuid: uuid(CLUSTER), cost: 200, way: Way::Dial(beyond[*to].clone()) };
                gateway.add_cluster_through(uuid(CLUSTER), uuid(&format!("g{to}")), member);
            }
            beyond[number].gateway.set(Arc::new(gateway)).ok().unwrap();
            repositories.push(repository);
            logs.push(log);
            roots.push(root);
        }
        Gateways { beyond, repositories, logs, _roots: roots }
    }

    /// The cluster, as a client of one gateway sees it.
    async fn cluster(&self, number: usize) -> Box<dyn Peer> {
        self.cluster_at(number, Version::MAX).await
    }

    async fn cluster_at(&self, number: usize, version: Version) -> Box<dyn Peer> {
        let gateway = self.beyond[number].gateway.get().unwrap();
        let mut peer = gateway.peer(&uuid(CLUSTER), &uuid("client")).unwrap();
        peer.begin(version, &[gateway.uuid().clone()].into()).await.unwrap();
        peer
    }

    async fn have(&self) -> Vec<bool> {
        let mut have = Vec::new();
        for repository in &self.repositories {
            have.push(repository.peer().check_present(&key()).await.unwrap());
        }
        have
    }

    fn sessions(&self) -> Vec<u32> {
        self.beyond.iter().map(|beyond| beyond.sessions.load(Ordering::Relaxed)).collect()
    }

    async fn close(self) {
        for beyond in &self.beyond {
            beyond.gateway.get().unwrap().close().await;
        }
        for beyond in &self.beyond {
            beyond.tasks.drain().await;
        }
        assert!(self.repositories.iter().all(Repository::is_quiet));
    }
}

fn uuid(name: &str) -> Uuid {
    Uuid::new(name).unwrap()
}

fn key() -> Key {
    Key::parse(K5.as_bytes().to_vec()).unwrap()
}

async fn put(peer: &mut dyn Peer) -> Outcome {
    match peer.put(&AssociatedFile::default(), &key()).await.unwrap() {
        Offer::AlreadyHave(also) => Outcome { done: true, also },
        Offer::From(offset, mut upload) => {
            upload.begin(5 - offset).await.unwrap();
            upload.write("hello"[offset as usize..].into()).await.unwrap();
            upload.finish(Verdict::Valid).await.unwrap()
        }
    }
}

async fn get(peer: &mut dyn Peer) -> Vec<u8> {
    let file = AssociatedFile::default();
    let (mut came, mut download) = (Vec::new(), peer.get(0, &file, &key()).await.unwrap());
    while let Some(piece) = download.next().await.unwrap() {
        came.extend_from_slice(&piece);
    }
    assert_eq!(download.verdict().await, Ok(Verdict::Valid));
    download.end(true).await.unwrap();
    came
}

#[tokio::test]
async fn what_one_gateway_is_asked_to_do_the_others_do_as_well() {
    for links in [&[(0, 1), (1, 0)][..], &[(0, 1), (1, 2), (2, 0)]] {
        let count = links.len();
        let gateways = Gateways::new(count, links, Version::MAX).await;
        let mut cluster = gateways.cluster(0).await;
        assert_eq!(gateways.sessions(), vec![0; count], "nobody has asked anything");
        let all: BTreeSet<_> = (0..count).map(|number| uuid(&format!("n{number}"))).collect();
        assert_eq!(put(&mut *cluster).await, Outcome { done: true, also: all.clone() });
        assert_eq!(gateways.have().await, vec![true; count]);
        assert_eq!(gateways.logs[0].holders(&key()).await, Ok(all.clone()));
        // What only another gateway's node has is found there.
        let mut first = gateways.repositories[0].peer();
        assert!(first.remove(&key(), None).await.unwrap().done);
        gateways.logs[0]
            .record(&key(), &uuid("n0"), News::Removed { since: gateways.logs[0].moment() })
            .await
            .unwrap();
        let mut others = gateways.cluster(1).await;
        assert_eq!(get(&mut *others).await, b"hello");
        assert_eq!(cluster.remove(&key(), None).await, Ok(Outcome { done: true, also: all }));
        assert_eq!(gateways.have().await, vec![false; count]);
        // Each was asked by the one before it, in one session, and the first by nobody but the last for the second client.
        let sessions = gateways.sessions();
        assert!(
            sessions[1..].iter().all(|count| (1..=2).contains(count)) && sessions[0] <= 1,
            "{sessions:?}"
        );
        drop((cluster, others));
        gateways.close().await;
    }
}

/// Who speaks no BYPASS cannot tell where a request has been: it goes to nobody who could send it back (§8.2).
#[tokio::test]
async fn no_request_goes_round_that_cannot_say_where_it_has_been() {
    let versions = [0, 1].map(|number| Version::new(number).unwrap());
    let cases = [(versions[0], Version::MAX), (versions[1], Version::MAX), (Version::MAX, versions[1])];
    for (client, gateway) in cases {
        let gateways = Gateways::new(2, &[(0, 1), (1, 0)], gateway).await;
        let mut cluster = gateways.cluster_at(0, client).await;
        assert_eq!(cluster.check_present(&key()).await, Ok(false));
        assert_eq!(put(&mut *cluster).await, Outcome { done: true, also: [uuid("n0")].into() });
        assert_eq!(gateways.have().await, [true, false]);
        // That a gateway is too old is only known when it has been met.
        assert_eq!(gateways.sessions(), [0, if client == Version::MAX { 1 } else { 0 }]);
        drop(cluster);
        gateways.close().await;
    }
}
