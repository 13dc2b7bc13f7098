//! The container of an immutable share while its bytes come in (leasedb-and-storage §3.4): in any order and piece by
//! piece, but never two different bytes for one place.

use protocol::spans::Spans;
use runtime::files::File;
use runtime::reached;

use super::immutable::{self, HEADER};
use super::record::LeaseRequest;
use crate::backend::Progress;
use crate::error::StorageError;

/// A container that is being filled.
pub(crate) struct Filling {
    file: Box<dyn File>,
    size: u64,
    written: Spans,
}

impl Filling {
    /// Makes a fresh file a container for `size` bytes of data, at most [`immutable::MAX_SHARE`].
    pub fn new(file: Box<dyn File>, size: u64, leases: &[LeaseRequest]) -> Result<Filling, StorageError> {
        immutable::create(&*file, size, leases)?;
        Ok(Filling { file, size, written: Spans::new() })
    }

    /// Writes at `offset` of the data. What overlaps earlier bytes must equal them, or nothing is written.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Progress, StorageError> {
        let length = bytes.len() as u64;
        let end = (offset.checked_add(length).filter(|end| *end <= self.size))
            .ok_or(StorageError::BeyondSize { offset, length, size: self.size })?;

        let new: Spans = std::iter::once(offset..end).collect();
        for overlap in new.intersection(&self.written).iter() {
            let again = &bytes[(overlap.start - offset) as usize..(overlap.end - offset) as usize];
            let mut before = vec![0; again.len()];
            self.file.read_full_at(HEADER + overlap.start, &mut before)?;
            if before != again {
                reached!("storage: conflicting write");
                return Err(StorageError::Conflict { start: overlap.start, end: overlap.end });
            }
        }
        self.file.write_all_at(HEADER + offset, bytes)?;
        let before = self.written.len();
        self.written.add(offset..end);
        Ok(Progress { new: self.written.len() - before, complete: self.written.len() == self.size })
    }

    /// Makes the bytes durable. Every one must be there.
    pub fn sync(&self) -> Result<(), StorageError> {
        if self.written.len() < self.size {
            return Err(StorageError::Incomplete { written: self.written.len(), size: self.size });
        }
        Ok(self.file.sync_data()?)
    }
}
