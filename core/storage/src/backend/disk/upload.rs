//! An immutable share on its way onto a [`Disk`](super::Disk).

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Disk, place::Place};
use crate::backend::{BackendError, Incoming, Progress};
use crate::container::filling::Filling;
use crate::container::immutable::HEADER;
use crate::error::StorageError;
use crate::share::ShareId;

/// An immutable share on its way in. Dropped, it leaves its file in `incoming`.
pub(super) struct Upload {
    disk: Disk,
    id: ShareId,
    size: u64,
    /// The container, until the upload is over. Locked in jobs only.
    container: Arc<Mutex<Option<Filling>>>,
}

impl Upload {
    /// Makes its file.
    pub async fn begin(disk: &Disk, id: ShareId, size: u64) -> Result<Upload, BackendError> {
        let begun = disk.share_job("begin share", id, move |place| {
            let container = Filling::new(place.begin(id)?, size, &[]);
            if container.is_err() {
                // Best effort: the disk is full or worse, and the name is of no account.
                let _ = place.remove_incoming(id);
            }
            container
        });
        let container = Arc::new(Mutex::new(Some(begun.await?)));
        Ok(Upload { disk: disk.clone(), id, size, container })
    }

    async fn job<T: Send + 'static>(
        &self,
        kind: &'static str,
        job: impl FnOnce(&Place, &mut Option<Filling>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let container = self.container.clone();
        let locked =
            move |place: &Place| job(place, &mut container.lock().unwrap_or_else(PoisonError::into_inner));
        self.disk.share_job(kind, self.id, locked).await
    }
}

#[async_trait]
impl Incoming for Upload {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<Progress, BackendError> {
        self.job("write share", move |_, container| {
            container.as_mut().ok_or(StorageError::UploadOver)?.write(offset, &bytes)
        })
        .await
    }

    async fn publish(&self) -> Result<u64, BackendError> {
        let (id, used) = (self.id, HEADER + self.size);
        self.job("publish share", move |place, container| {
            container.as_ref().ok_or(StorageError::UploadOver)?.sync()?;
            // From here on the file may have its name. After an error nobody knows, and nothing more is written.
            *container = None;
            place.publish(id)?;
            Ok(used)
        })
        .await
    }

    async fn settle(&self) {
        let settled = self.job("settle share", |_, container| {
            *container = None;
            Ok(())
        });
        // A job is lost only with the world that it ran in.
        let _ = settled.await;
    }
}
