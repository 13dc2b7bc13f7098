//! [`HttpRemote`]: the peer behind a URL (annex-p2p §10).
//!
//! Each request is an exchange of its own. Its connection is used again, by whoever asks something of the same server, but
//! only when the answer has come to its end; a lock and an upload that is dropped take theirs with them. What fails since a
//! connection had gone while it was idle is asked again, once, on a new one: if none of it was sent, or if nothing was
//! answered and it changes nothing. A server that does not know our version is asked for a lower one.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Response, StatusCode};
use runtime::{Runtime, reached, relapse};

use super::DATA_LENGTH;
use super::answer::Answer;
use super::body::{self, Body, BodyError, Pieces};
use super::conversation::{Conversation, Unanswered};
use super::request::{Call, Request};
use super::site::Site;
use super::text::base64;
use crate::cluster::clocks;
use crate::connections::{Connections, Kind, Lease};
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

/// How long one of its addresses may take to be connected to.
const CONNECTING: Duration = Duration::from_secs(30);

/// How often who keeps a lock says so: well within what a server that hears nothing gives it, and within the time that the
/// lock lasts should the connection fail.
const KEEPING: Duration = Duration::from_secs(240);

/// A peer behind a URL.
pub struct HttpRemote {
    server: Server,
    client: Uuid,
    /// The `Authorization` header.
    authorization: Option<String>,
    bypass: BTreeSet<Uuid>,
    /// The newest version that the server may know, as far as it has said.
    known: Version,
    /// The version that is spoken.
    version: Version,
    /// The connection of the last request, on which nothing is under way.
    lease: Option<Lease>,
}

/// Where requests go.
#[derive(Clone)]
struct Server {
    connections: Arc<Connections>,
    site: Site,
}

/// An answer whose body is still to come, and the connection that it comes on.
struct Coming {
    lease: Lease,
    response: Response<Incoming>,
}

/// An answer that may be under way.
type Answering = BoxFuture<'static, Result<Coming, Failed>>;

/// Why a request has no answer.
enum Failed {
    /// The server does not know the version.
    Version,
    /// The connection had gone while it was idle.
    Gone(PeerError),
    /// Anything else.
    Error(PeerError),
}

impl HttpRemote {
    /// The peer at `site`, as `client` asks it. Nothing is connected before the first request.
    pub fn new(connections: Arc<Connections>, site: Site, client: Uuid) -> HttpRemote {
        HttpRemote {
            server: Server { connections, site },
            client,
            authorization: None,
            bypass: BTreeSet::new(),
            known: Version::MAX,
            version: Version::MAX,
            lease: None,
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
        let coming = self.exchange(&call).await?;
        self.hear(Ok(coming), call.name()).await
    }

    /// Hears an answer to its end.
    async fn hear(&mut self, answered: Result<Coming, Failed>, what: &str) -> Result<Answer, PeerError> {
        let admitted = match answered {
            Ok(coming) => self.admit(coming).await,
            failed => failed,
        };
        let mut coming = match admitted {
            Ok(coming) => coming,
            Err(Failed::Error(error) | Failed::Gone(error)) => return Err(error),
            Err(Failed::Version) => return Err(self.server.unreachable("there is no such repository there")),
        };
        let collected = self.server.wait(body::collect(coming.response.body_mut(), LONGEST_ANSWER)).await?;
        let body = collected.map_err(|error| self.lost(error))?;
        self.keep(coming);
        Answer::parse(&body).ok_or_else(|| self.nonsense(what))
    }

    /// Asks without a body, and waits for the head of the answer.
    async fn exchange(&mut self, call: &Call) -> Result<Coming, PeerError> {
        let asked_in = self.version;
        loop {
            if !call.exists_in(self.version) {
                return Err(PeerError::Refused(format!("version {} has no {}", self.version, call.name())));
            }
            match self.attempt(call, None).await {
                Ok(coming) => return Ok(coming),
                Err(Failed::Error(error) | Failed::Gone(error)) => return Err(error),
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
                Err(self.server.unreachable("there is no such repository there"))
            }
        }
    }

    /// Asks without a body, in this version. What changes nothing is asked again if its connection had gone.
    async fn attempt(&mut self, call: &Call, length: Option<u64>) -> Result<Coming, Failed> {
        let lease = self.connected().await.map_err(Failed::Error)?;
        let mut answered = self.send(lease, call, length).await;
        if matches!(answered, Err(Failed::Gone(_))) && call.is_repeatable() {
            reached!("http client: an idle connection had gone");
            let lease = self.server.connect().await.map_err(Failed::Error)?;
            answered = self.send(lease, call, length).await;
        }
        self.admit(answered?).await
    }

    async fn send(&mut self, lease: Lease, call: &Call, length: Option<u64>) -> Result<Coming, Failed> {
        let request = self.request(call, Body::empty(), length).map_err(Failed::Error)?;
        self.server.wait(self.server.send(lease, request)).await.map_err(Failed::Error)?
    }

    /// Looks at an answer's head: what is no success is an error.
    async fn admit(&mut self, mut coming: Coming) -> Result<Coming, Failed> {
        let status = coming.response.status();
        if status == StatusCode::OK {
            return Ok(coming);
        }
        let collected = self.server.wait(body::collect(coming.response.body_mut(), LONGEST_ANSWER)).await;
        let text = match collected {
            Ok(Ok(text)) => {
                self.keep(coming);
                String::from_utf8_lossy(&text).lines().next().unwrap_or("").chars().take(200).collect()
            }
            _ => String::new(),
        };
        let bad_version = status == StatusCode::BAD_REQUEST && text.contains("bad version");
        if status == StatusCode::NOT_FOUND || (bad_version && !relapse!("annex-L16")) {
            return Err(Failed::Version);
        }
        Err(Failed::Error(match status {
            StatusCode::BAD_GATEWAY => self.server.unreachable(&text),
            _ => PeerError::Refused(format!("{text} ({status})")),
        }))
    }

    /// A connection that stands between two requests: the last one's, another that is idle, or a new one.
    async fn connected(&mut self) -> Result<Lease, PeerError> {
        if let Some(lease) = self.lease.take()
            && let Some(sound) = lease.sound().await
        {
            return Ok(sound);
        }
        match self.server.connections.take(&self.server.kind()).await {
            Some(lease) => Ok(lease),
            None => self.server.connect().await,
        }
    }

    /// Keeps the connection of an answer that has come to its end.
    fn keep(&mut self, Coming { mut lease, .. }: Coming) {
        if let Some(conversation) = lease.http() {
            conversation.settle();
        }
        self.lease = Some(lease);
    }

    /// Hears an answer to its end that has no body.
    async fn settle(&mut self, mut coming: Coming) -> Result<(), PeerError> {
        let rest = self.server.wait(body::collect(coming.response.body_mut(), 0)).await?;
        if rest.is_ok() {
            self.keep(coming);
        }
        Ok(())
    }

    fn request(
        &self,
        call: &Call,
        body: Body,
        length: Option<u64>,
    ) -> Result<hyper::Request<Body>, PeerError> {
        let request = Request {
            server: self.server.site.server.clone(),
            version: self.version,
            client: Some(self.client.clone()),
            bypass: self.bypass.clone(),
            call: call.clone(),
        };
        let (method, path) = request.render();
        let mut built =
            hyper::Request::builder().method(method).uri(path).header(HOST, self.server.site.authority());
        if let Some(length) = length {
            built = built.header(DATA_LENGTH, length).header(CONTENT_TYPE, "application/octet-stream");
        }
        if let Some(authorization) = &self.authorization {
            built = built.header(AUTHORIZATION, authorization);
        }
        built.body(body).map_err(|error| PeerError::Refused(format!("it cannot be asked: {error}")))
    }

    fn removed(&self, answer: Answer) -> Result<Outcome, PeerError> {
        match answer {
            Answer::Removed(outcome) => Ok(outcome),
            _ => Err(self.nonsense("remove")),
        }
    }

    fn stored(&self, answer: Answer) -> Result<Outcome, PeerError> {
        match answer {
            Answer::Stored(outcome) => Ok(outcome),
            _ => Err(self.nonsense("put")),
        }
    }

    fn runtime(&self) -> &Runtime {
        self.server.connections.runtime()
    }

    fn lost(&self, why: impl ToString) -> PeerError {
        self.server.lost(why)
    }

    fn nonsense(&self, what: &str) -> PeerError {
        let uuid = self.server.site.server.clone();
        PeerError::Protocol { uuid, why: format!("its answer to {what} is none") }
    }
}

impl Server {
    /// The connections that lead there.
    fn kind(&self) -> Kind {
        Kind::Http { host: self.site.host.clone(), port: self.site.port }
    }

    /// A new connection.
    async fn connect(&self) -> Result<Lease, PeerError> {
        let runtime = self.connections.runtime();
        let network = runtime.network();
        let resolving = runtime.timeout(CONNECTING, network.resolve(&self.site.host, self.site.port)).await;
        let resolved = resolving.map_err(|_| self.unreachable("its name is not resolved in time"))?;
        let mut why = "it has no address".to_owned();
        for address in resolved.map_err(|error| self.unreachable(&error.to_string()))? {
            match runtime.timeout(CONNECTING, network.connect(address)).await {
                Ok(Ok(stream)) => {
                    let begun = Conversation::begin(runtime, stream, PATIENCE).await;
                    let conversation = begun.map_err(|error| self.lost(error))?;
                    return Ok(self.connections.opened(self.kind(), conversation));
                }
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(elapsed) => why = format!("{address}: {elapsed}"),
            }
        }
        Err(self.unreachable(&why))
    }

    /// Sends a request, and waits for the head of its answer. It is on its way before anybody waits. Should the connection
    /// turn out to have gone before it took any of the request, that is sent on a new one.
    fn send(&self, mut lease: Lease, request: hyper::Request<Body>) -> Answering {
        let server = self.clone();
        let answer = lease.http().map(|conversation| conversation.ask(request));
        Box::pin(async move {
            let Some(answer) = answer else { return Err(Failed::Error(server.lost("it speaks no HTTP"))) };
            match answer.await {
                Ok(response) => Ok(Coming { lease, response }),
                Err(Unanswered::Gone(None, error)) => Err(Failed::Gone(server.lost(error))),
                Err(Unanswered::Failed(error)) => Err(Failed::Error(server.lost(error))),
                Err(Unanswered::Gone(Some(request), _)) => {
                    reached!("http client: an idle connection was going");
                    drop(lease);
                    let lease = server.connect().await.map_err(Failed::Error)?;
                    server.send(lease, *request).await
                }
            }
        })
    }

    async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, PeerError> {
        self.connections.runtime().timeout(PATIENCE, work).await.map_err(|elapsed| self.lost(elapsed))
    }

    fn lost(&self, why: impl ToString) -> PeerError {
        PeerError::Lost { uuid: self.site.server.clone(), why: why.to_string() }
    }

    fn unreachable(&self, why: &str) -> PeerError {
        PeerError::Unreachable { uuid: self.site.server.clone(), why: why.to_owned() }
    }
}

#[async_trait]
impl Peer for HttpRemote {
    fn uuid(&self) -> &Uuid {
        &self.server.site.server
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
        let (lease, (pieces, body)) = (self.connected().await?, Body::pieces());
        let request = self.request(&Call::KeepLocked(name), body, None)?;
        let answer = self.server.send(lease, request);
        let mut lock = HttpLock { remote: self, pieces, answer: Some(answer) };
        lock.say(KEEP).await?;
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
            // It is, or has turned out to be, too old for limits: they are by our clock, when it can be asked.
            self.lease = Some(self.connected().await?);
            if clocks::now(self.runtime()) >= limit {
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
        Ok(clocks::now(self.runtime()))
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
        let may_fit = key.size().is_none_or(|size| size.saturating_sub(offset) == length);
        if length > 0 || !may_fit {
            return Ok(Box::new(HttpDownload {
                remote: self,
                coming: Some(coming),
                length,
                came: 0,
                fits: may_fit,
            }));
        }
        // Of an object that is not there nothing comes, as of one that has no more than was wanted.
        self.settle(coming).await?;
        let fits = match Verifier::from_offset(key, offset).finish() {
            Some(is_empty) => is_empty,
            None => self.check_present(key).await?,
        };
        Ok(Box::new(HttpDownload { remote: self, coming: None, length, came: 0, fits }))
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
        if let Some(lease) = self.lease.take() {
            let _ = lease.give_up().await;
        }
    }
}

/// A lock, and the request that keeps it.
struct HttpLock<'a> {
    remote: &'a mut HttpRemote,
    pieces: Pieces,
    /// The server answers only when the lock is over. None when it is.
    answer: Option<Answering>,
}

/// What is said of a lock: it is needed still, and no longer.
const KEEP: &[u8] = b"{\"unlock\": false}\n";
const UNLOCK: &[u8] = b"{\"unlock\": true}\n";

impl HttpLock<'_> {
    /// Says something to the server, unless the lock is over.
    async fn say(&mut self, line: &'static [u8]) -> Result<(), PeerError> {
        let Some(mut answer) = self.answer.take() else { return Err(self.over()) };
        let line = pin!(self.pieces.send(Bytes::from_static(line)));
        match self.remote.runtime().timeout(PATIENCE, select(line, &mut answer)).await {
            Ok(Either::Left((Ok(()), _))) => {
                self.answer = Some(answer);
                Ok(())
            }
            Err(elapsed) => Err(self.remote.lost(elapsed)),
            Ok(_) => Err(self.over()),
        }
    }

    fn over(&self) -> PeerError {
        self.remote.lost("the lock is not kept")
    }
}

#[async_trait]
impl Lock for HttpLock<'_> {
    async fn keep(&mut self) -> PeerError {
        loop {
            let Some(answer) = &mut self.answer else { return self.over() };
            if let Either::Right(_) = select(self.remote.runtime().sleep(KEEPING), answer).await {
                self.answer = None;
                return self.over();
            }
            if let Err(error) = self.say(KEEP).await {
                return error;
            }
        }
    }

    async fn unlock(mut self: Box<Self>) -> Result<(), PeerError> {
        self.say(UNLOCK).await?;
        let HttpLock { remote, pieces, answer } = *self;
        let Some(answer) = answer else { return Err(remote.lost("the lock is not kept")) };
        let (answered, whole) = remote.server.wait(end(pieces, answer)).await?;
        let heard = remote.hear(answered, "keeplocked").await;
        if !whole {
            remote.close().await;
        }
        heard.map(|_| ())
    }
}

/// Says that a body has come to its end, and waits for the answer. False: that came first, and a part of what was sent may
/// still be on its way.
async fn end(pieces: Pieces, mut answer: Answering) -> (Result<Coming, Failed>, bool) {
    match select(pin!(pieces.end()), &mut answer).await {
        Either::Left((ended, _)) => (answer.await, ended.is_ok()),
        Either::Right((answered, _)) => (answered, false),
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
        let next = self.remote.runtime().timeout(PATIENCE, body::next(coming.response.body_mut())).await;
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
                let coming = self.coming.take();
                // Why less came than was announced nobody knows.
                if let Some(coming) = coming.filter(|_| self.came == self.length) {
                    self.remote.keep(coming);
                }
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
    pieces: Pieces,
    length: u64,
    /// The last piece, which is held back: it is cut when the bytes turn out to be wrong.
    held: Option<Bytes>,
    answer: Answering,
    /// The server answered before it had all.
    answered: Option<Result<Coming, Failed>>,
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

#[async_trait]
impl Upload for HttpUpload<'_> {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        let (lease, (pieces, body)) = (self.remote.connected().await?, Body::pieces());
        let call = Call::Put(self.key.clone(), self.file.clone(), self.offset);
        let request = self.remote.request(&call, body, Some(length))?;
        let answer = self.remote.server.send(lease, request);
        self.sending = Some(Sending { pieces, length, held: None, answer, answered: None });
        Ok(())
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        let Some(sending) = self.sending.as_mut().filter(|_| !piece.is_empty()) else { return Ok(()) };
        let sent = self.remote.runtime().timeout(PATIENCE, sending.send_held(Some(piece))).await;
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
            let Sending { pieces, answer, answered, .. } = sending;
            match answered {
                Some(answered) => (answered, false),
                None if relapse!("annex-B6") => {
                    // The server answers when the body has ended, and that ends when the server has answered.
                    let answered = answer.await;
                    let _ = pieces.end().await;
                    (answered, true)
                }
                None => end(pieces, answer).await,
            }
        };
        let (answered, whole) = self.remote.server.wait(ended).await?;
        let heard = self.remote.hear(answered, "put").await;
        if !whole {
            self.remote.close().await;
        }
        self.remote.stored(heard?)
    }

    async fn is_present(mut self: Box<Self>) -> Result<Outcome, PeerError> {
        if !self.remote.version.has_data_present() {
            return Ok(Outcome::of(false));
        }
        let call = Call::DataPresent(self.key.clone(), self.file.clone());
        let answered = self.remote.attempt(&call, Some(0)).await;
        let answer = self.remote.hear(answered, "put").await?;
        self.remote.stored(answer)
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        Ok(())
    }
}
