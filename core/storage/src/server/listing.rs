//! What clients see of a file, by the state of its shares (leasedb-and-storage §8.3), and reading it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{ServerError, ShareNumber, ShareReader};
use runtime::{reached, relapse};

use super::locks::Held;
use super::reconcile::Sight;
use super::shared::Shared;
use super::{Mode, ReconcileError};
use crate::advisory;
use crate::backend::{BackendError, Body};
use crate::database::{Row, State};
use crate::share::{Kind, ShareId};

impl Shared {
    /// What there is of a file, for a reader: from its rows alone, unless the last comparison with the backend is too
    /// long ago.
    pub(super) async fn seen(self: &Arc<Self>, index: StorageIndex) -> Result<Sight, ServerError> {
        let by_name = relapse!("lease-L8") || relapse!("lease-L14");
        if !by_name && self.looks.fresh(&index, self.runtime.now(), self.config.adopt_interval) {
            return Ok(Sight::of_rows(index, self.rows(index).await?));
        }
        let held = match self.locks.try_lock(&self.id.name, index) {
            Some(held) => held,
            // A reader need not wait for who works on the file just now. But a file that nobody has looked at yet, since
            // the server was started, may have shares without rows.
            None if self.looks.fresh(&index, self.runtime.now(), Duration::MAX) => {
                reached!("storage: a listing goes by the rows, as somebody works on the file");
                return Ok(Sight::of_rows(index, self.rows(index).await?));
            }
            None => self.lock(index).await,
        };
        let shared = self.clone();
        let look = async move { shared.look_or_rows(&held).await };
        self.operations.run("look", look).await?
    }

    /// What there is of a file, for a reader. A backend that does not tell, and be it for one bad file among the shares, says
    /// nothing against those that have rows.
    pub(super) async fn look_or_rows(self: &Arc<Self>, held: &Held) -> Result<Sight, ServerError> {
        match self.look(held, Mode::Request).await {
            Err(ReconcileError::Backend(error)) => {
                let rows = self.rows(held.index()).await?;
                if rows.is_empty() {
                    return Err(error.into());
                }
                reached!("storage: a reader is answered from the rows, as the backend does not tell");
                tracing::warn!(server = %self.id, index = %held.index(), %error, "the backend does not say what it has");
                Ok(Sight::of_rows(held.index(), rows))
            }
            seen => Ok(seen?),
        }
    }

    /// The immutable shares that clients may read.
    pub(super) async fn readable(
        self: &Arc<Self>,
        index: StorageIndex,
    ) -> Result<BTreeMap<ShareNumber, Arc<dyn ShareReader>>, ServerError> {
        let sight = self.seen(index).await?;
        if relapse!("lease-L8") {
            sight.all_readable()?;
        }
        let mut shares: Vec<_> = sight.immutable().collect();
        if relapse!("lease-L14") {
            // Whatever has a name is there.
            let there = |body: &Body| !matches!(body, Body::Corrupted { .. });
            shares = sight.bodies.iter().filter(|(_, body)| there(body)).map(|(share, _)| *share).collect();
        }
        let reader = |share| Reader { shared: self.clone(), id: ShareId { index, share } };
        Ok(shares.into_iter().map(|share| (share, Arc::new(reader(share)) as _)).collect())
    }

    /// Bytes of a share whose row says that it is of this kind.
    pub(super) async fn read(
        &self,
        id: ShareId,
        row: Option<Row>,
        kind: Kind,
        (offset, length): (u64, u64),
    ) -> Result<Bytes, ServerError> {
        let shown = |row: Row| row.kind == kind && matches!(row.state, State::Stable | State::Changing);
        if !row.is_some_and(shown) {
            return Err(ServerError::NoSuchShare);
        }
        let bytes = self.backend.read(id, offset, length).await;
        if let Err(BackendError::NoSuchShare(_) | BackendError::Corrupted { .. }) = bytes {
            reached!("storage: a share turns out to be gone or bad when it is read");
            self.looks.forget(&id.index);
            // It may have been deleted meanwhile, and be half gone.
            if !self.row(id).await?.is_some_and(shown) {
                return Err(ServerError::NoSuchShare);
            }
        }
        Ok(bytes?)
    }

    /// The row of a share.
    pub(super) async fn row(&self, id: ShareId) -> Result<Option<Row>, ServerError> {
        Ok(self.database.view("row", move |read| read.row(id)).await?)
    }

    /// Keeps a client's report about a damaged share, if there is such a share and room for the report.
    pub(super) async fn advise(self: Arc<Self>, id: ShareId, reason: String) -> Result<(), ServerError> {
        let row = self.row(id).await?;
        let known = |row: &Row| matches!(row.state, State::Stable | State::Changing);
        let Some(row) = row.filter(known) else { return Err(ServerError::NoSuchShare) };
        let logged = advisory::cut(&reason);
        tracing::warn!(server = %self.id, share = %id, reason = %logged, "a client reports a damaged share");
        if self.config.read_only || self.room().await.is_ok_and(|room| room < reason.len() as u64) {
            reached!("storage: a report about a damaged share is dropped for want of room");
            return Ok(());
        }
        let (files, now) = (self.runtime.files(), self.runtime.unix_time());
        let directory = self.state.join("corruption-advisories");
        let written = self.runtime.blocking("advise_corrupt_share", move || {
            let kind = if row.kind == Kind::Mutable { "mutable" } else { "immutable" };
            advisory::record(&*files, &directory, now, kind, &id.index, id.share, &reason)
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ServerError::Disk(error.to_string())),
            Err(lost) => Err(ServerError::Disk(lost.to_string())),
        }
    }
}

/// Reads one immutable share. It holds a name and nothing else: a share that is deleted is missed by the next read.
struct Reader {
    shared: Arc<Shared>,
    id: ShareId,
}

#[async_trait]
impl ShareReader for Reader {
    async fn read(&self, offset: u64, length: u64) -> Result<Bytes, ServerError> {
        if relapse!("lease-L14") {
            return Ok(self.shared.backend.read(self.id, offset, length).await?);
        }
        let row = self.shared.row(self.id).await?;
        self.shared.read(self.id, row, Kind::Immutable, (offset, length)).await
    }

    async fn advise_corrupt_share(&self, reason: &str) -> Result<(), ServerError> {
        let advise = self.shared.clone().advise(self.id, reason.to_owned());
        self.shared.operations.run("advise_corrupt_share", advise).await?
    }
}
