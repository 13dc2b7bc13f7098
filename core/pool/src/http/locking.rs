//! The two requests about locks (annex-p2p §10.5): what takes one, and what keeps it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use hyper::body::Incoming;
use runtime::{Instant, reached, relapse};

use super::answer::Answer;
use super::body;
use super::locks::{End, Permit};
use super::request::Request;
use super::serve::{Reply, Service, answer, give_up, reach, refuse, until_gone};
use crate::key::Key;
use crate::peer::Peer;
use crate::repository::guards::RETENTION;

/// For how long who keeps a lock may say nothing: clients promise that with their `Keep-Alive` header.
const SILENCE: Duration = Duration::from_secs(1200);

/// The longest line of what keeps a lock, in bytes.
const LONGEST_LINE: usize = 4096;

/// Takes a lock, and holds it (§10.5). No worker is needed for that.
pub(super) async fn lock(service: &Arc<Service>, request: &Request, key: &Key, mut reply: Reply) {
    let Some(permit) = service.locks.permit() else {
        reached!("http: there are too many locks");
        return drop(reply.send(answer(request, &Answer::Locked(None))));
    };
    let _slot = if relapse!("annex-B17") { Some(service.workers.take().await) } else { None };
    // The time begins before the lock is taken: it never lasts longer here than there.
    let deadline = service.runtime.now() + RETENTION;
    let mut peer = match until_gone(&mut reply, reach(service, request)).await {
        Some(Ok(peer)) => peer,
        Some(Err(refusal)) => return drop(reply.send(refuse(refusal))),
        None => return,
    };
    hold(service, request, &mut *peer, key, permit, deadline, reply).await;
    give_up(service, peer).await;
}

/// A lock of the peer's, from its beginning to its end.
async fn hold(
    service: &Service,
    request: &Request,
    peer: &mut dyn Peer,
    key: &Key,
    permit: Permit,
    deadline: Instant,
    mut reply: Reply,
) {
    let locking = service.runtime.timeout(RETENTION, peer.lock(key));
    let mut lock = match until_gone(&mut reply, locking).await {
        Some(Ok(Ok(Some(lock)))) => lock,
        Some(Ok(Err(error))) => return drop(reply.send(refuse(error.into()))),
        Some(Ok(Ok(None)) | Err(_)) => {
            if relapse!("annex-L3") {
                permit.forget();
            }
            return drop(reply.send(answer(request, &Answer::Locked(None))));
        }
        None => return,
    };
    let held = service.locks.hold(permit);
    let name = held.name().to_owned();
    let end = match reply.send(answer(request, &Answer::Locked(Some(name)))) {
        // Nobody has heard of it.
        Err(_) => End::Unlocked,
        Ok(()) => {
            let closing = pin!(service.closing.acquire());
            match select(pin!(held.end(deadline)), select(lock.keep(), closing)).await {
                Either::Left((end, _)) => end,
                Either::Right(_) => End::Expired,
            }
        }
    };
    if end == End::Unlocked {
        let _ = service.runtime.timeout(service.patience, lock.unlock()).await;
    } else {
        reached!("http: a lock ends that nobody unlocks");
    }
}

/// Keeps a lock for as long as the body comes. When that ends, in whatever way, without a word that the lock is no longer
/// needed, its time runs again.
pub(super) async fn keep_locked(service: &Service, name: &str, body: &mut Incoming) {
    let Some(keep) = service.locks.keep(name) else { return };
    let unlocked = async {
        let (mut line, mut over) = (Vec::new(), false);
        while !over {
            let piece = match service.runtime.timeout(SILENCE, body::next(body)).await {
                Ok(Ok(Some(piece))) => piece,
                _ => {
                    over = true;
                    Bytes::from_static(b"\n")
                }
            };
            for byte in piece {
                if byte != b'\n' && line.len() < LONGEST_LINE {
                    line.push(byte);
                    continue;
                }
                let word: Option<serde_json::Value> = serde_json::from_slice(&line).ok();
                if word.is_some_and(|word| word["unlock"] == true) {
                    return true;
                }
                line.clear();
            }
        }
        false
    };
    let ended = async {
        select(pin!(keep.over()), pin!(service.closing.acquire())).await;
    };
    if let Either::Left((true, _)) = select(pin!(unlocked), pin!(ended)).await {
        keep.unlock().await;
    }
}
