//! The lease record at the end of a share file (leasedb-and-storage §2.1, §4): who asks for the share
//! to be kept, and until when.

use blake2::{Blake2b256, Digest};
use protocol::server::LeaseSecret;

use crate::container::Version;

/// Bytes of a record.
pub(crate) const RECORD: u64 = 72;

/// How long a lease lasts, in seconds: 31 days, fixed.
const DURATION: u64 = 31 * 24 * 60 * 60;

/// A lease, with its secrets as the share file stores them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Without meaning today: an allocation writes 0, adding a lease 1.
    pub owner: u32,
    pub renew: [u8; 32],
    pub cancel: [u8; 32],
    /// Seconds since the Unix epoch.
    pub expires: u32,
}

/// What a client says when it asks for a lease.
#[derive(Clone)]
pub(crate) struct LeaseRequest {
    pub owner: u32,
    pub renew: LeaseSecret,
    pub cancel: LeaseSecret,
    /// The time of the request, in seconds since the Unix epoch.
    pub now: u64,
}

impl LeaseRequest {
    /// The record for a share file of this version.
    pub fn record(&self, version: Version) -> Lease {
        Lease {
            owner: self.owner,
            renew: stored(version, &self.renew),
            cancel: stored(version, &self.cancel),
            expires: u32::try_from(self.now.saturating_add(DURATION)).unwrap_or(u32::MAX),
        }
    }
}

impl Lease {
    /// True when the lease was asked for with the same renew secret. Takes the same time whatever the
    /// bytes are, so that no secret can be guessed one byte after the other.
    pub fn same_holder(&self, other: &Lease) -> bool {
        self.renew.iter().zip(&other.renew).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    pub fn to_bytes(&self) -> [u8; RECORD as usize] {
        let mut bytes = [0; RECORD as usize];
        bytes[..4].copy_from_slice(&self.owner.to_be_bytes());
        bytes[4..36].copy_from_slice(&self.renew);
        bytes[36..68].copy_from_slice(&self.cancel);
        bytes[68..].copy_from_slice(&self.expires.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; RECORD as usize]) -> Lease {
        let mut lease = Lease { owner: 0, renew: [0; 32], cancel: [0; 32], expires: 0 };
        let [o0, o1, o2, o3, .., e0, e1, e2, e3] = *bytes;
        lease.owner = u32::from_be_bytes([o0, o1, o2, o3]);
        lease.renew.copy_from_slice(&bytes[4..36]);
        lease.cancel.copy_from_slice(&bytes[36..68]);
        lease.expires = u32::from_be_bytes([e0, e1, e2, e3]);
        lease
    }
}

/// A secret as a share file of this version stores it: in clear, or hashed.
fn stored(version: Version, secret: &LeaseSecret) -> [u8; 32] {
    match version {
        Version::V1 => *secret,
        Version::V2 => Blake2b256::digest(secret).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The records of leasedb-and-storage §2.3.
    #[test]
    fn known_records() {
        let request = |now| LeaseRequest { owner: 1, renew: [b'R'; 32], cancel: [b'C'; 32], now };
        let request = request(1_700_000_000 - DURATION);
        let v1 = request.record(Version::V1);
        assert_eq!(hex(&v1.to_bytes()), format!("00000001{}{}6553f100", "52".repeat(32), "43".repeat(32)));
        let v2 = request.record(Version::V2);
        assert_eq!(
            hex(&v2.to_bytes()),
            "00000001\
             0666d16d6f9960d32c9e59c59b33800be038644ece4cb3da310b258e6d852204\
             f23824449c1860ead7065f1539cca5ada8ddfdf84a5e4f7608634fed82c0eb24\
             6553f100"
        );
        for lease in [v1, v2] {
            assert!(Lease::from_bytes(&lease.to_bytes()) == lease);
        }
    }

    #[test]
    fn a_holder_is_known_by_every_byte_of_the_renew_secret() {
        let lease = |owner, renew| Lease { owner, renew, cancel: [owner as u8; 32], expires: owner };
        assert!(lease(1, [7; 32]).same_holder(&lease(2, [7; 32])));
        for byte in 0..32 {
            let mut other = [7; 32];
            other[byte] ^= 0x40;
            assert!(!lease(1, [7; 32]).same_holder(&lease(1, other)), "byte {byte}");
        }
    }

    #[test]
    fn an_expiry_past_the_field_is_the_last_moment_it_can_hold() {
        for now in [u64::from(u32::MAX), u64::MAX] {
            let request = LeaseRequest { owner: 0, renew: [0; 32], cancel: [0; 32], now };
            assert_eq!(request.record(Version::V2).expires, u32::MAX);
        }
    }
}
