//! Reading: a range of a file, piece by piece, as fast as the reader asks for pieces (spec §12.3).

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::stream::unfold;
use protocol::Key;
use protocol::crypt::Cipher;
use runtime::{Instant, reached, relapse, wait};
use tokio::sync::oneshot;
use tracing::debug;

use crate::errors::ReadError;
use crate::event::{Event, RequestId, Segment};
use crate::node::Grid;
use crate::status::EventId;

/// A read of a range of a file. Nothing is fetched until [`next`](Read::next) is polled.
///
/// Not polling it is how to pause: a segment that was asked for still arrives and is kept, and nothing
/// more is requested. Dropping it, at any moment, cancels it.
pub struct Read {
    source: Source,
    /// Where the next piece starts.
    offset: u64,
    remaining: u64,
}

enum Source {
    /// The bytes are here, and begin at `offset`.
    Here(Bytes),
    Grid(Box<GridRead>),
    /// All was said.
    Over,
}

struct GridRead {
    node: Arc<Grid>,
    /// Decrypts; without it the reader gets ciphertext.
    key: Option<Key>,
    ticket: Option<Ticket>,
    event: EventId,
    /// Since when the reader has not asked for more.
    idle_since: Option<Instant>,
}

/// A request that the node has been sent. Dropping it cancels the request.
pub(crate) struct Ticket {
    node: Arc<Grid>,
    id: RequestId,
    pub segment: u64,
    /// The segment's number was computed from a guessed segment size.
    guessed: bool,
    answer: oneshot::Receiver<Result<Segment, ReadError>>,
    answered: bool,
}

impl Read {
    pub(crate) fn here(bytes: Bytes) -> Self {
        Read { offset: 0, remaining: bytes.len() as u64, source: Source::Here(bytes) }
    }

    /// `offset` and `length` lie within the file.
    pub(crate) fn grid(node: Arc<Grid>, key: Option<Key>, offset: u64, length: u64) -> Self {
        let now = node.now();
        debug!(target: "client", node = node.id, offset, length, "read started");
        let event = node.journal.read_started(now, offset, length);
        let source = GridRead { node, key, ticket: None, event, idle_since: Some(now) };
        Read { source: Source::Grid(Box::new(source)), offset, remaining: length }
    }

    /// The next piece: at most one segment, never empty. `None` at the end of the range, and after an
    /// error.
    ///
    /// Cancel-safe: when the returned future is dropped nothing is lost, and calling again goes on.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.remaining == 0 {
            self.source = Source::Over;
        }
        let piece = match &mut self.source {
            Source::Over => return None,
            Source::Here(bytes) => Ok(std::mem::take(bytes)),
            Source::Grid(read) => read.piece(self.offset, self.remaining).await,
        };
        match &piece {
            Ok(bytes) => {
                self.offset += bytes.len() as u64;
                self.remaining -= bytes.len() as u64;
            }
            Err(_) => self.remaining = 0,
        }
        if self.remaining == 0 {
            self.source = Source::Over;
        }
        Some(piece)
    }

    /// All the pieces together. Uses as much memory as the range is long.
    pub async fn collect(mut self) -> Result<Bytes, ReadError> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all.freeze())
    }

    /// The pieces as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ReadError>> {
        unfold(self, |mut read| async move {
            let piece = read.next().await?;
            Some((piece, read))
        })
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Read({} bytes from {})", self.remaining, self.offset)
    }
}

impl GridRead {
    /// Some bytes of the file from `offset` on, at least one and at most `limit`.
    async fn piece(&mut self, offset: u64, limit: u64) -> Result<Bytes, ReadError> {
        if let Some(since) = self.idle_since.take() {
            self.node.journal.read_paused(self.event, self.node.now() - since);
        }
        loop {
            let ticket = match &mut self.ticket {
                Some(ticket) => ticket,
                None => self.ticket.insert(self.node.ticket_at(offset)),
            };
            let answer = ticket.wait().await;
            let (guessed, segment) = (ticket.guessed, ticket.segment);
            self.ticket = None;
            match answer {
                Ok(segment) => match part(&segment, offset, limit) {
                    Some(part) => return Ok(self.hand_over(part, offset)),
                    None if guessed => reached!("read: the guessed segment was the wrong one"),
                    None => {
                        let error = format!("a segment at {} for byte {offset}", segment.offset);
                        return Err(ReadError::Internal(error));
                    }
                },
                // It was asked for by mistake: what is wrong with it is not this read's business.
                Err(_) if guessed && self.node.lies_elsewhere(offset, segment) => {
                    reached!("read: the guessed segment was the wrong one, and failed");
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn hand_over(&mut self, part: Bytes, offset: u64) -> Bytes {
        let length = part.len() as u64;
        let started = self.node.now();
        let bytes = match &self.key {
            Some(key) => {
                let mut bytes = BytesMut::from(part);
                Cipher::at(key, offset).apply(&mut bytes);
                bytes.freeze()
            }
            None => part,
        };
        let now = self.node.now();
        self.node.journal.read_returned(self.event, length, now - started);
        self.idle_since = Some(now);
        bytes
    }
}

/// What of the segment lies at `offset` and the `limit` bytes from there on.
fn part(segment: &Segment, offset: u64, limit: u64) -> Option<Bytes> {
    let length = segment.ciphertext.len() as u64;
    let start = offset.checked_sub(segment.offset).filter(|&start| start < length)?;
    let end = start + limit.min(length - start);
    Some(segment.ciphertext.slice(start as usize..end as usize))
}

impl Drop for GridRead {
    fn drop(&mut self) {
        debug!(target: "client", node = self.node.id, "read finished");
        self.node.journal.read_finished(self.node.now(), self.event);
    }
}

impl Ticket {
    pub(crate) fn new(
        node: Arc<Grid>,
        id: RequestId,
        segment: u64,
        guessed: bool,
        answer: oneshot::Receiver<Result<Segment, ReadError>>,
    ) -> Self {
        Ticket { node, id, segment, guessed, answer, answered: false }
    }

    /// Waits for the segment. Cancel-safe; to be called until it has answered.
    pub(crate) async fn wait(&mut self) -> Result<Segment, ReadError> {
        let _waiting = wait!("segment", node = self.node.id, segment = self.segment);
        let answer = (&mut self.answer).await;
        self.answered = true;
        answer.unwrap_or(Err(ReadError::Closed))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered || relapse!("tahoe-B3") {
            self.node.post(Event::Cancel(self.id));
        }
    }
}
