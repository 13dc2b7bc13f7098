//! The HTTP server on in-memory streams, byte by byte, and our own client on loopback: what is answered, and that nothing
//! is left behind however a request ends.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pool::Peer;
use pool::connections::Connections;
use pool::http::access::{Access, User};
use pool::http::server::{Config, Server};
use pool::http::{HttpRemote, Peers};
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::mode::Mode;
use pool::peer::{Download, Lock, Offer, Outcome, PeerError, Upload, Verdict};
use pool::repository::Repository;
use pool::uuid::Uuid;
use pool::version::Version;
use runtime::Runtime;
use runtime::real::RealWorld;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const HELLO: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";
const EMPTY: &str = "SHA256E-s0--e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.txt";

/// A server of a repository `SU`, and its disk.
struct Site {
    runtime: Runtime,
    repository: Repository,
    server: Server,
    _disk: tempfile::TempDir,
}

fn config() -> Config {
    let access = Access { anybody: Some(Mode::ReadWrite), ..Access::default() };
    Config { locked_files: 3, access, ..Config::default() }
}

async fn site(config: Config) -> Site {
    let disk = tempfile::tempdir().unwrap();
    let runtime = RealWorld::runtime();
    let uuid = Uuid::new("SU").unwrap();
    let repository = Repository::open(runtime.clone(), uuid, disk.path()).await.unwrap();
    let server = Server::new(runtime.clone(), repository.clone(), config);
    Site { runtime, repository, server, _disk: disk }
}

impl Site {
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.server.attach(Box::new(theirs));
        ours
    }

    /// Asks on a connection of its own, and returns status and body, whose chunks are joined.
    async fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let mut connection = self.connect();
        let request = request(line, headers, body);
        connection.write_all(request.as_bytes()).await.unwrap();
        answer(&mut connection).await
    }

    async fn post(&self, path: &str) -> String {
        let (status, body) = self.ask(&format!("POST {path}"), "", "").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn put(&self, path: &str, length: usize, body: &str) -> String {
        let headers = format!("X-git-annex-data-length: {length}\r\n");
        let (status, answer) = self.ask(&format!("POST {path}"), &headers, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Nothing is under way and nothing is held, as soon as all tasks had their turn.
    async fn settle(&self) {
        for _ in 0..5_000_000 {
            if self.server.tasks() == 0 && self.repository.is_quiet() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!((self.server.tasks(), self.server.busy()), (0, 0), "tasks and slots");
        assert!(self.repository.is_quiet(), "the repository");
        assert_eq!(self.server.room_for_locks(), 3, "permits");
    }
}

fn request(line: &str, headers: &str, body: &str) -> String {
    let (method, path) = line.split_once(' ').unwrap();
    let path = path.replace("HELLO", HELLO).replace("EMPTY", EMPTY);
    let sign = if path.contains('?') { '&' } else { '?' };
    let length = body.len();
    let rest = format!("Host: h\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    format!("{method} /git-annex/SU/{path}{sign}clientuuid=CU HTTP/1.1\r\n{rest}")
}

/// Reads an answer to the end of its connection.
async fn answer(connection: &mut DuplexStream) -> (u16, String) {
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).await.unwrap();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, mut rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head[9..12].parse().unwrap();
    if !head.contains("chunked") {
        return (status, rest.to_owned());
    }
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return (status, body);
        }
        body.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
    (status, body + "<cut>")
}

fn key(text: &str) -> Key {
    Key::parse(text.to_owned()).unwrap()
}

/// §17, the part on HTTP.
#[tokio::test]
async fn the_transcript() {
    let site = site(config()).await;
    assert_eq!(site.post("v4/checkpresent?key=HELLO").await, r#"{"present":false}"#);
    assert_eq!(site.post("v4/putoffset?key=HELLO").await, r#"{"offset":0}"#);
    assert_eq!(site.put("v4/put?key=HELLO", 6, "hell").await, r#"{"plusuuids":[],"stored":false}"#);
    assert_eq!(site.post("v1/putoffset?key=HELLO").await, r#"{"offset":4}"#, "what came is kept");
    assert_eq!(site.put("v1/put?key=HELLO&offset=4", 2, "o\n").await, r#"{"stored":true}"#);
    assert_eq!(site.post("v4/putoffset?key=HELLO").await, r#"{"alreadyhave":true,"plusuuids":[]}"#);
    assert_eq!(site.post("v1/putoffset?key=HELLO").await, r#"{"alreadyhave":true}"#);
    assert_eq!(site.put("v4/put?key=HELLO", 6, "hello\n").await, r#"{"plusuuids":[],"stored":true}"#);
    let get = async |path: &str| site.ask(&format!("GET {path}"), "", "").await;
    for version in ["v0/", "v1/", "v4/", ""] {
        assert_eq!(get(&format!("{version}key/HELLO")).await, (200, "hello\n".into()));
    }
    assert_eq!(get("v4/key/HELLO?offset=4").await, (200, "o\n".into()));
    assert_eq!(get("v4/key/HELLO?offset=9").await, (200, String::new()));
    assert_eq!(get("v4/key/EMPTY").await, (200, String::new()), "absent, and yet");
    assert_eq!(get("v5/key/HELLO").await, (404, "bad version".into()));
    let time = site.post("v4/gettimestamp").await;
    let time: i64 = time.strip_prefix(r#"{"timestamp":"#).unwrap().trim_end_matches('}').parse().unwrap();
    let early = format!("v4/remove-before?key=HELLO&timestamp={}", time - 5);
    assert_eq!(site.post(&early).await, r#"{"plusuuids":[],"removed":false}"#);
    assert_eq!(
        site.put("v4/put?key=EMPTY&data-present=true", 0, "").await,
        r#"{"plusuuids":[],"stored":false}"#
    );
    assert_eq!(site.post("v0/remove?key=HELLO").await, r#"{"removed":true}"#);
    assert_eq!(site.post("v4/checkpresent?key=HELLO").await, r#"{"present":false}"#);
    let (status, text) = site.ask("POST v0/put?key=HELLO", "", "hello\n").await;
    assert_eq!((status, text.as_str()), (400, "Header X-git-annex-data-length is required"));
    site.settle().await;
}

#[tokio::test]
async fn the_length_is_announced_and_the_body_is_chunked() {
    let site = site(config()).await;
    site.put("v0/put?key=HELLO", 6, "hello\n").await;
    let mut connection = site.connect();
    connection.write_all(request("GET v0/key/HELLO?offset=2", "", "").as_bytes()).await.unwrap();
    let mut bytes = String::new();
    connection.read_to_string(&mut bytes).await.unwrap();
    let head = bytes.to_lowercase();
    assert!(head.contains("x-git-annex-data-length: 4\r\n") && head.contains("transfer-encoding: chunked"));
    assert!(!head.contains("content-length") && !head.contains("date:"));
}

#[tokio::test]
async fn bodies_that_are_too_long_or_begin_elsewhere() {
    let site = site(config()).await;
    let no = r#"{"plusuuids":[],"stored":false}"#;
    // The first bytes of an overlong body count for the next attempt.
    assert_eq!(site.put("v4/put?key=HELLO", 4, "hello\n").await, no);
    assert_eq!(site.post("v4/putoffset?key=HELLO").await, r#"{"offset":4}"#);
    // Too far on: nothing changes.
    assert_eq!(site.put("v4/put?key=HELLO&offset=5", 1, "\n").await, no);
    assert_eq!(site.post("v4/putoffset?key=HELLO").await, r#"{"offset":4}"#);
    // Less than there is: nothing changes.
    assert_eq!(site.put("v4/put?key=HELLO", 3, "hel").await, no);
    assert_eq!(site.post("v4/putoffset?key=HELLO").await, r#"{"offset":4}"#);
    // Before what is wanted: the rest is taken.
    assert_eq!(site.put("v4/put?key=HELLO&offset=2", 4, "llo\n").await, r#"{"plusuuids":[],"stored":true}"#);
    assert_eq!(site.ask("GET v4/key/HELLO", "", "").await, (200, "hello\n".into()));
    site.settle().await;
}

/// At version 0 nobody asks from where on an object is wanted: who sends all of it must not be in vain for ever.
#[tokio::test]
async fn more_than_an_object_has_does_not_stay_in_its_way() {
    let site = site(config()).await;
    assert_eq!(site.put("v0/put?key=HELLO", 100, "not that one").await, r#"{"stored":false}"#);
    assert_eq!(site.put("v0/put?key=HELLO", 6, "hello\n").await, r#"{"stored":true}"#);
    // Without a size the hash tells, and the next attempt begins anew.
    let bare = "SHA256--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let path = format!("v0/put?key={bare}");
    assert_eq!(site.put(&path, 100, "not that one").await, r#"{"stored":false}"#);
    assert_eq!(site.put(&path, 0, "").await, r#"{"stored":false}"#);
    assert_eq!(site.post(&format!("v4/putoffset?key={bare}")).await, r#"{"offset":12}"#);
    assert_eq!(site.put(&path, 6, "hello\n").await, r#"{"stored":false}"#);
    assert_eq!(site.put(&path, 6, "hello\n").await, r#"{"stored":true}"#);
    // Where nothing tells what belongs together, nothing is gone on with.
    let unknown = "URL--a";
    let path = format!("v0/put?key={unknown}");
    assert_eq!(site.put(&path, 100, "not that one").await, r#"{"stored":false}"#);
    assert_eq!(site.post(&format!("v4/putoffset?key={unknown}")).await, r#"{"offset":0}"#);
    assert_eq!(site.put(&path, 6, "hello\n").await, r#"{"stored":true}"#);
    assert_eq!(site.ask(&format!("GET v4/key/{unknown}"), "", "").await, (200, "hello\n".into()));
    site.settle().await;
}

/// Of wrong bytes in full length nothing is stored; of a body that comes late the rest is waited for.
#[tokio::test]
async fn wrong_bytes_and_late_bytes() {
    let site = site(config()).await;
    assert_eq!(site.put("v0/put?key=HELLO", 6, "hella\n").await, r#"{"stored":false}"#);
    assert_eq!(site.post("v4/putoffset?key=HELLO").await, r#"{"offset":0}"#);
    let mut connection = site.connect();
    let head = "POST /git-annex/SU/v4/put?key=HELLO&clientuuid=CU HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
        X-git-annex-data-length: 6\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write_all(head.replace("HELLO", HELLO).as_bytes()).await.unwrap();
    for piece in ["3\r\nhel\r\n", "3\r\nlo\n\r\n", "0\r\n\r\n"] {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        connection.write_all(piece.as_bytes()).await.unwrap();
    }
    assert_eq!(answer(&mut connection).await, (200, r#"{"plusuuids":[],"stored":true}"#.into()));
    site.settle().await;
}

/// B1, B16, B18, B26: the client goes away after each byte of its request, or without reading.
#[tokio::test]
async fn whoever_goes_away_at_any_byte_leaves_nothing_behind() {
    let site = site(Config { jobs: 1, ..config() }).await;
    site.put("v4/put?key=HELLO", 6, "hello\n").await;
    let put = request("POST v4/put?key=WORM--x&offset=0", "X-git-annex-data-length: 9\r\n", "123456789");
    let long = request("POST v4/put?key=WORM--y&offset=5", "X-git-annex-data-length: 9\r\n", "123456789");
    let get = request("GET v4/key/HELLO", "", "");
    let lock = request("POST v4/lockcontent?key=EMPTY", "", "");
    for request in [put, long, get, lock] {
        for length in (0..request.len()).step_by(5).chain([request.len() - 1, request.len()]) {
            let mut connection = site.connect();
            connection.write_all(&request.as_bytes()[..length]).await.unwrap();
            for _ in 0..length % 7 {
                tokio::task::yield_now().await;
            }
        }
    }
    site.settle().await;
    assert_eq!(site.ask("GET v4/key/HELLO", "", "").await, (200, "hello\n".into()));
}

#[tokio::test]
async fn a_lock_keeps_its_object_until_it_is_unlocked() {
    let site = site(config()).await;
    site.put("v4/put?key=HELLO", 6, "hello\n").await;
    // L3: locks that fail give their permits back.
    for _ in 0..5 {
        assert_eq!(site.post("v4/lockcontent?key=EMPTY").await, r#"{"locked":false}"#);
    }
    let mut names = Vec::new();
    for _ in 0..3 {
        let answer = site.post("v4/lockcontent?key=HELLO").await;
        let name = answer.strip_prefix(r#"{"locked":true,"lockid":""#).unwrap().trim_end_matches("\"}");
        names.push(name.to_owned());
    }
    assert_eq!(site.post("v4/lockcontent?key=HELLO").await, r#"{"locked":false}"#, "there are three permits");
    assert_eq!(site.server.busy(), 0, "locks need no workers");
    assert_eq!(site.post("v4/remove?key=HELLO").await, r#"{"plusuuids":[],"removed":false}"#);
    let say = async |name: &str, words: &str| {
        let (status, body) = site.ask(&format!("POST v4/keeplocked?lockid={name}"), "", words).await;
        assert_eq!((status, body.as_str()), (200, r#"{"locked":false}"#));
    };
    // L1: the end of what keeps it is no word.
    say(&names[0], "{\"unlock\": false}\n").await;
    assert_eq!(site.server.room_for_locks(), 0);
    assert_eq!(site.post("v4/remove?key=HELLO").await, r#"{"plusuuids":[],"removed":false}"#);
    say(&names[0], "{\"unlock\": false}\n{\"unlock\": true}\n").await;
    say(&names[1], "nonsense\n{\"unlock\": true}").await;
    assert_eq!(site.post("v4/remove?key=HELLO").await, r#"{"plusuuids":[],"removed":false}"#);
    say(&names[2], "{\"unlock\":true}").await;
    say(&names[2], "").await;
    assert_eq!(site.post("v4/remove?key=HELLO").await, r#"{"plusuuids":[],"removed":true}"#);
    site.settle().await;
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let users = vec![User::new("ann", "secret", Mode::AppendOnly)];
    let access = Access { anybody: Some(Mode::ReadOnly), no_locking: true, users };
    let site = site(Config { access, ..config() }).await;
    let status = async |path: &str, headers: &str| site.ask(&format!("POST {path}"), headers, "").await.0;
    assert_eq!(status("v4/checkpresent?key=HELLO", "").await, 200);
    for path in ["put", "putoffset", "remove", "lockcontent"] {
        assert_eq!(status(&format!("v4/{path}?key=HELLO"), "").await, 401, "{path}");
    }
    let ann = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
    assert_eq!(status("v4/putoffset?key=HELLO", ann).await, 200);
    assert_eq!(status("v4/lockcontent?key=HELLO", ann).await, 200);
    assert_eq!(status("v4/remove?key=HELLO", ann).await, 403);
    let mut connection = site.connect();
    connection.write_all(request("POST v4/remove?key=HELLO", "", "").as_bytes()).await.unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    assert!(text.contains(r#"Basic realm="git-annex", charset="UTF-8""#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_given_up() {
    let site = site(Config { jobs: 1, ..config() }).await;
    let mut slow = site.connect();
    let request = request("POST v4/put?key=WORM--x", "X-git-annex-data-length: 9\r\n", "123456789");
    slow.write_all(&request.as_bytes()[..request.len() - 5]).await.unwrap();
    let mut silent = site.connect();
    silent.write_all(b"GET /git-annex/").await.unwrap();
    let start = site.runtime.now();
    assert_eq!(answer(&mut slow).await, (408, "the body does not come".into()));
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
    assert!((60..63).contains(&(site.runtime.now() - start).as_secs()));
    site.settle().await;
}

/// Who sends a byte now and then has no more time than who sends nothing.
#[tokio::test(start_paused = true)]
async fn a_trickle_is_given_up() {
    let site = site(Config { jobs: 1, ..config() }).await;
    let (mut rest, mut hand) = tokio::io::split(site.connect());
    let request = request("POST v4/put?key=WORM--x", "X-git-annex-data-length: 900\r\n", &"x".repeat(900));
    hand.write_all(&request.as_bytes()[..request.len() - 900]).await.unwrap();
    let start = site.runtime.now();
    let mut answer = Vec::new();
    let trickle = async {
        while hand.write_all(b"x").await.is_ok() {
            site.runtime.sleep(Duration::from_secs(7)).await;
        }
    };
    let answered = futures::future::select(Box::pin(rest.read_to_end(&mut answer)), Box::pin(trickle));
    drop(answered.await);
    assert_eq!(parse(&answer).0, 408);
    assert!((60..70).contains(&(site.runtime.now() - start).as_secs()));
}

/// What is stuck is ended with the server, which waits no longer than it should.
#[tokio::test(start_paused = true)]
async fn a_server_ends_what_does_not_end() {
    let (site, log) = odd(Verdict::Valid, &[]).await;
    let mut stuck = site.connect();
    stuck.write_all(request("POST v4/checkpresent?key=HELLO", "", "").as_bytes()).await.unwrap();
    while site.server.busy() == 0 {
        tokio::task::yield_now().await;
    }
    let Site { server, runtime, .. } = site;
    let start = runtime.now();
    assert!(!server.close(Duration::from_secs(5)).await);
    assert!((5..7).contains(&(runtime.now() - start).as_secs()));
    let mut rest = Vec::new();
    let _ = stuck.read_to_end(&mut rest).await;
    while Arc::strong_count(&log) > 1 {
        // The peers go with the server.
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_nobody_keeps_ends_with_its_time() {
    let site = site(config()).await;
    site.put("v4/put?key=HELLO", 6, "hello\n").await;
    site.post("v4/lockcontent?key=HELLO").await;
    site.runtime.sleep(Duration::from_secs(599)).await;
    assert_eq!(site.post("v4/remove?key=HELLO").await, r#"{"plusuuids":[],"removed":false}"#);
    assert_eq!(site.server.room_for_locks(), 2);
    site.runtime.sleep(Duration::from_secs(2)).await;
    site.settle().await;
}

#[tokio::test]
async fn a_server_that_is_closed_leaves_nothing() {
    let mut site = site(config()).await;
    site.put("v4/put?key=HELLO", 6, "hello\n").await;
    site.post("v4/lockcontent?key=HELLO").await;
    site.server.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut idle = site.connect();
    tokio::task::yield_now().await;
    let Site { server, repository, _disk, .. } = site;
    assert!(server.close(Duration::from_secs(20)).await, "all ended by themselves");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(repository.is_quiet());
    let removed = repository.peer().remove(&key(HELLO), None).await.unwrap();
    assert!(!removed.done, "a lock that the server ends keeps its object for its retention time");
}

/// A peer whose downloads end as they are told to.
struct Odd {
    uuid: Uuid,
    verdict: Verdict,
    pieces: Vec<&'static str>,
    busy: bool,
    log: Arc<Mutex<Vec<&'static str>>>,
}

struct OddDownload<'a>(&'a mut Odd);

impl Odd {
    fn says(&self, word: &'static str) {
        self.log.lock().unwrap().push(word);
    }
}

#[async_trait]
impl Peer for Odd {
    fn uuid(&self) -> &Uuid {
        &self.uuid
    }
    async fn begin(&mut self, version: Version, _: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        Ok(version)
    }
    async fn check_present(&mut self, _: &Key) -> Result<bool, PeerError> {
        self.busy = true;
        std::future::pending().await
    }
    async fn lock<'a>(&'a mut self, _: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        Err(PeerError::Unreachable { uuid: self.uuid.clone(), why: "gone".into() })
    }
    async fn remove(&mut self, _: &Key, _: Option<i64>) -> Result<Outcome, PeerError> {
        let also = ["SU", "n1"].map(|text| Uuid::new(text).unwrap()).into();
        Ok(Outcome { done: true, also })
    }
    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        Err(PeerError::Lost { uuid: self.uuid.clone(), why: "gone".into() })
    }
    async fn get<'a>(
        &'a mut self,
        _: u64,
        _: &AssociatedFile,
        _: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        self.busy = true;
        Ok(Box::new(OddDownload(self)))
    }
    async fn put<'a>(&'a mut self, _: &AssociatedFile, _: &Key) -> Result<Offer<'a>, PeerError> {
        self.busy = true;
        Ok(Offer::From(0, Box::new(OddUpload(self))))
    }
    fn is_reusable(&self) -> bool {
        !self.busy
    }
    async fn close(&mut self) {
        self.says("close");
    }
}

#[async_trait]
impl Download for OddDownload<'_> {
    fn length(&self) -> u64 {
        6
    }
    async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        if self.0.pieces.is_empty() {
            return Ok(None);
        }
        match self.0.pieces.remove(0) {
            "never" => std::future::pending().await,
            "lost" => Err(PeerError::Lost { uuid: self.0.uuid.clone(), why: "gone".into() }),
            piece => Ok(Some(piece.into())),
        }
    }
    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        Ok(self.0.verdict)
    }
    async fn end(self: Box<Self>, _: bool) -> Result<(), PeerError> {
        self.0.busy = false;
        self.0.says("end");
        Ok(())
    }
}

struct OddUpload<'a>(&'a mut Odd);

#[async_trait]
impl Upload for OddUpload<'_> {
    async fn begin(&mut self, _: u64) -> Result<(), PeerError> {
        Ok(())
    }
    async fn write(&mut self, _: Bytes) -> Result<(), PeerError> {
        Ok(())
    }
    async fn finish(self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        self.0.busy = false;
        self.0.says(if verdict == Verdict::Valid { "valid" } else { "invalid" });
        Ok(Outcome::of(verdict == Verdict::Valid))
    }
    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        Ok(Outcome::of(false))
    }
    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        self.0.busy = false;
        self.0.says("withdraw");
        Ok(())
    }
}

struct OddPeers(Verdict, Vec<&'static str>, Arc<Mutex<Vec<&'static str>>>);

impl Peers for OddPeers {
    fn peer(&self, server: &Uuid, _: &Uuid, _: &BTreeSet<Uuid>, _: Version) -> Option<Box<dyn Peer>> {
        let OddPeers(verdict, pieces, log) = self;
        let odd = Odd {
            uuid: server.clone(),
            verdict: *verdict,
            pieces: pieces.clone(),
            busy: false,
            log: log.clone(),
        };
        Some(Box::new(odd))
    }
}

async fn odd(verdict: Verdict, pieces: &[&'static str]) -> (Site, Arc<Mutex<Vec<&'static str>>>) {
    let (mut site, log) = (site(config()).await, Arc::default());
    let peers = OddPeers(verdict, pieces.to_vec(), Arc::clone(&log));
    site.server = Server::new(site.runtime.clone(), peers, Config { jobs: 1, ..config() });
    (site, log)
}

/// B8: what is not to be trusted is never as long as was announced, and never longer.
#[tokio::test]
async fn invalid_bytes_are_cut() {
    for (verdict, pieces, body, end) in [
        (Verdict::Valid, vec!["hel", "lo\n"], "hello\n", "end"),
        (Verdict::Invalid, vec!["hel", "lo\n"], "hello", "end"),
        (Verdict::Invalid, vec!["hello", "\n"], "hello", "end"),
        (Verdict::Unknown, vec!["hello\n"], "hello", "end"),
        (Verdict::Invalid, vec!["hel"], "hel", "end"),
        (Verdict::Valid, vec!["hel", "l", "hello\n"], "hell", "close"),
        (Verdict::Valid, vec![], "", "end"),
        (Verdict::Valid, vec!["hel", "l", "lost"], "hell", "close"),
    ] {
        let (site, log) = odd(verdict, &pieces).await;
        let answer = site.ask("GET v4/key/HELLO", "", "").await;
        assert_eq!(answer, (200, body.into()), "{verdict:?} {pieces:?}");
        site.settle().await;
        assert_eq!(*log.lock().unwrap(), [end]);
    }
}

/// B8: a short body leaves the connection under the peer in the middle of something: it is closed.
#[tokio::test]
async fn what_is_in_the_middle_of_something_is_closed() {
    let no = r#"{"plusuuids":[],"stored":false}"#;
    let (site, log) = odd(Verdict::Valid, &[]).await;
    assert_eq!(site.put("v4/put?key=HELLO", 6, "hello").await, no);
    assert_eq!(site.put("v4/put?key=HELLO", 6, "hello\n").await, r#"{"plusuuids":[],"stored":true}"#);
    assert_eq!(site.put("v4/put?key=HELLO&offset=3", 3, "lo\n").await, no);
    assert_eq!(site.post("v4/putoffset?key=HELLO").await, r#"{"offset":0}"#);
    assert_eq!(*log.lock().unwrap(), ["close", "valid", "withdraw", "withdraw"]);
    site.settle().await;
}

#[tokio::test]
async fn failures_of_a_peer_have_their_status() {
    let (site, _) = odd(Verdict::Valid, &[]).await;
    assert_eq!(site.ask("POST v4/lockcontent?key=HELLO", "", "").await.0, 502);
    assert_eq!(site.ask("POST v4/gettimestamp", "", "").await.0, 500);
    let answer = site.ask("POST v4/remove?key=HELLO", "", "").await;
    assert_eq!(answer, (200, r#"{"plusuuids":["n1"],"removed":true}"#.into()), "it knows whom it asked");
    site.settle().await;
}

/// B15, B17: a request that waits for its peer for ever has the only slot, and gives it back when its client goes.
#[tokio::test]
async fn a_client_that_goes_frees_its_slot() {
    let (site, log) = odd(Verdict::Valid, &[]).await;
    let mut stuck = site.connect();
    stuck.write_all(request("POST v4/checkpresent?key=HELLO", "", "").as_bytes()).await.unwrap();
    while site.server.busy() == 0 {
        tokio::task::yield_now().await;
    }
    let mut waiting = site.connect();
    waiting.write_all(request("POST v4/remove?key=HELLO", "", "").as_bytes()).await.unwrap();
    assert_eq!(site.ask("POST v4/lockcontent?key=HELLO", "", "").await.0, 502, "locks need no slot");
    drop(stuck);
    assert_eq!(answer(&mut waiting).await.0, 200);
    site.settle().await;
    assert_eq!(*log.lock().unwrap(), ["close"]);
}

/// What is refused is read a little: who is still sending hears why.
#[tokio::test]
async fn who_sends_much_hears_why_it_is_refused() {
    let site = site(config()).await;
    let much = "x".repeat(200_000);
    assert_eq!(site.ask("POST v4/put?key=WORM--x", "", &much).await.0, 400);
    let (status, _) = site.ask("POST v5/put?key=WORM--x", "", &much).await;
    assert_eq!(status, 404);
    site.settle().await;
}

/// Whether all that was done has come to its end.
async fn has_settled(site: &Site) -> bool {
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
    site.server.busy() == 0
}

/// Each bug that can be put back shows itself.
#[tokio::test(start_paused = true)]
async fn known_bugs_show_themselves() {
    let limit = Duration::from_secs(30);
    let arm = |name: &str| runtime::arm_relapses(vec![name.to_owned()]);
    let put = "v4/put?key=HELLO";
    for name in ["annex-B1", "annex-B16"] {
        let (site, _) = odd(Verdict::Valid, &["hello\n"]).await;
        assert_eq!(site.ask("GET v4/key/HELLO", "", "").await.1, "hello\n");
        assert!(has_settled(&site).await);
        arm(name);
        let answered = site.runtime.timeout(limit, site.ask("GET v4/key/HELLO", "", "")).await;
        // One keeps its slot for ever, the other the client waiting.
        assert_eq!((answered.is_ok(), has_settled(&site).await), (name == "annex-B1", name == "annex-B16"));
        runtime::arm_relapses(Vec::new());
    }
    for name in ["", "annex-B18"] {
        let (site, _) = odd(Verdict::Valid, &["hel", "l", "never"]).await;
        arm(name);
        let mut connection = site.connect();
        connection.write_all(request("GET v4/key/HELLO", "", "").as_bytes()).await.unwrap();
        connection.read_u8().await.unwrap();
        drop(connection);
        assert_eq!(has_settled(&site).await, name.is_empty(), "{name}");
    }
    let (site, _) = odd(Verdict::Invalid, &["hello\n"]).await;
    arm("annex-B8");
    assert_eq!(site.ask("GET v4/key/HELLO", "", "").await.1, "hello\nX");
    let (site, _) = odd(Verdict::Valid, &[]).await;
    arm("annex-B11");
    assert!(site.runtime.timeout(limit, site.put(put, 6, "hello\n")).await.is_err());
    arm("annex-B26");
    let (site, _) = odd(Verdict::Valid, &[]).await;
    site.put("v4/put?key=HELLO&offset=3", 3, "lo\n").await;
    assert!(!has_settled(&site).await);

    arm("annex-B17");
    let site = self::site(config()).await;
    site.put(put, 6, "hello\n").await;
    site.post("v4/lockcontent?key=HELLO").await;
    assert_eq!(site.server.busy(), 1);
    arm("annex-L3");
    site.post("v4/lockcontent?key=EMPTY").await;
    has_settled(&site).await;
    assert_eq!(site.server.room_for_locks(), 1);
    arm("annex-L1");
    let answer = site.post("v4/lockcontent?key=HELLO").await;
    let name = answer.strip_prefix(r#"{"locked":true,"lockid":""#).unwrap().trim_end_matches("\"}");
    site.post(&format!("v4/keeplocked?lockid={name}")).await;
    while site.server.room_for_locks() == 0 {
        // It is unlocked, although nobody said so.
        tokio::task::yield_now().await;
    }
    arm("annex-L14");
    assert_eq!(site.put("v4/put?key=WORM--x", 4, "hello\n").await, r#"{"plusuuids":[],"stored":false}"#);
    assert_eq!(site.post("v4/putoffset?key=WORM--x").await, r#"{"offset":0}"#);
    arm("annex-L16");
    assert_eq!(site.ask("GET v5/key/HELLO", "", "").await, (400, "bad version".into()));
    runtime::arm_relapses(Vec::new());
}

// Our client.

async fn client(site: &mut Site) -> HttpRemote {
    let address = site.server.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("annex+http://{address}/git-annex/SU").parse().unwrap();
    HttpRemote::new(Connections::new(site.runtime.clone(), 1), url, Uuid::new("CU").unwrap())
}

async fn upload(peer: &mut HttpRemote, bytes: &str, verdict: Verdict) -> bool {
    let (name, file) = (key(HELLO), AssociatedFile::default());
    let Offer::From(offset, mut upload) = peer.put(&file, &name).await.unwrap() else {
        panic!("it is there")
    };
    let rest = &bytes[offset as usize..];
    upload.begin(rest.len() as u64).await.unwrap();
    for piece in rest.as_bytes().chunks(2) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    upload.finish(verdict).await.unwrap().done
}

async fn download(peer: &mut HttpRemote, name: &str, offset: u64) -> (Vec<u8>, Verdict) {
    let mut download = peer.get(offset, &AssociatedFile::default(), &key(name)).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    let verdict = download.verdict().await.unwrap();
    download.end(true).await.unwrap();
    (bytes, verdict)
}

#[tokio::test]
async fn our_client_asks_everything_in_every_version() {
    for version in Version::all() {
        let mut site = site(config()).await;
        let mut peer = client(&mut site).await;
        assert_eq!(peer.begin(version, &BTreeSet::new()).await, Ok(version));
        assert_eq!(peer.check_present(&key(HELLO)).await, Ok(false));
        for (absent, offset) in
            [(HELLO, 0), (HELLO, 6), ("URL--http://a", 0), ("URL--http://a", 5), ("WORM-s3--a", 3)]
        {
            let came = download(&mut peer, absent, offset).await;
            assert_eq!(came, (Vec::new(), Verdict::Invalid), "{absent} {offset}");
        }
        assert!(!upload(&mut peer, "hello\n", Verdict::Invalid).await, "cut");
        assert!(upload(&mut peer, "hello\n", Verdict::Valid).await);
        let there = peer.put(&AssociatedFile::default(), &key(HELLO)).await.unwrap();
        assert!(matches!(there, Offer::AlreadyHave(_)));
        drop(there);
        assert_eq!(download(&mut peer, HELLO, 0).await, (b"hello\n".to_vec(), Verdict::Valid));
        assert_eq!(download(&mut peer, HELLO, 4).await, (b"o\n".to_vec(), Verdict::Valid));
        assert_eq!(download(&mut peer, HELLO, 6).await, (Vec::new(), Verdict::Valid));
        let lock = peer.lock(&key(HELLO)).await.unwrap().unwrap();
        assert!(!site.repository.peer().remove(&key(HELLO), None).await.unwrap().done);
        lock.unlock().await.unwrap();
        assert!(peer.lock(&key(EMPTY)).await.unwrap().is_none());
        let time = peer.timestamp().await.unwrap();
        assert!(!peer.remove(&key(HELLO), Some(time - 1)).await.unwrap().done);
        assert!(peer.remove(&key(HELLO), None).await.unwrap().done);
        let Offer::From(0, upload) = peer.put(&AssociatedFile::default(), &key(EMPTY)).await.unwrap() else {
            panic!("it is wanted")
        };
        assert!(!upload.is_present().await.unwrap().done);
        peer.close().await;
        drop(peer);
        assert!(site.server.close(Duration::from_secs(20)).await);
    }
}

/// L16, on both sides of it: a server that says 400, one that says 404, and one that knows nothing.
#[tokio::test]
async fn our_client_steps_down_to_what_the_server_knows() {
    for (status, newest) in [("400 Bad Request", 2), ("404 Not Found", 3), ("404 Not Found", 0)] {
        let runtime = RealWorld::runtime();
        let listener = runtime.network().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("annex+http://{}/git-annex/SU", listener.address().unwrap()).parse().unwrap();
        let scope = runtime.scope();
        scope.spawn("server", 0, async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let version: u32 = head.split('/').nth(3).unwrap()[1..].parse().unwrap();
                let (status, body) = if version > newest {
                    (status, "bad version")
                } else {
                    ("200 OK", r#"{"present":true}"#)
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                // Each connection serves once: the next request finds that it goes.
                let _ = stream.read_u8().await;
            }
        });
        let mut peer = HttpRemote::new(Connections::new(runtime.clone(), 1), url, Uuid::new("CU").unwrap());
        for _ in 0..3 {
            assert_eq!(peer.check_present(&key(HELLO)).await, Ok(true));
        }
        assert_eq!(u32::from(peer.version().number()), newest);
    }
}

#[tokio::test]
async fn our_client_says_who_is_not_there() {
    let mut site = site(config()).await;
    let address = site.server.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("annex+http://{address}/git-annex/OTHER").parse().unwrap();
    let mut peer = HttpRemote::new(Connections::new(site.runtime.clone(), 1), url, Uuid::new("CU").unwrap());
    assert!(matches!(peer.check_present(&key(HELLO)).await, Err(PeerError::Unreachable { .. })));
    drop(site);
    assert!(matches!(
        peer.check_present(&key(HELLO)).await,
        Err(PeerError::Unreachable { .. } | PeerError::Lost { .. })
    ));
}

/// B8, on the other side of it: what comes short is not to be trusted.
#[tokio::test]
async fn our_client_knows_what_a_short_body_says() {
    for (verdict, came) in [(Verdict::Invalid, "hello"), (Verdict::Valid, "hello\n")] {
        let (mut site, _) = odd(verdict, &["hel", "lo\n"]).await;
        let mut peer = client(&mut site).await;
        for _ in 0..2 {
            assert_eq!(download(&mut peer, HELLO, 0).await, (came.into(), verdict));
        }
    }
}

/// A download that is dropped takes its connection with it, and an upload that is dropped leaves what came.
#[tokio::test]
async fn our_client_drops_what_is_in_the_middle() {
    let mut site = site(config()).await;
    let mut peer = client(&mut site).await;
    let Offer::From(0, mut sending) = peer.put(&AssociatedFile::default(), &key(HELLO)).await.unwrap() else {
        panic!("it is wanted")
    };
    sending.begin(6).await.unwrap();
    sending.write("hel".into()).await.unwrap();
    sending.write("lo\n".into()).await.unwrap();
    drop(sending);
    assert_eq!(peer.check_present(&key(HELLO)).await, Ok(false));
    while !site.repository.is_quiet() {
        tokio::task::yield_now().await;
    }
    assert!(upload(&mut peer, "hello\n", Verdict::Valid).await);
    drop(peer.get(0, &AssociatedFile::default(), &key(HELLO)).await.unwrap());
    let lock = peer.lock(&key(HELLO)).await.unwrap().unwrap();
    drop(lock);
    assert!(!peer.remove(&key(HELLO), None).await.unwrap().done, "a lock that is lost keeps its object");
    assert_eq!(download(&mut peer, HELLO, 0).await, (b"hello\n".to_vec(), Verdict::Valid));
}
