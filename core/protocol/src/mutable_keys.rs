//! The keys of a mutable file that concern its servers (leasedb-and-storage §5): from the key that lets one write it to the
//! one that lets one read it, and to the name and the secret that servers see.

use std::fmt;

use crate::hash::{self, Hash, first_16};
use crate::ids::{Key, StorageIndex};

/// Lets its holder write a mutable file. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WriteKey(pub [u8; 16]);

impl WriteKey {
    /// The key with which the file is read.
    pub fn read_key(&self) -> Key {
        Key(first_16(&hash::tagged(b"allmydata_mutable_writekey_to_readkey_v1", &self.0)))
    }

    /// From which each server's write enabler is made.
    pub fn write_enabler_master(&self) -> WriteEnablerMaster {
        WriteEnablerMaster(hash::tagged(b"allmydata_mutable_writekey_to_write_enabler_master_v1", &self.0))
    }
}

/// The name under which servers file the shares of the mutable file with this read key. That of an immutable file is
/// [`Key::storage_index`].
pub fn storage_index(read_key: &Key) -> StorageIndex {
    StorageIndex(first_16(&hash::tagged(b"allmydata_mutable_readkey_to_storage_index_v1", &read_key.0)))
}

/// What a file's write enablers are made from. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WriteEnablerMaster(pub Hash);

impl WriteEnablerMaster {
    /// What the server with this lease seed gets to see: whoever shows it may write the file's shares there.
    pub fn of_server(&self, lease_seed: &[u8; 20]) -> Hash {
        let tag = b"allmydata_mutable_write_enabler_master_and_nodeid_to_write_enabler_v1";
        hash::pair(tag, &self.0, lease_seed)
    }
}

impl fmt::Debug for WriteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteKey(..)")
    }
}

impl fmt::Debug for WriteEnablerMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteEnablerMaster(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of leasedb-and-storage §5.
    #[test]
    fn the_worked_example() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let write_key = WriteKey(std::array::from_fn(|byte| byte as u8));
        let master = write_key.write_enabler_master();
        let enabler = master.of_server(&std::array::from_fn(|byte| byte as u8));
        let read_key = write_key.read_key();
        assert_eq!(hex(&master.0), "f57f1d678a75602b959d26384c58b66c26d147093e906f7a49f0a02ae54a6e0c");
        assert_eq!(hex(&enabler), "9c73634fb14767143bf6592de0ed0d74b96d4a255794b02995fdc2a1b0a48609");
        assert_eq!(hex(&read_key.0), "cadaf6f34ba7ee41b9b4bf76a8f34793");
        assert_eq!(hex(&storage_index(&read_key).0), "05d82de538db1406e16fc5ff4d6690a3");
        let shown = format!("{write_key:?} {master:?}");
        assert_eq!(shown, "WriteKey(..) WriteEnablerMaster(..)");
    }
}
