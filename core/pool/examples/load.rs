//! Asks a repository behind a URL for many objects, with many clients at a time, and prints what that took as an object of
//! JSON: `load URL check|get|put SIZE OBJECTS CLIENTS REQUESTS`. benches/against_git_annex.py runs it.
//!
//! The n-th object is the same in every run. A PUT of each is to be done before it is asked for; each PUT asks for the
//! offset first, as git-annex does, and is counted as one request.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeSet;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pool::Peer;
use pool::connections::Connections;
use pool::hash::HashKind;
use pool::http::HttpRemote;
use pool::http::site::Site;
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::peer::{Offer, PeerError, Verdict};
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::PIECE;
use runtime::Runtime;
use runtime::real::RealWorld;

struct Object {
    key: Key,
    content: Bytes,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<_> = env::args().skip(1).collect();
    let [url, operation, numbers @ ..] = &words[..] else {
        panic!("load URL check|get|put SIZE OBJECTS CLIENTS REQUESTS")
    };
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let [size, objects, clients, requests] = numbers[..] else { panic!("SIZE OBJECTS CLIENTS REQUESTS") };
    let site: Site = url.parse().unwrap();
    let objects: Arc<[Object]> = (0..objects).map(|number| object(number as u64, size)).collect();

    let runtime = RealWorld::runtime();
    let (next, scope) = (Arc::new(AtomicUsize::new(0)), runtime.scope());
    let (done, mut times) = tokio::sync::mpsc::unbounded_channel();
    let start = runtime.now();
    for client in 0..clients {
        let (runtime, site, objects) = (runtime.clone(), site.clone(), objects.clone());
        let (operation, next, done) = (operation.clone(), next.clone(), done.clone());
        scope.spawn("client", client as u64, async move {
            let uuid = Uuid::new(&format!("client-{client}")).unwrap();
            let mut peer = HttpRemote::new(Connections::new(runtime.clone(), 1), site, uuid);
            peer.begin(Version::MAX, &BTreeSet::new()).await.unwrap();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    break;
                }
                let took = ask(&runtime, &mut peer, &operation, &objects[number % objects.len()]).await;
                done.send(took.unwrap()).unwrap();
            }
        });
    }
    drop(done);
    let mut took = Vec::with_capacity(requests);
    while let Some(time) = times.recv().await {
        took.push(time);
    }
    let seconds = (runtime.now() - start).as_secs_f64();
    assert_eq!(took.len(), requests, "a client has failed");
    took.sort();
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_micros();
    println!(
        r#"{{"requests": {requests}, "seconds": {seconds}, "p50_us": {}, "p99_us": {}}}"#,
        at(50),
        at(99)
    );
}

/// One request, and how long it took.
async fn ask(
    runtime: &Runtime,
    peer: &mut HttpRemote,
    operation: &str,
    object: &Object,
) -> Result<Duration, PeerError> {
    let (start, file) = (runtime.now(), AssociatedFile::default());
    match operation {
        "check" => assert!(peer.check_present(&object.key).await?, "it is not there"),
        "get" => {
            let mut download = peer.get(0, &file, &object.key).await?;
            let mut came = 0;
            while let Some(piece) = download.next().await? {
                came += piece.len();
            }
            assert_eq!((came, download.verdict().await?), (object.content.len(), Verdict::Valid));
            download.end(true).await?;
        }
        "put" => {
            let Offer::From(0, mut upload) = peer.put(&file, &object.key).await? else {
                panic!("it is there already")
            };
            upload.begin(object.content.len() as u64).await?;
            for start in (0..object.content.len()).step_by(PIECE) {
                upload.write(object.content.slice(start..object.content.len().min(start + PIECE))).await?;
            }
            assert!(upload.finish(Verdict::Valid).await?.done, "it is not taken");
        }
        other => panic!("{other} is none of check, get and put"),
    }
    Ok(runtime.now() - start)
}

/// The n-th object of this size.
fn object(number: u64, size: usize) -> Object {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(size + 8);
    while content.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(size);
    let mut hasher = HashKind::Sha256.hasher();
    hasher.update(&content);
    let hash: String = hasher.finish().iter().map(|byte| format!("{byte:02x}")).collect();
    Object {
        key: Key::parse(format!("SHA256-s{size}--{hash}").into_bytes()).unwrap(),
        content: content.into(),
    }
}
