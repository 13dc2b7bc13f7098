//! [`HttpRemote`]: the peer behind a URL (annex-p2p §10).
//!
//! Each request is an exchange of its own. Its connection is used again only when the answer has come to its end; a lock
//! and an upload that is dropped take theirs with them. A server that does not know our version is asked for a lower one.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Response, StatusCode};
use runtime::{Runtime, Scope, reached, relapse};

use super::DATA_LENGTH;
use super::answer::Answer;
use super::body::{self, Body, BodyError, Pieces};
use super::io::Io;
use super::request::{Call, Request};
use super::site::Site;
use super::text::base64;
use crate::cluster::clocks;
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError, Upload, Verdict};
use crate::uuid::Uuid;
use crate::verify::Verifier;
use crate::version::Version;

/// The longest answer that is no object, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// For how long the server may keep us waiting for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A peer behind a URL.
pub struct HttpRemote {
    runtime: Runtime,
    site: Site,
    client: Uuid,
    /// The `Authorization` header.
    authorization: Option<String>,
    bypass: BTreeSet<Uuid>,
    /// The newest version that the server may know, as far as it has said.
    known: Version,
    /// The version that is spoken.
    version: Version,
    /// A connection on which nothing is under way.
    idle: Option<SendRequest<Body>>,
    connections: Scope,
}

/// An answer whose body is still to come, and the connection that it comes on.
struct Coming {
    sender: SendRequest<Body>,
    response: Response<Incoming>,
}

/// Why a request has no answer.
enum Failed {
    /// The server does not know the version.
    Version,
    /// The connection failed; it had been used before.
    Stale,
    /// Anything else.
    Error(PeerError),
}

impl HttpRemote {
    /// The peer at `site`, as `client` asks it. Nothing is connected before the first request.
    pub fn new(runtime: Runtime, site: Site, client: Uuid) -> HttpRemote {
        let connections = runtime.scope();
        HttpRemote {
            runtime,
            site,
            client,
            authorization: None,
            bypass: BTreeSet::new(),
            known: Version::MAX,
            version: Version::MAX,
            idle: None,
            connections,
        }
    }

    /// Says who it is with each request.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.authorization = Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())));
    }

    /// The version that is spoken.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Asks, in the newest version that the server knows.
    async fn ask(&mut self, call: Call) -> Result<Answer, PeerError> {
        let mut coming = self.exchange(&call).await?;
        let collected = self.wait(body::collect(coming.response.body_mut(), LONGEST_ANSWER)).await?;
        let body = collected.map_err(|error| self.lost(error))?;
        self.idle = Some(coming.sender);
        Answer::parse(&body).ok_or_else(|| self.nonsense(call.name()))
    }

    /// Asks without a body, and waits for the head of the answer.
    async fn exchange(&mut self, call: &Call) -> Result<Coming, PeerError> {
        let asked_in = self.version;
        loop {
            if !call.exists_in(self.version) {
                return Err(PeerError::Refused(format!("version {} has no {}", self.version, call.name())));
            }
            match self.attempt(call, Body::empty(), None).await {
                Ok(coming) => return Ok(coming),
                Err(Failed::Error(error)) => return Err(error),
                Err(Failed::Stale) if call.is_repeatable() => {
                    reached!("http client: an idle connection had gone");
                }
                Err(Failed::Stale) => return Err(self.lost("it was closed")),
                Err(Failed::Version) => self.step_down(asked_in)?,
            }
        }
    }

    /// The server does not know our version: the next lower one, if there is one.
    fn step_down(&mut self, asked_in: Version) -> Result<(), PeerError> {
        match u64::from(self.version.number()).checked_sub(1).and_then(Version::new) {
            Some(lower) => {
                reached!("http client: a server knows a lower version only");
                (self.version, self.known) = (lower, lower);
                Ok(())
            }
            None => {
                (self.version, self.known) = (asked_in, asked_in);
                Err(self.unreachable("there is no such repository there"))
            }
        }
    }

    async fn attempt(&mut self, call: &Call, body: Body, length: Option<u64>) -> Result<Coming, Failed> {
        let (mut sender, used) = self.sender().await.map_err(Failed::Error)?;
        let request = self.request(call, body, length).map_err(Failed::Error)?;
        let answered = self.wait(sender.send_request(request)).await.map_err(Failed::Error)?;
        match answered {
            Ok(response) => self.admit(Coming { sender, response }).await,
            Err(_) if used => Err(Failed::Stale),
            Err(error) => Err(Failed::Error(self.lost(error))),
        }
    }

    /// Looks at an answer's head: what is no success is an error.
    async fn admit(&mut self, mut coming: Coming) -> Result<Coming, Failed> {
        let status = coming.response.status();
        if status == StatusCode::OK {
            return Ok(coming);
        }
        let collected = self.wait(body::collect(coming.response.body_mut(), LONGEST_ANSWER)).await;
        let text = match collected {
            Ok(Ok(text)) => {
                self.idle = Some(coming.sender);
                String::from_utf8_lossy(&text).lines().next().unwrap_or("").chars().take(200).collect()
            }
            _ => String::new(),
        };
        let bad_version = status == StatusCode::BAD_REQUEST && text.contains("bad version");
        if status == StatusCode::NOT_FOUND || (bad_version && !relapse!("annex-L16")) {
            return Err(Failed::Version);
        }
        Err(Failed::Error(match status {
            StatusCode::BAD_GATEWAY => self.unreachable(&text),
            _ => PeerError::Refused(format!("{text} ({status})")),
        }))
    }

    /// A connection, and whether it has been used before.
    async fn sender(&mut self) -> Result<(SendRequest<Body>, bool), PeerError> {
        if let Some(mut idle) = self.idle.take()
            && matches!(self.wait(idle.ready()).await, Ok(Ok(())))
        {
            return Ok((idle, true));
        }
        let network = self.runtime.network();
        let resolved = self.wait(network.resolve(&self.site.host, self.site.port)).await?;
        let mut why = "it has no address".to_owned();
        for address in resolved.map_err(|error| self.unreachable(&error.to_string()))? {
            match self.wait(network.connect(address)).await? {
                Ok(stream) => {
                    let stream = Io::new(stream, &self.runtime, PATIENCE);
                    let shaken = Builder::new().handshake(stream).await;
                    let (sender, connection) = shaken.map_err(|error| self.lost(error))?;
                    self.connections.spawn("http connection", 0, async move {
                        // Whoever waits for an answer is told.
                        let _ = connection.await;
                    });
                    return Ok((sender, false));
                }
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        Err(self.unreachable(&why))
    }

    fn request(
        &self,
        call: &Call,
        body: Body,
        length: Option<u64>,
    ) -> Result<hyper::Request<Body>, PeerError> {
        let request = Request {
            server: self.site.server.clone(),
            version: self.version,
            client: Some(self.client.clone()),
            bypass: self.bypass.clone(),
            call: call.clone(),
        };
        let (method, path) = request.render();
        let mut built =
            hyper::Request::builder().method(method).uri(path).header(HOST, self.site.authority());
        if let Some(length) = length {
            built = built.header(DATA_LENGTH, length).header(CONTENT_TYPE, "application/octet-stream");
        }
        if let Some(authorization) = &self.authorization {
            built = built.header(AUTHORIZATION, authorization);
        }
        built.body(body).map_err(|error| PeerError::Refused(format!("it cannot be asked: {error}")))
    }

    async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, PeerError> {
        self.runtime.timeout(PATIENCE, work).await.map_err(|elapsed| self.lost(elapsed))
    }

    fn removed(&self, answer: Answer) -> Result<Outcome, PeerError> {
        match answer {
            Answer::Removed(outcome) => Ok(outcome),
            _ => Err(self.nonsense("remove")),
        }
    }

    fn lost(&self, why: impl ToString) -> PeerError {
        PeerError::Lost { uuid: self.site.server.clone(), why: why.to_string() }
    }

    fn unreachable(&self, why: &str) -> PeerError {
        PeerError::Unreachable { uuid: self.site.server.clone(), why: why.to_owned() }
    }

    fn nonsense(&self, what: &str) -> PeerError {
        PeerError::Protocol { uuid: self.site.server.clone(), why: format!("its answer to {what} is none") }
    }
}

#[async_trait]
impl Peer for HttpRemote {
    fn uuid(&self) -> &Uuid {
        &self.site.server
    }

    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        self.version = version.min(self.known);
        self.bypass = bypass.clone();
        Ok(self.version)
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        match self.ask(Call::CheckPresent(key.clone())).await? {
            Answer::Present(present) => Ok(present),
            _ => Err(self.nonsense("checkpresent")),
        }
    }

    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        let name = match self.ask(Call::LockContent(key.clone())).await? {
            Answer::Locked(Some(name)) => name,
            Answer::Locked(None) => return Ok(None),
            _ => return Err(self.nonsense("lockcontent")),
        };
        let (mut sender, _) = self.sender().await?;
        let (pieces, body) = Body::pieces();
        let request = self.request(&Call::KeepLocked(name), body, None)?;
        let answer = Box::pin(sender.send_request(request));
        let mut lock = HttpLock { remote: self, _sender: sender, pieces, answer };
        lock.say(Bytes::from_static(b"{\"unlock\": false}\n")).await?;
        Ok(Some(Box::new(lock)))
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        if let Some(limit) = before {
            if self.version.has_timestamps() {
                match self.ask(Call::RemoveBefore(key.clone(), limit)).await {
                    Err(_) if !self.version.has_timestamps() => {}
                    answered => return self.removed(answered?),
                }
            }
            // It is, or has turned out to be, too old for limits: they are by our clock.
            if clocks::now(&self.runtime) >= limit {
                return Ok(Outcome::of(false));
            }
        }
        let answer = self.ask(Call::Remove(key.clone())).await?;
        self.removed(answer)
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        if self.version.has_timestamps() {
            match self.ask(Call::GetTimestamp).await {
                Ok(Answer::Timestamp(time)) => return Ok(time),
                Ok(_) => return Err(self.nonsense("gettimestamp")),
                Err(_) if !self.version.has_timestamps() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(clocks::now(&self.runtime))
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let coming = self.exchange(&Call::Get(key.clone(), file.clone(), offset)).await?;
        let header = coming.response.headers().get(DATA_LENGTH).and_then(|length| length.to_str().ok());
        let length = header.and_then(|length| length.parse().ok()).ok_or_else(|| self.nonsense("GET"))?;
        // Of an object that is not there nothing comes, as of an empty one: the key tells. Of a part only the size is known.
        let fits = match offset {
            0 if length == 0 => Verifier::new(key).finish() != Some(false),
            _ => key.size().is_none_or(|size| size.saturating_sub(offset) == length),
        };
        Ok(Box::new(HttpDownload { remote: self, coming: Some(coming), length, came: 0, fits }))
    }

    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        let mut offered = None;
        if self.version.has_verdict() {
            match self.ask(Call::PutOffset(key.clone())).await {
                Err(_) if !self.version.has_verdict() => {}
                answered => offered = Some(answered?),
            }
        }
        let offset = match offered {
            Some(Answer::AlreadyHave(also)) => return Ok(Offer::AlreadyHave(also)),
            Some(Answer::Offset(offset)) => offset,
            Some(_) => return Err(self.nonsense("putoffset")),
            // Version 0 does not tell.
            None if self.check_present(key).await? => return Ok(Offer::AlreadyHave(BTreeSet::new())),
            None => 0,
        };
        let (key, file) = (key.clone(), file.clone());
        Ok(Offer::From(offset, Box::new(HttpUpload { remote: self, key, file, offset, sending: None })))
    }

    fn is_reusable(&self) -> bool {
        // What was in the middle of something has taken its connection with it.
        true
    }

    async fn close(&mut self) {
        self.idle = None;
        self.connections = self.runtime.scope();
    }
}

/// A lock, and the request that keeps it.
struct HttpLock<'a> {
    remote: &'a mut HttpRemote,
    /// The connection lasts as long as it.
    _sender: SendRequest<Body>,
    pieces: Pieces,
    answer: BoxFuture<'static, hyper::Result<Response<Incoming>>>,
}

impl HttpLock<'_> {
    /// Says something to the server, unless that has answered, which it does only when the lock is over.
    async fn say(&mut self, line: Bytes) -> Result<(), PeerError> {
        let mut line = pin!(self.pieces.send(line));
        let saying = select(&mut line, &mut self.answer);
        match self.remote.runtime.timeout(PATIENCE, saying).await {
            Ok(Either::Left((Ok(()), _))) => Ok(()),
            Err(elapsed) => Err(self.remote.lost(elapsed)),
            Ok(_) => Err(self.remote.lost("the lock is not kept")),
        }
    }
}

#[async_trait]
impl Lock for HttpLock<'_> {
    async fn unlock(mut self: Box<Self>) -> Result<(), PeerError> {
        self.say(Bytes::from_static(b"{\"unlock\": true}\n")).await?;
        let HttpLock { remote, pieces, answer, .. } = *self;
        let ended = async {
            let _ = pieces.end().await;
            answer.await
        };
        match remote.wait(ended).await? {
            Ok(response) if response.status() == StatusCode::OK => Ok(()),
            Ok(response) => Err(PeerError::Refused(response.status().to_string())),
            Err(error) => Err(remote.lost(error)),
        }
    }
}

struct HttpDownload<'a> {
    remote: &'a mut HttpRemote,
    /// None when it has come to its end.
    coming: Option<Coming>,
    length: u64,
    came: u64,
    /// The length is one that the object can have.
    fits: bool,
}

#[async_trait]
impl Download for HttpDownload<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        let Some(coming) = &mut self.coming else { return Ok(None) };
        let next = self.remote.runtime.timeout(PATIENCE, body::next(coming.response.body_mut())).await;
        let next = next.map_err(|elapsed| self.remote.lost(elapsed))?;
        match next.map_err(|error: BodyError| self.remote.lost(error))? {
            Some(piece) => {
                self.came += piece.len() as u64;
                match self.came > self.length {
                    true => Err(self.remote.nonsense("GET")),
                    false => Ok(Some(piece)),
                }
            }
            None => {
                self.remote.idle = self.coming.take().map(|coming| coming.sender);
                Ok(None)
            }
        }
    }

    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        let whole = self.coming.is_none() && self.came == self.length;
        Ok(Verdict::of(whole && self.fits))
    }

    async fn end(self: Box<Self>, _: bool) -> Result<(), PeerError> {
        Ok(())
    }
}

struct HttpUpload<'a> {
    remote: &'a mut HttpRemote,
    key: Key,
    file: AssociatedFile,
    offset: u64,
    sending: Option<Sending>,
}

/// A body on its way.
struct Sending {
    sender: SendRequest<Body>,
    pieces: Pieces,
    length: u64,
    /// The last piece, which is held back: it is cut when the bytes turn out to be wrong.
    held: Option<Bytes>,
    answer: BoxFuture<'static, hyper::Result<Response<Incoming>>>,
    /// The server answered before it had all.
    answered: Option<hyper::Result<Response<Incoming>>>,
}

impl Sending {
    /// Sends the piece that was held back, unless the server wants no more.
    async fn send_held(&mut self, next: Option<Bytes>) {
        let before = std::mem::replace(&mut self.held, next);
        let (Some(piece), None) = (before, &self.answered) else { return };
        // A body that nobody wants any more has an answer coming.
        match select(pin!(self.pieces.send(piece)), &mut self.answer).await {
            Either::Left(_) => {}
            Either::Right((answered, _)) => self.answered = Some(answered),
        }
    }
}

impl HttpUpload<'_> {
    async fn store(&mut self, coming: Result<Coming, Failed>) -> Result<Outcome, PeerError> {
        let mut coming = match coming {
            Ok(coming) => coming,
            Err(Failed::Error(error)) => return Err(error),
            Err(Failed::Stale) => return Err(self.remote.lost("it was closed")),
            Err(Failed::Version) => return Err(self.remote.unreachable("there is no such repository there")),
        };
        let collected = self.remote.wait(body::collect(coming.response.body_mut(), LONGEST_ANSWER)).await?;
        let body = collected.map_err(|error| self.remote.lost(error))?;
        self.remote.idle = Some(coming.sender);
        match Answer::parse(&body) {
            Some(Answer::Stored(outcome)) => Ok(outcome),
            _ => Err(self.remote.nonsense("put")),
        }
    }
}

#[async_trait]
impl Upload for HttpUpload<'_> {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        let (mut sender, _) = self.remote.sender().await?;
        let (pieces, body) = Body::pieces();
        let call = Call::Put(self.key.clone(), self.file.clone(), self.offset);
        let request = self.remote.request(&call, body, Some(length))?;
        let answer = Box::pin(sender.send_request(request));
        self.sending = Some(Sending { sender, pieces, length, held: None, answer, answered: None });
        Ok(())
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        let Some(sending) = self.sending.as_mut().filter(|_| !piece.is_empty()) else { return Ok(()) };
        let sent = self.remote.runtime.timeout(PATIENCE, sending.send_held(Some(piece))).await;
        sent.map_err(|elapsed| self.remote.lost(elapsed))
    }

    async fn finish(mut self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        let Some(mut sending) = self.sending.take() else { return Ok(Outcome::of(false)) };
        if verdict == Verdict::Invalid {
            if sending.length == 0 {
                // Nothing was to be sent.
                return Ok(Outcome::of(false));
            }
            if let Some(last) = &mut sending.held {
                last.truncate(last.len() - 1);
            }
        }
        let ended = async {
            if sending.held.as_ref().is_some_and(|last| !last.is_empty()) {
                sending.send_held(None).await;
            }
            let Sending { sender, pieces, answer, answered, .. } = sending;
            let answered = match answered {
                Some(answered) => answered,
                None if relapse!("annex-B6") => {
                    // The server answers when the body has ended, and that ends when the server has answered.
                    let answered = answer.await;
                    let _ = pieces.end().await;
                    answered
                }
                None => {
                    let _ = pieces.end().await;
                    answer.await
                }
            };
            answered.map(|response| Coming { sender, response })
        };
        let ended = self.remote.wait(ended).await?;
        let coming = match ended {
            Ok(coming) => self.remote.admit(coming).await,
            Err(error) => Err(Failed::Error(self.remote.lost(error))),
        };
        self.store(coming).await
    }

    async fn is_present(mut self: Box<Self>) -> Result<Outcome, PeerError> {
        if !self.remote.version.has_data_present() {
            return Ok(Outcome::of(false));
        }
        let call = Call::DataPresent(self.key.clone(), self.file.clone());
        let coming = self.remote.attempt(&call, Body::empty(), Some(0)).await;
        self.store(coming).await
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        Ok(())
    }
}
