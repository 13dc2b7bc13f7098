//! The digest of a run: a number that two runs share only if they did the same things in the same order.
//!
//! It is made for speed, not against an adversary: each 64-bit word is folded in by one widening multiply.

use xxhash_rust::xxh3::xxh3_64;

const FOLD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A running digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(FOLD)
    }
}

impl Digest {
    /// Folds one word in.
    pub fn word(&mut self, word: u64) {
        self.0 = mix(self.0, word);
    }

    /// Folds bytes in, with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(xxh3_64(bytes) ^ bytes.len() as u64);
    }

    /// The digest so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Folds `word` into `state`.
pub(crate) fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word) * u128::from(FOLD);
    ((product >> 64) as u64) ^ (product as u64).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_value_count() {
        let digest = |words: &[u64]| {
            let mut digest = Digest::default();
            words.iter().for_each(|word| digest.word(*word));
            digest
        };
        assert_eq!(digest(&[1, 2]), digest(&[1, 2]));
        assert_ne!(digest(&[1, 2]), digest(&[2, 1]));
        assert_ne!(digest(&[1]), digest(&[1, 0]));
    }
}
