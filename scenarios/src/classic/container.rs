//! Containers as the node's own server, Tahoe-LAFS 1.20, makes and reads them: a reader and writer of our own
//! (leasedb-and-storage §2.1, §4).

use blake2::{Blake2b256, Digest};
use protocol::server::LeaseSecret;
use storage::config::LEASE;

use super::workload::{Condition, Inherited};
use crate::storage::workload::DAY;

/// Bytes of the header.
pub const HEADER: usize = 12;
/// Bytes of a lease record.
pub const RECORD: usize = 72;

/// The client of the node whose lease was being added when the node died.
pub const TORN: u64 = 98;
/// The client of the node that has a lease added while we are its guest.
pub const NODE: u64 = 99;

/// Leases that are more than anybody looks at.
const CROWD: u32 = (1 << 16) + 1;

/// A file as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its first bytes: all but for the longest files.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub length: u64,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1 or 2.
    pub version: u32,
    /// Bytes of the data when the container was made, which nobody reads there.
    pub recorded: u32,
    /// How many leases there are behind the data.
    pub leases: u32,
    /// Bytes of the data: what the file has beside header and leases.
    pub derived: u64,
}

/// A lease record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The renew secret as it is stored.
    pub renew: [u8; 32],
    /// The cancel secret as it is stored.
    pub cancel: [u8; 32],
    /// When the lease ends, in seconds since the Unix epoch.
    pub expires: u32,
}

/// The secret with which a client renews its leases.
pub fn secret(client: u64) -> LeaseSecret {
    std::array::from_fn(|place| 0xC5 ^ (place as u8).wrapping_mul(37) ^ (client as u8).wrapping_mul(11))
}

/// The header of a container; nothing when the node cannot make sense of it.
pub fn header(file: &Kept) -> Option<Header> {
    let field = |at| word(&file.bytes, at);
    let (version, recorded, leases) = (field(0)?, field(4)?, field(8)?);
    let derived = file.length.checked_sub((HEADER + RECORD * leases as usize) as u64)?;
    (1..=2).contains(&version).then_some(Header { version, recorded, leases, derived })
}

/// All whole records behind the first `size` bytes of data, counted or not.
pub fn records(file: &Kept, size: usize) -> Vec<Record> {
    let behind = file.bytes.get(HEADER + size..).unwrap_or_default();
    behind.chunks_exact(RECORD).filter_map(Record::read).collect()
}

/// What the node has left.
pub fn inherited(plan: &Inherited, data: &[u8], epoch: u64) -> Kept {
    let version = if plan.old { 1 } else { 2 };
    let lease = |(client, days): (usize, &i64)| {
        let expires = epoch.saturating_add_signed(days.saturating_mul(DAY as i64));
        Record::new(version, client as u64, u32::try_from(expires).unwrap_or(u32::MAX))
    };
    let leases: Vec<Record> = plan.leases.iter().enumerate().map(lease).collect();
    let mut bytes = Vec::new();
    for word in [version, data.len() as u32, leases.len() as u32] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(data);
    bytes.extend(leases.iter().flat_map(|lease| lease.bytes()));
    let torn = Record::new(version, TORN, (epoch + LEASE) as u32).bytes();
    match plan.state {
        Condition::Sound => {}
        Condition::Torn => bytes.extend(torn),
        Condition::TornBlank => bytes.extend([0; RECORD]),
        Condition::TornHalf => bytes.extend(torn[..RECORD / 2].iter().copied().chain([0; RECORD / 2])),
        Condition::TornThenLeased => {
            bytes.extend(torn);
            return appended(&Kept::of(bytes), epoch, true);
        }
        Condition::Foreign => bytes[3] = 9,
        Condition::Short => bytes.truncate(11),
        Condition::Boastful => bytes[8..12].copy_from_slice(&(leases.len() as u32 + 900).to_be_bytes()),
        Condition::Crowded => {
            bytes[8..12].copy_from_slice(&CROWD.to_be_bytes());
            return Kept { length: (bytes.len() + RECORD * CROWD as usize) as u64, bytes };
        }
    }
    Kept::of(bytes)
}

/// The file when the node has appended a lease of [`NODE`]: at its end, whatever is before that. Or when it has died before
/// it counted that of [`TORN`].
pub fn appended(file: &Kept, now: u64, counts: bool) -> Kept {
    let Some(header) = header(file) else { return file.clone() };
    let client = if counts { NODE } else { TORN };
    let mut bytes = file.bytes.clone();
    bytes.extend(Record::new(header.version, client, (now + LEASE) as u32).bytes());
    if counts {
        bytes[8..12].copy_from_slice(&(header.leases + 1).to_be_bytes());
    }
    Kept::of(bytes)
}

impl Kept {
    /// A file with these bytes and no more.
    pub fn of(bytes: Vec<u8>) -> Kept {
        Kept { length: bytes.len() as u64, bytes }
    }
}

impl Record {
    /// The lease of a client in a container of that version.
    pub fn new(version: u32, client: u64, expires: u32) -> Record {
        let stored = stored(version, &secret(client));
        Record { renew: stored, cancel: stored, expires }
    }

    fn bytes(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[3] = 1;
        bytes[4..36].copy_from_slice(&self.renew);
        bytes[36..68].copy_from_slice(&self.cancel);
        bytes[68..].copy_from_slice(&self.expires.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Record> {
        let field = |at: usize| bytes.get(at..at + 32)?.try_into().ok();
        Some(Record { renew: field(4)?, cancel: field(36)?, expires: word(bytes, 68)? })
    }
}

/// A secret as a container of that version stores it.
pub fn stored(version: u32, secret: &LeaseSecret) -> [u8; 32] {
    match version {
        1 => *secret,
        _ => Blake2b256::digest(secret).into(),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
