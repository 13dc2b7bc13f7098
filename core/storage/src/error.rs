//! What can go wrong in a storage directory, and what the client is told of it.

use std::io;

use protocol::server::ServerError;
use runtime::JobLost;

use crate::backend::BackendError;
use crate::container::MAX_READ;
use crate::share::ShareId;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error(transparent)]
    Disk(#[from] io::Error),
    #[error(transparent)]
    Unusable(#[from] Flaw),
    #[error("the share has too many leases")]
    TooManyLeases,
    #[error("{0} bytes were asked for in one read; the limit is {MAX_READ}")]
    ReadTooLong(u64),
    #[error("{length} bytes at {offset} do not fit into the {size} bytes that were allocated")]
    BeyondSize { offset: u64, length: u64, size: u64 },
    #[error("a share cannot have {length} bytes at {offset}: that is too long")]
    TooLong { offset: u64, length: u64 },
    #[error("bytes of {start}..{end} were written before, and differ")]
    Conflict { start: u64, end: u64 },
    #[error("the bytes at {offset} come too long before those ahead of them")]
    TooFarAhead { offset: u64 },
    #[error("only {written} of the share's {size} bytes were written")]
    Incomplete { written: u64, size: u64 },
    #[error("the upload is over")]
    UploadOver,
    #[error("the share is immutable")]
    NotMutable,
    #[error("this storage directory is open for reading only")]
    ReadOnly,
    #[error(transparent)]
    JobLost(#[from] JobLost),
}

/// What makes a file no container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("it is no regular file")]
    NotAFile,
    #[error("a container of {length} bytes is too short for its header of {header}")]
    NoHeader { length: u64, header: u64 },
    #[error("container version {version} is neither 1 nor 2")]
    Version { length: u64, version: u32 },
    #[error("a container of {length} bytes cannot hold the {leases} leases that its header claims")]
    Leases { length: u64, leases: u32 },
    #[error("a container of {length} bytes cannot hold the {data_len} bytes of data that its header claims")]
    Data { length: u64, data_len: u64 },
    #[error("a container of {length} bytes cannot have its extra leases at {extra}")]
    Extra { length: u64, extra: u64 },
    #[error("its objects do not fit together: {0}")]
    Chunks(String),
}

impl Flaw {
    /// Bytes of what is flawed, as far as they are known.
    pub fn length(&self) -> u64 {
        match *self {
            Flaw::NotAFile | Flaw::Chunks(_) => 0,
            Flaw::Version { length, .. }
            | Flaw::NoHeader { length, .. }
            | Flaw::Leases { length, .. }
            | Flaw::Data { length, .. }
            | Flaw::Extra { length, .. } => length,
        }
    }
}

impl StorageError {
    /// As the caller of a backend knows it: what befell this share.
    pub fn about(self, id: ShareId) -> BackendError {
        match self {
            StorageError::Unusable(flaw) => BackendError::Corrupted { id, why: flaw.to_string() },
            StorageError::Disk(error) if error.kind() == io::ErrorKind::NotFound => {
                BackendError::NoSuchShare(id)
            }
            error => error.into(),
        }
    }
}

impl From<StorageError> for BackendError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Disk(error) if is_full(&error) => BackendError::NoSpace,
            StorageError::Disk(_) | StorageError::Unusable(_) | StorageError::JobLost(_) => {
                BackendError::Failed(error.to_string())
            }
            _ => BackendError::Refused(error.to_string()),
        }
    }
}

/// The disk cannot take so much.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl From<StorageError> for ServerError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Disk(error) if error.kind() == io::ErrorKind::NotFound => ServerError::NoSuchShare,
            StorageError::Disk(error) if is_full(&error) => ServerError::NoSpace,
            StorageError::Disk(error) => ServerError::Disk(error.to_string()),
            StorageError::Unusable(flaw) => ServerError::Disk(flaw.to_string()),
            _ => ServerError::Refused(error.to_string()),
        }
    }
}
