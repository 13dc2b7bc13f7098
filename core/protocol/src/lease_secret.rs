//! The chain of lease secrets (spec §1.3, leasedb-and-storage §5): from a node's one private secret to the secret that a
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
    use crate::base32;
    use crate::ids::Key;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn both(secrets: &LeaseSecrets) -> [String; 2] {
        [hex(&secrets.renew), hex(&secrets.cancel)]
    }

    #[test]
    fn the_chain_of_the_specification() {
        let client = LeaseSecrets::of_client(b"my secret");
        let file = client.of_file(&StorageIndex([0x11; 16]));
        let bucket = file.of_bucket(&[0x22; 20]);
        assert_eq!(
            both(&client),
            [
                "46699f6acea76651fa87715d7f4ac84fa7e21e8cf09e624b4787b730f5127f47",
                "66122bfafce26143295ca37fb4eb6c77b15533bb79db652e2977f2d28ccb8ebc",
            ]
        );
        assert_eq!(
            both(&file),
            [
                "46dc2547e3ef675d99b2028dc95f771f319a3084da7196e0023206db533f3221",
                "5fea87b9223b5b38163c0cbc4295d7f078d235404aece0a5952819d685470237",
            ]
        );
        assert_eq!(
            both(&bucket),
            [
                "a6e167614aadc4f58dd821d991b16f875848837f3faf7f0b295852b708090e41",
                "4ddfbe050efccf99d5c84bb58ca9fcb8a0591af8930202a8eaf7e4d210efd7ab",
            ]
        );
        assert_eq!(format!("{bucket:?}"), "LeaseSecrets(..)");
    }

    /// The worked example of leasedb-and-storage §5.
    #[test]
    fn the_worked_example() {
        let client = LeaseSecrets::of_client(&counting::<32>());
        let file = client.of_file(&StorageIndex(*b"storage indexxxx"));
        let bucket = file.of_bucket(&counting::<20>());
        assert_eq!(
            [both(&client), both(&file), both(&bucket)].concat(),
            [
                "1771a133f750fc15ade7fc42309154d577e5d908b73e175a4d9536944d564bdf",
                "7435b5dfb196d777268dbf73f4230657760985c3e50de34f978ef034c13a62b3",
                "2606613c0a2d4c93891c499877dfc5287e5bc3ebd5c0d19b82015dbbd4b92e76",
                "1b9d3e9dbd0834074a3d1af15e2fb3c741016c9c4c9b2bbbbd10b6e5df014845",
                "725c818ceb7b2d5883ac73d59e759e5669632a5bf7902ec826621572c021fc7c",
                "5d96e667d73f4d59cd5fa71ccf0df9d1ec74527cf61212b9dabfe3347e7e9dea",
            ]
        );
        assert_eq!(StorageIndex(*b"storage indexxxx").to_string(), "on2g64tbm5ssa2lomrsxq6dypa");
        assert_eq!(base32::encode(&counting::<20>()), "aaaqeayeaudaocajbifqydiob4ibceqt");
        let immutable = Key(counting()).storage_index();
        assert_eq!(hex(&immutable.0), "38d12ea01522a9e5b560408581e103fc");
        let tagged = hash::tagged(b"tag", b"val");
        assert_eq!(hex(&tagged), "3d144894c774733d31aa0545f2ce69c6cd347c22e621f1ebc6099d4275730c88");
    }

    /// The vector that was published in base32.
    #[test]
    fn the_published_vector() {
        let node_secret = base32::decode("boity2cdh7jvl3ltaeebuiobbspjmbuopnwbde2yeh4k6x7jioga").unwrap();
        let index = StorageIndex(base32::decode_array("vrttmwlicrzbt7gh5qsooogr7u").unwrap());
        let peer = base32::decode_array("v67jiisoty6ooyxlql5fuucitqiok2ic").unwrap();
        let bucket = LeaseSecrets::of_client(&node_secret).of_file(&index).of_bucket(&peer);
        assert_eq!(base32::encode(&bucket.renew), "osd6wmc5vz4g3ukg64sitmzlfiaaordutrez7oxdp5kkze7zp5zq");
    }

    /// 0, 1, 2, …
    fn counting<const N: usize>() -> [u8; N] {
        std::array::from_fn(|byte| byte as u8)
    }
}
