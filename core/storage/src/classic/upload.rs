//! One share on its way in (leasedb-and-storage §3.4): a file under `shares/incoming` that is renamed
//! into place when every byte of it has been written.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{ServerError, ShareNumber, ShareWriter};
use runtime::files::OpenMode;
use runtime::reached;

use super::directory::Shared;
use crate::container::filling::Filling;
use crate::container::record::LeaseRequest;
use crate::error::StorageError;
use crate::lock::lock;

/// The client's handle to an upload. Dropped before it was closed, it gives the upload up: the place is
/// free at once, the file goes with the next allocation.
pub(crate) struct Writer(pub Arc<Upload>);

#[async_trait]
impl ShareWriter for Writer {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), ServerError> {
        self.job("write share", move |upload| upload.write(offset, &bytes)).await
    }

    async fn close(&self) -> Result<(), ServerError> {
        self.job("close share", Upload::close).await
    }

    async fn abort(&self) -> Result<(), ServerError> {
        self.job("abort share", Upload::abort).await
    }
}

impl Writer {
    async fn job(
        &self,
        kind: &'static str,
        job: impl FnOnce(&Upload) -> Result<(), StorageError> + Send + 'static,
    ) -> Result<(), ServerError> {
        let upload = self.0.clone();
        self.0.shared.job(kind, move |_| job(&upload)).await
    }
}

/// A share being uploaded. Its methods touch the disk: they run in jobs.
pub(crate) struct Upload {
    shared: Arc<Shared>,
    index: StorageIndex,
    share: ShareNumber,
    incoming: PathBuf,
    state: Mutex<State>,
}

enum State {
    /// Takes bytes.
    Open(Filling),
    /// Published or aborted.
    Over,
}

impl Upload {
    /// Starts an upload of `size` bytes; `None` when someone else is uploading this share. The caller
    /// holds the directory's `disk` lock.
    pub fn start(
        shared: &Arc<Shared>,
        index: StorageIndex,
        share: ShareNumber,
        size: u64,
        lease: &LeaseRequest,
    ) -> Result<Option<Upload>, StorageError> {
        let files = shared.files();
        let directory = shared.incoming(&index);
        let incoming = directory.join(share.to_string());
        files.create_dir_all(&directory)?;
        let file = match files.open(&incoming, OpenMode::CreateNew) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let filling = Filling::new(file, size, std::slice::from_ref(lease));
        if filling.is_err() {
            // Best effort: the disk is full or worse.
            let _ = files.remove_file(&incoming);
        }
        let state = Mutex::new(State::Open(filling?));
        shared.reserve(index, share, size);
        Ok(Some(Upload { shared: shared.clone(), index, share, incoming, state }))
    }

    /// Writes at `offset` of the share's data. What overlaps earlier bytes must equal them, or nothing
    /// is written.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        match &mut *lock(&self.state) {
            State::Open(filling) => filling.write(offset, bytes).map(|_| ()),
            State::Over => Err(StorageError::UploadOver),
        }
    }

    /// Publishes the share by one rename, and makes it durable. After an error the share may or may
    /// not have been published; nothing in between. When its bytes could not be made durable, the upload is over: a disk
    /// tells of that once, and has nothing more to write when it is asked again.
    fn close(&self) -> Result<(), StorageError> {
        let mut state = lock(&self.state);
        let State::Open(filling) = &*state else { return Err(StorageError::UploadOver) };
        match filling.sync() {
            Err(StorageError::Disk(error)) => {
                reached!("storage: an upload ends as its bytes cannot be made durable");
                *state = State::Over;
                self.shared.abandon(self.index, self.share, self.incoming.clone());
                return Err(error.into());
            }
            synced => synced?,
        }

        let files = self.shared.files();
        let shareset = self.shared.shareset(&self.index);
        {
            let _alone = self.shared.change();
            files.create_dir_all(&shareset)?;
            files.rename(&self.incoming, &shareset.join(self.share.to_string()))?;
            self.end(&mut state);
        }
        self.shared.make_names_durable(&shareset)
    }

    /// Gives the upload up and removes its file. Of an upload that is over, nothing is left to do.
    fn abort(&self) -> Result<(), StorageError> {
        let mut state = lock(&self.state);
        if let State::Over = *state {
            return Ok(());
        }
        let _alone = self.shared.change();
        self.shared.files().remove_file(&self.incoming)?;
        self.end(&mut state);
        Ok(())
    }

    /// Ends the upload, whose file is no longer in its incoming place: takes its reservation back, and
    /// removes the directories that it may have made there, unless others use them.
    fn end(&self, state: &mut State) {
        *state = State::Over;
        self.shared.release(self.index, self.share);
        let files = self.shared.files();
        for directory in self.incoming.ancestors().skip(1).take(2) {
            if files.remove_dir(directory).is_err() {
                return;
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let State::Open(_) = *lock(&self.state) {
            reached!("storage: upload abandoned");
            self.shared.abandon(self.index, self.share, std::mem::take(&mut self.incoming));
        }
    }
}
