//! Connections to HTTP servers, as a gateway uses them again: when, when not, and that each is given back.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use pool::Peer;
use pool::cluster::Settings;
use pool::cluster::located::MemoryLog;
use pool::connections::Counts;
use pool::gateway::{Gateway, Member, Way};
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::peer::{Offer, PeerError, Verdict};
use pool::uuid::Uuid;
use pool::version::Version;
use runtime::net::Stream;
use runtime::real::RealWorld;
use runtime::{Runtime, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HELLO: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";

/// What a server does with one request after the other on a connection; when nothing is left it hangs up.
type Script = Vec<Deed>;

#[derive(Clone, Copy)]
enum Deed {
    /// Reads the request, and says this.
    Say(&'static str),
    /// Reads the head of the request alone, and says this.
    Interrupt(&'static str),
    /// Reads the request, and hangs up.
    HangUp,
    /// Waits until the client hangs up.
    Wait,
}

/// A server, and what it heard: of each connection the last parts of the paths, and `end` when the client hung up.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Vec<String>>>>);

struct Place {
    runtime: Runtime,
    gateway: Gateway,
    servers: Vec<Heard>,
    _tasks: Scope,
}

impl Place {
    /// A gateway that keeps so many connections, and servers whose connections go by these scripts, one after the other.
    async fn new(idle: usize, servers: Vec<Vec<Script>>) -> Place {
        let runtime = RealWorld::runtime();
        let (tasks, log) = (runtime.scope(), Arc::new(MemoryLog::default()));
        let settings = Settings { jobs: 2, patience: Duration::from_secs(10), located: log };
        let mut gateway = Gateway::new(runtime.clone(), uuid("gateway"), settings, idle);
        let mut heard = Vec::new();
        for (number, scripts) in servers.into_iter().enumerate() {
            let listener = runtime.network().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let url = format!("annex+http://{}/git-annex/n{number}", listener.address().unwrap());
            let way = Way::Http(url.parse().unwrap(), None);
            gateway.add(Member { uuid: uuid(&format!("n{number}")), cost: 100, way });
            let here = Heard::default();
            heard.push(here.clone());
            let runtime = runtime.clone();
            tasks.spawn("server", number as u64, async move {
                let connections = runtime.scope();
                for script in scripts {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.spawn("connection", 0, here.clone().serve(stream, script));
                }
                drop(listener);
                connections.drain().await;
            });
        }
        Place { runtime, gateway, servers: heard, _tasks: tasks }
    }

    /// A node, for one request.
    async fn node(&self, number: usize) -> Box<dyn Peer> {
        let mut peer = self.gateway.peer(&uuid(&format!("n{number}")), &uuid("client")).unwrap();
        peer.begin(Version::MAX, &BTreeSet::new()).await.unwrap();
        peer
    }

    async fn check(&self, number: usize) -> Result<bool, PeerError> {
        self.node(number).await.check_present(&key()).await
    }

    /// What a server has heard as soon as it is `expected`, or at last.
    async fn heard(&self, number: usize, expected: &[&[&str]]) {
        for _ in 0..500 {
            if *self.servers[number].0.lock().unwrap() == expected {
                return;
            }
            self.runtime.sleep(Duration::from_millis(4)).await;
        }
        assert_eq!(*self.servers[number].0.lock().unwrap(), expected);
    }

    /// So many connections were made, and so many of them are idle; the others are closed.
    async fn counted(&self, opened: u64, idle: u64) {
        let expected = Counts { opened, closed: opened - idle, idle };
        for _ in 0..500 {
            if self.gateway.connections().counts() == expected {
                return;
            }
            self.runtime.sleep(Duration::from_millis(4)).await;
        }
        assert_eq!(self.gateway.connections().counts(), expected);
    }
}

impl Heard {
    async fn serve(self, mut stream: Box<dyn Stream>, script: Script) {
        let number = {
            let mut connections = self.0.lock().unwrap();
            connections.push(Vec::new());
            connections.len() - 1
        };
        for deed in script {
            let Some(head) = head(&mut stream).await else {
                self.0.lock().unwrap()[number].push("end".into());
                return;
            };
            let name = head.split([' ', '?']).nth(1).and_then(|path| path.split('/').nth(4)).unwrap();
            self.0.lock().unwrap()[number].push(name.to_owned());
            let chunked = head.contains("chunked") && !matches!(deed, Deed::Interrupt(_));
            if chunked && !body(&mut stream).await {
                self.0.lock().unwrap()[number].push("end".into());
                return;
            }
            match deed {
                Deed::Say(words) | Deed::Interrupt(words) => {
                    stream.write_all(words.as_bytes()).await.unwrap()
                }
                Deed::HangUp => return,
                Deed::Wait => {
                    while stream.read_u8().await.is_ok() {}
                    self.0.lock().unwrap()[number].push("end".into());
                    return;
                }
            }
        }
    }
}

async fn head(stream: &mut Box<dyn Stream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

async fn body(stream: &mut Box<dyn Stream>) -> bool {
    let mut body = Vec::new();
    while !body.ends_with(b"0\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => body.push(byte),
            Err(_) => return false,
        }
    }
    true
}

fn uuid(name: &str) -> Uuid {
    Uuid::new(name).unwrap()
}

fn key() -> Key {
    Key::parse(HELLO).unwrap()
}

const PRESENT: Deed = Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"present\":true}");
const TWICE: Deed = Deed::Say(
    "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"present\":false}\
    HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"present\":false}",
);
const REMOVED: Deed = Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"removed\":true}");
const OFFSET: Deed = Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"offset\":0}");
const STORED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"stored\":true}";
const LOCKED: Deed =
    Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{\"locked\":true,\"lockid\":\"L\"}");
const UNLOCKED: Deed = Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"locked\":false}");
const WHOLE: Deed =
    Deed::Say("HTTP/1.1 200 OK\r\nX-git-annex-data-length: 6\r\nContent-Length: 6\r\n\r\nhello\n");
const SHORT: Deed =
    Deed::Say("HTTP/1.1 200 OK\r\nX-git-annex-data-length: 6\r\nContent-Length: 5\r\n\r\nhello");
const HALF: Deed = Deed::Say("HTTP/1.1 200 OK\r\nX-git-annex-data-length: 6\r\nContent-Length: 6\r\n\r\nhel");

async fn get(peer: &mut dyn Peer) -> (Vec<u8>, Verdict) {
    let (mut bytes, file) = (Vec::new(), AssociatedFile::default());
    let mut download = peer.get(0, &file, &key()).await.unwrap();
    while let Some(piece) = download.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    let verdict = download.verdict().await.unwrap();
    download.end(true).await.unwrap();
    (bytes, verdict)
}

async fn put(peer: &mut dyn Peer) -> Result<bool, PeerError> {
    let file = AssociatedFile::default();
    let Offer::From(0, mut upload) = peer.put(&file, &key()).await? else { panic!("it is wanted") };
    upload.begin(6).await?;
    for piece in ["hel", "lo\n"] {
        upload.write(Bytes::from_static(piece.as_bytes())).await?;
    }
    Ok(upload.finish(Verdict::Valid).await?.done)
}

#[tokio::test]
async fn requests_that_follow_one_another_take_one_connection() {
    let script =
        vec![PRESENT, WHOLE, OFFSET, Deed::Say(STORED), LOCKED, UNLOCKED, REMOVED, PRESENT, Deed::Wait];
    let place = Place::new(1, vec![vec![script]]).await;
    assert_eq!(place.check(0).await, Ok(true));
    assert_eq!(get(&mut *place.node(0).await).await, (b"hello\n".to_vec(), Verdict::Valid));
    assert_eq!(put(&mut *place.node(0).await).await, Ok(true));
    let mut node = place.node(0).await;
    node.lock(&key()).await.unwrap().unwrap().unlock().await.unwrap();
    drop(node);
    assert!(place.node(0).await.remove(&key(), None).await.unwrap().done);
    assert_eq!(place.check(0).await, Ok(true));
    place.counted(1, 1).await;
    place.gateway.close().await;
    place.counted(1, 0).await;
    let all =
        ["checkpresent", "key", "putoffset", "put", "lockcontent", "keeplocked", "remove", "checkpresent"];
    place.heard(0, &[&[&all[..], &["end"]].concat()]).await;
}

#[tokio::test]
async fn requests_at_a_time_have_connections_of_their_own_and_no_more_are_kept_than_may_be() {
    let script = || vec![vec![PRESENT, PRESENT, Deed::Wait]; 2];
    let place = Place::new(2, vec![script(), script()]).await;
    let mut nodes = [place.node(0).await, place.node(0).await, place.node(1).await, place.node(1).await];
    for node in &mut nodes {
        assert_eq!(node.check_present(&key()).await, Ok(true));
    }
    assert_eq!(place.gateway.connections().counts(), Counts { opened: 4, closed: 0, idle: 0 });
    drop(nodes);
    // The oldest of all have gone, whoever they lead to.
    place.counted(4, 2).await;
    place.heard(0, &[&["checkpresent", "end"], &["checkpresent", "end"]]).await;
    place.heard(1, &[&["checkpresent"], &["checkpresent"]]).await;
    assert_eq!(place.check(1).await, Ok(true));
    place.counted(4, 2).await;
}

/// Where nothing may be kept, a request has its connection for all that it takes, and no longer.
#[tokio::test]
async fn a_request_has_its_connection_to_its_end() {
    let place = Place::new(0, vec![vec![vec![OFFSET, Deed::Say(STORED), Deed::Wait]]]).await;
    assert_eq!(put(&mut *place.node(0).await).await, Ok(true));
    place.heard(0, &[&["putoffset", "put", "end"]]).await;
    place.counted(1, 0).await;
}

/// The server hangs up while a connection is idle: no request learns of that, whatever it asks.
#[tokio::test]
async fn what_has_gone_while_it_was_idle_is_not_used() {
    let place =
        Place::new(1, vec![vec![vec![PRESENT], vec![REMOVED], vec![OFFSET], vec![Deed::Say(STORED)]]]).await;
    assert_eq!(place.check(0).await, Ok(true));
    place.runtime.sleep(Duration::from_millis(50)).await;
    assert!(place.node(0).await.remove(&key(), None).await.unwrap().done);
    place.runtime.sleep(Duration::from_millis(50)).await;
    // In the middle of a request, too.
    let (mut node, file) = (place.node(0).await, AssociatedFile::default());
    let Offer::From(0, mut upload) = node.put(&file, &key()).await.unwrap() else { panic!("it is wanted") };
    place.runtime.sleep(Duration::from_millis(50)).await;
    upload.begin(6).await.unwrap();
    upload.write("hello\n".into()).await.unwrap();
    assert!(upload.finish(Verdict::Valid).await.unwrap().done);
    place.heard(0, &[&["checkpresent"], &["remove"], &["putoffset"], &["put"]]).await;
}

/// The server hangs up just as it is asked: what changes nothing is asked again, once, and all else has failed.
#[tokio::test]
async fn what_has_gone_when_it_is_used_is_asked_again_once() {
    let connections = vec![
        vec![PRESENT, Deed::HangUp],
        vec![PRESENT, Deed::HangUp],
        vec![PRESENT, Deed::HangUp],
        vec![Deed::HangUp],
        vec![Deed::HangUp],
        vec![PRESENT],
    ];
    let place = Place::new(1, vec![connections]).await;
    assert_eq!(place.check(0).await, Ok(true));
    assert_eq!(place.check(0).await, Ok(true), "asked again");
    let removal = place.node(0).await.remove(&key(), None).await;
    assert!(matches!(removal, Err(PeerError::Lost { .. })), "{removal:?}");
    assert_eq!(place.check(0).await, Ok(true));
    for _ in 0..2 {
        let check = place.check(0).await;
        assert!(matches!(check, Err(PeerError::Lost { .. })), "{check:?}");
    }
    assert_eq!(place.check(0).await, Ok(true));
    let twice: &[&str] = &["checkpresent", "checkpresent"];
    let once = &twice[..1];
    place.heard(0, &[twice, &["checkpresent", "remove"], twice, once, once, once]).await;
}

/// Who begins to answer has heard the request.
#[tokio::test]
async fn what_has_gone_in_the_middle_of_its_answer_is_not_asked_again() {
    let place = Place::new(1, vec![vec![vec![PRESENT, Deed::Say("HTTP/1.1 2")], vec![PRESENT]]]).await;
    assert_eq!(place.check(0).await, Ok(true));
    let check = place.check(0).await;
    assert!(matches!(check, Err(PeerError::Lost { .. })), "{check:?}");
    assert_eq!(place.check(0).await, Ok(true));
    place.heard(0, &[&["checkpresent", "checkpresent"], &["checkpresent"]]).await;
}

/// What comes after an answer is no answer to the next request.
#[tokio::test]
async fn a_connection_with_something_unread_is_not_used() {
    let place = Place::new(1, vec![vec![vec![TWICE, Deed::Wait], vec![PRESENT]]]).await;
    assert_eq!(place.check(0).await, Ok(false));
    assert_eq!(place.check(0).await, Ok(true));
    place.heard(0, &[&["checkpresent", "end"], &["checkpresent"]]).await;
}

#[tokio::test]
async fn what_was_left_in_the_middle_is_closed() {
    let connections = vec![
        vec![HALF, Deed::Wait],
        vec![SHORT, Deed::Wait],
        vec![OFFSET, Deed::Interrupt(STORED), Deed::Wait],
        vec![OFFSET, Deed::Wait],
        vec![LOCKED, Deed::Wait],
        vec![Deed::Wait],
        vec![PRESENT, Deed::Wait],
    ];
    let place = Place::new(9, vec![connections]).await;
    let file = AssociatedFile::default();
    // An object that is not wanted to its end.
    let mut node = place.node(0).await;
    let mut download = node.get(0, &file, &key()).await.unwrap();
    assert_eq!(download.next().await.unwrap().unwrap(), "hel");
    drop(download);
    drop(node);
    place.counted(1, 0).await;
    // One that came short.
    assert_eq!(get(&mut *place.node(0).await).await, (b"hello".to_vec(), Verdict::Invalid));
    place.counted(2, 0).await;
    // An upload that was answered before all of it was there, and one that broke off.
    let mut node = place.node(0).await;
    let Offer::From(0, mut upload) = node.put(&file, &key()).await.unwrap() else { panic!("it is wanted") };
    upload.begin(6).await.unwrap();
    upload.write("hel".into()).await.unwrap();
    place.heard(0, &[&["key", "end"], &["key", "end"], &["putoffset", "put"]]).await;
    place.runtime.sleep(Duration::from_millis(50)).await;
    for piece in ["l", "o", "\n"] {
        upload.write(piece.into()).await.unwrap();
    }
    assert!(upload.finish(Verdict::Valid).await.unwrap().done);
    drop(node);
    place.counted(3, 0).await;
    let mut node = place.node(0).await;
    let Offer::From(0, mut upload) = node.put(&file, &key()).await.unwrap() else { panic!("it is wanted") };
    upload.begin(6).await.unwrap();
    upload.write("hel".into()).await.unwrap();
    drop(upload);
    drop(node);
    place.counted(4, 0).await;
    // A lock that is not unlocked, and a question whose answer is not waited for.
    let mut node = place.node(0).await;
    drop(node.lock(&key()).await.unwrap().unwrap());
    drop(node);
    place.counted(5, 0).await;
    let asked = place.runtime.timeout(Duration::from_millis(50), place.check(0)).await;
    assert!(asked.is_err());
    place.counted(6, 0).await;
    assert_eq!(place.check(0).await, Ok(true));
    place.counted(7, 1).await;
}

/// A request that is dropped at any moment gives its connection back, once.
#[tokio::test]
async fn a_request_that_is_dropped_gives_its_connection_back() {
    const ROUNDS: usize = 40;
    let place =
        Place::new(1, vec![vec![vec![OFFSET, Deed::Say(STORED), OFFSET, Deed::Say(STORED)]; ROUNDS]]).await;
    let mut ended = 0;
    for polls in 0..ROUNDS {
        let mut node = place.node(0).await;
        let mut request = Box::pin(put(&mut *node));
        for _ in 0..polls {
            if let Some(done) = (&mut request).now_or_never() {
                assert!(done.is_ok_and(|stored| stored));
                ended += 1;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(request);
        drop(node);
        let Counts { opened, closed, idle } = place.gateway.connections().counts();
        assert!(closed + idle <= opened && idle <= 1, "{opened} {closed} {idle}");
    }
    assert!(ended > 0, "some came to their end");
    place.gateway.close().await;
    let Counts { opened, closed, idle } = place.gateway.connections().counts();
    assert_eq!((closed, idle), (opened, 0));
}
