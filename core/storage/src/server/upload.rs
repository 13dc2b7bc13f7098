//! One share on its way in: protocols A (from A2 on) and B of leasedb-and-storage §9.
//!
//! Between calls an upload is its COMING row and the handle here, not a lock. The handle lives until the share is
//! STABLE or its row is GOING.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::server::{ServerError, ShareWriter};
use runtime::{Instant, reached, relapse};

use super::activity::Doing;
use super::locks::Held;
use super::shared::Shared;
use crate::backend::{BackendError, Incoming};
use crate::config::LEASE;
use crate::database::{AccountId, Epoch};
use crate::lock::lock;
use crate::share::{Kind, ShareId};

/// An upload in progress, or one that is over and whose writer is still about.
pub(crate) struct Upload {
    pub id: ShareId,
    pub size: u64,
    epoch: Epoch,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Every byte is there (A3).
    complete: bool,
    /// When the last new bytes came.
    progress: Instant,
}

enum Phase {
    Open(Arc<dyn Incoming>, Doing),
    /// A5 is committed.
    Published,
    /// Why it was given up.
    GivenUp(&'static str),
}

/// The client's handle to an upload. Dropped before the share was published, it gives the upload up.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    upload: Arc<Upload>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, upload: Arc<Upload>) -> Writer {
        Writer { shared, upload }
    }
}

#[async_trait]
impl ShareWriter for Writer {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), ServerError> {
        let call = self.shared.clone().write_share(self.upload.clone(), offset, bytes);
        self.shared.operations.run("write share", call).await?
    }

    async fn close(&self) -> Result<(), ServerError> {
        let call = self.shared.clone().close_share(self.upload.clone());
        self.shared.operations.run("close share", call).await?
    }

    async fn abort(&self) -> Result<(), ServerError> {
        let call = self.shared.clone().abort_share(self.upload.clone(), "the client gave it up");
        self.shared.operations.run("abort share", call).await?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.upload.incoming().is_ok() {
            reached!("storage: a writer went away before its share was complete");
            let (shared, upload) = (self.shared.clone(), self.upload.clone());
            self.shared.operations.spawn("abort share", async move {
                // Whatever comes of it, there is nobody to be told.
                let _ = shared.abort_share(upload, "its client went away").await;
            });
        }
    }
}

impl Upload {
    /// An upload whose row (A1) and place (A2) are made.
    pub fn new(id: ShareId, size: u64, epoch: Epoch, incoming: Arc<dyn Incoming>, shared: &Shared) -> Upload {
        let state = State {
            phase: Phase::Open(incoming, shared.activity.upload(id)),
            complete: size == 0,
            progress: shared.runtime.now(),
        };
        Upload { id, size, epoch, state: Mutex::new(state) }
    }

    /// Where the bytes go, while the upload is open.
    pub fn incoming(&self) -> Result<Arc<dyn Incoming>, ServerError> {
        match &lock(&self.state).phase {
            Phase::Open(incoming, _) => Ok(incoming.clone()),
            Phase::Published => Err(ServerError::Refused("the share is complete".into())),
            Phase::GivenUp(why) => Err(ServerError::Refused(format!("the upload was given up: {why}"))),
        }
    }

    fn is_published(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Published)
    }

    fn is_given_up(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::GivenUp(_))
    }

    /// Leaves the open phase; nothing when it was left before.
    fn end(&self, phase: Phase) -> Option<Arc<dyn Incoming>> {
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Open(..)) {
            return None;
        }
        match std::mem::replace(&mut state.phase, phase) {
            Phase::Open(incoming, _counted) => Some(incoming),
            Phase::Published | Phase::GivenUp(_) => None,
        }
    }

    /// When the last new bytes came.
    pub fn progress(&self) -> Instant {
        lock(&self.state).progress
    }
}

impl Shared {
    async fn write_share(
        self: Arc<Self>,
        upload: Arc<Upload>,
        offset: u64,
        bytes: Bytes,
    ) -> Result<(), ServerError> {
        let held = self.lock(upload.id.index).await;
        let incoming = upload.incoming()?;
        if relapse!("lease-L9") {
            // Any call counts, whatever it brings.
            lock(&upload.state).progress = self.runtime.now();
        }
        let (length, size) = (bytes.len() as u64, upload.size);
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(ServerError::Refused(format!(
                "{length} bytes at {offset} do not fit into the {size} bytes that were allocated"
            )));
        }
        // A2
        let written = {
            let _writing = self.activity.write(upload.id);
            incoming.write(offset, bytes).await
        };
        match written {
            Ok(progress) => {
                let mut state = lock(&upload.state);
                state.complete |= progress.complete;
                if progress.new > 0 {
                    state.progress = self.runtime.now();
                }
                Ok(())
            }
            Err(BackendError::Refused(why)) => {
                reached!("storage: a conflicting write is refused");
                Err(ServerError::Refused(why))
            }
            Err(error) => {
                reached!("storage: an upload is given up after a failed write");
                self.give_up(&held, &upload, "a write failed").await.or_else(already_answered)?;
                Err(error.into())
            }
        }
    }

    async fn close_share(self: Arc<Self>, upload: Arc<Upload>) -> Result<(), ServerError> {
        let mut held = self.lock(upload.id.index).await;
        if upload.is_published() {
            return Ok(());
        }
        let incoming = upload.incoming()?;
        if !lock(&upload.state).complete {
            let size = upload.size;
            return Err(ServerError::Refused(format!("not all of the share's {size} bytes were written")));
        }
        let published = if relapse!("lease-L14") {
            // The mark of an upload in progress goes when its close begins.
            self.uploads.remove(upload.id);
            drop(held);
            let published = self.publish(&upload, &*incoming).await;
            held = self.lock(upload.id.index).await;
            published
        } else {
            self.publish(&upload, &*incoming).await
        };
        if let Err(error) = published {
            reached!("storage: a complete upload could not be published");
            self.give_up(&held, &upload, "it could not be published").await.or_else(already_answered)?;
            return Err(error);
        }
        // A7
        Ok(())
    }

    /// A4–A6 of an upload that has every byte (A3).
    pub(super) async fn publish(&self, upload: &Upload, incoming: &dyn Incoming) -> Result<(), ServerError> {
        // A4
        let used = {
            let _writing = self.activity.write(upload.id);
            incoming.publish().await?
        };
        // A5
        let (id, epoch, now) = (upload.id, upload.epoch, self.now());
        let settled = self.database.update("A5", move |write| {
            let settled = write.settle(id, epoch, Kind::Immutable, used, now)?;
            if settled.is_ok() {
                // Cannot be refused: it has just come to be STABLE.
                let _ = write.renew(id, AccountId::ANONYMOUS, now, Some(now.saturating_add(LEASE)))?;
            }
            Ok(settled)
        });
        settled.await??;
        // A6
        upload.end(Phase::Published);
        self.uploads.remove(id);
        Ok(())
    }

    pub(super) async fn abort_share(
        self: Arc<Self>,
        upload: Arc<Upload>,
        why: &'static str,
    ) -> Result<(), ServerError> {
        let held = self.lock(upload.id.index).await;
        if upload.is_given_up() {
            return Ok(());
        }
        upload.incoming()?;
        self.give_up(&held, &upload, why).await
    }

    /// B: ends an upload that will not be. An error is one of the database; recovery then does the rest.
    pub(super) async fn give_up(
        self: &Arc<Self>,
        held: &Held,
        upload: &Upload,
        why: &'static str,
    ) -> Result<(), ServerError> {
        let (id, epoch, now) = (upload.id, upload.epoch, self.now());
        let Some(incoming) = upload.end(Phase::GivenUp(why)) else { return Ok(()) };
        tracing::info!(server = %self.id, share = %id, why, "an upload is given up");
        // Before B1: no GOING share has a handle.
        self.uploads.remove(id);
        // B1
        let condemned = self.database.update("B1", move |write| write.condemn(id, epoch, now)).await;
        // B2
        incoming.settle().await;
        drop(incoming);
        match condemned {
            Ok(Ok(epoch)) => {
                // B3, B4. After B1 it is gone as far as the client is concerned.
                let _ = self.finish_deletion(held, id, epoch).await;
                Ok(())
            }
            // A5 was committed, though its answer was lost.
            Ok(Err(refused)) => Err(refused.into()),
            Err(error) => {
                self.unfinished.note(id.index, self.runtime.now());
                Err(error.into())
            }
        }
    }
}

/// The client is told of what failed first; what failed after that is in the log.
fn already_answered(error: ServerError) -> Result<(), ServerError> {
    tracing::warn!(%error, "giving an upload up failed, too");
    Ok(())
}
