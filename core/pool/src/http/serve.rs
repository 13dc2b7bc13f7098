//! A request, from its head to its end (annex-p2p §9, §13).
//!
//! Each has a task of its own, which has the worker slot and the peer. hyper drops what it waits for when the client goes
//! away, at any moment: the task notices, drops what it was doing, gives up the connection under the peer if that is in
//! the middle of something, and only then gives the slot back.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use runtime::{Runtime, reached, relapse};
use tokio::sync::{Semaphore, oneshot};
use tracing::debug;

use super::access::Access;
use super::answer::{Answer, Refusal};
use super::body::Body;
use super::locking::{keep_locked, lock};
use super::locks::Locks;
use super::request::{Call, Request, bad_version};
use super::transfer::{Coming, discard, get, receive};
use super::{DATA_LENGTH, Peers};
use crate::message::AssociatedFile;
use crate::peer::{Offer, Outcome, Peer, Verdict};
use crate::uuid::Uuid;
use crate::version::Version;
use crate::workers::Workers;

/// All that requests share.
pub(super) struct Service {
    pub runtime: Runtime,
    pub peers: Box<dyn Peers>,
    pub access: Access,
    pub newest: Version,
    pub workers: Workers,
    pub locks: Arc<Locks>,
    /// For how long a client, or a peer that is given up, may keep us waiting.
    pub patience: Duration,
    /// Closed when the server is: nothing new begins.
    pub closing: Semaphore,
}

pub(super) type Reply = oneshot::Sender<Response<Body>>;

/// Looks at a request's head, and says who may not ask it.
pub(super) fn admit(
    service: &Service,
    request: &hyper::Request<Incoming>,
) -> Result<(Request, Option<u64>), Refusal> {
    let uri = request.uri();
    let asked = Request::parse(request.method(), uri.path(), uri.query().unwrap_or(""))?;
    if asked.version > service.newest {
        return Err(bad_version());
    }
    let authorization = request.headers().get(AUTHORIZATION).map(|header| header.as_bytes());
    service.access.check(asked.call.need(), authorization)?;
    let length = data_length(request.headers());
    if matches!(asked.call, Call::Put(..) | Call::DataPresent(..)) && length.is_none() {
        let text = "Header X-git-annex-data-length is required";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    Ok((asked, length))
}

/// Carries a request out, and answers it.
pub(super) async fn serve(
    service: Arc<Service>,
    request: Request,
    length: Option<u64>,
    mut body: Incoming,
    mut reply: Reply,
) {
    debug!(target: "http", request = request.call.name(), version = request.version.number());
    match &request.call {
        Call::LockContent(key) => lock(&service, &request, key, reply).await,
        Call::KeepLocked(name) => {
            let kept = until_gone(&mut reply, keep_locked(&service, name, &mut body)).await;
            if kept.is_some() {
                let _ = reply.send(answer(&request, &Answer::Locked(None)));
            }
        }
        call => {
            let Some(slot) = until_gone(&mut reply, service.workers.take()).await else { return };
            // A slot for the request, and one for who serves it.
            let _second = if relapse!("annex-B15") { Some(service.workers.take().await) } else { None };
            let mut peer = match until_gone(&mut reply, reach(&service, &request)).await {
                Some(Ok(peer)) => peer,
                Some(Err(refusal)) => {
                    if relapse!("annex-L7") {
                        // Nobody says that the peer is not there.
                        std::future::pending::<()>().await;
                    }
                    drop(slot);
                    until_gone(&mut reply, discard(&service, &mut body)).await;
                    return drop(reply.send(refuse(refusal)));
                }
                None => return,
            };
            if let Call::Get(key, file, offset) = call {
                get(&service, &mut *peer, (key, file, *offset), reply).await;
                return give_up(&service, peer).await;
            }
            let mut body = Coming::new(body, &service);
            let exchanged =
                until_gone(&mut reply, ask(&mut *peer, call, length.unwrap_or(0), &mut body)).await;
            if relapse!("annex-L11") && matches!(exchanged, Some(Err(_))) {
                // Who waits for the answer is not told that there will be none.
                std::future::pending::<()>().await;
            }
            let too_far = matches!(&exchanged, Some(Ok((_, true))));
            give_up(&service, peer).await;
            match relapse!("annex-B26") && too_far {
                true => std::mem::forget(slot),
                false => drop(slot),
            }
            let Some(exchanged) = exchanged else { return };
            // A client that is still sending listens only afterwards.
            until_gone(&mut reply, async {
                match &exchanged {
                    Ok(_) => body.drain(length.unwrap_or(0)).await,
                    Err(refusal) if refusal.status == StatusCode::REQUEST_TIMEOUT => {}
                    Err(_) => discard(&service, &mut body.body).await,
                }
            })
            .await;
            let response = exchanged.map_or_else(refuse, |(found, _)| answer(&request, &found));
            let _ = reply.send(response);
        }
    }
}

/// The peer that a request is for.
pub(super) async fn reach(service: &Service, request: &Request) -> Result<Box<dyn Peer>, Refusal> {
    let anonymous = Uuid::new("anonymous");
    let client = request.client.as_ref().or(anonymous.as_ref());
    let Request { server, version, bypass, .. } = request;
    let peer = client.and_then(|client| service.peers.peer(server, client, bypass, *version));
    let mut peer =
        peer.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such repository here"))?;
    let bypass = bypass.iter().chain(service.peers.gateway()).cloned().collect();
    match peer.begin(*version, &bypass).await {
        Ok(_) => Ok(peer),
        Err(error) => {
            give_up(service, peer).await;
            Err(error.into())
        }
    }
}

/// Gives a peer back. What is under it and in the middle of something is closed first, as long as that may take.
pub(super) async fn give_up(service: &Service, mut peer: Box<dyn Peer>) {
    if !peer.is_reusable() {
        reached!("http: a connection to a peer is given up after a request");
        if relapse!("annex-B10") {
            // The peer waits for the rest of an object, and we for the peer.
            return std::mem::forget(peer);
        }
        // Closing is work for a worker too.
        let _closer = if relapse!("annex-L18") { Some(service.workers.take().await) } else { None };
        let _ = service.runtime.timeout(service.patience, peer.close()).await;
    }
}

/// One question, one answer, of all but GET and locks. True: the client began further on than it was asked to.
async fn ask(
    peer: &mut dyn Peer,
    call: &Call,
    length: u64,
    body: &mut Coming<'_>,
) -> Result<(Answer, bool), Refusal> {
    let found = match call {
        Call::CheckPresent(key) => Answer::Present(peer.check_present(key).await?),
        Call::Remove(key) => Answer::Removed(elsewhere(peer.remove(key, None).await?, peer)),
        Call::RemoveBefore(key, time) => {
            Answer::Removed(elsewhere(peer.remove(key, Some(*time)).await?, peer))
        }
        Call::GetTimestamp => Answer::Timestamp(peer.timestamp().await?),
        Call::PutOffset(key) => match peer.put(&AssociatedFile::default(), key).await? {
            Offer::AlreadyHave(also) => Answer::AlreadyHave(also),
            Offer::From(offset, upload) => {
                upload.withdraw().await?;
                Answer::Offset(offset)
            }
        },
        Call::DataPresent(key, file) => Answer::Stored(match peer.put(file, key).await? {
            Offer::AlreadyHave(also) => Outcome { done: true, also },
            Offer::From(_, upload) => upload.is_present().await?,
        }),
        Call::Put(key, file, offset) => {
            let (outcome, too_far) = match peer.put(file, key).await? {
                Offer::AlreadyHave(also) => (Outcome { done: true, also }, false),
                Offer::From(wanted, upload) if *offset > wanted => {
                    // The bytes between are missing. What is there is kept for who begins right.
                    reached!("http: an upload begins after what is wanted");
                    upload.withdraw().await?;
                    (Outcome::of(false), true)
                }
                Offer::From(wanted, upload) => {
                    let skip = wanted - offset;
                    // What is less than is there already is not the rest; but of a key without a size it may be all there is,
                    // if the hash says so.
                    let rest = length >= skip || (length > 0 && key.size().is_none() && key.hash().is_some());
                    (receive(upload, skip, length, Verdict::of(rest), body).await?, false)
                }
            };
            return Ok((Answer::Stored(elsewhere(outcome, peer)), too_far));
        }
        Call::Get(..) | Call::LockContent(_) | Call::KeepLocked(_) => Answer::Locked(None),
    };
    Ok((found, false))
}

/// Does the work, unless the client goes away first.
pub(super) async fn until_gone<T>(reply: &mut Reply, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(reply.closed())).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => {
            reached!("http: a client goes away before its answer");
            None
        }
    }
}

/// An outcome, as the client is told: it knows whom it asked.
fn elsewhere(mut outcome: Outcome, peer: &dyn Peer) -> Outcome {
    outcome.also.remove(peer.uuid());
    outcome
}

pub(super) fn answer(request: &Request, answer: &Answer) -> Response<Body> {
    let text = answer.json(request.version).to_string();
    let mut response = Response::new(Body::Whole(text.into()));
    let json = HeaderValue::from_static("application/json;charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The answer to who cannot be answered.
pub(super) fn refuse(refusal: Refusal) -> Response<Body> {
    let mut response = Response::new(Body::Whole(refusal.text.into()));
    *response.status_mut() = refusal.status;
    if refusal.status == StatusCode::UNAUTHORIZED {
        let basic = HeaderValue::from_static(r#"Basic realm="git-annex", charset="UTF-8""#);
        response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    }
    response
}

fn data_length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(DATA_LENGTH)?.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
