//! Bodies: short ones in one piece, and those that come piece by piece, whose end must be said. Should their sender be
//! dropped before that, the connection is cut: nobody takes what has come for the whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::future::poll_fn;
use hyper::body::{Body as HyperBody, Frame, Incoming, SizeHint};
use runtime::relapse;
use tokio::sync::mpsc;

/// A body that is sent.
pub enum Body {
    /// It is here.
    Whole(Bytes),
    /// It comes piece by piece; nothing comes any more after none.
    Pieces(mpsc::Receiver<Option<Bytes>>),
}

/// Where the pieces of a body come from.
pub struct Pieces {
    sender: mpsc::Sender<Option<Bytes>>,
}

/// The sender of a body was dropped before it said the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body was cut")]
pub struct Cut;

/// Why a body did not come.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed, or the sender does not follow HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// It is longer than it may be.
    #[error("the body is too long")]
    TooLong,
}

impl Body {
    /// No bytes.
    pub fn empty() -> Body {
        Body::Whole(Bytes::new())
    }

    /// A body that comes piece by piece, and where its pieces come from. One is on its way at a time.
    pub fn pieces() -> (Pieces, Body) {
        let (sender, receiver) = mpsc::channel(1);
        (Pieces { sender }, Body::Pieces(receiver))
    }
}

impl Pieces {
    /// Waits until the piece is taken over. An error: nobody wants it any more.
    pub async fn send(&self, piece: Bytes) -> Result<(), Cut> {
        if relapse!("annex-B4") {
            // That there is no room just now is taken for a failure.
            return self.sender.try_send(Some(piece)).map_err(|_| Cut);
        }
        self.sender.send(Some(piece)).await.map_err(|_| Cut)
    }

    /// That was all.
    pub async fn end(self) -> Result<(), Cut> {
        self.sender.send(None).await.map_err(|_| Cut)
    }

    /// Resolves when nobody wants the rest any more.
    pub fn unwanted(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }

    /// Whether all that was sent has been taken.
    pub fn is_drained(&self) -> bool {
        self.sender.capacity() == self.sender.max_capacity()
    }
}

impl HyperBody for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(match &mut *self {
            Body::Whole(bytes) if bytes.is_empty() => None,
            Body::Whole(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Body::Pieces(pieces) => match ready!(pieces.poll_recv(cx)) {
                Some(Some(piece)) => Some(Ok(Frame::data(piece))),
                Some(None) => None,
                None => Some(Err(Cut)),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Pieces(_) => SizeHint::default(),
        }
    }
}

/// The next bytes of a body that comes; none at its end.
pub async fn next(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.transpose()? {
            None => return Ok(None),
            Some(frame) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                // Trailers mean nothing here.
                Err(_) => {}
            },
        }
    }
}

/// A whole body of at most `limit` bytes.
pub async fn collect(body: &mut Incoming, limit: usize) -> Result<Bytes, BodyError> {
    let mut whole = BytesMut::new();
    while let Some(piece) = next(body).await? {
        if whole.len() + piece.len() > limit {
            return Err(BodyError::TooLong);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frame(body: &mut Body) -> Option<Result<Bytes, Cut>> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    #[tokio::test]
    async fn a_body_ends_when_that_is_said_and_is_cut_otherwise() {
        for said in [true, false] {
            let (pieces, mut body) = Body::pieces();
            pieces.send("piece".into()).await.unwrap();
            assert_eq!(frame(&mut body).await, Some(Ok("piece".into())));
            if said {
                pieces.end().await.unwrap();
            } else {
                drop(pieces);
            }
            assert_eq!(frame(&mut body).await, (!said).then_some(Err(Cut)));
        }
    }

    #[tokio::test]
    async fn who_sends_what_nobody_wants_is_told() {
        let (pieces, body) = Body::pieces();
        let unwanted = pieces.unwanted();
        drop(body);
        unwanted.await;
        assert_eq!(pieces.send("piece".into()).await, Err(Cut));
    }
}
