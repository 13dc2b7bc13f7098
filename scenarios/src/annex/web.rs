//! A client of the gateway's HTTP server, which speaks by hand: what it sends and what it is told are the bytes themselves
//! (annex-p2p §10).

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use pool::http::answer::Answer;
use pool::http::request::{Call, Request};
use pool::key::Key;
use pool::message::{AssociatedFile, Message};
use pool::uuid::Uuid;
use pool::version::Version;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};

use super::line::{Answered, Got, Lost, Speak};
use super::stage::Stage;
use super::workload::Body;

/// A client's way to one of the repositories behind the gateway. It keeps a connection between requests.
pub struct Web {
    stage: Arc<Stage>,
    client: u64,
    server: Uuid,
    version: Version,
    kept: Option<Connection>,
    /// What keeps a lock.
    keeper: Option<Connection>,
}

/// A connection to the server.
struct Connection {
    stream: DuplexStream,
    read: BytesMut,
}

/// What is said of an answer before its body.
struct Head {
    status: u16,
    /// Bytes of an object that are announced.
    announced: Option<u64>,
    /// How long the body is; chunks tell themselves.
    length: Option<usize>,
    closes: bool,
}

/// The body of a request.
enum Sent<'a> {
    /// As one piece, whose length is said.
    Whole(&'a [u8]),
    /// In chunks, of so many bytes at the most.
    Chunks(&'a [u8], usize),
}

impl Web {
    /// The way to a node, or to the cluster.
    pub fn new(stage: Arc<Stage>, client: u64, node: Option<usize>, version: Version) -> Web {
        let server = stage.name_of(node);
        Web { stage, client, server, version, kept: None, keeper: None }
    }

    fn connect(&self) -> Connection {
        Connection { stream: self.stage.visit(self.client), read: BytesMut::new() }
    }

    /// The first line of a request, and its headers but for those about its body.
    fn head(&self, call: Call) -> String {
        self.stage.traffic.sends();
        let client = Some(self.stage.name_of_client(self.client));
        let (server, version, bypass) = (self.server.clone(), self.version, BTreeSet::new());
        let (method, path) = Request { server, version, client, bypass, call }.render();
        format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\n")
    }

    /// Sends a request, and waits for the head of its answer.
    async fn exchange(&mut self, call: Call, headers: &str, body: Sent<'_>) -> Answered<(Connection, Head)> {
        let changes = matches!(call, Call::Put(..) | Call::Remove(_) | Call::RemoveBefore(..));
        let head = self.head(call) + headers;
        self.is_over().await?;
        if let Some(mut kept) = self.kept.take() {
            if kept.send(&head, &body).await.is_ok() && kept.is_answering().await {
                let answered = kept.hear_head().await?;
                return Ok((kept, answered));
            }
            if changes {
                return Err(Lost::Gone("a connection was closed when it was used again".into()));
            }
        }
        // There was none, or it closed while it was idle.
        let mut connection = self.connect();
        connection.send(&head, &body).await?;
        let answered = connection.hear_head().await?;
        Ok((connection, answered))
    }

    /// Asks something whose answer is no object.
    async fn request(
        &mut self,
        call: Call,
        headers: &str,
        body: Sent<'_>,
    ) -> Answered<Result<Answer, Message>> {
        let name = format!("{call:?}");
        let (mut connection, head) = self.exchange(call, headers, body).await?;
        let text = connection.hear_body(&head).await?;
        self.keep(connection, &head);
        match head.status {
            200 => match Answer::parse(&text) {
                Some(answer) => Ok(Ok(answer)),
                None => Err(Lost::Wrong(format!("{name} is answered with {}", text.escape_ascii()))),
            },
            500 | 502 | 503 => Ok(Err(Message::error(&String::from_utf8_lossy(&text)))),
            // The body did not come, or not to its end.
            400 | 408 => Err(Lost::Gone(String::from_utf8_lossy(&text).into_owned())),
            status => Err(Lost::Wrong(format!("{name} has status {status}: {}", text.escape_ascii()))),
        }
    }

    fn keep(&mut self, connection: Connection, head: &Head) {
        self.kept = (!head.closes).then_some(connection);
    }

    /// Takes a lock, and begins to keep it.
    async fn lock(&mut self, key: &Key) -> Answered<Message> {
        let name = match self.request(Call::LockContent(key.clone()), "", Sent::Whole(b"")).await? {
            Ok(Answer::Locked(Some(name))) => name,
            Ok(Answer::Locked(None)) => return Ok(Message::Failure),
            Ok(other) => return Err(wrong(&other)),
            Err(refusal) => return Ok(refusal),
        };
        let mut keeper = self.connect();
        let head = self.head(Call::KeepLocked(name)) + "Transfer-Encoding: chunked\r\n\r\n";
        // What keeps it may be cut at once: the lock has its time all the same.
        if keeper.say(head.as_bytes()).await.is_ok()
            && keeper.say(&chunk(b"{\"unlock\": false}\n")).await.is_ok()
        {
            self.keeper = Some(keeper);
        }
        Ok(Message::Success)
    }
}

#[async_trait]
impl Speak for Web {
    fn version(&self) -> Version {
        self.version
    }

    async fn is_over(&mut self) -> Answered<bool> {
        let Some(kept) = &mut self.kept else { return Ok(false) };
        if kept.is_closed().await? {
            self.kept = None;
        }
        Ok(false)
    }

    async fn ask(&mut self, request: &Message) -> Answered<Message> {
        let call = match request {
            Message::CheckPresent(key) => Call::CheckPresent(key.clone()),
            Message::Remove(key) => Call::Remove(key.clone()),
            Message::RemoveBefore(limit, key) => Call::RemoveBefore(key.clone(), *limit),
            Message::GetTimestamp => Call::GetTimestamp,
            Message::LockContent(key) => return self.lock(key).await,
            other => return Err(Lost::Wrong(format!("{other:?} is not asked over HTTP"))),
        };
        Ok(match self.request(call, "", Sent::Whole(b"")).await? {
            Ok(Answer::Present(present)) => done(present, BTreeSet::new()),
            Ok(Answer::Removed(outcome)) => done(outcome.done, outcome.also),
            Ok(Answer::Timestamp(time)) => Message::Timestamp(time),
            Ok(other) => return Err(wrong(&other)),
            Err(refusal) => refusal,
        })
    }

    async fn get(&mut self, offset: u64, key: &Key) -> Answered<Result<Got, Message>> {
        let call = Call::Get(key.clone(), AssociatedFile::default(), offset);
        let (mut connection, head) = self.exchange(call, "", Sent::Whole(b"")).await?;
        let bytes = connection.hear_body(&head).await?;
        self.keep(connection, &head);
        match (head.status, head.announced) {
            (200, Some(announced)) if bytes.len() as u64 <= announced => {
                let valid = bytes.len() as u64 == announced && !bytes.is_empty();
                Ok(Ok(Got { bytes, valid: Some(valid) }))
            }
            (200, announced) => {
                let came = bytes.len();
                Err(Lost::Wrong(format!("{came} bytes of an object came, and {announced:?} were announced")))
            }
            (500 | 502 | 503, _) => Ok(Err(Message::error(&String::from_utf8_lossy(&bytes)))),
            (status, _) => Err(Lost::Wrong(format!("GET has status {status}: {}", bytes.escape_ascii()))),
        }
    }

    async fn put(
        &mut self,
        key: &Key,
        content: &Bytes,
        body: Body,
        pieces: u64,
        leaves: bool,
    ) -> Answered<Message> {
        let mut offset = 0;
        if self.version.has_verdict() {
            match self.request(Call::PutOffset(key.clone()), "", Sent::Whole(b"")).await? {
                Ok(Answer::AlreadyHave(also)) if also.is_empty() => return Ok(Message::AlreadyHave),
                Ok(Answer::AlreadyHave(also)) => {
                    return Ok(Message::AlreadyHavePlus(also.into_iter().collect()));
                }
                Ok(Answer::Offset(from)) => offset = usize::try_from(from).unwrap_or(usize::MAX),
                Ok(other) => return Err(wrong(&other)),
                Err(refusal) => return Ok(refusal),
            }
        }
        let mut rest = content.get(offset..).unwrap_or_default().to_vec();
        let announced = rest.len();
        match body {
            Body::Whole | Body::Mute => {}
            Body::Short => rest.truncate(announced / 2),
            Body::Wrong => rest.last_mut().into_iter().for_each(|byte| *byte ^= 1),
            Body::Excess => rest.extend([7; 50]),
            // Further on than is wanted: what is between is missing.
            Body::Nothing | Body::Present => {
                offset = offset.saturating_add(1);
                rest.clear();
            }
        }
        let announced = if matches!(body, Body::Nothing | Body::Present) { 0 } else { announced };
        let headers = format!("X-git-annex-data-length: {announced}\r\n");
        let call = Call::Put(key.clone(), AssociatedFile::default(), offset as u64);
        if body == Body::Short && leaves {
            let mut connection = self.connect();
            let head = self.head(call) + &headers + &format!("Content-Length: {announced}\r\n\r\n");
            connection.say(head.as_bytes()).await?;
            connection.say(&rest).await?;
            return Err(Lost::Gone("the client hangs up in the middle".into()));
        }
        let sent = match pieces {
            0 | 1 => Sent::Whole(&rest),
            _ => Sent::Chunks(&rest, rest.len().div_ceil(pieces as usize).max(1)),
        };
        Ok(match self.request(call, &headers, sent).await? {
            Ok(Answer::Stored(outcome)) => done(outcome.done, outcome.also),
            Ok(other) => return Err(wrong(&other)),
            Err(refusal) => refusal,
        })
    }

    async fn offset(&mut self, key: &Key) -> Answered<Option<u64>> {
        if !self.version.has_verdict() {
            return Ok(None);
        }
        match self.request(Call::PutOffset(key.clone()), "", Sent::Whole(b"")).await? {
            Ok(Answer::Offset(from)) => Ok(Some(from)),
            Ok(Answer::AlreadyHave(_)) | Err(_) => Ok(None),
            Ok(other) => Err(wrong(&other)),
        }
    }

    async fn unlock(&mut self) -> Answered<()> {
        let Some(mut keeper) = self.keeper.take() else { return Ok(()) };
        if !matches!(keeper.is_closed().await, Ok(false)) {
            // An answer before anybody has unlocked it, or none at all.
            return Err(Lost::Gone("a lock has ended that somebody keeps".into()));
        }
        keeper.say(&chunk(b"{\"unlock\": true}\n")).await?;
        keeper.say(&chunk(b"")).await?;
        let head = keeper.hear_head().await?;
        let text = keeper.hear_body(&head).await?;
        match Answer::parse(&text) {
            Some(Answer::Locked(None)) => Ok(()),
            _ => Err(Lost::Wrong(format!("the end of a lock is answered with {}", text.escape_ascii()))),
        }
    }
}

impl Connection {
    async fn send(&mut self, head: &str, body: &Sent<'_>) -> Answered<()> {
        match body {
            Sent::Whole(bytes) => {
                let head = format!("{head}Content-Length: {}\r\n\r\n", bytes.len());
                self.say(head.as_bytes()).await?;
                self.say(bytes).await
            }
            Sent::Chunks(bytes, most) => {
                self.say(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await?;
                for piece in bytes.chunks(*most) {
                    self.say(&chunk(piece)).await?;
                }
                self.say(&chunk(b"")).await
            }
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Answered<()> {
        self.stream.write_all(bytes).await.map_err(gone)
    }

    /// Whether the server has hung up, after saying nothing unasked.
    async fn is_closed(&mut self) -> Answered<bool> {
        let mut space = [0; 1];
        let came = poll_fn(|cx| {
            let mut space = ReadBuf::new(&mut space);
            Poll::Ready(match Pin::new(&mut self.stream).poll_read(cx, &mut space) {
                Poll::Pending => None,
                Poll::Ready(read) => Some(read.is_ok_and(|()| !space.filled().is_empty())),
            })
        });
        match came.await {
            None => Ok(false),
            Some(false) => Ok(true),
            Some(true) => Err(Lost::Wrong("the gateway says something that nobody has asked for".into())),
        }
    }

    /// Waits for the first bytes of an answer; false when none come any more.
    async fn is_answering(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(1..))
    }

    async fn hear_head(&mut self) -> Answered<Head> {
        let mut lines = Vec::new();
        loop {
            match self.hear_line().await? {
                line if line.is_empty() => break,
                line => lines.push(line.to_ascii_lowercase()),
            }
        }
        let status = lines.first().and_then(|line| line.strip_prefix("http/1.1 ")?.get(..3)?.parse().ok());
        let Some(status) = status else { return Err(Lost::Wrong(format!("{lines:?} is no answer"))) };
        let value = |name: &str| {
            lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        };
        Ok(Head {
            status,
            announced: value(pool::http::DATA_LENGTH).and_then(|length| length.parse().ok()),
            length: value("content-length").and_then(|length| length.parse().ok()),
            closes: value("connection").is_some_and(|value| value == "close"),
        })
    }

    async fn hear_body(&mut self, head: &Head) -> Answered<Vec<u8>> {
        if let Some(length) = head.length {
            return self.hear_bytes(length).await;
        }
        let mut body = Vec::new();
        loop {
            let line = self.hear_line().await?;
            let length = usize::from_str_radix(&line, 16);
            let length = length.map_err(|_| Lost::Wrong(format!("{line:?} is the length of no chunk")))?;
            body.extend(self.hear_bytes(length).await?);
            self.hear_line().await?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn hear_line(&mut self) -> Answered<String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.more().await?;
        }
    }

    async fn hear_bytes(&mut self, length: usize) -> Answered<Vec<u8>> {
        while self.read.len() < length {
            self.more().await?;
        }
        let bytes = self.read[..length].to_vec();
        self.read.advance(length);
        Ok(bytes)
    }

    async fn more(&mut self) -> Answered<()> {
        match self.stream.read_buf(&mut self.read).await.map_err(gone)? {
            0 => Err(Lost::Gone("the gateway has hung up".into())),
            _ => Ok(()),
        }
    }
}

/// An answer in the words of the other protocol.
fn done(done: bool, also: BTreeSet<Uuid>) -> Message {
    let also: Vec<_> = also.into_iter().collect();
    match (done, also.is_empty()) {
        (true, true) => Message::Success,
        (true, false) => Message::SuccessPlus(also),
        (false, true) => Message::Failure,
        (false, false) => Message::FailurePlus(also),
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn wrong(answer: &Answer) -> Lost {
    Lost::Wrong(format!("the gateway says {answer:?}, which is no answer to that"))
}

fn gone(error: std::io::Error) -> Lost {
    Lost::Gone(error.to_string())
}
