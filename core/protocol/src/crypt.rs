//! Encryption (spec §3): the convergent key, and AES-128 in counter mode at any offset.

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};

use crate::hash::{self, Tagged};
use crate::ids::Key;
use crate::netstring;
use crate::segmentation::Segmentation;

/// Encrypts or decrypts a file from some offset on, piece by piece.
pub struct Cipher(Ctr128BE<Aes128>);

impl Cipher {
    /// Starts at byte `offset` of the file. Each file has its own key, so counting starts at zero.
    pub fn at(key: &Key, offset: u64) -> Cipher {
        let block = u128::from(offset / 16).to_be_bytes();
        let mut cipher = Ctr128BE::<Aes128>::new(&key.0.into(), &block.into());
        let mut skipped = [0; 16];
        cipher.apply_keystream(&mut skipped[..(offset % 16) as usize]);
        Cipher(cipher)
    }

    /// Encrypts or decrypts `data` in place and moves on to what follows it.
    pub fn apply(&mut self, data: &mut [u8]) {
        self.0.apply_keystream(data);
    }
}

/// Derives a file's key from its content, so that equal files under equal settings and an equal
/// convergence secret are stored once. The plaintext may come in pieces.
pub struct ConvergentKey(Tagged);

impl ConvergentKey {
    /// Starts with the settings of `file` (k, n and the actual segment size) and the convergence
    /// secret, which may be empty.
    pub fn new(file: &Segmentation, secret: &[u8]) -> ConvergentKey {
        let settings = format!("{},{},{}", file.k, file.n, file.segment_size);
        let mut tag = b"allmydata_immutable_content_to_key_with_added_secret_v1+".to_vec();
        netstring::write(&mut tag, secret);
        netstring::write(&mut tag, settings.as_bytes());
        ConvergentKey(Tagged::new(&tag))
    }

    /// Absorbs the next piece of the plaintext.
    pub fn update(&mut self, plaintext: &[u8]) {
        self.0.update(plaintext);
    }

    /// The key.
    pub fn finish(self) -> Key {
        Key(hash::first_16(&self.0.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keystream(offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        Cipher::at(&Key([1; 16]), offset).apply(&mut out);
        out
    }

    #[test]
    fn known_keystream_from_any_offset() {
        let expected = [
            0xb6, 0xae, 0xaf, 0xfa, 0x75, 0x2d, 0xc0, 0x8b, 0x51, 0x63, 0x97, 0x31, 0x76, 0x1a, 0xed, 0x00,
            0xe4, 0x31, 0xc1, 0x58, 0x17, 0x7b, 0xe7, 0xde, 0x5b, 0xf0, 0x33, 0xb1, 0x7d, 0xf3, 0x97, 0x7c,
            0xf3, 0x34, 0x52, 0x73, 0x26, 0x95, 0x03, 0x29, 0x98, 0x35, 0xfe, 0xf3, 0x07, 0xc4, 0x91, 0x9d,
        ];
        for offset in 0..48 {
            assert_eq!(keystream(offset, 48 - offset as usize), expected[offset as usize..], "{offset}");
        }
    }

    #[test]
    fn the_counter_goes_on_past_32_bits_and_64_bits_of_offset() {
        for start in [(1 << 36) - 20, (1 << 63) - 20, u64::MAX - 40] {
            let whole = keystream(start, 40);
            assert_eq!(keystream(start + 23, 17), whole[23..], "{start}");
            assert_ne!(whole[..20], whole[20..]);
        }
        assert_ne!(keystream(1 << 36, 16), keystream(0, 16), "the counter is wider than 32 bits");
    }

    #[test]
    fn pieces_continue_each_other() {
        let (mut whole, mut cipher) = (vec![0; 100], Cipher::at(&Key([1; 16]), 5));
        for piece in whole.chunks_mut(7) {
            cipher.apply(piece);
        }
        assert_eq!(whole, keystream(5, 100));
    }

    #[test]
    fn known_convergent_key() {
        // The answer of §3.1 is for a segment size that is no multiple of k, which no file has: the
        // segmentation is made by hand.
        let mut file = Segmentation::new(11, 3, 10, 102).unwrap();
        file.segment_size = 100;
        let mut hasher = ConvergentKey::new(&file, b"converge");
        hasher.update(b"hello");
        hasher.update(b" world");
        let Key(key) = hasher.finish();
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(key, "013e18ac547492835b3e334801d381a5");
    }
}
