//! The two 16-byte names of an immutable file: the key, which is secret, and the storage index
//! derived from it, which servers see.

use std::fmt;

use crate::base32;
use crate::hash;

/// The AES-128 key of a file: whoever holds it can read the file. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The storage index that belongs to this key (spec §1.3).
    pub fn storage_index(&self) -> StorageIndex {
        hash::storage_index(self)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The name under which servers file the shares of a file. `Display` is its base32 form of 26
/// characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageIndex(pub [u8; 16]);

impl fmt::Display for StorageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&self.0))
    }
}

impl fmt::Debug for StorageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageIndex({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_storage_index_shows_itself() {
        let key = Key([0; 16]);
        assert_eq!(format!("{key:?}"), "Key(..)");
        assert_eq!(key.storage_index().to_string(), "2k6avpjga3dho3zsjo6nnkt7n4");
        assert_eq!(format!("{:?}", key.storage_index()), "StorageIndex(2k6avpjga3dho3zsjo6nnkt7n4)");
    }
}
