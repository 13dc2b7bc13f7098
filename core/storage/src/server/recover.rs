//! What a crash left behind: protocol I of leasedb-and-storage §9.
//!
//! Each part may be cut off by another crash, and is then done again. Nothing else need wait for it: whoever takes a
//! file's lock first ends what was left half done of that file.

use std::collections::BTreeSet;
use std::sync::Arc;

use runtime::relapse;

use super::shared::Shared;
use super::{Mode, ReconcileError};
use crate::database::{DatabaseError, State};
use crate::share::Prefix;

impl Shared {
    /// Ends what a crash left half done, and sweeps uploads without a row. What fails is tried again later.
    pub(super) async fn recover(self: Arc<Self>) {
        if relapse!("lease-L7") {
            return;
        }
        if let Err(error) = self.end_half_done().await {
            tracing::error!(server = %self.id, %error, "what a crash left could not be found out");
        }
        if self.sweep().await.is_err() {
            self.unfinished.note_sweep(self.runtime.now());
        }
    }

    async fn end_half_done(self: &Arc<Self>) -> Result<(), DatabaseError> {
        let half_done = self.database.view("half done", |read| {
            let mut files = BTreeSet::new();
            for prefix in (0..Prefix::COUNT).filter_map(Prefix::nth) {
                let rows = read.prefix(prefix)?;
                let half_done = rows.iter().filter(|(_, row)| row.state != State::Stable);
                files.extend(half_done.map(|(id, _)| id.index));
            }
            Ok(files)
        });
        let mut out = false;
        for index in half_done.await? {
            // When the backend is out, each attempt may take long, and all would fail alike.
            if out {
                self.unfinished.note(index, self.runtime.now());
                continue;
            }
            match self.reconcile(index, Mode::Recover).await {
                // What failed in it is noted already.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(server = %self.id, %index, %error, "recovery is put off");
                    self.unfinished.note(index, self.runtime.now());
                    out = matches!(error, ReconcileError::Backend(_));
                }
            }
        }
        Ok(())
    }

    /// Removes the bytes of unpublished uploads that nobody writes any more. Their rows, if there were any, have been
    /// seen to before.
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<(), ReconcileError> {
        let mut failed = None;
        for id in self.backend.incoming().await? {
            let held = self.lock(id.index).await;
            let coming = |row: &crate::database::Row| row.state == State::Coming;
            if self.uploads.has(id) || self.rows(held.index()).await?.get(&id.share).is_some_and(coming) {
                continue;
            }
            runtime::reached!("storage: an upload without a row is swept");
            if let Err(error) = self.backend.discard(id).await {
                tracing::warn!(server = %self.id, share = %id, %error, "a left upload could not be swept");
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
