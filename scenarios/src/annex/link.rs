//! Links: byte streams in memory, and what becomes of the bytes on their way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{self, Either};
use runtime::net::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::Notify;

use super::stage::Stage;

/// What can become of a piece on its way.
pub const TROUBLES: &[&str] = &["cut", "half-close", "stall", "slow", "split", "garbage", "long-line"];
/// Those that make something else of what is said.
pub const GARBLES: [&str; 2] = ["garbage", "long-line"];

/// Bytes that are on their way at a time, at the most.
const BUFFER: usize = 2048;
/// How late a slow piece is.
const SLOW: Duration = Duration::from_secs(4);
/// How long a stalled link stands still, unless all is healed before that.
pub const STALL: Duration = Duration::from_secs(1000);

/// Who is at the far end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Far {
    /// A client of the gateway, by its number.
    Client(u64),
    /// A node, by its number.
    Node(usize),
}

/// A link between the gateway and somebody: its near end, which is the gateway's, and its far end.
pub fn link(stage: &Arc<Stage>, far: Far) -> (DuplexStream, DuplexStream) {
    let (near, inner) = duplex(buffer(stage));
    (near, relay(stage, far, inner))
}

/// A link that goes on where a stream of the gateway's ends: its far end.
pub fn relay(stage: &Arc<Stage>, far: Far, near: impl Stream + 'static) -> DuplexStream {
    let (outer, end) = duplex(buffer(stage));
    let stage_of = stage.clone();
    stage.links.spawn("link", 0, async move {
        let carrier = Carrier { stage: &stage_of, far, cut: Notify::new() };
        carrier.carry_both(near, outer).await;
    });
    end
}

/// How many bytes are on their way at a time. Who comes last, to see that all is well, is in a hurry.
fn buffer(stage: &Stage) -> usize {
    if stage.bytes && !stage.healed.load(Ordering::Relaxed) { 1 } else { BUFFER }
}

struct Carrier<'a> {
    stage: &'a Arc<Stage>,
    far: Far,
    /// Told when the link is cut: nothing passes any more in either direction.
    cut: Notify,
}

impl Carrier<'_> {
    async fn carry_both(&self, near: impl Stream, far: DuplexStream) {
        let (from_near, to_near) = split(near);
        let (from_far, to_far) = split(far);
        let (out, back) = (self.carry("out", from_near, to_far), self.carry("back", from_far, to_near));
        let both = std::pin::pin!(future::join(out, back));
        let cut = std::pin::pin!(self.cut.notified());
        if let Either::Right(_) = future::select(both, cut).await {
            tracing::debug!(target: "link", far = ?self.far, "cut");
        }
    }

    /// Carries what is sent in one direction, until its sender has said its last.
    async fn carry(&self, way: &str, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut space = [0; BUFFER];
        let most = buffer(self.stage);
        while let Ok(count @ 1..) = from.read(&mut space[..most]).await {
            let piece = &space[..count];
            if most == 1 {
                // Each byte is a step of its own: whoever waits for one may be given up just there.
                self.stage.script.sleep(Duration::from_micros(1)).await;
            }
            let passed = match self.trouble(way) {
                Some("cut") => {
                    let [chance, more] = self.stage.script.entropy();
                    let part = usize::from(u16::from_le_bytes([chance, more])) % (count + 1);
                    let _ = to.write_all(&piece[..part]).await;
                    self.cut.notify_one();
                    return future::pending().await;
                }
                Some("half-close") => break,
                Some("stall") => {
                    self.stage.stands_still(self.far, STALL).await;
                    to.write_all(piece).await
                }
                Some("slow") => {
                    self.stage.stands_still(self.far, SLOW).await;
                    to.write_all(piece).await
                }
                Some("garbage") => match to.write_all(b"NONSENSE\n").await {
                    Ok(()) => to.write_all(piece).await,
                    gone => gone,
                },
                Some("long-line") => match to.write_all(&[b'x'; 40_000]).await {
                    Ok(()) => to.write_all(piece).await,
                    gone => gone,
                },
                Some(_) => {
                    let _ = to.write_all(&piece[..1]).await;
                    self.stage.script.sleep(Duration::from_millis(1)).await;
                    to.write_all(&piece[1..]).await
                }
                None => to.write_all(piece).await,
            };
            if passed.is_err() {
                // Whoever sends to one that has gone learns of it.
                self.cut.notify_one();
            }
        }
        let _ = to.shutdown().await;
    }

    fn trouble(&self, way: &str) -> Option<&'static str> {
        if self.stage.healed.load(Ordering::Relaxed) {
            return None;
        }
        let (kind, number) = match self.far {
            Far::Client(number) => (format!("client-{way}"), number),
            Far::Node(number) => (format!("node-{way}"), number as u64),
        };
        let trouble = self.stage.world.fault(&kind, number, TROUBLES);
        if let Some(trouble) = trouble {
            self.stage.trouble(self.far);
            if GARBLES.contains(&trouble) {
                self.stage.garbled(self.far);
            }
        }
        trouble
    }
}
