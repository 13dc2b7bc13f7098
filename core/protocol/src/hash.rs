//! Tagged SHA-256d hashes (spec §1.3): the outer hash of `netstring(tag) || value`, and of
//! `netstring(tag) || netstring(a) || netstring(b)` for pairs.
//!
//! Nothing here allocates. The fixed tags are absorbed once and their state is cloned, for these
//! hashes are the hot path of a simulated grid.

use std::sync::LazyLock;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::ids::{Key, StorageIndex};

/// A SHA-256d digest.
pub type Hash = [u8; 32];

/// Hash of one block of one share: a leaf of that share's block tree.
pub fn block(block: &[u8]) -> Hash {
    BLOCK.clone().chain(block).finish()
}

/// Hash of the ciphertext of one segment, unpadded: a leaf of the crypttext tree.
pub fn crypttext_segment(ciphertext: &[u8]) -> Hash {
    CRYPTTEXT_SEGMENT.clone().chain(ciphertext).finish()
}

/// Hasher for the whole ciphertext of a file.
pub fn crypttext() -> Tagged {
    CRYPTTEXT.clone()
}

/// Hash of a serialised URI extension block, as a capability carries it.
pub fn ueb(ueb: &[u8]) -> Hash {
    UEB.clone().chain(ueb).finish()
}

/// An inner node of a Merkle tree.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    NODE.clone().netstring(left).netstring(right).finish()
}

/// The value of the padding leaf at position `leaf` of a Merkle tree.
pub fn empty_leaf(leaf: u64) -> Hash {
    let mut digits = Digits::default();
    EMPTY_LEAF.clone().chain(digits.of(leaf)).finish()
}

/// The storage index of the file encrypted with `key`.
pub fn storage_index(key: &Key) -> StorageIndex {
    StorageIndex(first_16(&STORAGE_INDEX.clone().chain(&key.0).finish()))
}

/// `H(netstring(tag) || value)`.
pub fn tagged(tag: &[u8], value: &[u8]) -> Hash {
    Tagged::new(tag).chain(value).finish()
}

/// `H(netstring(tag) || netstring(a) || netstring(b))`.
pub fn pair(tag: &[u8], a: &[u8], b: &[u8]) -> Hash {
    Tagged::new(tag).netstring(a).netstring(b).finish()
}

/// Place of a server on the ring of `storage_index`: plain SHA-1 of the index and the server's
/// permutation seed (spec §10). Servers are asked in ascending order.
pub fn permute(storage_index: &StorageIndex, permutation_seed: &[u8]) -> [u8; 20] {
    let ring = Sha1::new().chain_update(storage_index.0).chain_update(permutation_seed);
    ring.finalize().into()
}

/// A tagged hash under way: the value may come in pieces.
#[derive(Clone)]
pub struct Tagged(Sha256);

impl Tagged {
    /// Starts a hash with `tag` absorbed.
    pub fn new(tag: &[u8]) -> Tagged {
        Tagged(Sha256::new()).netstring(tag)
    }

    /// Absorbs the next piece of the value.
    pub fn update(&mut self, value: &[u8]) {
        self.0.update(value);
    }

    /// Absorbs the next piece of the value, by value.
    pub fn chain(mut self, value: &[u8]) -> Tagged {
        self.update(value);
        self
    }

    /// Absorbs `value` framed as a netstring.
    pub fn netstring(self, value: &[u8]) -> Tagged {
        let mut digits = Digits::default();
        let len = digits.of(value.len() as u64);
        self.chain(len).chain(b":").chain(value).chain(b",")
    }

    /// The digest.
    pub fn finish(self) -> Hash {
        Sha256::digest(self.0.finalize()).into()
    }
}

/// The first 16 bytes of a hash, as keys and storage indexes are cut.
pub(crate) fn first_16(hash: &Hash) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

static BLOCK: LazyLock<Tagged> = LazyLock::new(|| Tagged::new(b"allmydata_encoded_subshare_v1"));
static CRYPTTEXT: LazyLock<Tagged> = LazyLock::new(|| Tagged::new(b"allmydata_crypttext_v1"));
static CRYPTTEXT_SEGMENT: LazyLock<Tagged> = LazyLock::new(|| Tagged::new(b"allmydata_crypttext_segment_v1"));
static UEB: LazyLock<Tagged> = LazyLock::new(|| Tagged::new(b"allmydata_uri_extension_v1"));
static NODE: LazyLock<Tagged> = LazyLock::new(|| Tagged::new(b"Merkle tree internal node"));
static EMPTY_LEAF: LazyLock<Tagged> = LazyLock::new(|| Tagged::new(b"Merkle tree empty leaf"));
static STORAGE_INDEX: LazyLock<Tagged> =
    LazyLock::new(|| Tagged::new(b"allmydata_immutable_key_to_storage_index_v1"));

/// Room to write a number in decimal on the stack.
#[derive(Default)]
struct Digits([u8; 20]);

impl Digits {
    fn of(&mut self, mut number: u64) -> &[u8] {
        let mut start = self.0.len();
        loop {
            start -= 1;
            self.0[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[start..];
            }
        }
    }
}
