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
