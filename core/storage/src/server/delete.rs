//! The end of a share: GOING is committed before anything is deleted, and the row goes when all is deleted (protocols
//! B, E and F of leasedb-and-storage §9).

use std::sync::Arc;

use runtime::{reached, relapse};

use super::errors::refused_words;
use super::locks::Held;
use super::shared::Shared;
use super::{Outcome, ReconcileError, Step};
use crate::backend::BackendError;
use crate::database::Epoch;
use crate::share::ShareId;

impl Shared {
    /// F: deletes a share that nobody has a lease on.
    pub(super) async fn collect(
        self: &Arc<Self>,
        held: &Held,
        id: ShareId,
    ) -> Result<Outcome, ReconcileError> {
        let now = self.now();
        // F1: looks for leases and marks in one step.
        let condemned = self.database.update("F1", move |write| write.condemn_unleased(id, now));
        let outcome = match condemned.await {
            Ok(Ok(epoch)) => match self.finish_deletion(held, id, epoch).await {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Failed(error.to_string()),
            },
            Ok(Err(_)) => {
                reached!("storage: a lease saves a share at the last moment");
                return Ok(Outcome::Left);
            }
            Err(error) => {
                self.unfinished.note(id.index, self.runtime.now());
                return Err(error.into());
            }
        };
        self.tell(id, Step::Collect, &outcome);
        Ok(outcome)
    }

    /// Deletes a STABLE share that must make way (E1–E3).
    pub(super) async fn delete_stable(
        self: &Arc<Self>,
        held: &Held,
        id: ShareId,
        epoch: Epoch,
    ) -> Result<(), ReconcileError> {
        let now = self.now();
        // E1
        match self.database.update("E1", move |write| write.condemn(id, epoch, now)).await {
            // E2, E3
            Ok(Ok(epoch)) => self.finish_deletion(held, id, epoch).await,
            Ok(Err(refused)) => {
                tracing::warn!(server = %self.id, share = %id, why = refused_words(&refused), "it is not deleted");
                Ok(())
            }
            Err(error) => {
                self.unfinished.note(id.index, self.runtime.now());
                Err(error.into())
            }
        }
    }

    /// Takes back a creation that failed (B1, B3, B4). What fails in that is left to recovery.
    pub(super) async fn delete_coming(self: &Arc<Self>, held: &Held, id: ShareId, epoch: Epoch) {
        let now = self.now();
        // B1
        match self.database.update("B1", move |write| write.condemn(id, epoch, now)).await {
            // B3, B4
            Ok(Ok(epoch)) => {
                let _ = self.finish_deletion(held, id, epoch).await;
            }
            Ok(Err(refused)) => {
                tracing::warn!(server = %self.id, share = %id, why = refused_words(&refused), "it is not deleted");
            }
            Err(_) => self.unfinished.note(id.index, self.runtime.now()),
        }
    }

    /// B3–B4, E2–E3, F2–F3: deletes what is there of a share that is GOING, then its row. When that fails, the share
    /// stays GOING, and it is tried again later.
    pub(super) async fn finish_deletion(
        self: &Arc<Self>,
        _held: &Held,
        id: ShareId,
        epoch: Epoch,
    ) -> Result<(), ReconcileError> {
        if relapse!("lease-L3") {
            // The deletion goes on while others have the file.
            let shared = self.clone();
            self.operations.spawn("delete", async move {
                let _ = shared.delete_and_forget(id, epoch).await;
            });
            return Ok(());
        }
        let deleted = self.delete_and_forget(id, epoch).await;
        if let Err(error) = &deleted {
            reached!("storage: a deletion failed");
            tracing::warn!(server = %self.id, share = %id, %error, "a share could not be deleted yet");
            if !relapse!("lease-L10") {
                self.unfinished.note(id.index, self.runtime.now());
            }
        }
        deleted
    }

    async fn delete_and_forget(&self, id: ShareId, epoch: Epoch) -> Result<(), ReconcileError> {
        // B3, E2, F2
        let deleting = self.activity.deletion(id);
        let epoch = match self.backend.delete(id, epoch).await {
            // The row is as it was before commits that were lost: the store knows a later epoch, of nobody who is left.
            Err(BackendError::Stale(_)) => {
                reached!("storage: a deletion whose epoch the store has outlived");
                let now = self.now();
                let again = self.database.update("F1", move |write| write.condemn_again(id, epoch, now));
                let epoch = again.await?.map_err(|_| BackendError::Stale(id))?;
                self.backend.delete(id, epoch).await?;
                epoch
            }
            deleted => deleted.map(|()| epoch)?,
        };
        drop(deleting);
        // B4, E3, F3
        let forgotten = self.database.update("forget", move |write| write.forget(id, epoch)).await?;
        if let Err(refused) = forgotten {
            // Cannot be, under the lock.
            tracing::error!(server = %self.id, share = %id, why = refused_words(&refused), "its row stays");
        }
        Ok(())
    }
}
