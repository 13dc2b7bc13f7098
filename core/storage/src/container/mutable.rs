//! The container of a mutable share (leasedb-and-storage §2.2): a header of 100 bytes, four places for leases, the data,
//! and room for more leases somewhere behind it.
//!
//! We never change the data in place. A change makes a whole new container, which then takes the old one's name.

use std::ops::Range;

use bytes::Bytes;
use runtime::files::File;

use super::record::{Held, Lease, LeaseRequest, SLOT_RECORD};
use super::{MAX_LEASES, MAX_READ, Version, extend, read_data, u64_at};
use crate::backend::{SlotChange, WriteEnabler};
use crate::error::{Flaw, StorageError};

/// Bytes of the header.
pub(crate) const HEADER: u64 = 100;

/// Where the data starts: after the header and four places for leases.
pub(crate) const DATA: u64 = HEADER + IN_PLACE * SLOT_RECORD;

/// The most bytes of data that a change may make of a mutable share: 16 GiB. A Tahoe-LAFS server takes 69 PB (gbs-http §12),
/// of which a client can have nearly all by one byte that is written far behind the others; but it writes in place, and here
/// every change reads the whole share.
pub(crate) const MAX_DATA: u64 = 1 << 34;

/// Where the header has the lengths of data and container.
pub(crate) const LENGTHS: Range<usize> = 84..100;

/// Places for leases before the data.
const IN_PLACE: u64 = 4;

/// Bytes of the count of extra leases.
const COUNT: u64 = 4;

const MAGIC_V1: &[u8; 32] = b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e";
const MAGIC_V2: &[u8; 32] = b"Tahoe mutable container v2\n\xc3\x55\x21\x99\x25";

/// The version of a mutable container, by its first bytes; none when it is something else.
pub(crate) fn version(head: &[u8]) -> Option<Version> {
    match head.first_chunk()? {
        MAGIC_V1 => Some(Version::V1),
        MAGIC_V2 => Some(Version::V2),
        _ => None,
    }
}

/// What the header says. It shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub version: Version,
    /// Bytes of the whole container.
    pub length: u64,
    /// Who may write.
    pub enabler: WriteEnabler,
    /// Bytes of the data.
    pub data_len: u64,
    /// Where the count of extra leases is. Nothing but leases depends on it, so only they check it.
    pub extra: u64,
}

impl Header {
    /// Reads the header of a container of `length` bytes.
    pub fn parse(version: Version, head: &[u8], length: u64) -> Result<Header, Flaw> {
        let Some((head, _)) = head.split_at_checked(HEADER as usize) else {
            return Err(Flaw::NoHeader { length, header: HEADER });
        };
        let mut enabler = WriteEnabler { secret: [0; 32], node: [0; 20] };
        enabler.node.copy_from_slice(&head[32..52]);
        enabler.secret.copy_from_slice(&head[52..84]);
        let (data_len, extra) = (u64_at(head, 84), u64_at(head, 92));
        if data_len > length.saturating_sub(DATA) || length < DATA {
            return Err(Flaw::Data { length, data_len });
        }
        Ok(Header { version, length, enabler, data_len, extra })
    }

    /// The header of a container with this enabler and `data_len` bytes of data, without extra leases.
    fn bytes(version: Version, enabler: &WriteEnabler, data_len: u64) -> [u8; HEADER as usize] {
        let mut header = [0; HEADER as usize];
        header[..32].copy_from_slice(match version {
            Version::V1 => MAGIC_V1,
            Version::V2 => MAGIC_V2,
        });
        header[32..52].copy_from_slice(&enabler.node);
        header[52..84].copy_from_slice(&enabler.secret);
        header[84..92].copy_from_slice(&data_len.to_be_bytes());
        header[92..].copy_from_slice(&(DATA + data_len).to_be_bytes());
        header
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {} bytes of data", self.version, self.data_len)
    }
}

/// An open container.
pub(crate) struct Mutable {
    pub(super) file: Box<dyn File>,
    pub(super) header: Header,
}

impl Mutable {
    /// Who may write it.
    pub fn enabler(&self) -> WriteEnabler {
        self.header.enabler
    }

    /// The data of `[offset, offset + length)`, cut at its end.
    pub fn read(&self, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        read_data(&*self.file, DATA, self.header.data_len, offset, length)
    }

    pub fn leases(&self) -> Result<Vec<Held>, StorageError> {
        let mut held = self.places()?;
        held.retain(|held| held.lease.owner != 0);
        Ok(held)
    }

    pub fn add_or_renew_lease(&self, request: &LeaseRequest) -> Result<(), StorageError> {
        // An owner of 0 would mean that the place is empty.
        let wanted = Lease { owner: request.owner.max(1), ..request.lease(self.header.version) };
        let places = self.places()?;
        let taken = |held: &&Held| held.lease.owner != 0 && held.lease.same_holder(&wanted);
        if let Some(held) = places.iter().find(taken) {
            // What is long enough may not be durable yet: who wrote it may have been cut off.
            if held.lease.expires < wanted.expires {
                extend(&*self.file, held.offset + 4, wanted.expires)?;
            }
        } else {
            let record = wanted.to_slot(&self.header.enabler.node);
            match places.iter().find(|held| held.lease.owner == 0) {
                Some(empty) => self.file.write_all_at(empty.offset, &record)?,
                None => self.append_lease(places.len() as u64 - IN_PLACE, &record)?,
            }
        }
        Ok(self.file.sync_data()?)
    }

    /// Empties the places of the leases for which `over` is true, and says how many remain.
    pub fn remove_leases(&self, over: impl Fn(&Lease) -> bool) -> Result<usize, StorageError> {
        let held = self.leases()?;
        let (mut remaining, empty) = (held.len(), [0; SLOT_RECORD as usize]);
        for held in held.iter().filter(|held| over(&held.lease)) {
            self.file.write_all_at(held.offset, &empty)?;
            remaining -= 1;
        }
        if remaining < held.len() {
            self.file.sync_data()?;
        }
        Ok(remaining)
    }

    /// Every place for a lease, taken or empty.
    fn places(&self) -> Result<Vec<Held>, StorageError> {
        let extra = self.extra_leases()?;
        if u64::from(extra) > MAX_LEASES {
            return Err(StorageError::TooManyLeases);
        }
        let mut places = self.records(HEADER, IN_PLACE)?;
        places.append(&mut self.records(self.header.extra + COUNT, extra.into())?);
        Ok(places)
    }

    fn records(&self, start: u64, count: u64) -> Result<Vec<Held>, StorageError> {
        let mut records = vec![0; (SLOT_RECORD * count) as usize];
        if count > 0 && self.file.read_full_at(start, &mut records)? < records.len() {
            return Err(Flaw::Extra { length: self.header.length, extra: self.header.extra }.into());
        }
        let (records, _) = records.as_chunks();
        let held =
            |(number, record)| Held { offset: start + SLOT_RECORD * number, lease: Lease::from_slot(record) };
        Ok((0..).zip(records).map(held).collect())
    }

    /// How many leases the container has room for behind the data.
    fn extra_leases(&self) -> Result<u32, StorageError> {
        let Header { length, data_len, extra, .. } = self.header;
        let flaw = || StorageError::from(Flaw::Extra { length, extra });
        let room = (extra.checked_add(COUNT).and_then(|start| length.checked_sub(start)))
            .filter(|_| extra >= DATA + data_len)
            .ok_or_else(flaw)?;
        let mut count = [0; COUNT as usize];
        if self.file.read_full_at(extra, &mut count)? < count.len() {
            return Err(flaw());
        }
        let count = u32::from_be_bytes(count);
        if u64::from(count) * SLOT_RECORD > room {
            return Err(flaw());
        }
        Ok(count)
    }

    /// Appends a record to the `extra` ones. It is durable before the count knows of it: a crash may lose it, no more.
    fn append_lease(&self, extra: u64, record: &[u8]) -> Result<(), StorageError> {
        let count = u32::try_from(extra + 1).map_err(|_| StorageError::TooManyLeases)?;
        self.file.write_all_at(self.header.extra + COUNT + SLOT_RECORD * extra, record)?;
        self.file.sync_data()?;
        Ok(self.file.write_all_at(self.header.extra, &count.to_be_bytes())?)
    }
}

/// Bytes of the data once `change` has been made to a share of `before` bytes. Refused when that is too many.
pub(crate) fn changed_len(before: u64, change: &SlotChange) -> Result<u64, StorageError> {
    let mut after = before;
    for (offset, bytes) in &change.writes {
        let end = (offset.checked_add(bytes.len() as u64))
            .filter(|end| *end <= MAX_DATA)
            .ok_or(StorageError::TooLong { offset: *offset, length: bytes.len() as u64 })?;
        after = after.max(end);
    }
    Ok(change.new_length.map_or(after, |cut| after.min(cut)))
}

/// Makes a fresh file the container of `old`, changed; of a new share when there is none. Gives its bytes. The leases in
/// the four places before the data are kept, those behind it are not (§12).
pub(crate) fn write_changed(
    file: &dyn File,
    old: Option<&Mutable>,
    change: &SlotChange,
) -> Result<u64, StorageError> {
    let before = old.map_or(0, |old| old.header.data_len);
    let after = changed_len(before, change)?;
    let (version, enabler) = match old {
        Some(old) => (old.header.version, &old.header.enabler),
        None => (Version::V2, &change.enabler),
    };
    let mut head = Vec::with_capacity(DATA as usize);
    head.extend(Header::bytes(version, enabler, after));
    match old {
        Some(old) => {
            head.resize(DATA as usize, 0);
            let places = &mut head[HEADER as usize..];
            if old.file.read_full_at(HEADER, places)? < places.len() {
                return Err(Flaw::NoHeader { length: old.file.len()?, header: DATA }.into());
            }
        }
        None => head.resize(DATA as usize, 0),
    }
    file.write_all_at(0, &head)?;
    file.set_len(DATA + after + COUNT)?;

    let kept = before.min(after);
    for offset in (0..kept).step_by(PIECE as usize) {
        if let Some(old) = old {
            copy(file, DATA + offset, &old.read(offset, PIECE.min(kept - offset))?)?;
        }
    }
    for (offset, bytes) in &change.writes {
        match after.saturating_sub(*offset).min(bytes.len() as u64) {
            0 => {}
            room => file.write_all_at(DATA + offset, &bytes[..room as usize])?,
        }
    }
    Ok(DATA + after + COUNT)
}

/// The container of `old`, a header and the whole container, changed; of a new share when there is none. It does not shrink.
pub(crate) fn changed_image(
    old: Option<(&Header, &[u8])>,
    change: &SlotChange,
) -> Result<Vec<u8>, StorageError> {
    let before = old.map_or(0, |(header, _)| header.data_len);
    let after = changed_len(before, change)?;
    let all = change.writes.iter().map(|(offset, bytes)| offset + bytes.len() as u64).fold(before, u64::max);
    if all > MAX_READ {
        return Err(StorageError::TooLong { offset: 0, length: all });
    }
    let (version, enabler) =
        old.map_or((Version::V2, &change.enabler), |(old, _)| (old.version, &old.enabler));
    let mut image = Header::bytes(version, enabler, after).to_vec();
    image.extend(
        old.and_then(|(_, image)| image.get(HEADER as usize..(DATA + before) as usize)).unwrap_or_default(),
    );
    image.resize((DATA + all) as usize, 0);
    for (offset, bytes) in &change.writes {
        let start = (DATA + offset) as usize;
        image[start..start + bytes.len()].copy_from_slice(bytes);
    }
    image.truncate((DATA + after) as usize);
    let length = old.map_or(0, |(_, image)| image.len()).max((DATA + after + COUNT) as usize);
    image.resize(length, 0);
    Ok(image)
}

/// Writes old data into a fresh file that has its length already. Pages of zeros are left out: a hole, which takes no room,
/// stays one.
fn copy(file: &dyn File, start: u64, piece: &[u8]) -> Result<(), StorageError> {
    let pages_while = |at: usize, zeros: bool| -> usize {
        piece[at..].chunks(PAGE).take_while(|page| is_zero(page) == zeros).map(<[u8]>::len).sum()
    };
    let mut at = 0;
    while at < piece.len() {
        at += pages_while(at, true);
        let length = pages_while(at, false);
        if length > 0 {
            file.write_all_at(start + at as u64, &piece[at..at + length])?;
        }
        at += length;
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| *first == 0 && bytes[1..] == bytes[..bytes.len() - 1])
}

/// How much of the old data is in memory at a time.
const PIECE: u64 = 1 << 20;

/// Bytes that are left out when they are all zero.
const PAGE: usize = 4096;
