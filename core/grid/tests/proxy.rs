//! `grid annex proxy` from outside: a gateway to nodes of every kind, over standard input and output and over HTTP.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const HELLO: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";
const CLUSTER: &str = "ac000000-0000-8000-8000-000000000000";
const GRID: &str = env!("CARGO_BIN_EXE_grid");

/// A folder with a configuration of a gateway to nodes of every kind: `child`, `dir`, and `http`, which is behind a server.
struct Place {
    folder: TempDir,
    _server: Server,
}

/// A server, until it is dropped.
struct Server {
    process: Child,
    urls: Vec<String>,
}

impl Server {
    /// Starts one that says where `count` repositories are.
    fn start(arguments: &[&str], count: usize) -> Server {
        let mut process = grid(arguments)
            .args(["--wideopen", "--bind", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
        let urls = lines.take(count).map(Result::unwrap).collect();
        Server { process, urls }
    }

    fn url(&self, uuid: &str) -> &str {
        self.urls.iter().find(|url| url.ends_with(uuid)).unwrap()
    }

    /// Sends a signal, and waits for the end.
    fn end(mut self, signal: &str) -> i32 {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.process.wait().unwrap().code().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Place {
    fn new() -> Place {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let server = Server::start(&["annex", "serve", &at("http"), "--uuid", "http"], 1);
        let url = server.url("http");
        // Each program leaves a note of itself.
        let (pids, objects) = (at("pids"), at("child"));
        let command = format!("echo $$ >> '{pids}'; exec '{GRID}' annex p2pstdio '{objects}' --uuid child");
        let text = format!(
            r#"
            uuid = "gateway"
            log = "log"
            clusterjobs = 2
            [[node]]
            name = "one"
            uuid = "child"
            command = ["sh", "-c", """{command}"""]
            [[node]]
            name = "two"
            uuid = "dir"
            cost = 50
            directory = "dir"
            [[node]]
            name = "three"
            uuid = "http"
            url = "{url}"
            [[node]]
            name = "gone"
            uuid = "gone"
            command = ["/nowhere/at/all"]
            [[cluster]]
            uuid = "{CLUSTER}"
            nodes = ["three", "one", "two"]
            [[cluster]]
            uuid = "ac000000-0000-8000-8000-000000000001"
            nodes = ["gone", "two"]
            "#
        );
        fs::write(folder.path().join("gateway.toml"), text).unwrap();
        Place { folder, _server: server }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn session(&self, uuid: &str, lines: &str) -> (String, i32, String) {
        session(&self.at("gateway.toml"), uuid, lines)
    }

    /// The programs that have been run, and that none is left of.
    fn programs(&self) -> usize {
        let pids = fs::read_to_string(self.at("pids")).unwrap_or_default();
        for pid in pids.lines() {
            assert!(!Path::new("/proc").join(pid).exists(), "program {pid} is left");
        }
        pids.lines().count()
    }

    /// Whether each of the nodes has the object, as far as their disks tell: `child`, `dir`, `http`.
    fn holders(&self) -> [bool; 3] {
        ["child", "dir", "http"].map(|node| {
            let path: PathBuf = [&self.at(node), "d91", "b11", HELLO, HELLO].iter().collect();
            fs::read(path).is_ok_and(|bytes| bytes == b"hello\n")
        })
    }
}

fn grid(arguments: &[&str]) -> Command {
    let mut command = Command::new(GRID);
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = grid(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What a session says to these lines, how it ends, and what it says on standard error.
fn session(config: &str, uuid: &str, lines: &str) -> (String, i32, String) {
    let mut session = grid(&["annex", "proxy", "p2pstdio", config, "me", "--uuid", uuid]);
    let session = session.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut session = session.spawn().unwrap();
    session.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = session.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), output.status.code().unwrap(), text(output.stderr))
}

fn put(key: &str) -> String {
    format!("VERSION 4\nPUT  {key}\nDATA 6\nhello\nVALID\n")
}

#[test]
fn a_session_with_a_cluster_reaches_nodes_of_every_kind() {
    let place = Place::new();
    let (said, status, why) = place.session(CLUSTER, &put(HELLO));
    assert_eq!((status, why.as_str()), (0, ""));
    assert_eq!(said, format!("AUTH-SUCCESS {CLUSTER}\nVERSION 4\nPUT-FROM 0\nSUCCESS-PLUS child dir http\n"));
    assert_eq!((place.holders(), place.programs()), ([true; 3], 1));
    // The next session is another process: what the first one stored is written down.
    let asks = format!(
        "VERSION 4\nCHECKPRESENT {HELLO}\nGET 4  {HELLO}\nSUCCESS\nLOCKCONTENT {HELLO}\nREMOVE {HELLO}\nCHECKPRESENT {HELLO}\n"
    );
    let (said, status, _) = place.session(CLUSTER, &asks);
    let answers = "VERSION 4\nSUCCESS\nDATA 2\no\nVALID\nFAILURE\nSUCCESS-PLUS child dir http\nFAILURE\n";
    assert_eq!((said, status), (format!("AUTH-SUCCESS {CLUSTER}\n{answers}"), 0));
    assert_eq!((place.holders(), place.programs()), ([false; 3], 2));
}

#[test]
fn a_session_with_a_single_node_is_passed_on_to_it_and_written_down() {
    let place = Place::new();
    let (said, status, _) = place.session("child", &put(HELLO));
    assert_eq!((said.as_str(), status), ("AUTH-SUCCESS child\nVERSION 4\nPUT-FROM 0\nSUCCESS\n", 0));
    assert_eq!(place.holders(), [true, false, false]);
    let log: PathBuf = [&place.at("log"), "d91", "b11", HELLO, "child"].iter().collect();
    assert!(log.exists());
    // A client that goes away in the middle leaves nothing behind.
    let (said, status, why) = place.session("child", &format!("VERSION 4\nLOCKCONTENT {HELLO}\n"));
    assert_eq!((said.as_str(), status, why.as_str()), ("AUTH-SUCCESS child\nVERSION 4\nSUCCESS\n", 0, ""));
    let (_, status, why) = place.session("child", "VERSION 4\nPUT  WORM-s9--a\nDATA 9\nhel");
    assert_eq!((status, why.lines().count()), (1, 2), "the node's program and ours each say so: {why}");
    assert_eq!(place.programs(), 3);
    // The lock keeps the object, and the log goes on saying so.
    let (said, ..) = place.session("child", &format!("VERSION 4\nREMOVE {HELLO}\n"));
    assert!(said.ends_with("FAILURE\n"), "{said}");
    assert!(log.exists());
    for node in ["dir", "http"] {
        let removed = format!("{}REMOVE {HELLO}\n", put(HELLO));
        let (said, status, _) = place.session(node, &removed);
        let expected = format!("AUTH-SUCCESS {node}\nVERSION 4\nPUT-FROM 0\nSUCCESS\nSUCCESS\n");
        assert_eq!((said, status), (expected, 0));
    }
}

#[test]
fn what_makes_no_sense_ends_a_session_as_at_a_real_proxy() {
    let place = Place::new();
    let (said, status, _) = place.session("dir", &format!("UNLOCKCONTENT\nCHECKPRESENT {HELLO}\n"));
    assert_eq!((said.as_str(), status), ("AUTH-SUCCESS dir\nERROR protocol error\n", 1));
    let (said, status, _) = place.session("dir", &format!("FROBNICATE\nCHECKPRESENT {HELLO}\n"));
    assert_eq!((said.as_str(), status), ("AUTH-SUCCESS dir\n", 1));
    let (said, status, why) = place.session("nobody", "VERSION 4\n");
    assert_eq!((said.as_str(), status), ("", 2));
    assert_eq!(why, "grid: nobody is neither a node nor a cluster of this gateway\n");
    let (said, status, why) = place.session("gone", "VERSION 4\n");
    assert_eq!((said.as_str(), status), ("AUTH-SUCCESS gone\n", 1));
    assert!(why.contains("/nowhere/at/all") && why.lines().count() == 1, "{why}");
}

#[test]
fn a_server_serves_nodes_and_clusters_and_ends_with_all_of_its_programs() {
    let place = Place::new();
    let start =
        || Server::start(&["annex", "proxy", "serve", &place.at("gateway.toml"), "--clusterjobs=1"], 6);
    let server = start();
    fs::write(place.at("file"), "hello\n").unwrap();
    let ask = |server: &Server, uuid: &str, command: &str, more: &[&str]| {
        let (status, said, _) = run(&[&["annex", command, server.url(uuid), HELLO], more].concat());
        (status, said)
    };
    let file = place.at("file");
    let (status, said) = ask(&server, CLUSTER, "put", &[&file, "--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &report["also"]), (0, &serde_json::json!(["child", "dir", "http"])));
    for protocol in ["0", "2", "4"] {
        for uuid in ["child", "dir", "http", CLUSTER] {
            let got = ask(&server, uuid, "get", &["--protocol", protocol]);
            assert_eq!(got, (0, "hello\n".into()), "{uuid}, version {protocol}");
        }
    }
    // A removal with a limit is one request here, and its time another.
    assert_eq!(ask(&server, CLUSTER, "remove", &["--before", "1"]).0, 1);
    assert_eq!(place.holders(), [true; 3]);
    assert_eq!(ask(&server, "child", "remove", &[]).0, 0);
    assert_eq!(place.holders(), [false, true, true]);
    // A node that cannot be reached is none of the others' business.
    let (status, _, why) = run(&["annex", "check", server.url("gone"), HELLO]);
    assert!(status == 1 && why.contains("cannot connect to gone"), "{why}");
    let half = "ac000000-0000-8000-8000-000000000001";
    assert_eq!(ask(&server, half, "get", &[]), (0, "hello\n".into()));
    assert_eq!(ask(&server, half, "remove", &[]).0, 1, "a node has not removed it");
    assert_eq!(place.holders(), [false, false, true]);
    assert_eq!(server.end("-INT"), 0);
    assert!(place.programs() >= 1);
    // Another server knows what this one has learned.
    let server = start();
    assert_eq!(ask(&server, CLUSTER, "get", &[]), (0, "hello\n".into()));
    assert_eq!(server.end("-TERM"), 0);
}

/// At the real server connections are lost that end at the same moment, and their programs are left as zombies; and more
/// than the limit stay idle (annex-bugs L2, L8).
#[test]
fn a_burst_of_requests_leaves_no_more_programs_than_may_be_idle() {
    let place = Place::new();
    let config = fs::read_to_string(place.at("gateway.toml")).unwrap();
    fs::write(place.at("gateway.toml"), config.replace("clusterjobs", "idle = 2\nclusterjobs")).unwrap();
    let server = Server::start(&["annex", "proxy", "serve", &place.at("gateway.toml"), "-J6"], 6);
    let address = server.url("child").split('/').nth(2).unwrap();
    std::thread::scope(|scope| {
        for client in 0..6 {
            scope.spawn(move || {
                for _ in 0..10 {
                    let path =
                        format!("/git-annex/child/v4/checkpresent?key={HELLO}&clientuuid=client{client}");
                    let mut stream = TcpStream::connect(address).unwrap();
                    let head = format!(
                        "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).unwrap();
                    assert!(answer.ends_with(r#"{"present":false}"#), "{answer}");
                }
            });
        }
    });
    // What is over the limit is closed by and by, and each program is waited for.
    let patience = 20_000;
    let left = (0..patience).map(|_| children(server.process.id())).find(|left| left.len() == 2);
    let left = left.unwrap_or_else(|| panic!("{:?}", children(server.process.id())));
    assert!(left.iter().all(|state| *state != 'Z'), "{left:?}");
    assert_eq!(server.end("-INT"), 0);
    assert!(place.programs() >= 6, "each client has connections of its own: there were too many to be kept");
}

/// The states of a process's children.
fn children(parent: u32) -> Vec<char> {
    let mut states = Vec::new();
    for process in fs::read_dir("/proc").unwrap() {
        let Ok(stat) = fs::read_to_string(process.unwrap().path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, of) = (fields.next().unwrap(), fields.next().unwrap());
        if of == parent.to_string() {
            states.extend(state.chars());
        }
    }
    states
}

#[test]
fn what_makes_no_sense_in_a_configuration_is_a_usage_error_in_a_line() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gateway.toml").display().to_string();
    let top = "uuid = \"g\"\nlog = \"log\"\n";
    let node = |more: &str| format!("{top}[[node]]\nname = \"n\"\nuuid = \"u\"\n{more}\n");
    let cluster = |more: &str| format!("{}[[cluster]]\n{more}\n", node("directory = \"d\""));
    for (text, part) in [
        ("uuid =".into(), "line 1"),
        (format!("{top}nodes = 1\n"), "unknown field `nodes`"),
        (top.replace("\"g\"", "\"g g\""), "`g g` is no UUID"),
        (top.replace("\"g\"", &format!("\"{CLUSTER}\"")), "is a cluster's UUID"),
        (node(""), "node `n`: it needs one of"),
        (node("directory = \"d\"\ncommand = [\"true\"]"), "node `n`: it needs one of"),
        (node("command = []"), "its command is empty"),
        (node("cost = -1\ncommand = [\"true\"]"), "line 6"),
        (node("url = \"https://h/git-annex/u\""), "https is not supported"),
        (node("url = \"http://ann:secret@h/git-annex/u\""), "http://…@h/git-annex/u: the URL has a user"),
        (node("url = \"http://h/git-annex/other\""), "its url is that of other"),
        (node("url = \"http://h/git-annex/u\"\nuser = \"bob\""), "GIT_ANNEX_P2PHTTP_PASSWORD_bob"),
        (node("directory = \"d\"\nuser = \"bob\""), "a user is for a url"),
        (node("directory = \"gateway.toml\""), "cannot use"),
        (
            node(&format!("command = [\"a\"]\n{}", node("command = [\"b\"]").replace(top, ""))),
            "two nodes called `n`",
        ),
        (cluster("uuid = \"c\"\nnodes = [\"n\"]"), "no cluster's UUID"),
        (cluster(&format!("uuid = \"{CLUSTER}\"\nnodes = [\"m\"]")), "no node called `m`"),
        (cluster(&format!("uuid = \"{CLUSTER}\"\nnodes = []")), "has no nodes"),
        (node("directory = \"d\"\ngateway = \"h\""), "node `n`: u is no cluster's UUID"),
        (
            node("directory = \"d\"\ngateway = \"g\"").replace("\"u\"", &format!("\"{CLUSTER}\"")),
            "the gateway of node `n` is this one",
        ),
        (
            node("directory = \"d\"\ngateway = \"h\"").replace("\"u\"", &format!("\"{CLUSTER}\"")),
            "node `n` is a part of a cluster, and no [[cluster]] names it",
        ),
    ] {
        fs::write(&path, &text).unwrap();
        for arguments in [
            vec!["annex", "proxy", "serve", &path, "--wideopen", "--bind", "127.0.0.1:0"],
            vec!["annex", "proxy", "p2pstdio", &path, "--uuid", "u"],
        ] {
            let (status, out, why) = run(&arguments);
            let held = status == 2 && out.is_empty() && why.contains(part) && why.lines().count() == 1;
            assert!(held, "{text}: {status} {why}");
        }
    }
    let (status, _, why) = run(&["annex", "proxy", "serve", &path]);
    assert!(status == 2 && why.contains("nobody may do anything"), "{why}");
}

/// Two gateways have one cluster, with a node each, and each knows of the other.
#[test]
fn what_one_gateway_is_asked_to_do_the_other_does_as_well() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (own, other) in [("a", "b"), ("b", "a")] {
        let beyond = at(&format!("{other}.toml"));
        let text = format!(
            r#"
            uuid = "gateway-{own}"
            log = "log-{own}"
            [[node]]
            name = "mine"
            uuid = "node-{own}"
            directory = "node-{own}"
            [[node]]
            name = "theirs"
            uuid = "{CLUSTER}"
            gateway = "gateway-{other}"
            command = ["{GRID}", "annex", "proxy", "p2pstdio", "{beyond}", "gateway-{own}", "--uuid", "{CLUSTER}"]
            [[cluster]]
            uuid = "{CLUSTER}"
            nodes = ["mine", "theirs"]
            "#
        );
        fs::write(at(&format!("{own}.toml")), text).unwrap();
    }
    for (gateway, lines, answer) in [
        ("a", put(HELLO), "PUT-FROM 0\nSUCCESS-PLUS node-a node-b\n"),
        ("b", format!("VERSION 4\nGET 4  {HELLO}\nSUCCESS\n"), "DATA 2\no\nVALID\n"),
        ("b", format!("VERSION 4\nREMOVE {HELLO}\n"), "SUCCESS-PLUS node-a node-b\n"),
        ("a", format!("VERSION 4\nCHECKPRESENT {HELLO}\n"), "FAILURE\n"),
    ] {
        let (said, status, why) = session(&at(&format!("{gateway}.toml")), CLUSTER, &lines);
        assert_eq!((status, why.as_str()), (0, ""));
        assert_eq!(said, format!("AUTH-SUCCESS {CLUSTER}\nVERSION 4\n{answer}"));
    }
}
