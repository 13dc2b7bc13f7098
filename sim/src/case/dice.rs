//! Dice: every random choice of a run, from a ChaCha stream labelled by its purpose.
//!
//! A stream belongs to one purpose, so a new draw in one place shifts nothing elsewhere. A fuzzer's dice draw from its bytes
//! first, so that a small change of the bytes is a small change of what is drawn.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64;

/// A stream of choices.
pub struct Dice {
    /// Drawn from first; the stream comes when they are used up.
    bytes: VecDeque<u8>,
    stream: ChaCha8Rng,
}

impl Dice {
    /// The stream of `seed` for one purpose. The same two always give the same choices.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&xxh3_64(purpose.as_bytes()).to_le_bytes());
        Dice { bytes: VecDeque::new(), stream: ChaCha8Rng::from_seed(key) }
    }

    /// Dice that draw from `bytes`, and from the stream of a seed that is a hash of them when they are used up. A choice
    /// takes one byte when it has at most 256 outcomes, and two, four or eight when it has more.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Dice { bytes: bytes.iter().copied().collect(), ..Dice::new(xxh3_64(bytes), "after the bytes") }
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if let Some(given) = self.given(bound) {
            return given;
        }
        // The bias of this reduction is below 2^-32 for every bound the harness uses.
        ((u128::from(self.stream.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// The same out of the given bytes, unless they are used up. Without regard to bias: bytes are nobody's distribution.
    fn given(&mut self, bound: u64) -> Option<u64> {
        if self.bytes.is_empty() {
            return None;
        }
        let width = match bound.saturating_sub(1) {
            0 => return Some(0),
            1..=0xFF => 1,
            0x100..=0xFFFF => 2,
            0x1_0000..=0xFFFF_FFFF => 4,
            _ => 8,
        };
        let mut word = [0; 8];
        for place in &mut word[..width] {
            *place = self.bytes.pop_front().unwrap_or(0);
        }
        Some(u64::from_le_bytes(word) % bound)
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True `parts` times out of `whole`.
    pub fn chance(&mut self, parts: u64, whole: u64) -> bool {
        self.below(whole) < parts
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// One of weighted choices, of which at least one must have a weight.
    pub fn weighted<'a, T>(&mut self, choices: &'a [(u64, T)]) -> &'a T {
        let mut left = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return choice,
            }
        }
        &choices[0].1
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// A number whose length in bits is uniform in `0..=bits`: many small ones, some large.
    pub fn skewed(&mut self, bits: u32) -> u64 {
        let bits = self.between(0, u64::from(bits)) as u32;
        if bits == 0 { 0 } else { (1 << (bits - 1)) | self.below(1 << (bits - 1)) }
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.stream.fill_bytes(bytes);
        let given = self.bytes.len().min(bytes.len());
        for (byte, given) in bytes.iter_mut().zip(self.bytes.drain(..given)) {
            *byte = given;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_independent_and_seeds_repeat() {
        let draw = |seed, purpose| {
            let mut dice = Dice::new(seed, purpose);
            [dice.below(1 << 40), dice.below(1 << 40)]
        };
        assert_eq!(draw(7, "faults"), draw(7, "faults"));
        assert_ne!(draw(7, "faults"), draw(7, "schedule"));
        assert_ne!(draw(7, "faults"), draw(8, "faults"));
    }

    #[test]
    fn given_bytes_come_first_and_then_a_stream_of_their_own() {
        let draw = |bytes: &[u8]| {
            let mut dice = Dice::from_bytes(bytes);
            [dice.below(10), dice.below(1), dice.below(1 << 16), dice.below(1 << 40), dice.below(1 << 40)]
        };
        let given = draw(&[7, 0x34, 0x12, 9]);
        assert_eq!(given[..4], [7, 0, 0x1234, 9]);
        assert_eq!(given, draw(&[7, 0x34, 0x12, 9]));
        assert_ne!(given[4], draw(&[7, 0x34, 0x12, 8])[4]);
        assert_eq!(draw(&[17, 0x34, 0x12, 9])[..4], given[..4]);
        assert_ne!(draw(&[])[3], draw(&[0])[3]);
    }

    #[test]
    fn draws_stay_in_range() {
        stay_in_range(Dice::new(1, "range"));
        stay_in_range(Dice::from_bytes(&[0xFF; 999]));
    }

    fn stay_in_range(mut dice: Dice) {
        for _ in 0..1000 {
            assert!(dice.below(3) < 3);
            assert!((5..=6).contains(&dice.between(5, 6)));
            assert!(dice.skewed(10) < 1024);
            assert_eq!(*dice.weighted(&[(0, 'a'), (3, 'b'), (0, 'c')]), 'b');
        }
        assert_eq!(dice.below(0), 0);
    }
}
