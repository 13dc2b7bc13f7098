//! An immutable share on its way into an object store.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::spans::{DataSpans, Spans};
use runtime::{Scope, hold, reached, wait};
use tokio::sync::Semaphore;

use super::{PIPELINE, Shared, first_turn};
use crate::backend::{BackendError, Incoming, Progress};
use crate::container::immutable::{HEADER, Header};
use crate::error::StorageError;
use crate::lock::lock;
use crate::share::ShareId;

/// How many chunks may wait for bytes before them. A client that sends a share in order, or nearly so, never comes by it.
const AHEAD: u64 = 16;

/// An immutable share on its way in. Bytes gather until they make a chunk, which is put at once; a few puts are on their
/// way at a time. Dropped, it abandons those.
pub(super) struct Upload {
    shared: Arc<Shared>,
    id: ShareId,
    epoch: u64,
    size: u64,
    /// One call at a time.
    state: tokio::sync::Mutex<State>,
    /// A permit for each put that may be on its way.
    room: Arc<Semaphore>,
    /// Why the share cannot be completed any more.
    failed: Arc<Mutex<Option<BackendError>>>,
    puts: Scope,
}

/// Positions are those of the container.
struct State {
    /// Bytes of whole chunks that were given to puts.
    sent: u64,
    /// Bytes behind them.
    ahead: DataSpans,
    written: Spans,
    over: bool,
}

impl Upload {
    pub fn new(shared: Arc<Shared>, id: ShareId, size: u64, epoch: u64) -> Upload {
        let mut state = State { sent: 0, ahead: DataSpans::new(), written: Spans::new(), over: false };
        state.ahead.add(0, Bytes::copy_from_slice(&Header::bytes(size, 0)));
        let (state, room) = (tokio::sync::Mutex::new(state), Arc::new(Semaphore::new(PIPELINE as usize)));
        let puts = shared.runtime.scope();
        Upload { shared, id, epoch, size, state, room, failed: Arc::default(), puts }
    }

    /// Bytes of the container.
    fn total(&self) -> u64 {
        HEADER + self.size
    }

    /// An error once the upload is over, or cannot succeed.
    fn check(&self, state: &State) -> Result<(), BackendError> {
        match &*lock(&self.failed) {
            Some(error) => Err(error.clone()),
            None if state.over => Err(StorageError::UploadOver.into()),
            None => Ok(()),
        }
    }

    /// Compares new bytes at `start` with those that were written there before.
    async fn compare(&self, state: &State, start: u64, bytes: &Bytes) -> Result<(), BackendError> {
        let new: Spans = std::iter::once(start..start + bytes.len() as u64).collect();
        for overlap in new.intersection(&state.written).iter() {
            let mut at = overlap.start;
            while at < overlap.end {
                let (end, before) = match at < state.sent {
                    true => {
                        let (chunk, place) = (at / self.shared.chunk, at % self.shared.chunk);
                        let end = overlap.end.min(state.sent).min((chunk + 1) * self.shared.chunk);
                        reached!("storage: bytes written again after they were put into the object store");
                        self.settled().await?;
                        (end, Some(self.shared.get_whole((self.id, chunk), place..place + end - at).await?))
                    }
                    false => (overlap.end, state.ahead.get(at..overlap.end)),
                };
                let again = bytes.slice((at - start) as usize..(end - start) as usize);
                if before.as_ref() != Some(&again) {
                    let (start, end) = (at - HEADER, end - HEADER);
                    return Err(StorageError::Conflict { start, end }.into());
                }
                at = end;
            }
        }
        Ok(())
    }

    /// Puts every chunk whose bytes are all there. Waits for room in the pipeline.
    async fn put_whole_chunks(&self, state: &mut State) -> Result<(), BackendError> {
        loop {
            let chunk = state.sent..(state.sent + self.shared.chunk).min(self.total());
            if chunk.is_empty() || !state.ahead.gaps(chunk.clone()).is_empty() {
                return Ok(());
            }
            let permit = {
                let _waiting = wait!("put", share = %self.id);
                self.room.clone().acquire_owned().await
            };
            self.check(state)?;
            let number = state.sent / self.shared.chunk;
            let Some(bytes) = state.ahead.pop(chunk.clone()) else { return Ok(()) };
            state.sent = chunk.end;
            let (shared, failed, id, epoch) = (self.shared.clone(), self.failed.clone(), self.id, self.epoch);
            self.puts.spawn("put chunk", number, async move {
                let _putting = hold!("put", share = %id);
                let _permit = permit;
                if let Err(error) = shared.put((id, number), bytes, first_turn(epoch)).await {
                    lock(&failed).get_or_insert(error);
                }
            });
        }
    }

    /// Waits until no put is on its way, and tells whether one failed.
    async fn settled(&self) -> Result<(), BackendError> {
        {
            let _waiting = wait!("put", share = %self.id);
            // It is never closed.
            let _all = self.room.acquire_many(PIPELINE).await;
        }
        lock(&self.failed).clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Incoming for Upload {
    /// Bytes may come in any order, but a write that begins more than 16 chunks ahead of the first one that is missing is
    /// refused, and changes nothing: whatever waits for earlier bytes is in memory.
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<Progress, BackendError> {
        let mut state = self.state.lock().await;
        self.check(&state)?;
        let length = bytes.len() as u64;
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let end = HEADER + end.ok_or(StorageError::BeyondSize { offset, length, size: self.size })?;
        let start = HEADER + offset;
        if start > state.sent.saturating_add(AHEAD * self.shared.chunk) {
            return Err(StorageError::TooFarAhead { offset }.into());
        }
        self.compare(&state, start, &bytes).await?;
        let new = std::iter::once(start..end).collect::<Spans>().difference(&state.written);
        for gap in new.iter() {
            let piece = bytes.slice((gap.start - start) as usize..(gap.end - start) as usize);
            state.ahead.add(gap.start, piece);
        }
        state.written.add(start..end);
        self.put_whole_chunks(&mut state).await?;
        Ok(Progress { new: new.len(), complete: state.written.len() == self.size })
    }

    async fn publish(&self) -> Result<u64, BackendError> {
        let mut state = self.state.lock().await;
        self.check(&state)?;
        if state.written.len() < self.size {
            return Err(StorageError::Incomplete { written: state.written.len(), size: self.size }.into());
        }
        self.put_whole_chunks(&mut state).await?;
        self.settled().await?;
        state.over = true;
        Ok(self.total())
    }

    async fn settle(&self) {
        self.state.lock().await.over = true;
        // Whether they failed matters no more.
        let _ = self.settled().await;
    }
}
