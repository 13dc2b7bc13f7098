//! A directory special remote behind a gateway (annex-p2p §7.7): what is said, and what is on the disk.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

mod playing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use playing::play;
use pool::cluster::Settings;
use pool::cluster::located::MemoryLog;
use pool::gateway::{Gateway, Member, Way};
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::mode::Mode;
use pool::peer::{Offer, Peer, Verdict};
use pool::session::server::{Manner, serve};
use pool::special::Special;
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::real::RealWorld;
use tempfile::TempDir;
use tokio::io::duplex;

const CLUSTER: &str = "ac000000-0000-8000-8000-000000000000";
const K7: &str = "SHA256E-s7--7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a.txt";
const OTHER: &str = "SHA256E-s14--ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.txt";

/// A gateway to a special remote, alone and as a cluster of one.
struct Gate {
    gateway: Gateway,
    special: Special,
    root: TempDir,
}

impl Gate {
    fn new() -> Gate {
        let root = tempfile::tempdir().unwrap();
        let runtime = RealWorld::runtime();
        let settings =
            Settings { jobs: 2, patience: Duration::from_secs(10), located: Arc::new(MemoryLog::default()) };
        let mut gateway = Gateway::new(runtime.clone(), Uuid::new("GATEWAY").unwrap(), settings, 10);
        let uuid = Uuid::new("SPECIAL").unwrap();
        let special = Special::new(runtime, uuid.clone(), root.path());
        let here = special.clone();
        let way = Way::Here(Box::new(move || Box::new(here.peer())));
        gateway.add(Member { uuid: uuid.clone(), cost: 100, way });
        gateway.add_cluster(Uuid::new(CLUSTER).unwrap(), vec![uuid]);
        Gate { gateway, special, root }
    }

    /// Plays a transcript with the remote or the cluster. Nothing is left of what did not come to its end.
    async fn play(&self, server: &str, transcript: &str) {
        let (mut client, ours) = duplex(1 << 16);
        let serving = async {
            let server = Uuid::new(&server.replace("CLUSTER", CLUSTER)).unwrap();
            let mut peer = self.gateway.peer(&server, &Uuid::new("CLIENT").unwrap()).unwrap();
            let own = self.gateway.uuid().clone();
            let manner = Manner { mode: Mode::ReadWrite, version: Version::MAX, proxy: true, own };
            let _ = serve(&mut Wire::new(Box::new(ours)), &mut *peer, &manner).await;
        };
        let names = [("CLUSTER", CLUSTER), ("K7", K7), ("OTHER", OTHER)];
        let transcript = format!("S> AUTH-SUCCESS {server}\n{transcript}");
        futures::join!(serving, play(&mut client, &transcript, &names));
        assert!(self.special.is_quiet());
        let spools = std::fs::read_dir(self.root.path().join("tmp")).map(Iterator::count);
        assert_eq!(spools.unwrap_or(0), 0);
    }

    /// Where the real program has the object.
    fn path(&self) -> PathBuf {
        let [first, second] = Key::parse(K7).unwrap().lower_directories();
        self.root.path().join(first).join(second).join(K7).join(K7)
    }

    fn stored(&self) -> Option<String> {
        std::fs::read_to_string(self.path()).ok()
    }
}

fn hello(version: u32) -> String {
    if version == 0 { String::new() } else { format!("C> VERSION {version}\nS> VERSION {version}\n") }
}

/// Bytes, and what is said of them.
fn put(version: u32, bytes: &str, verdict: &str) -> String {
    let verdict = if version == 0 { String::new() } else { format!("C> {verdict}\n") };
    format!("C> PUT  K7\nS> PUT-FROM 0\nC> DATA {}\nC> <{bytes}>\n{verdict}", bytes.len())
}

#[tokio::test]
async fn each_request_is_answered_in_every_version() {
    let gate = Gate::new();
    for version in 0..=4 {
        let (hello, put) = (hello(version), put(version, "abcdefg", "VALID"));
        let [valid, invalid] = ["VALID", "INVALID"].map(|verdict| match version {
            0 => String::new(),
            _ => format!("S> {verdict}\n"),
        });
        gate.play(
            "SPECIAL",
            &format!(
                "{hello}C> CHECKPRESENT K7\nS> FAILURE\n\
                C> GET 0  OTHER\nS> DATA 0\n{invalid}C> FAILURE\n\
                {put}S> SUCCESS\n\
                C> CHECKPRESENT K7\nS> SUCCESS\n\
                {put}S> SUCCESS\n\
                C> GET 0  K7\nS> DATA 7\nS> <abcdefg>\n{valid}C> SUCCESS\n\
                C> GET 3  K7\nS> DATA 4\nS> <defg>\n{valid}C> SUCCESS\n\
                C> LOCKCONTENT K7\nS> FAILURE"
            ),
        )
        .await;
        assert_eq!(gate.stored().as_deref(), Some("abcdefg"));
        let limits = "C> GETTIMESTAMP\nS> TIMESTAMP T\n\
            C> REMOVE-BEFORE T-5 K7\nS> FAILURE\n\
            C> REMOVE-BEFORE T+30 K7\nS> SUCCESS\n\
            C> REMOVE-BEFORE T-5 K7\nS> SUCCESS\n";
        gate.play(
            "SPECIAL",
            &format!("{hello}{limits}C> REMOVE K7\nS> SUCCESS\nC> CHECKPRESENT K7\nS> FAILURE"),
        )
        .await;
        assert_eq!(gate.stored(), None);
        assert!(!gate.path().parent().unwrap().exists());
    }
}

/// The real program stores at versions 0 and 1 whatever comes, and what is asked for at version 1 (annex-bugs L13).
#[tokio::test]
async fn only_right_bytes_are_stored() {
    let gate = Gate::new();
    for version in 0..=4 {
        let hello = hello(version);
        gate.play("SPECIAL", &format!("{hello}{}S> FAILURE", put(version, "abcdefX", "VALID"))).await;
        gate.play("SPECIAL", &format!("{hello}{}S> FAILURE", put(version, "abcdef", "VALID"))).await;
        assert_eq!(gate.stored(), None, "{version}");
        gate.play("SPECIAL", &format!("{hello}C> PUT  K7\nS> PUT-FROM 0\nC> DATA 7\nC> <abc>")).await;
        assert_eq!(gate.stored(), None, "{version}");
        if version > 0 {
            gate.play("SPECIAL", &format!("{hello}{}S> FAILURE", put(version, "abcdefg", "INVALID"))).await;
            assert_eq!(gate.stored(), None, "{version}");
        }
        gate.play("SPECIAL", &format!("{hello}{}S> SUCCESS", put(version, "abcdefg", "VALID"))).await;
        let asked =
            if version == 0 { "C> ERROR never mind\n" } else { "C> DATA 0\nC> INVALID\nS> FAILURE\n" };
        let asked = format!("{hello}C> PUT  K7\nS> PUT-FROM 0\n{asked}C> CHECKPRESENT K7\nS> SUCCESS");
        gate.play("SPECIAL", &asked).await;
        assert_eq!(gate.stored().as_deref(), Some("abcdefg"));
        gate.play("SPECIAL", "C> REMOVE K7\nS> SUCCESS").await;
    }
}

/// The real program falls silent when a cluster that it is of is asked for the time (annex-bugs L4).
#[tokio::test]
async fn it_can_be_of_a_cluster() {
    let gate = Gate::new();
    let script = format!(
        "{}{}S> SUCCESS-PLUS SPECIAL\n\
        C> PUT  K7\nS> PUT-FROM 0\nC> DATA-PRESENT\nS> SUCCESS-PLUS SPECIAL\n\
        C> GET 3  K7\nS> DATA 4\nS> <defg>\nS> VALID\nC> SUCCESS\n\
        C> GETTIMESTAMP\nS> TIMESTAMP T\n\
        C> REMOVE-BEFORE T-5 K7\nS> FAILURE\n\
        C> REMOVE-BEFORE T+30 K7\nS> SUCCESS-PLUS SPECIAL\n\
        C> PUT  K7\nS> PUT-FROM 0\nC> DATA-PRESENT\nS> FAILURE",
        hello(4),
        put(4, "abcdefg", "VALID")
    );
    gate.play("CLUSTER", &script).await;
}

#[tokio::test]
async fn what_has_rotted_is_not_valid_and_is_replaced() {
    let gate = Gate::new();
    let put = put(4, "abcdefg", "VALID");
    gate.play("SPECIAL", &format!("{}{put}S> SUCCESS", hello(4))).await;
    std::fs::write(gate.path(), "abcdefX").unwrap();
    let rotten = "C> GET 0  K7\nS> DATA 7\nS> <abcdefX>\nS> INVALID\nC> FAILURE\n";
    let sound = "C> GET 0  K7\nS> DATA 7\nS> <abcdefg>\nS> VALID\nC> SUCCESS";
    gate.play("SPECIAL", &format!("{}{rotten}{put}S> SUCCESS\n{sound}", hello(4))).await;
}

/// A process that died leaves the file of its upload; one that lives has its own, whoever else begins to take objects.
#[tokio::test]
async fn what_a_process_left_that_died_goes_and_what_others_are_about_stays() {
    let (gate, file) = (Gate::new(), AssociatedFile::default());
    let left = gate.root.path().join("tmp/grid-0123456789abcdef0123456789abcdef-0");
    std::fs::create_dir(left.parent().unwrap()).unwrap();
    std::fs::write(&left, "abc").unwrap();
    let key = Key::parse(K7).unwrap();
    let mut peer = gate.special.peer();
    assert_eq!(peer.check_present(&key).await, Ok(false));
    assert!(left.exists(), "who only looks changes nothing");
    let Offer::From(0, mut upload) = peer.put(&file, &key).await.unwrap() else { panic!("it is wanted") };
    assert!(!left.exists());
    upload.begin(7).await.unwrap();
    upload.write("abcd".into()).await.unwrap();
    // Another process.
    let other = Special::new(RealWorld::runtime(), Uuid::new("SPECIAL").unwrap(), gate.root.path());
    drop(other.peer().put(&file, &key).await.unwrap());
    upload.write("efg".into()).await.unwrap();
    assert!(upload.finish(Verdict::Valid).await.unwrap().done);
    assert_eq!(gate.stored().as_deref(), Some("abcdefg"));
}

/// A disk that is not mounted has lost nothing.
#[tokio::test]
async fn a_directory_that_is_not_there_says_nothing_of_what_is_in_it() {
    let gate = Gate::new();
    let away = gate.root.path().with_extension("away");
    std::fs::rename(gate.root.path(), &away).unwrap();
    let why = "S> ERROR proxied special remote reports: the disk failed: the directory is not there\n";
    let script = ["CHECKPRESENT K7", "GET 0  K7", "REMOVE K7", "REMOVE-BEFORE 1 K7", "PUT  K7"]
        .map(|request| format!("C> {request}\n{why}"))
        .concat();
    gate.play("SPECIAL", &format!("{}{script}", hello(4))).await;
    assert!(!gate.root.path().exists());
    std::fs::rename(&away, gate.root.path()).unwrap();
}
