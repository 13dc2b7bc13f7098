//! [`Conversation`]: a connection to an HTTP server, on which one request follows the other.
//!
//! Another may follow only when the last is over on both sides: what was asked has been sent to its end, and what was
//! answered has been read to its end. Who asked knows that, and says so; what was dropped before is never over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response};
use runtime::net::Stream;
use runtime::{Runtime, Scope, relapse};

use super::body::Body;
use super::io::Io;

/// How long it may take until who carries the bytes is ready for the next request, when the last is over. It is at once.
const SETTLING: Duration = Duration::from_secs(1);

/// A connection to an HTTP server. Dropped, it is closed.
pub(crate) struct Conversation {
    runtime: Runtime,
    sender: SendRequest<Body>,
    /// Nothing is under way.
    quiet: bool,
    /// It was asked something before.
    used: bool,
    /// Something has come since it was last asked.
    heard: Arc<AtomicBool>,
    /// Carries the bytes, and hears of it when the server hangs up or says something unasked.
    _carrier: Scope,
}

/// Why a request has no answer.
pub(crate) enum Unanswered {
    /// The connection had been used before, and has gone without a word of an answer. The request, if none of it was sent.
    Gone(Option<Box<Request<Body>>>, hyper::Error),
    /// Anything else.
    Failed(hyper::Error),
}

impl Conversation {
    /// Begins on a stream whose other side may take nothing for so long.
    pub async fn begin(
        runtime: &Runtime,
        stream: Box<dyn Stream>,
        patience: Duration,
    ) -> hyper::Result<Conversation> {
        let stream = Io::new(stream, runtime, patience);
        let (heard, carrier) = (stream.heard(), runtime.scope());
        let (sender, connection) = Builder::new().handshake(stream).await?;
        carrier.spawn("http connection", 0, async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok(Conversation {
            runtime: runtime.clone(),
            sender,
            quiet: true,
            used: false,
            heard,
            _carrier: carrier,
        })
    }

    /// Sends a request, and waits for the head of its answer. It is on its way before anybody waits.
    pub fn ask(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, Unanswered>> + Send + use<> {
        let (used, heard) = (std::mem::replace(&mut self.used, true), self.heard.clone());
        self.quiet = false;
        heard.store(false, Relaxed);
        let answer = self.sender.try_send_request(request);
        async move {
            let mut error = match answer.await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let unsent = error.take_message().map(Box::new);
            let silent = unsent.is_some() || !heard.load(Relaxed);
            match used && silent && !relapse!("annex-B24") {
                true => Err(Unanswered::Gone(unsent, error.into_error())),
                false => Err(Unanswered::Failed(error.into_error())),
            }
        }
    }

    /// The last request is over on both sides.
    pub fn settle(&mut self) {
        self.quiet = true;
    }

    /// Whether it stands between two requests.
    pub fn is_reusable(&self) -> bool {
        self.quiet && !self.sender.is_closed()
    }

    /// Whether it cannot be asked again: something is under way, the server has hung up, or has said something unasked.
    pub async fn is_stale(&mut self) -> bool {
        let ready = self.runtime.timeout(SETTLING, self.sender.ready());
        !self.quiet || !matches!(ready.await, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::real::RealWorld;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// A conversation on which one request has been answered, and its other side.
    async fn used() -> (Conversation, DuplexStream) {
        let (ours, mut theirs) = duplex(1024);
        let runtime = RealWorld::runtime();
        let begun = Conversation::begin(&runtime, Box::new(ours), Duration::from_secs(9)).await;
        let mut conversation = begun.unwrap();
        let answer = conversation.ask(request());
        hear(&mut theirs).await;
        theirs.write_all(ANSWER).await.unwrap();
        assert!(answer.await.is_ok());
        assert!(!conversation.is_reusable(), "nobody has read the answer");
        conversation.settle();
        assert!(!conversation.is_stale().await);
        (conversation, theirs)
    }

    async fn hear(theirs: &mut DuplexStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(theirs.read_u8().await.unwrap());
        }
    }

    fn request() -> Request<Body> {
        Request::builder().uri("/").header("host", "h").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn what_has_gone_before_it_took_a_request_gives_that_back() {
        let (mut conversation, theirs) = used().await;
        drop(theirs);
        assert!(conversation.is_reusable(), "nobody has noticed");
        assert!(matches!(conversation.ask(request()).await, Err(Unanswered::Gone(Some(_), _))));
        assert!(!conversation.is_reusable());
    }

    #[tokio::test]
    async fn what_was_said_unasked_is_no_answer() {
        let (mut conversation, mut theirs) = used().await;
        theirs.write_all(ANSWER).await.unwrap();
        assert!(matches!(conversation.ask(request()).await, Err(Unanswered::Gone(Some(_), _))));
    }

    #[tokio::test]
    async fn what_has_gone_since_it_took_a_request_may_have_carried_it_out() {
        for part in [0, 9] {
            let (mut conversation, mut theirs) = used().await;
            let answer = conversation.ask(request());
            let ended = async {
                hear(&mut theirs).await;
                theirs.write_all(&ANSWER[..part]).await.unwrap();
                drop(theirs);
            };
            let (answer, ()) = futures::join!(answer, ended);
            match part {
                0 => assert!(matches!(answer, Err(Unanswered::Gone(None, _)))),
                _ => assert!(matches!(answer, Err(Unanswered::Failed(_)))),
            }
        }
    }
}
