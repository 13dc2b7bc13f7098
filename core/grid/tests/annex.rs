//! `grid annex` from outside: a server of ours, and every question to it.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const HELLO: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";

/// A server, until it is dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(place: &TempDir, options: &[&str]) -> Server {
        let mut command = grid(&["annex", "serve"]);
        command
            .arg(place.path().join("objects"))
            .args(["--uuid", "SU", "--bind", "127.0.0.1:0"])
            .args(options);
        command.env("GIT_ANNEX_P2PHTTP_PASSWORD_ann", "secret");
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
        Server { process, url: url.trim().into() }
    }

    /// Exit status, standard output and standard error of a question.
    fn ask(&self, command: &str, more: &[&str]) -> (i32, String, String) {
        let mut asked = grid(&["annex", command, &self.url, HELLO]);
        run(asked.args(more).env("GIT_ANNEX_P2PHTTP_PASSWORD_ann", "secret"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process that serves one client, as over ssh, until it is dropped.
struct Session {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Session {
    fn start(place: &TempDir) -> Session {
        let mut command = grid(&["annex", "p2pstdio", "--uuid", "SU"]);
        command.arg(place.path().join("objects")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (asks, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut session = Session { process, asks, answers: BufReader::new(answers) };
        assert_eq!(session.answer(), "AUTH-SUCCESS SU");
        assert_eq!(session.ask("VERSION 4"), "VERSION 4");
        session
    }

    fn say(&mut self, text: &str) {
        self.asks.write_all(text.as_bytes()).unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    fn ask(&mut self, request: &str) -> String {
        self.say(&format!("{request}\n"));
        self.answer()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn grid(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grid"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_object_goes_there_and_back() {
    let place = TempDir::new().unwrap();
    let server = Server::start(&place, &["--wideopen"]);
    let file = place.path().join("file").display().to_string();
    fs::write(&file, "hello\n").unwrap();
    assert_eq!(server.ask("check", &[]), (1, "not there\n".into(), String::new()));
    let (status, _, why) = server.ask("get", &[]);
    assert_eq!((status, why.as_str()), (1, "grid: the object is not there\n"));
    assert_eq!(server.ask("put", &[&file]), (0, String::new(), String::new()));
    let report: Value = serde_json::from_str(&server.ask("put", &[&file, "--json"]).1).unwrap();
    assert_eq!((&report["ok"], &report["sent"]), (&true.into(), &0.into()));
    assert_eq!(server.ask("check", &[]).0, 0);
    for protocol in ["0", "1", "2", "3", "4"] {
        assert_eq!(server.ask("get", &["--protocol", protocol]), (0, "hello\n".into(), String::new()));
    }
    assert_eq!(server.ask("remove", &["--before", "-1"]).0, 1);
    let mut lock = grid(&["annex", "lock", &server.url, HELLO]);
    let mut lock = lock.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 7];
    lock.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"locked\n");
    assert_eq!(server.ask("remove", &[]).0, 1);
    lock.stdin.take().unwrap().flush().unwrap();
    assert!(lock.wait().unwrap().success());
    assert_eq!(server.ask("remove", &[]), (0, "removed\n".into(), String::new()));
    assert_eq!(server.ask("lock", &[]).0, 1);
}

#[test]
fn sessions_of_one_directory_know_of_each_other() {
    let place = TempDir::new().unwrap();
    let [mut one, mut two, mut three] = [(); 3].map(|()| Session::start(&place));
    let [put, lock, remove, check] =
        ["PUT ", "LOCKCONTENT", "REMOVE", "CHECKPRESENT"].map(|what| format!("{what} {HELLO}"));
    // One uploads at a time, and goes on where the last one was lost.
    assert_eq!(one.ask(&put), "PUT-FROM 0");
    one.say("DATA 6\nhel");
    assert_eq!(two.ask(&put), "ERROR transfer already in progress");
    let file = place.path().join("objects/incoming").join(HELLO);
    while fs::read(&file).unwrap() != b"hel" {
        std::thread::yield_now();
    }
    drop(one);
    assert_eq!(two.ask(&put), "PUT-FROM 3");
    assert_eq!(two.ask("DATA 3\nlo\nVALID"), "SUCCESS");
    // Whoever still has a lock keeps the object, and so does who was lost with one.
    assert_eq!(two.ask(&lock), "SUCCESS");
    assert_eq!(three.ask(&lock), "SUCCESS");
    two.say("UNLOCKCONTENT\n");
    assert_eq!(two.ask(&remove), "FAILURE");
    three.say("UNLOCKCONTENT\n");
    assert_eq!(three.ask(&check), "SUCCESS");
    assert_eq!(two.ask(&remove), "SUCCESS");
    assert_eq!(two.ask(&put), "PUT-FROM 0");
    assert_eq!(two.ask("DATA 6\nhello\nVALID"), "SUCCESS");
    assert_eq!(three.ask(&lock), "SUCCESS");
    drop(three);
    assert_eq!(two.ask(&remove), "FAILURE");
    // A server over HTTP is one more of them.
    let server = Server::start(&place, &["--wideopen"]);
    assert_eq!(server.ask("remove", &[]).0, 1);
    assert_eq!(server.ask("get", &[]).1, "hello\n");
}

#[test]
fn who_may_do_what_is_said_in_options_and_environment() {
    let place = TempDir::new().unwrap();
    let server = Server::start(&place, &["--unauth-readonly", "--authenv-http"]);
    let file = place.path().join("file").display().to_string();
    fs::write(&file, "hello\n").unwrap();
    assert_eq!(server.ask("check", &[]).0, 1);
    let (status, _, why) = server.ask("put", &[&file]);
    assert!(status == 1 && why.contains("401"), "{why}");
    assert_eq!(server.ask("put", &[&file, "--user", "ann"]).0, 0);
    assert_eq!(server.ask("get", &[]).1, "hello\n");
}

#[test]
fn what_makes_no_sense_is_a_usage_error_in_a_line() {
    let place = TempDir::new().unwrap();
    let (objects, file) =
        (place.path().join("o").display().to_string(), place.path().join("f").display().to_string());
    fs::write(&file, "other\n").unwrap();
    let url = "annex+http://127.0.0.1:1/git-annex/SU";
    for (arguments, part) in [
        (vec!["annex", "serve", &objects, "--uuid", "SU"], "nobody may do anything"),
        (vec!["annex", "serve", &objects, "--uuid", "S U", "--wideopen"], "a word"),
        (
            vec!["annex", "serve", &objects, "--uuid", "SU", "--wideopen", "--unauth-readonly"],
            "cannot be used with",
        ),
        (vec!["annex", "serve", &objects, "--uuid", "SU", "--wideopen", "-J", "0"], "0"),
        (
            vec!["annex", "serve", &objects, "--uuid", "SU", "--wideopen", "--bind", "192.0.2.1:1"],
            "cannot listen",
        ),
        (vec!["annex", "check", "http://h/x", HELLO], "annex+http"),
        (vec!["annex", "check", "annex+https://h/git-annex/SU", HELLO], "https is not supported"),
        (vec!["annex", "check", "annex+http://ann:secret@h/git-annex/SU", HELLO], "the URL has a user in it"),
        (vec!["annex"], "a command is missing"),
        (vec!["annex", "proxy"], "a command is missing"),
        (vec!["annex", "check", url, "nokey"], "BACKEND"),
        (vec!["annex", "check", url, HELLO, "--protocol", "5"], "5"),
        (vec!["annex", "check", url, HELLO, "--user", "bob"], "GIT_ANNEX_P2PHTTP_PASSWORD_bob"),
        (vec!["annex", "put", url, HELLO, &file], "is not the object"),
        (vec!["annex", "put", url, HELLO, "/nowhere"], "cannot upload /nowhere"),
        (vec!["annex", "get", url, HELLO, "--json"], "-o"),
    ] {
        let (status, out, why) = run(&mut grid(&arguments));
        assert!(
            status == 2
                && (out.is_empty() || arguments.contains(&"--json"))
                && why.contains(part)
                && !why.contains("secret")
                && why.lines().count() == 1,
            "{arguments:?}: {why}"
        );
    }
    let (status, _, why) = run(&mut grid(&["annex", "check", url, HELLO]));
    assert!(status == 1 && why.contains("cannot connect to SU"), "{why}");
}
