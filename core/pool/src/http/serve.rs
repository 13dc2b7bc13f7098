//! A request, from its head to its end (annex-p2p §9, §13).
//!
//! Each has a task of its own, which has the worker slot and the peer. hyper drops what it waits for when the client goes
//! away, at any moment: the task notices, drops what it was doing, gives up the connection under the peer if that is in
//! the middle of something, and only then gives the slot back.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::future::{Either, select};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use runtime::{Elapsed, Instant, Runtime, reached, relapse};
use tokio::sync::{Semaphore, oneshot};
use tracing::debug;

use super::access::Access;
use super::answer::{Answer, Refusal};
use super::body::{self, Body, Pieces};
use super::locks::{End, Locks, Permit};
use super::request::{Call, Request};
use super::{DATA_LENGTH, Peers};
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Offer, Outcome, Peer, Upload, Verdict};
use crate::repository::guards::RETENTION;
use crate::uuid::Uuid;
use crate::workers::Workers;

/// For how long who keeps a lock may say nothing: clients promise that with their `Keep-Alive` header.
const SILENCE: Duration = Duration::from_secs(1200);

/// The longest line of what keeps a lock, in bytes.
const LONGEST_LINE: usize = 4096;

/// Bytes in a second: an object may not pass slower than that.
const SLOWEST: u64 = 1024;

/// Bytes of a refused body that are read, at the most.
const DISCARD: usize = 256 * 1024;

/// All that requests share.
pub(super) struct Service {
    pub runtime: Runtime,
    pub peers: Box<dyn Peers>,
    pub access: Access,
    pub workers: Workers,
    pub locks: Arc<Locks>,
    /// For how long a client, or a peer that is given up, may keep us waiting.
    pub patience: Duration,
    /// Closed when the server is: nothing new begins.
    pub closing: Semaphore,
}

type Reply = oneshot::Sender<Response<Body>>;

/// Looks at a request's head, and says who may not ask it.
pub(super) fn admit(
    service: &Service,
    request: &hyper::Request<Incoming>,
) -> Result<(Request, Option<u64>), Refusal> {
    let uri = request.uri();
    let asked = Request::parse(request.method(), uri.path(), uri.query().unwrap_or(""))?;
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
            let mut peer = match until_gone(&mut reply, reach(&service, &request)).await {
                Some(Ok(peer)) => peer,
                Some(Err(refusal)) => {
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
            let mut body = Coming { body, pace: Pace::new(&service), came: 0, ended: false };
            let exchanged =
                until_gone(&mut reply, ask(&mut *peer, call, length.unwrap_or(0), &mut body)).await;
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
async fn reach(service: &Service, request: &Request) -> Result<Box<dyn Peer>, Refusal> {
    let anonymous = Uuid::new("anonymous");
    let client = request.client.as_ref().or(anonymous.as_ref());
    let Request { server, version, bypass, .. } = request;
    let peer = client.and_then(|client| service.peers.peer(server, client, bypass, *version));
    let mut peer =
        peer.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such repository here"))?;
    match peer.begin(*version, bypass).await {
        Ok(_) => Ok(peer),
        Err(error) => {
            give_up(service, peer).await;
            Err(error.into())
        }
    }
}

/// Gives a peer back. What is under it and in the middle of something is closed first, as long as that may take.
async fn give_up(service: &Service, mut peer: Box<dyn Peer>) {
    if !peer.is_reusable() {
        reached!("http: a connection to a peer is given up after a request");
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
                Offer::From(wanted, upload) => (receive(upload, wanted - offset, length, body).await?, false),
            };
            return Ok((Answer::Stored(elsewhere(outcome, peer)), too_far));
        }
        Call::Get(..) | Call::LockContent(_) | Call::KeepLocked(_) => Answer::Locked(None),
    };
    Ok((found, false))
}

/// Passes a body on, without its first `skip` bytes, which are there already (§9.6). What is not as long as was announced
/// is withdrawn; what has come of it stays for a later upload.
async fn receive(
    mut upload: Box<dyn Upload + '_>,
    skip: u64,
    length: u64,
    body: &mut Coming<'_>,
) -> Result<Outcome, Refusal> {
    let wanted = length.saturating_sub(skip);
    upload.begin(wanted).await?;
    let (mut to_skip, mut to_go) = (skip, wanted);
    while let Some(mut piece) = body.next().await? {
        let skipped = to_skip.min(piece.len() as u64);
        to_skip -= skipped;
        piece.advance(skipped as usize);
        if relapse!("annex-L14") && piece.len() as u64 > to_go {
            continue;
        }
        piece.truncate(usize::try_from(to_go).unwrap_or(usize::MAX));
        to_go -= piece.len() as u64;
        if !piece.is_empty() {
            upload.write(piece).await?;
        }
        if relapse!("annex-B11") && to_go == 0 {
            // The verdict is up to the end of the body, which nobody reads.
            std::future::pending::<()>().await;
        }
        if body.came > length {
            break;
        }
    }
    if body.came != length {
        reached!("http: an upload is not as long as was announced");
        return Ok(Outcome::of(false));
    }
    // Less than what is there already: nothing that could be the rest.
    Ok(upload.finish(Verdict::of(length >= skip)).await?)
}

/// Sends an object. Its head goes out when the peer has said the length; the slot is held until the last byte has been
/// taken over.
async fn get(
    service: &Service,
    peer: &mut dyn Peer,
    (key, file, offset): (&Key, &AssociatedFile, u64),
    mut reply: Reply,
) {
    let mut download = match until_gone(&mut reply, peer.get(offset, file, key)).await {
        Some(Ok(download)) => download,
        Some(Err(error)) => return drop(reply.send(refuse(error.into()))),
        None => return,
    };
    let (pieces, body) = Body::pieces();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(DATA_LENGTH, download.length().into());
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/octet-stream"));
    if reply.send(response).is_err() {
        return;
    }
    let unwanted = pieces.unwanted();
    let sent = match select(pin!(send(service, &mut *download, pieces)), pin!(unwanted)).await {
        Either::Left((sent, _)) => sent,
        Either::Right(_) => false,
    };
    if sent {
        // It was delivered, whatever the peer makes of that.
        let _ = download.end(true).await;
        if relapse!("annex-B1") {
            std::future::pending::<()>().await;
        }
    } else {
        reached!("http: a download is not delivered");
        if relapse!("annex-B18") {
            std::future::pending::<()>().await;
        }
    }
}

/// Sends the pieces of an object; true when the peer has said all and all of it went out. The last piece is held back until
/// the peer says what the bytes are worth: of those that are not to be trusted the last is left out (§9.5). Where the peer
/// fails the body ends early, which says the same, and leaves the client what it can go on from.
async fn send(service: &Service, download: &mut dyn Download, pieces: Pieces) -> bool {
    let mut pace = Pace::new(service);
    let (announced, mut came) = (download.length(), 0_u64);
    let mut held: Option<Bytes> = None;
    let whole = loop {
        let piece = match download.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break true,
            Err(error) => {
                debug!(target: "http", %error, "a download failed");
                break false;
            }
        };
        if came + piece.len() as u64 > announced {
            debug!(target: "http", "more comes than was announced");
            break false;
        }
        came += piece.len() as u64;
        if piece.is_empty() {
            continue;
        }
        if let Some(before) = held.replace(piece)
            && !matches!(pace.wait(came, pieces.send(before)).await, Ok(Ok(())))
        {
            return false;
        }
    };
    let valid = whole && matches!(download.verdict().await, Ok(Verdict::Valid));
    if relapse!("annex-B16") && pieces.is_drained() {
        // The end has been signalled already: nobody takes the second signal.
        std::future::pending::<()>().await;
    }
    if let Some(mut last) = held {
        if relapse!("annex-B8") && !valid {
            last = [&last[..], b"X"].concat().into();
        } else if !valid && came == announced {
            reached!("http: a download loses its last byte");
            last.truncate(last.len() - 1);
        }
        if !last.is_empty() && !matches!(pace.wait(came, pieces.send(last)).await, Ok(Ok(()))) {
            return false;
        }
    }
    let ended = pace.wait(came, pieces.end()).await;
    whole && matches!(ended, Ok(Ok(())))
}

/// Takes a lock, and holds it (§10.5). No worker is needed for that.
async fn lock(service: &Arc<Service>, request: &Request, key: &Key, mut reply: Reply) {
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
    let lock = match until_gone(&mut reply, locking).await {
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
        Ok(()) => match select(pin!(held.end(deadline)), pin!(service.closing.acquire())).await {
            Either::Left((end, _)) => end,
            Either::Right(_) => End::Expired,
        },
    };
    if end == End::Unlocked {
        let _ = service.runtime.timeout(service.patience, lock.unlock()).await;
    } else {
        reached!("http: a lock ends that nobody unlocks");
    }
}

/// Keeps a lock for as long as the body comes. When that ends, in whatever way, without a word that the lock is no longer
/// needed, its time runs again.
async fn keep_locked(service: &Service, name: &str, body: &mut Incoming) {
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

/// How long a client has kept us waiting, and may: a while, and as long as its bytes may take. A trickle is too slow.
struct Pace<'a> {
    service: &'a Service,
    waited: Duration,
}

impl<'a> Pace<'a> {
    fn new(service: &'a Service) -> Pace<'a> {
        Pace { service, waited: Duration::ZERO }
    }

    /// Waits for the client, of whose bytes so many have passed.
    async fn wait<T>(&mut self, passed: u64, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let runtime = &self.service.runtime;
        let (start, allowed) = (runtime.now(), self.service.patience + Duration::from_secs(passed / SLOWEST));
        let done = runtime.timeout(allowed.saturating_sub(self.waited), work).await;
        self.waited += runtime.now() - start;
        done
    }
}

/// A body that comes, and what has come of it.
struct Coming<'a> {
    body: Incoming,
    pace: Pace<'a>,
    came: u64,
    ended: bool,
}

impl Coming<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let piece = match self.pace.wait(self.came, body::next(&mut self.body)).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(error)) => return Err(Refusal::new(StatusCode::BAD_REQUEST, error.to_string())),
            Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body does not come")),
        };
        self.ended |= piece.is_none();
        self.came += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    /// Reads what nobody wants, but no more than was announced.
    async fn drain(&mut self, announced: u64) {
        while !self.ended && self.came <= announced && self.next().await.is_ok() {}
    }
}

/// Reads a part of a body that nobody wants: a client that is cut off while it sends would not hear why.
pub(super) async fn discard(service: &Service, body: &mut Incoming) {
    let reading = async {
        let mut came = 0;
        while came < DISCARD
            && let Ok(Some(piece)) = body::next(body).await
        {
            came += piece.len();
        }
    };
    let _ = service.runtime.timeout(service.patience, reading).await;
}

/// Does the work, unless the client goes away first.
async fn until_gone<T>(reply: &mut Reply, work: impl Future<Output = T>) -> Option<T> {
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

fn answer(request: &Request, answer: &Answer) -> Response<Body> {
    let text = answer.json(request.version).to_string();
    let mut response = Response::new(Body::Whole(text.into()));
    let json = hyper::header::HeaderValue::from_static("application/json;charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The answer to who cannot be answered.
pub(super) fn refuse(refusal: Refusal) -> Response<Body> {
    let mut response = Response::new(Body::Whole(refusal.text.into()));
    *response.status_mut() = refusal.status;
    if refusal.status == StatusCode::UNAUTHORIZED {
        let basic = hyper::header::HeaderValue::from_static(r#"Basic realm="git-annex", charset="UTF-8""#);
        response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    }
    response
}

fn data_length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(DATA_LENGTH)?.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
