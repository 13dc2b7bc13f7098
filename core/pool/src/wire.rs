//! A byte stream that carries messages, and the bytes of objects between them (annex-p2p §1.1, §5).
//!
//! A [`Wire`] counts what is owed in each direction: while bytes of an object are still to come or to go, no message can
//! be read or written, so a stream can never get out of step. One that a call was dropped in the middle of, or that failed,
//! is broken for good.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures::future::poll_fn;
use runtime::net::Stream;
use runtime::relapse;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::message::{LONGEST_LINE, Message};

/// Bytes of an object that are passed on at a time, at the most.
pub const PIECE: usize = 32 * 1024;

/// A connection to a peer.
pub struct Wire {
    stream: Box<dyn Stream>,
    /// What was read and not yet taken.
    read: BytesMut,
    /// Bytes of an object that the peer has announced and that were not taken yet.
    to_come: u64,
    /// Bytes of an object that were announced to the peer and not sent yet.
    to_go: u64,
    /// A message is owed that only the next layer knows of: an answer, the end of a lock.
    owed: bool,
    /// A call is under way, or was dropped, or failed.
    broken: bool,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Message),
    /// A line that is none. The next line is read as if nothing had been.
    Unknown,
    /// The peer will say nothing more, and it was not in the middle of anything.
    End,
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Failed(#[from] io::Error),
    /// The peer went away in the middle of a line or of an object.
    #[error("the peer went away in the middle of {0}")]
    Cut(&'static str),
    /// A line is longer than any message may be.
    #[error("the peer sent a line of more than {LONGEST_LINE} bytes")]
    TooLong,
    /// The peer announced less than nothing.
    #[error("the peer announced {0} bytes")]
    Negative(i64),
    /// An object's bytes are still to come or to go, or an earlier call did not end.
    #[error("the connection is in the middle of something else")]
    OutOfStep,
}

impl Wire {
    /// A connection at its beginning.
    pub fn new(stream: Box<dyn Stream>) -> Wire {
        Wire { stream, read: BytesMut::new(), to_come: 0, to_go: 0, owed: false, broken: false }
    }

    /// Whether it stands between two messages, with nothing owed in either direction and nothing unread.
    pub fn is_quiet(&self) -> bool {
        if relapse!("annex-B8") {
            return self.read.is_empty();
        }
        !self.broken && !self.owed && self.to_come == 0 && self.to_go == 0 && self.read.is_empty()
    }

    /// Whether the peer has said something unasked, or has gone. Does not wait.
    pub async fn is_stale(&mut self) -> bool {
        if !self.is_quiet() {
            return true;
        }
        poll_fn(|cx| Poll::Ready(self.poll_fill(cx).is_ready())).await
    }

    /// Something is owed until [`settle`](Wire::settle) is called.
    pub fn owe(&mut self) {
        self.owed = true;
    }

    /// Nothing is owed any more.
    pub fn settle(&mut self) {
        self.owed = false;
    }

    /// The connection is of no more use: the peer is somewhere else.
    pub fn give_up(&mut self) {
        self.broken = true;
    }

    /// Says to the peer that no more comes.
    pub async fn close(&mut self) {
        self.broken = true;
        if relapse!("annex-L6") && self.to_go > 0 {
            // Whoever serves us over there is waited for first, and waits for the rest of an object.
            while matches!(poll_fn(|cx| self.poll_fill(cx)).await, Ok(1..)) {}
        }
        // Whoever is closed has gone already, at the worst.
        let _ = self.stream.shutdown().await;
    }

    /// Waits for the next message.
    pub async fn receive(&mut self) -> Result<Received, WireError> {
        if self.broken || self.to_come > 0 {
            return Err(WireError::OutOfStep);
        }
        self.broken = true;
        let received = self.next_line().await?;
        let received = match received {
            None => Received::End,
            Some(line) => match Message::parse(&line) {
                Err(_) => Received::Unknown,
                Ok(message) => Received::Message(message),
            },
        };
        self.broken = false;
        Ok(received)
    }

    /// The peer's DATA has been received: so many bytes of an object come next.
    pub fn expect_data(&mut self, length: i64) -> Result<u64, WireError> {
        let length = u64::try_from(length).map_err(|_| WireError::Negative(length))?;
        if self.broken || self.to_come > 0 {
            return Err(WireError::OutOfStep);
        }
        self.to_come = length;
        Ok(length)
    }

    /// Waits for the next piece of the object; none at its end.
    pub async fn receive_piece(&mut self) -> Result<Option<Bytes>, WireError> {
        if self.broken {
            return Err(WireError::OutOfStep);
        }
        if self.to_come == 0 {
            return Ok(None);
        }
        self.broken = true;
        if self.read.is_empty() && poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
            return Err(WireError::Cut("an object"));
        }
        let length = (self.read.len() as u64).min(self.to_come).min(PIECE as u64);
        self.to_come -= length;
        self.broken = false;
        Ok(Some(self.read.split_to(length as usize).freeze()))
    }

    /// Sends a message. After DATA so many bytes must be sent, and nothing else can be before.
    pub async fn send(&mut self, message: &Message) -> Result<(), WireError> {
        if self.broken || self.to_go > 0 {
            return Err(WireError::OutOfStep);
        }
        if let Message::Data(length) = message {
            self.to_go = u64::try_from(*length).map_err(|_| WireError::Negative(*length))?;
        }
        self.write(message.line()).await
    }

    /// Sends the next bytes of the object that was announced.
    pub async fn send_piece(&mut self, piece: Bytes) -> Result<(), WireError> {
        let rest = self.to_go.checked_sub(piece.len() as u64);
        if self.broken || rest.is_none() {
            return Err(WireError::OutOfStep);
        }
        self.to_go = rest.unwrap_or(0);
        self.write(piece).await
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<(), WireError> {
        self.broken = true;
        while bytes.has_remaining() {
            self.stream.write_buf(&mut bytes).await?;
        }
        self.stream.flush().await?;
        self.broken = false;
        Ok(())
    }

    /// A line without its end; none when the peer has said its last.
    async fn next_line(&mut self) -> Result<Option<Bytes>, WireError> {
        let mut searched = 0;
        loop {
            let found = self.read[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = found.map(|found| searched + found).filter(|end| *end <= LONGEST_LINE) {
                let line = self.read.split_to(end).freeze();
                self.read.advance(1);
                return Ok(Some(match line.strip_suffix(b"\r") {
                    Some(bare) => line.slice_ref(bare),
                    None => line,
                }));
            }
            if self.read.len() > LONGEST_LINE {
                return Err(WireError::TooLong);
            }
            searched = self.read.len();
            if poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return if self.read.is_empty() { Ok(None) } else { Err(WireError::Cut("a line")) };
            }
        }
    }

    /// Reads what there is, and says how much that was; 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [0; 8 * 1024];
        let mut buffer = ReadBuf::new(&mut space);
        futures::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.read.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    fn pair(buffer: usize) -> (Wire, DuplexStream) {
        let (ours, theirs) = duplex(buffer);
        (Wire::new(Box::new(ours)), theirs)
    }

    #[tokio::test]
    async fn lines_end_with_a_line_feed_and_perhaps_a_carriage_return() {
        let (mut wire, mut peer) = pair(1024);
        peer.write_all(b"VALID\r\nNONSENSE\nSUCCESS\n").await.unwrap();
        drop(peer);
        assert_eq!(wire.receive().await.unwrap(), Received::Message(Message::Valid));
        assert_eq!(wire.receive().await.unwrap(), Received::Unknown);
        assert_eq!(wire.receive().await.unwrap(), Received::Message(Message::Success));
        assert_eq!(wire.receive().await.unwrap(), Received::End);
    }

    #[tokio::test]
    async fn a_line_is_bounded_and_must_end() {
        let (mut wire, mut peer) = pair(1 << 20);
        peer.write_all(&[b'x'; LONGEST_LINE + 1]).await.unwrap();
        assert!(matches!(wire.receive().await, Err(WireError::TooLong)));
        assert!(matches!(wire.receive().await, Err(WireError::OutOfStep)));

        let (mut wire, mut peer) = pair(1 << 20);
        let mut longest = b"ERROR ".to_vec();
        longest.resize(LONGEST_LINE, b'x');
        peer.write_all(&longest).await.unwrap();
        peer.write_all(b"\nSUCC").await.unwrap();
        drop(peer);
        assert!(matches!(wire.receive().await.unwrap(), Received::Message(Message::Error(_))));
        assert!(matches!(wire.receive().await, Err(WireError::Cut("a line"))));
    }

    #[tokio::test]
    async fn an_object_is_between_two_messages() {
        let (mut wire, mut peer) = pair(1024);
        peer.write_all(b"DATA 6\nhello\nVALID\n").await.unwrap();
        let Received::Message(Message::Data(length)) = wire.receive().await.unwrap() else { panic!() };
        assert_eq!(wire.expect_data(length).unwrap(), 6);
        assert!(!wire.is_quiet());
        assert!(matches!(wire.receive().await, Err(WireError::OutOfStep)));
        assert_eq!(wire.receive_piece().await.unwrap().unwrap(), "hello\n");
        assert_eq!(wire.receive_piece().await.unwrap(), None);
        assert_eq!(wire.receive().await.unwrap(), Received::Message(Message::Valid));
        assert!(wire.is_quiet());
    }

    #[tokio::test]
    async fn what_is_announced_must_be_sent_and_no_more() {
        let (mut wire, mut peer) = pair(1024);
        wire.send(&Message::Data(3)).await.unwrap();
        assert!(matches!(wire.send(&Message::Valid).await, Err(WireError::OutOfStep)));
        assert!(matches!(wire.send_piece("abcd".into()).await, Err(WireError::OutOfStep)));
        wire.send_piece("ab".into()).await.unwrap();
        wire.send_piece("c".into()).await.unwrap();
        wire.send(&Message::Valid).await.unwrap();
        drop(wire);
        let mut sent = String::new();
        peer.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "DATA 3\nabcVALID\n");
    }

    #[tokio::test]
    async fn a_call_that_was_dropped_breaks_the_connection() {
        let (mut wire, mut peer) = pair(1024);
        peer.write_all(b"SUCC").await.unwrap();
        assert!(futures::poll!(Box::pin(wire.receive())).is_pending());
        assert!(!wire.is_quiet());
        peer.write_all(b"ESS\n").await.unwrap();
        assert!(matches!(wire.receive().await, Err(WireError::OutOfStep)));
    }

    #[tokio::test]
    async fn what_comes_unasked_makes_a_connection_stale() {
        let (mut wire, mut peer) = pair(1024);
        assert!(!wire.is_stale().await);
        peer.write_all(b"ERROR too late\n").await.unwrap();
        assert!(wire.is_stale().await);
        let (mut wire, peer) = pair(1024);
        drop(peer);
        assert!(wire.is_stale().await);
    }
}
