//! The chain of lease secrets (spec §1.3): from a node's one private secret to the secret that a
//! single server sees for a single file.

use std::fmt;

use crate::hash::{self, Hash};
use crate::ids::StorageIndex;

/// The secrets with which one client renews and cancels its leases. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct LeaseSecrets {
    /// Renews the lease.
    pub renew: Hash,
    /// Cancels the lease.
    pub cancel: Hash,
}

impl LeaseSecrets {
    /// The client's own pair, from the node's private lease secret.
    pub fn of_client(node_secret: &[u8]) -> LeaseSecrets {
        // The node's secret is in the position of the tag, the label in that of the value.
        LeaseSecrets {
            renew: hash::tagged(node_secret, b"allmydata_client_renewal_secret_v1"),
            cancel: hash::tagged(node_secret, b"allmydata_client_cancel_secret_v1"),
        }
    }

    /// From the client's pair to that of one file.
    pub fn of_file(&self, storage_index: &StorageIndex) -> LeaseSecrets {
        LeaseSecrets {
            renew: hash::pair(b"allmydata_file_renewal_secret_v1", &self.renew, &storage_index.0),
            cancel: hash::pair(b"allmydata_file_cancel_secret_v1", &self.cancel, &storage_index.0),
        }
    }

    /// From a file's pair to the one that the server with this lease seed gets to see.
    pub fn of_bucket(&self, lease_seed: &[u8; 20]) -> LeaseSecrets {
        LeaseSecrets {
            renew: hash::pair(b"allmydata_bucket_renewal_secret_v1", &self.renew, lease_seed),
            cancel: hash::pair(b"allmydata_bucket_cancel_secret_v1", &self.cancel, lease_seed),
        }
    }
}

impl fmt::Debug for LeaseSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseSecrets(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_the_specification() {
        let hex = |secrets: &LeaseSecrets| {
            [secrets.renew, secrets.cancel]
                .map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        };
        let client = LeaseSecrets::of_client(b"my secret");
        let file = client.of_file(&StorageIndex([0x11; 16]));
        let bucket = file.of_bucket(&[0x22; 20]);
        assert_eq!(
            hex(&client),
            [
                "46699f6acea76651fa87715d7f4ac84fa7e21e8cf09e624b4787b730f5127f47",
                "66122bfafce26143295ca37fb4eb6c77b15533bb79db652e2977f2d28ccb8ebc",
            ]
        );
        assert_eq!(
            hex(&file),
            [
                "46dc2547e3ef675d99b2028dc95f771f319a3084da7196e0023206db533f3221",
                "5fea87b9223b5b38163c0cbc4295d7f078d235404aece0a5952819d685470237",
            ]
        );
        assert_eq!(
            hex(&bucket),
            [
                "a6e167614aadc4f58dd821d991b16f875848837f3faf7f0b295852b708090e41",
                "4ddfbe050efccf99d5c84bb58ca9fcb8a0591af8930202a8eaf7e4d210efd7ab",
            ]
        );
        assert_eq!(format!("{bucket:?}"), "LeaseSecrets(..)");
    }
}
