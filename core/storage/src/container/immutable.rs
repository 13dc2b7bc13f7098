//! The container of an immutable share (leasedb-and-storage §2.1): a header of 12 bytes, the data, the leases.
//!
//! The length of the data is derived: what remains of the file after header and leases.

use bytes::Bytes;
use runtime::files::File;
use runtime::{reached, relapse};

use super::record::{Held, LEASE_RECORD, Lease, LeaseRequest};
use super::{MAX_LEASES, Version, extend, read_data, u32_at};
use crate::error::{Flaw, StorageError};

/// Bytes of the header.
pub(crate) const HEADER: u64 = 12;

/// The largest share that a file can hold: file offsets are signed.
pub(crate) const MAX_SHARE: u64 = i64::MAX as u64 - HEADER - LEASE_RECORD;

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub version: Version,
    /// Bytes of the whole container.
    pub length: u64,
    /// Bytes of the data.
    pub data_len: u64,
    /// Bytes of the data as they were recorded when the container was made, saturated. Zero when unknown.
    pub recorded: u32,
    /// How many leases there are by the header's own count.
    pub counted: u32,
    /// How many lease records follow the data: those that are counted, and what of others a crash has left behind them.
    pub leases: u64,
}

impl Header {
    /// Reads the header of a container of `length` bytes.
    pub fn parse(head: &[u8], length: u64) -> Result<Header, Flaw> {
        if head.len() < HEADER as usize {
            return Err(Flaw::NoHeader { length, header: HEADER });
        }
        let version = match u32_at(head, 0) {
            1 => Version::V1,
            2 => Version::V2,
            version => return Err(Flaw::Version { length, version }),
        };
        let (recorded, counted) = (u32_at(head, 4), u32_at(head, 8));
        let derived = length
            .checked_sub(HEADER + LEASE_RECORD * u64::from(counted))
            .ok_or(Flaw::Leases { length, leases: counted })?;
        let torn = torn_leases(derived, recorded);
        let (data_len, leases) = (derived - LEASE_RECORD * torn, u64::from(counted) + torn);
        Ok(Header { version, length, data_len, recorded, counted, leases })
    }

    /// The header of a new container for `data_len` bytes of data.
    pub fn bytes(data_len: u64, leases: u32) -> [u8; HEADER as usize] {
        let mut header = [0; HEADER as usize];
        header[..4].copy_from_slice(&2u32.to_be_bytes());
        header[4..8].copy_from_slice(&u32::try_from(data_len).unwrap_or(u32::MAX).to_be_bytes());
        header[8..].copy_from_slice(&leases.to_be_bytes());
        header
    }
}

/// An open container.
pub(crate) struct Immutable {
    pub(super) file: Box<dyn File>,
    pub(super) header: Header,
}

impl Immutable {
    /// The data of `[offset, offset + length)`, cut at its end: past it, short or empty, never leases.
    pub fn read(&self, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        let end = match relapse!("lease-A6") {
            true => self.header.length - HEADER,
            false => self.header.data_len,
        };
        read_data(&*self.file, HEADER, end, offset, length)
    }

    pub fn leases(&self) -> Result<Vec<Held>, StorageError> {
        let mut held = self.places()?;
        held.retain(|held| !held.lease.is_unwritten());
        Ok(held)
    }

    /// All records, in order: leases, and places for them.
    fn places(&self) -> Result<Vec<Held>, StorageError> {
        let Header { length, leases, counted, .. } = self.header;
        if leases > MAX_LEASES {
            return Err(StorageError::TooManyLeases);
        }
        let mut records = vec![0; (LEASE_RECORD * leases) as usize];
        if leases > 0 && self.file.read_full_at(self.lease_offset(0), &mut records)? < records.len() {
            return Err(Flaw::Leases { length, leases: counted }.into());
        }
        let (records, _) = records.as_chunks();
        let held =
            |(number, record)| Held { offset: self.lease_offset(number), lease: Lease::from_record(record) };
        Ok((0..).zip(records).map(held).collect())
    }

    pub fn add_or_renew_lease(&self, request: &LeaseRequest) -> Result<(), StorageError> {
        let (wanted, places) = (request.lease(self.header.version), self.places()?);
        let own = places.iter().find(|held| !held.lease.is_unwritten() && held.lease.same_holder(&wanted));
        let free = places.iter().find(|held| held.lease.is_unwritten());
        let leases = match own.or(free) {
            None => self.append_lease(&wanted)?,
            Some(held) => {
                match own {
                    None => self.file.write_all_at(held.offset, &wanted.to_record())?,
                    Some(own) if own.lease.expires < wanted.expires => {
                        extend(&*self.file, own.offset + LEASE_RECORD - 4, wanted.expires)?;
                    }
                    // Who wrote it may have been cut off before it was durable.
                    Some(_) => {}
                }
                self.file.sync_data()?;
                self.header.leases
            }
        };
        // The records are durable: the count never claims what is not there.
        if leases != u64::from(self.header.counted) {
            self.count(leases)?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Removes the leases for which `over` is true, and says how many remain. A crash at any point leaves those that
    /// remain in their place, once or twice; and no byte of them passes for data (see `torn_leases`).
    pub fn remove_leases(&self, over: impl Fn(&Lease) -> bool) -> Result<usize, StorageError> {
        let places = self.places()?;
        let stays = |held: &&Held| !held.lease.is_unwritten() && !over(&held.lease);
        let remaining = places.iter().filter(stays).count();
        if !tells_length(self.header.recorded) {
            // Count and length can only change one after the other, and in between records would pass for data. They stay,
            // and so do the places of the leases that are over.
            let over = places.iter().filter(|held| !stays(held) && !held.lease.is_unwritten());
            let mut written = false;
            for held in over {
                self.file.write_all_at(held.offset, &[0; LEASE_RECORD as usize])?;
                written = true;
            }
            if written {
                self.file.sync_data()?;
            }
        } else if remaining < places.len() {
            // The last ones take the places of those that are over. Nothing that remains is written over, however little
            // of a write a crash leaves.
            let (front, back) = places.split_at(remaining);
            let free = front.iter().filter(|held| !stays(held));
            for (free, moved) in free.zip(back.iter().filter(stays)) {
                self.file.write_all_at(free.offset, &moved.lease.to_record())?;
            }
            self.file.sync_data()?;
            self.count(remaining as u64)?;
            self.file.sync_data()?;
            self.file.set_len(self.lease_offset(remaining as u64))?;
            self.file.sync_data()?;
        }
        Ok(remaining)
    }

    /// Appends a record, durably and not counted yet, and says how many there are then.
    fn append_lease(&self, lease: &Lease) -> Result<u64, StorageError> {
        let leases = self.header.leases + 1;
        if leases > MAX_LEASES {
            return Err(StorageError::TooManyLeases);
        }
        let offset = self.lease_offset(self.header.leases);
        if relapse!("lease-L15") {
            self.file.write_all_at(offset, &lease.to_record())?;
            return Ok(leases);
        }
        // Whole records at once: what a crash leaves can then be told from data (see `torn_leases`).
        let appended = (self.file.set_len(offset + LEASE_RECORD))
            .and_then(|()| self.file.write_all_at(offset, &lease.to_record()))
            .and_then(|()| self.file.sync_data());
        if let Err(error) = appended {
            // Best effort: this disk is full or worse.
            let _ = self.file.set_len(offset);
            return Err(error.into());
        }
        Ok(leases)
    }

    fn count(&self, leases: u64) -> Result<(), StorageError> {
        let count = u32::try_from(leases).map_err(|_| StorageError::TooManyLeases)?;
        Ok(self.file.write_all_at(8, &count.to_be_bytes())?)
    }

    fn lease_offset(&self, number: u64) -> u64 {
        HEADER + self.header.data_len + LEASE_RECORD * number
    }
}

/// Makes a fresh file the container of `data_len` bytes of data (at most [`MAX_SHARE`]), all zero still, with these
/// leases.
pub(crate) fn create(file: &dyn File, data_len: u64, leases: &[LeaseRequest]) -> Result<(), StorageError> {
    file.write_all_at(0, &Header::bytes(data_len, leases.len() as u32))?;
    let records: Vec<_> = leases.iter().flat_map(|request| request.lease(Version::V2).to_record()).collect();
    match records.is_empty() {
        true => file.set_len(HEADER + data_len)?,
        false => file.write_all_at(HEADER + data_len, &records)?,
    }
    Ok(())
}

/// Whether the length of the data in the header tells what it is: of 4 GiB or more there is none, nor before v1.3.
fn tells_length(recorded: u32) -> bool {
    recorded != 0 && recorded != u32::MAX
}

/// How many lease records there are that the count does not know of, by leasedb-and-storage §14.
///
/// A crash while a lease was being appended leaves one, and it would pass for data; so would whatever is appended behind it
/// by those who do not know. The length in the header, where it can hold one, tells.
fn torn_leases(derived: u64, recorded: u32) -> u64 {
    let credible = tells_length(recorded) && !relapse!("lease-L15");
    match derived.checked_sub(u64::from(recorded)) {
        Some(excess) if credible && excess > 0 && excess.is_multiple_of(LEASE_RECORD) => {
            reached!("storage: torn lease set apart from share data");
            excess / LEASE_RECORD
        }
        _ => 0,
    }
}
