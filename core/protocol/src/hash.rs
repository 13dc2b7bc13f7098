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
    // Spelled out, for most hashes of a simulated grid are these: pair(tag, left, right).
    let mut message = [0; 101];
    message[..32].copy_from_slice(b"25:Merkle tree internal node,32:");
    message[32..64].copy_from_slice(left);
    message[64..68].copy_from_slice(b",32:");
    message[68..100].copy_from_slice(right);
    message[100] = b',';
    Tagged(Sha256::new()).chain(&message).finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn known_answers() {
        let mut whole = crypttext();
        whole.update(b"hello ");
        whole.update(b"world");
        for (hash, expected) in [
            (
                tagged(b"tag", b"hello world"),
                "c441bd6833cba097f272d25cde8f333350b10cde49b3332be9723d07a54899b5",
            ),
            (
                pair(b"tag", b"hello", b"world"),
                "b326ee721b91e64cd8c655345be66555901ae5aa2d3c25826da95c6eebf20f87",
            ),
            (block(b"hello world"), "9a883945f5e1eb99ef0220aea9d44d738f5b6025fb78dcf17b82140fa911e143"),
            (block(b""), "64931e84fc25687f941bcdbf475517286ab6ca71e87dd64491b15b54dd06d26b"),
            (ueb(b"hello world"), "23af40d6c33d2c322bd437f71354da4f86a2f91eb94c3f4c118cbdc161a19071"),
            (
                crypttext_segment(b"hello world"),
                "6670bab04bc4378f40137f7b0abc3eb0336a690a61a8810d8a926c09dcde5301",
            ),
            (whole.finish(), "38c295d76121d95d48f5ddc0390e95e0332612c2e2e7c029cbbb0ea8fc27d108"),
            (empty_leaf(0), "e0024730188e2de564a697cc2987407b24ae7eb6b880190c1a0337a5740e527a"),
            (empty_leaf(3), "9ed59076b6bee6b75864630c3c20cff6934efe03a60a7fd28b69542fb13a68a3"),
            (empty_leaf(15), "c515397c97cfab792006616ff20319f79636969fa9787f4c967f9162b003db90"),
            (node(&[0; 32], &[1; 32]), "6f306e3df9d2676a858a1b3dd8f00f5cea15e33c273598f0f370c169d4d2d81c"),
        ] {
            assert_eq!(hex(&hash), expected);
        }
        assert_eq!(hex(&storage_index(&Key([0; 16])).0), "d2bc0abd2606c6776f324bbcd6aa7f6f");
        let place = permute(&StorageIndex([0x11; 16]), &[0x22; 32]);
        assert_eq!(hex(&place), "15df96373a954419a7379007f0d4400fc9acafcc");
    }

    #[test]
    fn the_largest_number_is_written_whole() {
        assert_eq!(Digits::default().of(u64::MAX), b"18446744073709551615");
        assert_eq!(Digits::default().of(0), b"0");
    }
}
