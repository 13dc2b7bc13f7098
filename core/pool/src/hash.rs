//! The hashes that keys are made of.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// A hash that a key's backend is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// `MD5`
    Md5,
    /// `SHA1`
    Sha1,
    /// `SHA224`
    Sha224,
    /// `SHA256`
    Sha256,
    /// `SHA384`
    Sha384,
    /// `SHA512`
    Sha512,
}

impl HashKind {
    /// The hash of the backend with this name, without the `E` that says that there is a file extension.
    pub fn of_backend(name: &str) -> Option<HashKind> {
        Some(match name {
            "MD5" => HashKind::Md5,
            "SHA1" => HashKind::Sha1,
            "SHA224" => HashKind::Sha224,
            "SHA256" => HashKind::Sha256,
            "SHA384" => HashKind::Sha384,
            "SHA512" => HashKind::Sha512,
            _ => return None,
        })
    }

    /// Its length in bytes.
    pub fn length(self) -> usize {
        match self {
            HashKind::Md5 => 16,
            HashKind::Sha1 => 20,
            HashKind::Sha224 => 28,
            HashKind::Sha256 => 32,
            HashKind::Sha384 => 48,
            HashKind::Sha512 => 64,
        }
    }

    /// Begins to hash.
    pub fn hasher(self) -> Hasher {
        Hasher(match self {
            HashKind::Md5 => State::Md5(Md5::new()),
            HashKind::Sha1 => State::Sha1(Sha1::new()),
            HashKind::Sha224 => State::Sha224(Sha224::new()),
            HashKind::Sha256 => State::Sha256(Sha256::new()),
            HashKind::Sha384 => State::Sha384(Sha384::new()),
            HashKind::Sha512 => State::Sha512(Sha512::new()),
        })
    }
}

/// Hashes what comes piece by piece.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Md5(Md5),
    Sha1(Sha1),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.0 {
            State::Md5(hasher) => hasher.update(piece),
            State::Sha1(hasher) => hasher.update(piece),
            State::Sha224(hasher) => hasher.update(piece),
            State::Sha256(hasher) => hasher.update(piece),
            State::Sha384(hasher) => hasher.update(piece),
            State::Sha512(hasher) => hasher.update(piece),
        }
    }

    /// The hash of all pieces.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            State::Md5(hasher) => hasher.finalize().to_vec(),
            State::Sha1(hasher) => hasher.finalize().to_vec(),
            State::Sha224(hasher) => hasher.finalize().to_vec(),
            State::Sha256(hasher) => hasher.finalize().to_vec(),
            State::Sha384(hasher) => hasher.finalize().to_vec(),
            State::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}
