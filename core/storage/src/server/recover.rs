//! What a crash left behind: protocol I of leasedb-and-storage §9.
//!
//! Each part may be cut off by another crash, and is then done again. Nothing else need wait for it: whoever takes a
//! file's lock first ends what was left half done of that file.

use std::collections::BTreeSet;
use std::sync::Arc;

use runtime::{reached, relapse};

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
        if !self.recover_once().await {
            reached!("storage: recovery is put off");
            self.unfinished.note_recovery(self.runtime.now());
        }
    }

    /// The same, once. False when it must be done again; files that fail alone are noted one by one, too.
    pub(super) async fn recover_once(self: &Arc<Self>) -> bool {
        let ended = async {
            self.end_half_done().await?;
            self.sweep().await
        };
        ended.await.unwrap_or_else(|error| {
            tracing::error!(server = %self.id, %error, "what a crash left could not be put right yet");
            false
        })
    }

    async fn end_half_done(self: &Arc<Self>) -> Result<(), DatabaseError> {
        let half_done = self.database.view("half done", |read| {
            let mut files = BTreeSet::new();
            for prefix in Prefix::all() {
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
    /// seen to before; false when some are still there.
    async fn sweep(self: &Arc<Self>) -> Result<bool, ReconcileError> {
        let mut finished = true;
        for id in self.backend.incoming().await? {
            let _held = self.lock(id.index).await;
            if self.uploads.has(id) {
                continue;
            }
            let rows = self.rows(id.index).await?;
            if rows.get(&id.share).is_some_and(|row| row.state == State::Coming) {
                finished = false;
                continue;
            }
            reached!("storage: an upload without a row is swept");
            if let Err(error) = self.backend.discard(id).await {
                tracing::warn!(server = %self.id, share = %id, %error, "a left upload could not be swept");
                finished = false;
            }
        }
        Ok(finished)
    }
}
