//! A node that is older than versions are (annex-p2p §3): VERSION is a word that it does not know, and it says so.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// What a node of version 0 says to VERSION, and what one says that knows no such word.
const AGREES: &[u8] = b"VERSION 0\n";
const KNOWS_NOT: &[u8] = b"ERROR unknown command\n";

/// The node's end of a link, which says the one in place of the other. Nothing else that a node says begins with that.
pub struct Ancient {
    stream: DuplexStream,
    /// What is still to be said instead.
    instead: BytesMut,
}

impl Ancient {
    /// The end of a node that speaks version 0.
    pub fn new(stream: DuplexStream) -> Ancient {
        Ancient { stream, instead: BytesMut::new() }
    }
}

impl AsyncRead for Ancient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, space)
    }
}

impl AsyncWrite for Ancient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if bytes != AGREES {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        if this.instead.is_empty() {
            this.instead.extend_from_slice(KNOWS_NOT);
        }
        while !this.instead.is_empty() {
            let said = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.instead))?;
            this.instead.advance(said);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
