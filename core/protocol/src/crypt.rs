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
