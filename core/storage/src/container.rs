//! One share file (leasedb-and-storage §2.1): a header of 12 bytes, the share's data, the leases.
//!
//! The length of the data is derived: what remains of the file after header and leases.

use std::path::Path;

use bytes::Bytes;
use runtime::files::{File, FileKind, Files, OpenMode};
use runtime::reached;

use crate::error::StorageError;
use crate::lease::{Lease, LeaseRequest, RECORD};

/// Bytes of the header.
pub(crate) const HEADER: u64 = 12;

/// The most bytes that one read gives: far above any block of a sensible file, far below memory.
pub(crate) const MAX_READ: u64 = 1 << 28;

/// The largest share that a file can hold: file offsets are signed.
pub(crate) const MAX_SHARE: u64 = i64::MAX as u64 - HEADER - RECORD;

/// How a share file stores lease secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// In clear.
    V1,
    /// Hashed. All new files are of this version.
    V2,
}

/// An open share file with a sound header.
pub(crate) struct Container {
    file: Box<dyn File>,
    version: Version,
    data_len: u64,
    leases: u32,
}

impl Container {
    /// Opens a share file and checks its header. Errors tell what makes it none.
    pub fn open(files: &dyn Files, path: &Path, mode: OpenMode) -> Result<Container, StorageError> {
        // A pipe or a device must not even be opened: that may wait for ever.
        if files.kind(path)? != FileKind::File {
            return Err(StorageError::NotAFile);
        }
        let file = files.open(path, mode)?;
        let length = file.len()?;
        let mut header = [0; HEADER as usize];
        if file.read_full_at(0, &mut header)? < header.len() {
            return Err(StorageError::NoHeader(length));
        }
        let [v0, v1, v2, v3, l0, l1, l2, l3, n0, n1, n2, n3] = header;
        let version = match u32::from_be_bytes([v0, v1, v2, v3]) {
            1 => Version::V1,
            2 => Version::V2,
            other => return Err(StorageError::Version(other)),
        };
        let leases = u32::from_be_bytes([n0, n1, n2, n3]);
        let derived = length
            .checked_sub(HEADER + RECORD * u64::from(leases))
            .ok_or(StorageError::Leases { length, leases })?;
        let data_len = without_torn_leases(derived, u32::from_be_bytes([l0, l1, l2, l3]));
        Ok(Container { file, version, data_len, leases })
    }

    /// The data of `[offset, offset + length)`, cut at its end: past it, short or empty, never leases.
    pub fn read(&self, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        let length = length.min(self.data_len.saturating_sub(offset));
        if length > MAX_READ {
            return Err(StorageError::ReadTooLong(length));
        }
        let mut buffer = vec![0; length as usize];
        let got = if length == 0 { 0 } else { self.file.read_full_at(HEADER + offset, &mut buffer)? };
        buffer.truncate(got);
        Ok(buffer.into())
    }

    /// Renews the lease that was asked for with the same renew secret, or appends a new one.
    /// Renewing never shortens. Durable on return.
    pub fn add_or_renew_lease(&self, request: &LeaseRequest) -> Result<(), StorageError> {
        let wanted = request.record(self.version);
        match self.find_lease(&wanted)? {
            Some((_, held)) if held.expires >= wanted.expires => return Ok(()),
            Some((offset, _)) => {
                self.file.write_all_at(offset + RECORD - 4, &wanted.expires.to_be_bytes())?
            }
            None => self.append_lease(&wanted)?,
        }
        Ok(self.file.sync_data()?)
    }

    /// The place and content of the lease of the same holder as `wanted`.
    fn find_lease(&self, wanted: &Lease) -> Result<Option<(u64, Lease)>, StorageError> {
        for number in 0..self.leases {
            let offset = self.lease_offset(number);
            let mut bytes = [0; RECORD as usize];
            if self.file.read_full_at(offset, &mut bytes)? < bytes.len() {
                return Err(StorageError::Leases { length: self.file.len()?, leases: self.leases });
            }
            let lease = Lease::from_bytes(&bytes);
            if lease.same_holder(wanted) {
                return Ok(Some((offset, lease)));
            }
        }
        Ok(None)
    }

    fn append_lease(&self, lease: &Lease) -> Result<(), StorageError> {
        let count = self.leases.checked_add(1).ok_or(StorageError::TooManyLeases)?;
        let offset = self.lease_offset(self.leases);
        // Whole records at once, and durable before the count: what a crash leaves can then be told
        // from data (see `without_torn_leases`), and a count never claims what is not there.
        let appended = (self.file.set_len(offset + RECORD))
            .and_then(|()| self.file.write_all_at(offset, &lease.to_bytes()))
            .and_then(|()| self.file.sync_data());
        if let Err(error) = appended {
            // Best effort: this disk is full or worse.
            let _ = self.file.set_len(offset);
            return Err(error.into());
        }
        Ok(self.file.write_all_at(8, &count.to_be_bytes())?)
    }

    fn lease_offset(&self, number: u32) -> u64 {
        HEADER + self.data_len + RECORD * u64::from(number)
    }
}

/// Makes a fresh file a share file for `data_len` bytes of data (at most [`MAX_SHARE`]), all zero still,
/// with one lease.
pub(crate) fn create(file: &dyn File, data_len: u64, lease: &LeaseRequest) -> Result<(), StorageError> {
    let mut header = [0; HEADER as usize];
    header[..4].copy_from_slice(&2u32.to_be_bytes());
    header[4..8].copy_from_slice(&u32::try_from(data_len).unwrap_or(u32::MAX).to_be_bytes());
    header[8..].copy_from_slice(&1u32.to_be_bytes());
    file.write_all_at(0, &header)?;
    Ok(file.write_all_at(HEADER + data_len, &lease.record(Version::V2).to_bytes())?)
}

/// The true length of the data, by leasedb-and-storage §14.
///
/// A crash while a lease was being appended leaves a record that the count does not know of, and that
/// would pass for data. The length in the header, where it can hold one, tells.
fn without_torn_leases(derived: u64, recorded: u32) -> u64 {
    let credible = recorded != 0 && recorded != u32::MAX;
    match derived.checked_sub(u64::from(recorded)) {
        Some(excess) if credible && excess > 0 && excess.is_multiple_of(RECORD) => {
            reached!("storage: torn lease set apart from share data");
            u64::from(recorded)
        }
        _ => derived,
    }
}
