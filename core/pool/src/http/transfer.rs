//! The bytes of objects, in both directions (annex-p2p §9.5, §9.6), and how long clients may take for them.

use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::future::{Either, select};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use runtime::{Elapsed, reached, relapse};
use tracing::debug;

use super::DATA_LENGTH;
use super::answer::Refusal;
use super::body::{self, Body, Pieces};
use super::serve::{Reply, Service, refuse, until_gone};
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Outcome, Peer, Upload, Verdict};

/// Bytes in a second: an object may not pass slower than that.
const SLOWEST: u64 = 1024;

/// Bytes of a refused body that are read, at the most.
const DISCARD: usize = 256 * 1024;

/// Sends an object. Its head goes out when the peer has said the length; the slot is held until the last byte has been
/// taken over.
pub(super) async fn get(
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
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
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
    if relapse!("annex-B12") {
        // Closed before whoever sends the last piece is done with it.
        return whole;
    }
    let ended = pace.wait(came, pieces.end()).await;
    whole && matches!(ended, Ok(Ok(())))
}

/// Passes a body on, without its first `skip` bytes, which are there already (§9.6). What is not as long as was announced
/// is withdrawn; what has come of it stays for a later upload. `verdict`: what is said of the bytes when all have come.
pub(super) async fn receive(
    mut upload: Box<dyn Upload + '_>,
    skip: u64,
    length: u64,
    verdict: Verdict,
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
    Ok(upload.finish(verdict).await?)
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
pub(super) struct Coming<'a> {
    pub body: Incoming,
    pace: Pace<'a>,
    came: u64,
    ended: bool,
}

impl<'a> Coming<'a> {
    pub fn new(body: Incoming, service: &'a Service) -> Coming<'a> {
        Coming { body, pace: Pace::new(service), came: 0, ended: false }
    }

    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
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
    pub async fn drain(&mut self, announced: u64) {
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
