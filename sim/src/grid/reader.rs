//! The server's side of the storage protocol: what a call does when nothing goes wrong with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{
    Allocate, Allocated, LeaseSecret, ServerError, ServerId, ServerVersion, ShareNumber, ShareReader,
    StorageServer,
};

use super::answer::Buckets;
use super::server::Inner;
use crate::fault::CallKind;
use crate::world::took_effect;

/// The largest read that a server answers, in bytes.
const MAX_READ: u64 = 1 << 26;

#[async_trait]
impl StorageServer for Inner {
    fn id(&self) -> &ServerId {
        &self.id
    }

    fn version(&self) -> ServerVersion {
        ServerVersion {
            tolerates_immutable_read_overrun: !self.spec.rejects_overrun,
            ..ServerVersion::default()
        }
    }

    async fn get_buckets(&self, index: StorageIndex) -> Result<Buckets, ServerError> {
        let (me, ours) = (self.me.clone(), index == self.index);
        self.call(CallKind::Dyhb, None, move |state| {
            let inner = me.upgrade().ok_or(ServerError::Disconnected)?;
            if ours {
                state.misplaced.drain(..).for_each(took_effect);
            }
            let shares = state.shares.keys().filter(|_| ours);
            Ok(shares.map(|share| (*share, inner.reader(state.epoch, *share))).collect())
        })
        .await
    }

    async fn allocate_buckets(&self, _request: Allocate) -> Result<Allocated, ServerError> {
        self.call(CallKind::Write, None, |_| Ok(())).await?;
        // This grid is read only: it has room for nothing.
        Ok(Allocated { already: self.lock().shares.keys().copied().collect(), writers: BTreeMap::new() })
    }

    async fn add_lease(
        &self,
        _index: StorageIndex,
        _renew: LeaseSecret,
        _cancel: LeaseSecret,
    ) -> Result<(), ServerError> {
        self.call(CallKind::Write, None, |_| Ok(())).await
    }
}

impl Inner {
    pub(super) fn reader(&self, epoch: u64, share: ShareNumber) -> Arc<dyn ShareReader> {
        Arc::new(Reader { server: self.me.clone(), epoch, share, empty: Mutex::default() })
    }
}

/// Reads one share over one connection.
struct Reader {
    server: Weak<Inner>,
    epoch: u64,
    share: ShareNumber,
    /// The reads that were answered with nothing at all: asking again is a livelock.
    empty: Mutex<Vec<(u64, u64)>>,
}

impl Reader {
    fn empty(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.empty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ShareReader for Reader {
    async fn read(&self, offset: u64, length: u64) -> Result<Bytes, ServerError> {
        let server = self.server.upgrade().ok_or(ServerError::Disconnected)?;
        let (share, strict) = (self.share, server.spec.rejects_overrun);
        let asked_before = self.empty().contains(&(offset, length));
        *server.lock().ledger.reads.entry(share).or_default() += 1;
        if asked_before {
            // At once: a livelock never comes to the end, where budgets are checked.
            let place = format!("[{offset}, +{length}) of share {share} on server {}", server.number);
            server.world.violated(
                "budget",
                format!("{place} was asked for again, after the answer that nothing is there"),
            );
        }
        let answer = server
            .call(CallKind::Read, Some(self.epoch), move |state| {
                let data = state.shares.get_mut(&share).ok_or(ServerError::NoSuchShare)?;
                if length > MAX_READ {
                    return Err(ServerError::Refused("more than this server reads at once".into()));
                }
                if strict && offset.saturating_add(length) > data.length() {
                    took_effect("strict-server");
                    return Err(ServerError::Refused("the read ends past the end of the share".into()));
                }
                let bytes = data.serve(offset, length);
                state.ledger.read_answered(bytes.len() as u64);
                let buffered = state.ledger.buffered.clone();
                Ok(Bytes::from_owner(Buffered { bytes, buffered }))
            })
            .await;
        if answer.as_ref().is_ok_and(Bytes::is_empty) {
            self.empty().push((offset, length));
        }
        answer
    }

    async fn advise_corrupt_share(&self, _reason: &str) -> Result<(), ServerError> {
        let server = self.server.upgrade().ok_or(ServerError::Disconnected)?;
        let share = self.share;
        server
            .call(CallKind::Advise, Some(self.epoch), move |state| {
                *state.ledger.advised.entry(share).or_default() += 1;
                Ok(())
            })
            .await
    }
}

/// Bytes of an answer, counted for as long as some client has them.
struct Buffered {
    bytes: Bytes,
    buffered: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Buffered {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.buffered.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}
