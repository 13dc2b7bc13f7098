//! Containers: the file around a share's data, with its header and its leases (leasedb-and-storage §2), in the formats
//! of Tahoe-LAFS 1.20. Each format is written down here once, for the guest in a node's directory as for our own backends.
//!
//! What a header claims is checked against the length of the file before anything is read or allocated on its word.

pub(crate) mod filling;
pub(crate) mod immutable;
pub(crate) mod mutable;
pub(crate) mod record;
#[cfg(test)]
mod tests;

use std::path::Path;

use bytes::Bytes;
use runtime::files::{File, FileKind, Files, OpenMode};

use crate::error::{Flaw, StorageError};
use crate::share::Kind;
use immutable::Immutable;
use mutable::Mutable;
use record::{Held, Lease, LeaseRequest};

/// The most bytes that one read gives: far above any block of a sensible file, far below memory.
pub(crate) const MAX_READ: u64 = 1 << 28;

/// The most leases of one share that are looked at. A share has one for each client that cares for it.
pub(crate) const MAX_LEASES: u64 = 1 << 16;

/// As many bytes of a container as tell what it is.
pub(crate) const HEAD: usize = mutable::HEADER as usize;

/// How a container stores lease secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// In clear.
    V1,
    /// Hashed. All new containers are of this version.
    V2,
}

/// What a container says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Immutable(immutable::Header),
    Mutable(mutable::Header),
}

impl Header {
    /// Reads the header of a container of `length` bytes, from its first [`HEAD`] bytes or as many as there are.
    pub fn parse(head: &[u8], length: u64) -> Result<Header, Flaw> {
        match mutable::version(head) {
            Some(version) => mutable::Header::parse(version, head, length).map(Header::Mutable),
            None => immutable::Header::parse(head, length).map(Header::Immutable),
        }
    }
}

/// As many bytes as a container has at least, if what its header says of its data is true; zero when it says nothing.
pub(crate) fn promised(head: &[u8]) -> u64 {
    if let Some(version) = mutable::version(head) {
        return mutable::Header::parse(version, head, u64::MAX)
            .map_or(0, |header| mutable::DATA + header.data_len);
    }
    let (recorded, leases) = (u32_at(head, 4), u32_at(head, 8));
    let length = immutable::HEADER + u64::from(recorded) + record::LEASE_RECORD * u64::from(leases);
    match immutable::Header::parse(head, length) {
        Ok(_) if recorded < u32::MAX => length,
        _ => 0,
    }
}

/// An open container with a sound header.
pub(crate) enum Container {
    Immutable(Immutable),
    Mutable(Mutable),
}

impl Container {
    /// Opens a container. [`StorageError::Unusable`] when it is none; other errors are the disk's and say nothing of it.
    pub fn open(files: &dyn Files, path: &Path, mode: OpenMode) -> Result<Container, StorageError> {
        // A pipe or a device must not even be opened: that may wait for ever.
        if files.kind(path)? != FileKind::File {
            return Err(Flaw::NotAFile.into());
        }
        Container::of(files.open(path, mode)?)
    }

    fn of(file: Box<dyn File>) -> Result<Container, StorageError> {
        let length = file.len()?;
        let mut head = [0; HEAD];
        let got = file.read_full_at(0, &mut head)?;
        Ok(match Header::parse(&head[..got], length)? {
            Header::Immutable(header) => Container::Immutable(Immutable { file, header }),
            Header::Mutable(header) => Container::Mutable(Mutable { file, header }),
        })
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        match self {
            Container::Immutable(_) => Kind::Immutable,
            Container::Mutable(_) => Kind::Mutable,
        }
    }

    /// Bytes of its data.
    pub fn data_len(&self) -> u64 {
        match self {
            Container::Immutable(share) => share.header.data_len,
            Container::Mutable(share) => share.header.data_len,
        }
    }

    /// Bytes of the whole container when it was opened.
    pub fn length(&self) -> u64 {
        match self {
            Container::Immutable(share) => share.header.length,
            Container::Mutable(share) => share.header.length,
        }
    }

    /// The data of `[offset, offset + length)`, cut at its end: past it, short or empty, never leases.
    pub fn read(&self, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        match self {
            Container::Immutable(share) => share.read(offset, length),
            Container::Mutable(share) => share.read(offset, length),
        }
    }

    /// Its leases, and where their records are.
    pub fn leases(&self) -> Result<Vec<Held>, StorageError> {
        match self {
            Container::Immutable(share) => share.leases(),
            Container::Mutable(share) => share.leases(),
        }
    }

    /// Renews the lease that was asked for with the same renew secret, or adds a new one. Renewing never shortens.
    /// Durable on return.
    pub fn add_or_renew_lease(&self, request: &LeaseRequest) -> Result<(), StorageError> {
        match self {
            Container::Immutable(share) => share.add_or_renew_lease(request),
            Container::Mutable(share) => share.add_or_renew_lease(request),
        }
    }

    /// Removes the leases for which `over` is true, and says how many remain. Durable on return.
    pub fn remove_leases(&self, over: impl Fn(&Lease) -> bool) -> Result<usize, StorageError> {
        match self {
            Container::Immutable(share) => share.remove_leases(over),
            Container::Mutable(share) => share.remove_leases(over),
        }
    }
}

/// Bytes of a share that starts at `start` of its file: `[offset, offset + length)`, cut at `data_len`.
fn read_data(
    file: &dyn File,
    start: u64,
    data_len: u64,
    offset: u64,
    length: u64,
) -> Result<Bytes, StorageError> {
    let length = length.min(data_len.saturating_sub(offset));
    if length > MAX_READ {
        return Err(StorageError::ReadTooLong(length));
    }
    let mut buffer = vec![0; length as usize];
    let got = if length == 0 { 0 } else { file.read_full_at(start + offset, &mut buffer)? };
    buffer.truncate(got);
    Ok(buffer.into())
}

/// As many bytes a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// Writes at `at` that a lease ends later than it did. A crash may part the four bytes where two sectors meet: the higher
/// ones are durable first, so that what it leaves is never too early.
fn extend(file: &dyn File, at: u64, expires: u32) -> Result<(), StorageError> {
    let bytes = expires.to_be_bytes();
    let first = (SECTOR - at % SECTOR).min(4);
    let (high, low) = bytes.split_at(first as usize);
    file.write_all_at(at, high)?;
    if !low.is_empty() {
        file.sync_data()?;
        file.write_all_at(at + first, low)?;
    }
    Ok(())
}

/// The big-endian number at `at`. Zero where `bytes` do not reach: callers have checked that they do.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The same, of 8 bytes.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
