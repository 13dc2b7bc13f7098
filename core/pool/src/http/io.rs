//! Our streams and our clock, as hyper wants them. Nothing of hyper's reaches the world in another way.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::rt::{Read, ReadBufCursor, Sleep, Timer, Write};
use runtime::net::Stream;
use runtime::{Instant, Runtime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at a time, at the most.
const READ: usize = 16 * 1024;

/// A stream. When the other side takes nothing for too long, it fails.
pub struct Io {
    stream: Box<dyn Stream>,
    space: Box<[u8]>,
    runtime: Runtime,
    patience: Duration,
    /// Runs while the other side takes nothing.
    alarm: Option<BoxFuture<'static, ()>>,
    heard: Arc<AtomicBool>,
}

impl Io {
    /// A stream whose other side may take nothing for so long.
    pub fn new(stream: Box<dyn Stream>, runtime: &Runtime, patience: Duration) -> Io {
        let space = vec![0; READ].into_boxed_slice();
        Io { stream, space, runtime: runtime.clone(), patience, alarm: None, heard: Arc::default() }
    }

    /// Becomes true whenever something comes from the other side.
    pub fn heard(&self) -> Arc<AtomicBool> {
        self.heard.clone()
    }

    /// What became of an attempt to write.
    fn watch<T>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.alarm = None;
            return tried;
        }
        let (runtime, patience) = (&self.runtime, self.patience);
        ready!(self.alarm.get_or_insert_with(|| runtime.sleep(patience)).as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side takes nothing")))
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let length = cursor.remaining().min(READ);
        let mut buffer = ReadBuf::new(&mut this.space[..length]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer))?;
        if !buffer.filled().is_empty() {
            this.heard.store(true, Relaxed);
        }
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, tried)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, tried)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, tried)
    }
}

/// The world's monotonic clock. hyper counts in the standard library's moments: all of them are this one and what our own
/// clock says has passed since.
#[derive(Clone, Debug)]
pub struct Clock {
    runtime: Runtime,
    #[allow(
        clippy::disallowed_types,
        reason = "only ever compared with moments made of it and of our own clock"
    )]
    origin: std::time::Instant,
    ours: Instant,
}

#[allow(clippy::disallowed_types, reason = "hyper's timers are made of them")]
impl Clock {
    /// The clock of this world.
    pub fn new(runtime: Runtime) -> Clock {
        Clock { ours: runtime.now(), origin: std::time::Instant::now(), runtime }
    }
}

#[allow(clippy::disallowed_types, reason = "hyper's timers are made of them")]
impl Timer for Clock {
    fn now(&self) -> std::time::Instant {
        self.origin + (self.runtime.now() - self.ours)
    }

    fn sleep(&self, length: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Alarm(Mutex::new(self.runtime.sleep(length))))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        let deadline = self.ours + deadline.saturating_duration_since(self.origin);
        Box::pin(Alarm(Mutex::new(self.runtime.sleep_until(deadline))))
    }
}

/// hyper wants to share it between threads, and never does.
struct Alarm(Mutex<BoxFuture<'static, ()>>);

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }
}

impl Sleep for Alarm {}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::poll_fn;
    use runtime::real::RealWorld;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let runtime = RealWorld::runtime();
        let (ours, _theirs) = tokio::io::duplex(4);
        let mut io = Io::new(Box::new(ours), &runtime, Duration::from_secs(60));
        let start = runtime.now();
        let written = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"123456")).await.unwrap();
        assert_eq!(written, 4);
        let error = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"56")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((60..62).contains(&(runtime.now() - start).as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_is_our_own() {
        let runtime = RealWorld::runtime();
        let clock = Clock::new(runtime.clone());
        let (start, theirs) = (runtime.now(), clock.now());
        clock.sleep_until(theirs + Duration::from_secs(5)).await;
        clock.sleep(Duration::from_secs(5)).await;
        assert!((10..11).contains(&(runtime.now() - start).as_secs()));
        assert!((10..11).contains(&(clock.now() - theirs).as_secs()));
    }
}
