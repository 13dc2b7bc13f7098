//! The harness of one's own, `examples/quorum`: what the guide says of it is true.
//!
//! `cargo test` builds it. When only this test is asked for, build it first: `cargo build -p seedgrid --example quorum`.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

#[path = "../examples/quorum"]
mod quorum {
    pub mod client;
    pub mod oracle;
    pub mod replica;
    pub mod scenario;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use runtime::BoxFuture;
use runtime::real::RealWorld;
use seedgrid::case::{Case, Detail, Scenarios, run};
use serde_json::Value;

use quorum::client::{Client, Gone, Replica, Stored};
use quorum::oracle::History;
use quorum::replica::TROUBLES;
use quorum::scenario::QUORUM;

static SCENARIOS: Scenarios = Scenarios(&[&QUORUM]);

/// Three replicas, three users, no faults: what `exhaust` goes through to the end.
const SMALL: &str = r#"
scenario = "quorum"
seed = 0
[workload]
turns = 1
replicas = [{ read_ms = 1, write_ms = 1 }, { read_ms = 1, write_ms = 1 }, { read_ms = 1, write_ms = 1 }]
users = [
  { operations = [{ do = "write", key = 0 }, { do = "read", key = 0 }] },
  { operations = [{ do = "read", key = 0 }] },
  { operations = [{ do = "write", key = 0 }] },
]
"#;

/// Runs a command of the example in a folder. Gives the exit status and the JSON lines.
fn command(folder: &tempfile::TempDir, line: &str) -> (Option<i32>, Vec<Value>) {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.ancestors().nth(2).unwrap().join("examples/quorum");
    let missing = "build it first: cargo build -p seedgrid --example quorum";
    assert!(program.exists(), "{}: {missing}", program.display());
    let done = assert_cmd::Command::new(program)
        .args(line.split(' '))
        .arg("--json")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "", "{line}");
    let lines = String::from_utf8(done.stdout).unwrap();
    (done.status.code(), lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn the_healthy_client_passes_and_every_trouble_takes_effect() {
    let mut effects = BTreeMap::<&str, u32>::new();
    for seed in 0..300 {
        let report = run(&Case::draw(&QUORUM, seed), Detail::Digest);
        assert!(report.verdict.is_pass(), "seed {seed}: {}", report.verdict);
        report.effects.into_iter().for_each(|(kind, count)| *effects.entry(kind).or_default() += count);
    }
    for trouble in TROUBLES {
        assert!(effects.contains_key(trouble), "{trouble} never took effect: {effects:?}");
    }
}

#[test]
fn both_bugs_are_found_as_declared() {
    let folder = tempfile::tempdir().unwrap();
    let (status, lines) = command(&folder, "bugs --budget 2000 --quick");
    assert_eq!(status, Some(0), "{lines:?}");
    let found: Vec<_> = lines.iter().filter(|line| line["found"] == true).map(|line| &line["bug"]).collect();
    assert_eq!(found, ["quorum-B1", "quorum-B2"]);
}

#[test]
fn every_cancel_point_is_taken_and_the_healthy_client_bears_it() {
    let folder = tempfile::tempdir().unwrap();
    let (status, lines) = command(&folder, "cancel --seeds 0..2 --pairs 50");
    let summary = lines.last().unwrap();
    assert_eq!(status, Some(0), "{lines:?}");
    assert_eq!(summary["points"], summary["taken"], "{summary}");
    assert!(summary["points"].as_u64() > Some(100), "{summary}");
}

#[test]
fn within_one_deviation_of_a_small_case_there_is_nothing_but_the_bug() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    let (status, lines) = command(&folder, "exhaust small.toml --deviations 1");
    assert_eq!(status, Some(0), "{lines:?}");
    let (status, lines) = command(&folder, "exhaust small.toml --deviations 1 --relapse quorum-B1");
    assert_eq!(status, Some(1), "{lines:?}");
    let findings: Vec<_> = lines.iter().filter(|line| line["verdict"] == "hung").collect();
    assert!(!findings.is_empty(), "{lines:?}");
}

#[test]
fn the_lost_wake_up_shrinks_to_one_replica_and_few_operations_and_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (_, lines) = command(&folder, "sweep --seeds 0..400 --relapse quorum-B1");
    assert!(lines.iter().any(|line| line["verdict"] == "hung"), "{lines:?}");
    let saved = fs::read_dir(folder.path().join("findings")).unwrap().next().unwrap().unwrap().path();
    let (status, lines) = command(&folder, &format!("shrink {} -o small.toml", saved.display()));
    assert_eq!(status, Some(0), "{lines:?}");
    let small: toml::Table =
        toml::from_str(&fs::read_to_string(folder.path().join("small.toml")).unwrap()).unwrap();
    let operations = |user: &toml::Value| user["operations"].as_array().unwrap().len();
    let workload = &small["workload"];
    assert_eq!(workload["replicas"].as_array().unwrap().len(), 1, "{small}");
    assert!(workload["users"].as_array().unwrap().iter().map(operations).sum::<usize>() <= 4, "{small}");
    assert!(!small.contains_key("fault"), "{small}");
    let (status, lines) = command(&folder, "explain small.toml -o explained");
    assert!(status.is_some_and(|status| status < 2), "{lines:?}");
    let story = fs::read_to_string(folder.path().join("explained/story.txt")).unwrap();
    assert!(story.contains("lets go of turn") && story.contains("waits for turn, held by nobody"), "{story}");
}

#[test]
fn a_workload_that_cannot_be_played_is_refused() {
    for (from, to, says) in [
        ("turns = 1", "turns = 0", "`turns` is 0"),
        ("read_ms = 1", "read_ms = 99", "longer than 10 ms"),
        ("do = \"read\"", "do = \"rest\"", "unknown variant `rest`"),
    ] {
        let edited = SMALL.replacen(from, to, 1);
        let Err(error) = Case::from_toml(&edited, SCENARIOS) else { panic!("{to} was accepted") };
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn the_oracle_finds_what_is_old_and_what_nobody_wrote() {
    let mut history = History::default();
    history.begin(7, 41);
    history.begin(7, 42);
    history.acknowledge(7, 2);
    history.acknowledge(7, 1);
    let read = |version, value| Some(Stored { version, value });
    assert_eq!(history.floor(7), 2);
    assert!(history.check_read(7, 2, read(2, 42)).is_ok());
    assert!(history.check_read(7, 0, None).is_ok());
    assert!(history.check_read(7, 2, read(1, 41)).unwrap_err().contains("gave 1"));
    assert!(history.check_read(7, 2, None).unwrap_err().contains("gave 0"));
    assert!(history.check_read(7, 0, read(3, 43)).unwrap_err().contains("nobody wrote"));
}

/// A replica of the real world, as far as a test has one.
#[derive(Default)]
struct Memory(Arc<Mutex<BTreeMap<u64, Stored>>>);

impl Replica for Memory {
    fn read(&self, key: u64) -> BoxFuture<'static, Result<Option<Stored>, Gone>> {
        let kept = self.0.lock().unwrap().get(&key).copied();
        Box::pin(async move { Ok(kept) })
    }

    fn write(&self, key: u64, stored: Stored) -> BoxFuture<'static, Result<(), Gone>> {
        self.0.lock().unwrap().insert(key, stored);
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn the_same_client_works_in_the_real_world() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = tokio.block_on(async {
        let replicas = (0..3).map(|_| -> Arc<dyn Replica> { Arc::new(Memory::default()) }).collect();
        let client = Client::new(RealWorld::runtime(), replicas, 1);
        let version = client.write(7, 42).await;
        // Begun and given up: its turn is free again, or the read would wait for ever.
        let mut given_up = Box::pin(client.write(8, 0));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        (version, client.read(7).await)
    });
    assert_eq!(read, (1, Some(Stored { version: 1, value: 42 })));
}
