//! Whether bytes are those of a key, told while they pass.

use std::io;

use runtime::files::File;

use crate::hash::Hasher;
use crate::key::Key;

/// Bytes that are read from a file at a time.
const BUFFER: usize = 256 * 1024;

/// Hashes an object piece by piece.
pub struct Verifier {
    hasher: Option<(Hasher, Vec<u8>)>,
    size: Option<u64>,
    passed: u64,
}

impl Verifier {
    /// For all bytes of an object, from the first on.
    pub fn new(key: &Key) -> Verifier {
        let hasher = key.hash().map(|(kind, hash)| (kind.hasher(), hash));
        Verifier { hasher, size: key.size(), passed: 0 }
    }

    /// For the bytes of an object from `offset` on, which only their count can tell; all of it, from 0 on, as [`new`](Self::new).
    pub fn from_offset(key: &Key, offset: u64) -> Verifier {
        let mut verifier = Verifier::new(key);
        if offset > 0 {
            verifier.skip(offset);
        }
        verifier
    }

    /// Bytes that have passed.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.passed += piece.len() as u64;
        if let Some((hasher, _)) = &mut self.hasher {
            hasher.update(piece);
        }
    }

    /// The bytes of a file that have not passed yet, up to `end`. Called in jobs.
    pub fn read(&mut self, file: &dyn File, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER.min(end.saturating_sub(self.passed) as usize)];
        while self.passed < end {
            let length = buffer.len().min((end - self.passed) as usize);
            match file.read_at(self.passed, &mut buffer[..length])? {
                0 => return Err(io::Error::other("the file has become shorter")),
                count => self.update(&buffer[..count]),
            }
        }
        Ok(())
    }

    /// So many bytes pass unseen: from now on only the size can tell.
    pub fn skip(&mut self, length: u64) {
        self.passed += length;
        self.hasher = None;
    }

    /// Whether all that passed is the object; none when the key does not tell.
    pub fn finish(self) -> Option<bool> {
        if self.size.is_some_and(|size| size != self.passed) {
            return Some(false);
        }
        self.hasher.map(|(hasher, hash)| hasher.finish() == hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";

    fn verify(key: &str, pieces: &[&str]) -> Option<bool> {
        let mut verifier = Verifier::new(&Key::parse(key.as_bytes().to_vec()).unwrap());
        pieces.iter().for_each(|piece| verifier.update(piece.as_bytes()));
        verifier.finish()
    }

    #[test]
    fn size_and_hash_tell() {
        assert_eq!(verify(HELLO, &["hel", "lo\n"]), Some(true));
        assert_eq!(verify(HELLO, &["hel", "la\n"]), Some(false));
        assert_eq!(verify(HELLO, &["hello"]), Some(false));
        assert_eq!(verify("WORM-s3--x", &["abc"]), None);
        assert_eq!(verify("WORM-s3--x", &["abcd"]), Some(false));
        assert_eq!(verify("URL--x", &["abcd"]), None);
    }

    #[test]
    fn what_comes_from_an_offset_on_must_be_as_much_as_there_is() {
        let rest = |key: &str, offset, piece: &str| {
            let mut verifier = Verifier::from_offset(&Key::parse(key.as_bytes().to_vec()).unwrap(), offset);
            verifier.update(piece.as_bytes());
            verifier.finish()
        };
        assert_eq!(rest(HELLO, 0, "hello\n"), Some(true));
        assert_eq!(rest(HELLO, 2, "llo\n"), None);
        assert_eq!(rest(HELLO, 2, "llo"), Some(false));
        assert_eq!(rest(HELLO, 2, "hello\n"), Some(false));
        assert_eq!(rest("URL--x", 2, "llo"), None);
    }
}
