//! What can go wrong in a storage directory, and what the client is told of it.

use std::io;

use protocol::server::ServerError;
use runtime::JobLost;

use crate::container::MAX_READ;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error(transparent)]
    Disk(#[from] io::Error),
    #[error("it is no regular file")]
    NotAFile,
    #[error("a share file of {0} bytes is too short for its header")]
    NoHeader(u64),
    #[error("share file version {0} is neither 1 nor 2")]
    Version(u32),
    #[error("a share file of {length} bytes cannot hold the {leases} leases that its header claims")]
    Leases { length: u64, leases: u32 },
    #[error("the share has as many leases as its header can count")]
    TooManyLeases,
    #[error("{0} bytes were asked for in one read; the limit is {MAX_READ}")]
    ReadTooLong(u64),
    #[error("{length} bytes at {offset} do not fit into the {size} bytes that were allocated")]
    BeyondSize { offset: u64, length: u64, size: u64 },
    #[error("bytes of {start}..{end} were written before, and differ")]
    Conflict { start: u64, end: u64 },
    #[error("only {written} of the share's {size} bytes were written")]
    Incomplete { written: u64, size: u64 },
    #[error("the upload is over")]
    UploadOver,
    #[error("this storage directory is open for reading only")]
    ReadOnly,
    #[error(transparent)]
    JobLost(#[from] JobLost),
}

impl From<StorageError> for ServerError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Disk(error) => match error.kind() {
                io::ErrorKind::NotFound => ServerError::NoSuchShare,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ServerError::NoSpace,
                _ => ServerError::Disk(error.to_string()),
            },
            StorageError::NotAFile
            | StorageError::NoHeader(_)
            | StorageError::Version(_)
            | StorageError::Leases { .. } => ServerError::Disk(error.to_string()),
            _ => ServerError::Refused(error.to_string()),
        }
    }
}
