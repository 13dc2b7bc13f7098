//! Keys: what git-annex calls an object, and what its content must be (annex-p2p §1.3).
//!
//! `BACKEND[-sSIZE][-mMTIME][-SCHUNKSIZE-CCHUNKNUM]--NAME`. A key is bytes, not text: its name may come from a file
//! name or a URL.

use std::fmt;

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::hash::HashKind;

/// The longest key that is taken from a peer, in bytes: no file could have a longer name on any usual file system.
const LONGEST: usize = 4096;

/// The characters of the mixed-case hash directories, by value.
const MIXED: &[u8; 32] = b"0123456789zqjxkmvwgpfZQJXKMVWGPF";

/// A key. Compares and prints as it came.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    text: Bytes,
    size: Option<u64>,
    /// Where the backend's name ends and where the object's begins.
    backend: usize,
    name: usize,
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not of the form BACKEND[-sSIZE][-mMTIME][-SCHUNKSIZE-CCHUNKNUM]--NAME")]
pub struct NotAKey;

impl Key {
    /// Parses a key of at most 4096 bytes. One with a line feed or a zero byte is none: it can neither be sent nor be
    /// a file's name.
    pub fn parse(text: impl Into<Bytes>) -> Result<Key, NotAKey> {
        let text: Bytes = text.into();
        if text.len() > LONGEST || text.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
            return Err(NotAKey);
        }
        let backend = text.iter().position(|byte| *byte == b'-').ok_or(NotAKey)?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if backend == 0 || !text[..backend].iter().all(plain) {
            return Err(NotAKey);
        }
        let mut fields = Fields { rest: &text[backend..] };
        let size = fields.number(b's')?;
        fields.number(b'm')?;
        if fields.number(b'S')?.is_some() != fields.number(b'C')?.is_some() {
            return Err(NotAKey);
        }
        let name = fields.rest.strip_prefix(b"--").filter(|name| !name.is_empty()).ok_or(NotAKey)?;
        let name = text.len() - name.len();
        Ok(Key { size, backend, name, text })
    }

    /// The key as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The backend: `SHA256E`, `WORM`, …
    pub fn backend(&self) -> &[u8] {
        &self.text[..self.backend]
    }

    /// What the backend calls the object.
    pub fn name(&self) -> &[u8] {
        &self.text[self.name..]
    }

    /// The object's size in bytes, if the key tells it.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The hash that the content must have; none when the key does not tell it, as those of `WORM` and `URL`.
    pub fn hash(&self) -> Option<(HashKind, Vec<u8>)> {
        let backend = std::str::from_utf8(self.backend()).ok()?;
        let (kind, name) = match backend.strip_suffix('E') {
            // A file extension is at the end of the name.
            Some(plain) => (plain, self.name().split(|byte| *byte == b'.').next()?),
            None => (backend, self.name()),
        };
        let kind = HashKind::of_backend(kind)?;
        Some((kind, unhex(name).filter(|hash| hash.len() == kind.length())?))
    }

    /// The name of the object's file and directory: the key with four characters replaced.
    pub fn file_name(&self) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.text.len());
        for byte in &self.text {
            match byte {
                b'&' => name.extend_from_slice(b"&a"),
                b'%' => name.extend_from_slice(b"&s"),
                b':' => name.extend_from_slice(b"&c"),
                b'/' => name.push(b'%'),
                other => name.push(*other),
            }
        }
        name
    }

    /// The two directories that an object is in, in a bare repository and in a directory of its own: `f87/4d5`.
    pub fn lower_directories(&self) -> [String; 2] {
        let hash = Md5::digest(&self.text);
        let hex: String = hash[..3].iter().map(|byte| format!("{byte:02x}")).collect();
        [hex[..3].into(), hex[3..].into()]
    }

    /// The two directories that an object is in, in a repository with a working tree: `pX/ZJ`.
    pub fn mixed_directories(&self) -> [String; 2] {
        let hash = Md5::digest(&self.text);
        let word = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let character = |place: u32| char::from(MIXED[(word >> (6 * place) & 31) as usize]);
        let pair = |first: u32| [character(first + 1), character(first)].iter().collect();
        [pair(0), pair(2)]
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is left of a key's fields, beginning with the hyphen before the next one.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    /// Takes the field `-X123`, if it comes next.
    fn number(&mut self, mark: u8) -> Result<Option<u64>, NotAKey> {
        let [b'-', found, rest @ ..] = self.rest else { return Ok(None) };
        if *found != mark {
            return Ok(None);
        }
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = std::str::from_utf8(&rest[..length]).map_err(|_| NotAKey)?;
        let number = digits.parse().map_err(|_| NotAKey)?;
        self.rest = &rest[length..];
        Ok(Some(number))
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| Some(digit(&pair[0])? << 4 | digit(&pair[1])?);
    text.len().is_multiple_of(2).then(|| text.chunks(2).map(pair).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";

    fn key(text: &str) -> Key {
        Key::parse(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_key_has_parts() {
        let hello = key(HELLO);
        assert_eq!((hello.backend(), hello.size()), (&b"SHA256E"[..], Some(6)));
        let (kind, hash) = hello.hash().unwrap();
        assert_eq!((kind, hash[0], hash.len()), (HashKind::Sha256, 0x58, 32));
        let worm = key("WORM-s3-m1700000000--2023-11-14--a");
        assert_eq!((worm.name(), worm.size(), worm.hash()), (&b"2023-11-14--a"[..], Some(3), None));
        assert_eq!(key("SHA1-s100-S40-C2--abc").hash(), None, "too short for a hash");
        assert_eq!(key("URL--http://example.com/").size(), None);
    }

    #[test]
    fn what_is_no_key() {
        let bad = [
            "",
            "-",
            "--a",
            "SHA1",
            "SHA1--",
            "SHA1-s--a",
            "SHA1-sx--a",
            "SHA1-s1-S2--a",
            "SHA1-C1--a",
            "SHA1-m1-s1--a",
            "SHA1-s99999999999999999999--a",
            "SHA 1--a",
            "SHA1--a\nb",
            "SHA1--a\0",
        ];
        for text in bad {
            assert_eq!(Key::parse(text.as_bytes().to_vec()), Err(NotAKey), "{text:?}");
        }
        assert_eq!(Key::parse(format!("URL--{}", "x".repeat(5000)).into_bytes()), Err(NotAKey));
    }

    /// What `git annex examinekey` of 10.20261026 prints.
    #[test]
    fn objects_are_filed_as_by_the_real_program() {
        let filed =
            |text: &str| (key(text).lower_directories().join("/"), key(text).mixed_directories().join("/"));
        assert_eq!(filed(HELLO), ("d91/b11".into(), "mK/4w".into()));
        assert_eq!(filed("WORM-s3-m1700000000--a"), ("e12/da0".into(), "J1/82".into()));
        let url = "URL--http&c%%example.com%x";
        assert_eq!(filed(url), ("7e3/842".into(), "1P/v3".into()));
        assert_eq!(key(url).file_name(), b"URL--http&ac&s&sexample.com&sx");
        assert_eq!(key("URL--http://a").file_name(), b"URL--http&c%%a");
    }
}
