//! The lease records in containers (leasedb-and-storage §2, §4): who asks for the share to be kept, and until when.

use blake2::{Blake2b256, Digest};
use protocol::server::LeaseSecret;

use super::{Version, u32_at};

/// Bytes of a record behind immutable data.
pub(crate) const LEASE_RECORD: u64 = 72;

/// Bytes of a record in a mutable container.
pub(crate) const SLOT_RECORD: u64 = 92;

/// A lease and where its record is in the container.
pub(crate) struct Held {
    pub offset: u64,
    pub lease: Lease,
}

/// A lease, with its secrets as the container stores them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Without meaning today: an allocation writes 0, adding a lease 1. In a mutable container 0 is an empty place.
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
    /// How long the lease is to last, in seconds.
    pub lasts: u64,
}

impl LeaseRequest {
    /// The lease for a container of this version.
    pub fn lease(&self, version: Version) -> Lease {
        Lease {
            owner: self.owner,
            renew: stored(version, &self.renew),
            cancel: stored(version, &self.cancel),
            expires: u32::try_from(self.now.saturating_add(self.lasts)).unwrap_or(u32::MAX),
        }
    }
}

impl Lease {
    /// True when the lease was asked for with the same renew secret. Takes the same time whatever the
    /// bytes are, so that no secret can be guessed one byte after the other.
    pub fn same_holder(&self, other: &Lease) -> bool {
        self.renew.iter().zip(&other.renew).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    /// True when the record was never written to its end: a crash has left the place, and no lease in it.
    pub fn is_unwritten(&self) -> bool {
        self.expires == 0
    }

    /// As it stands behind immutable data.
    pub fn to_record(&self) -> [u8; LEASE_RECORD as usize] {
        let mut bytes = [0; LEASE_RECORD as usize];
        bytes[..4].copy_from_slice(&self.owner.to_be_bytes());
        bytes[4..36].copy_from_slice(&self.renew);
        bytes[36..68].copy_from_slice(&self.cancel);
        bytes[68..].copy_from_slice(&self.expires.to_be_bytes());
        bytes
    }

    pub fn from_record(bytes: &[u8; LEASE_RECORD as usize]) -> Lease {
        let (owner, expires) = (u32_at(bytes, 0), u32_at(bytes, 68));
        let mut lease = Lease { owner, renew: [0; 32], cancel: [0; 32], expires };
        lease.renew.copy_from_slice(&bytes[4..36]);
        lease.cancel.copy_from_slice(&bytes[36..68]);
        lease
    }

    /// As it stands in a mutable container of the server with this node id.
    pub fn to_slot(&self, node: &[u8; 20]) -> [u8; SLOT_RECORD as usize] {
        let mut bytes = [0; SLOT_RECORD as usize];
        bytes[..4].copy_from_slice(&self.owner.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.expires.to_be_bytes());
        bytes[8..40].copy_from_slice(&self.renew);
        bytes[40..72].copy_from_slice(&self.cancel);
        bytes[72..].copy_from_slice(node);
        bytes
    }

    pub fn from_slot(bytes: &[u8; SLOT_RECORD as usize]) -> Lease {
        let (owner, expires) = (u32_at(bytes, 0), u32_at(bytes, 4));
        let mut lease = Lease { owner, renew: [0; 32], cancel: [0; 32], expires };
        lease.renew.copy_from_slice(&bytes[8..40]);
        lease.cancel.copy_from_slice(&bytes[40..72]);
        lease
    }
}

/// A secret as a container of this version stores it: in clear, or hashed.
fn stored(version: Version, secret: &LeaseSecret) -> [u8; 32] {
    match version {
        Version::V1 => *secret,
        Version::V2 => Blake2b256::digest(secret).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LEASE;
    use protocol::StorageIndex;
    use protocol::lease_secret::LeaseSecrets;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The records of leasedb-and-storage §2.3.
    #[test]
    fn known_records() {
        let (renew, cancel) = ([b'R'; 32], [b'C'; 32]);
        let request = LeaseRequest { owner: 1, renew, cancel, now: 1_700_000_000 - LEASE, lasts: LEASE };
        let v1 = request.lease(Version::V1);
        assert_eq!(hex(&v1.to_record()), format!("00000001{}{}6553f100", "52".repeat(32), "43".repeat(32)));
        let v2 = request.lease(Version::V2);
        assert_eq!(
            hex(&v2.to_slot(&[0; 20])),
            "00000001\
             6553f100\
             0666d16d6f9960d32c9e59c59b33800be038644ece4cb3da310b258e6d852204\
             f23824449c1860ead7065f1539cca5ada8ddfdf84a5e4f7608634fed82c0eb24\
             0000000000000000000000000000000000000000"
        );
        assert_eq!(
            hex(&v2.to_record()),
            "00000001\
             0666d16d6f9960d32c9e59c59b33800be038644ece4cb3da310b258e6d852204\
             f23824449c1860ead7065f1539cca5ada8ddfdf84a5e4f7608634fed82c0eb24\
             6553f100"
        );
        for lease in [v1, v2] {
            assert!(Lease::from_record(&lease.to_record()) == lease);
            assert!(Lease::from_slot(&lease.to_slot(&[9; 20])) == lease);
        }
    }

    /// What is stored of the secrets of the worked example of §5.
    #[test]
    fn stored_secrets() {
        let index = StorageIndex(*b"storage indexxxx");
        let client = LeaseSecrets::of_client(&std::array::from_fn::<u8, 32, _>(|byte| byte as u8));
        let LeaseSecrets { renew, cancel } =
            client.of_file(&index).of_bucket(&std::array::from_fn(|byte| byte as u8));
        let lease = LeaseRequest { owner: 0, renew, cancel, now: 0, lasts: LEASE }.lease(Version::V2);
        assert_eq!(hex(&lease.renew), "12dd95f790214310dd29b2f2a7930ddf248c878b5b519556ce58802e1c7a31ea");
        assert_eq!(hex(&lease.cancel), "d25434ce607f92007f16b5b744cb51c1d7e1fb76e43c51b1b4e575dbbff9477b");
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
            let request = LeaseRequest { owner: 0, renew: [0; 32], cancel: [0; 32], now, lasts: LEASE };
            assert_eq!(request.lease(Version::V2).expires, u32::MAX);
        }
    }
}
