//! An immutable share on its way onto a [`Disk`](super::Disk): in a file of its own, or in memory if it is small.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use runtime::reached;

use super::{Disk, memory::MemoryFile, place::Place};
use crate::backend::{BackendError, Incoming, Progress};
use crate::container::filling::Filling;
use crate::container::immutable::HEADER;
use crate::error::StorageError;
use crate::lock::lock;
use crate::share::ShareId;

/// An immutable share on its way in. Dropped, it leaves its file in `incoming`, if it has one there.
pub(super) struct Upload {
    disk: Disk,
    id: ShareId,
    size: u64,
    /// The container, until the upload is over. One in a file is locked in jobs only; one in memory for a moment, unless it
    /// is being published.
    container: Arc<Mutex<Option<Filling>>>,
    /// What the container is in, if that is memory.
    memory: Option<MemoryFile>,
}

impl Upload {
    /// Makes its place.
    pub async fn begin(disk: &Disk, id: ShareId, size: u64) -> Result<Upload, BackendError> {
        let memory = disk.memory.file(HEADER + size);
        let container = match memory.clone() {
            Some(memory) => Filling::new(Box::new(memory), size, &[]).map_err(|error| error.about(id))?,
            None => {
                let begun = disk.share_job("begin share", id, move |place| {
                    let container = Filling::new(place.begin(id)?, size, &[]);
                    place.forget_if_failed(id, container)
                });
                begun.await?
            }
        };
        Ok(Upload { disk: disk.clone(), id, size, container: Arc::new(Mutex::new(Some(container))), memory })
    }

    async fn job<T: Send + 'static>(
        &self,
        kind: &'static str,
        job: impl FnOnce(&Place, &mut Option<Filling>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let container = self.container.clone();
        self.disk.share_job(kind, self.id, move |place| job(place, &mut lock(&container))).await
    }
}

#[async_trait]
impl Incoming for Upload {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<Progress, BackendError> {
        let write = move |container: &mut Option<Filling>| {
            container.as_mut().ok_or(StorageError::UploadOver)?.write(offset, &bytes)
        };
        match self.memory {
            Some(_) => write(&mut lock(&self.container)).map_err(|error| error.about(self.id)),
            None => self.job("write share", move |_, container| write(container)).await,
        }
    }

    async fn publish(&self) -> Result<u64, BackendError> {
        let (id, used, memory) = (self.id, HEADER + self.size, self.memory.clone());
        self.job("publish share", move |place, container| {
            container.as_ref().ok_or(StorageError::UploadOver)?.sync()?;
            // From here on the file may have its name. After an error nobody knows, and nothing more is written.
            *container = None;
            if let Some(memory) = memory {
                reached!("storage: a small share goes from memory to the disk");
                place.write_whole(id, &memory.into_bytes())?;
            }
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
