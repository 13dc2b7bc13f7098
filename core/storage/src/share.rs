//! The names that everything here speaks in: a share, what kind it is, and the prefix that files it.

use std::fmt;

use protocol::StorageIndex;
use protocol::server::ShareNumber;

/// One share: of a file, by its number. Orders by prefix, then file, then number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId {
    /// The file.
    pub index: StorageIndex,
    /// Which of its shares.
    pub share: ShareNumber,
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.share)
    }
}

/// What a share is (leasedb-and-storage §7: `sharetype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Written once, in full.
    Immutable,
    /// Rewritten in place, under a write enabler.
    Mutable,
    /// Its objects make no share. Kept while it is leased, never shown to clients.
    Corrupted,
}

/// The first ten bits of a storage index: the first two of its base32 characters, and the name of the directory that
/// its shares are in. There are 1024.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u16);

impl Prefix {
    /// How many there are.
    pub const COUNT: u16 = 1024;

    /// The prefix with this number, `0..1024`, in the order of storage indexes.
    pub fn nth(number: u16) -> Option<Prefix> {
        (number < Self::COUNT).then_some(Prefix(number))
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Prefix> {
        (0..Self::COUNT).map(Prefix)
    }

    /// The prefix of a storage index.
    pub fn of(index: &StorageIndex) -> Prefix {
        Prefix(u16::from_be_bytes([index.0[0], index.0[1]]) >> 6)
    }

    /// Its number, `0..1024`.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The least storage index with this prefix; the greatest is all ones after its ten bits.
    pub fn first(self) -> StorageIndex {
        let mut index = [0; 16];
        index[..2].copy_from_slice(&(self.0 << 6).to_be_bytes());
        StorageIndex(index)
    }

    /// The greatest storage index with this prefix.
    pub fn last(self) -> StorageIndex {
        let mut index = [0xff; 16];
        index[..2].copy_from_slice(&(self.0 << 6 | 0x3f).to_be_bytes());
        StorageIndex(index)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first().to_string()[..2])
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_first_two_characters() {
        for bytes in [[0; 16], [0xff; 16], [0x5a; 16], *b"storage indexxxx"] {
            let index = StorageIndex(bytes);
            let prefix = Prefix::of(&index);
            assert_eq!(prefix.to_string(), index.to_string()[..2]);
            assert!(prefix.first() <= index && index <= prefix.last());
            assert_eq!(Prefix::nth(prefix.number()), Some(prefix));
        }
        assert_eq!(Prefix::nth(1024), None);
    }
}
