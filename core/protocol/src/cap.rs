//! Capability strings of immutable files (spec §2): read, verify and literal.
//!
//! Parsing is strict (spec §20.8): the whole string must match and 1 ≤ k ≤ N ≤ 256. What Tahoe
//! accepts beyond the canonical form and is harmless is accepted too: a leading `ro.` or `imm.`,
//! leading zeros of numbers, one trailing newline. `Display` writes the canonical string, which is a
//! secret; `Debug` and errors never contain it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::base32;
use crate::hash::Hash;
use crate::ids::{Key, StorageIndex};
use crate::segmentation::check_shares;

/// Any capability of an immutable file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cap {
    /// `URI:CHK:`: reads a file.
    Read(ReadCap),
    /// `URI:CHK-Verifier:`: checks, verifies and repairs a file.
    Verify(VerifyCap),
    /// `URI:LIT:`: is the file.
    Literal(Literal),
}

/// Reads a file: its key and the hash that everything in its shares is checked against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReadCap {
    /// Decrypts the file, and names it.
    pub key: Key,
    /// Hash of the URI extension block.
    pub ueb_hash: Hash,
    /// Shares needed, 1 ≤ k ≤ n.
    pub k: u32,
    /// Shares made, n ≤ 256.
    pub n: u32,
    /// The file's size in bytes.
    pub size: u64,
}

/// Checks, verifies and repairs a file, and fetches its ciphertext, without being able to read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyCap {
    /// Names the file on servers.
    pub storage_index: StorageIndex,
    /// Hash of the URI extension block.
    pub ueb_hash: Hash,
    /// Shares needed, 1 ≤ k ≤ n.
    pub k: u32,
    /// Shares made, n ≤ 256.
    pub n: u32,
    /// The file's size in bytes.
    pub size: u64,
}

/// A small file, carried whole in its capability.
#[derive(Clone, PartialEq, Eq)]
pub struct Literal(pub Bytes);

/// The largest file that an uploader turns into a [`Literal`], in bytes (spec §16).
pub const MAX_LITERAL: usize = 55;

/// Why a string is no capability. Says where, never what: the string may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapError {
    /// None of the prefixes this crate knows.
    #[error(
        "this is no capability of an immutable file: it starts with none of URI:CHK:, URI:CHK-Verifier:, URI:LIT:"
    )]
    Unknown,
    /// A field is missing or not in its one canonical spelling, or does not fit.
    #[error("the {0} in this capability is missing or malformed")]
    Field(&'static str),
    /// Something follows the last field.
    #[error("something follows the end of this capability")]
    Trailing,
    /// Not 1 ≤ k ≤ N ≤ 256.
    #[error("the share counts in this capability are impossible: 1 ≤ k ≤ N ≤ 256 holds for every file")]
    Shares,
}

impl ReadCap {
    /// Names the file on servers.
    pub fn storage_index(&self) -> StorageIndex {
        self.key.storage_index()
    }

    /// The capability that can check and repair this file but not read it.
    pub fn verify_cap(&self) -> VerifyCap {
        let ReadCap { ueb_hash, k, n, size, .. } = *self;
        VerifyCap { storage_index: self.storage_index(), ueb_hash, k, n, size }
    }
}

impl Cap {
    /// The file's size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Cap::Read(cap) => cap.size,
            Cap::Verify(cap) => cap.size,
            Cap::Literal(Literal(data)) => data.len() as u64,
        }
    }

    /// What checks this file, `None` for a literal one: there is nothing to check.
    pub fn verify_cap(&self) -> Option<VerifyCap> {
        match self {
            Cap::Read(cap) => Some(cap.verify_cap()),
            Cap::Verify(cap) => Some(*cap),
            Cap::Literal(_) => None,
        }
    }
}

impl FromStr for Cap {
    type Err = CapError;

    fn from_str(text: &str) -> Result<Cap, CapError> {
        let text = text.strip_prefix("ro.").or_else(|| text.strip_prefix("imm.")).unwrap_or(text);
        let text = text.strip_suffix('\n').unwrap_or(text);
        if let Some(fields) = text.strip_prefix(READ) {
            let (key, ueb_hash, k, n, size) = parse_fields(fields, "key")?;
            Ok(Cap::Read(ReadCap { key: Key(key), ueb_hash, k, n, size }))
        } else if let Some(fields) = text.strip_prefix(VERIFY) {
            let (index, ueb_hash, k, n, size) = parse_fields(fields, "storage index")?;
            let storage_index = StorageIndex(index);
            Ok(Cap::Verify(VerifyCap { storage_index, ueb_hash, k, n, size }))
        } else if let Some(data) = text.strip_prefix(LITERAL) {
            let data = base32::decode(data).ok_or(CapError::Field("data"))?;
            Ok(Cap::Literal(Literal(data.into())))
        } else {
            Err(CapError::Unknown)
        }
    }
}

const READ: &str = "URI:CHK:";
const VERIFY: &str = "URI:CHK-Verifier:";
const LITERAL: &str = "URI:LIT:";

/// The five fields that read and verify capabilities share; `first` names the first one.
fn parse_fields(fields: &str, first: &'static str) -> Result<([u8; 16], Hash, u32, u32, u64), CapError> {
    let mut fields = fields.split(':');
    let mut next = |name| fields.next().ok_or(CapError::Field(name));

    let name = base32::decode_array(next(first)?).ok_or(CapError::Field(first))?;
    let ueb_hash = base32::decode_array(next("UEB hash")?).ok_or(CapError::Field("UEB hash"))?;
    let k = number(next("k")?).ok_or(CapError::Field("k"))?;
    let n = number(next("N")?).ok_or(CapError::Field("N"))?;
    let size = number(next("size")?).ok_or(CapError::Field("size"))?;
    if fields.next().is_some() {
        return Err(CapError::Trailing);
    }

    let (k, n) = (u32::try_from(k), u32::try_from(n));
    match (k, n) {
        (Ok(k), Ok(n)) if check_shares(k, n).is_ok() => Ok((name, ueb_hash, k, n, size)),
        _ => Err(CapError::Shares),
    }
}

/// Decimal digits alone: Rust's own parser would take a sign.
fn number(digits: &str) -> Option<u64> {
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cap::Read(cap) => cap.fmt(f),
            Cap::Verify(cap) => cap.fmt(f),
            Cap::Literal(cap) => cap.fmt(f),
        }
    }
}

impl fmt::Display for ReadCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, hash) = (base32::encode(&self.key.0), base32::encode(&self.ueb_hash));
        write!(f, "{READ}{key}:{hash}:{}:{}:{}", self.k, self.n, self.size)
    }
}

impl fmt::Display for VerifyCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = base32::encode(&self.ueb_hash);
        write!(f, "{VERIFY}{}:{hash}:{}:{}:{}", self.storage_index, self.k, self.n, self.size)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LITERAL}{}", base32::encode(&self.0))
    }
}

impl fmt::Debug for ReadCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReadCap { k, n, size, .. } = self;
        write!(f, "ReadCap({}, {k}-of-{n}, {size} bytes)", self.storage_index())
    }
}

impl fmt::Debug for VerifyCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VerifyCap { storage_index, k, n, size, .. } = self;
        write!(f, "VerifyCap({storage_index}, {k}-of-{n}, {size} bytes)")
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Literal({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "znev2ufva6ohrdeaguvskqwvfe";
    const INDEX: &str = "dioo322efou2of5qb2xad6ozmy";
    const HASH: &str = "qderd4wyjgdohymst47fd3pqgdtoc2fgukcb5bs4hgcrmprgw36q";

    fn read(rest: &str) -> String {
        format!("URI:CHK:{KEY}:{HASH}:{rest}")
    }

    #[test]
    fn a_read_cap_gives_its_verify_cap() {
        let cap: Cap = read("3:10:300").parse().unwrap();
        let verify = cap.verify_cap().unwrap();
        assert_eq!(verify.to_string(), format!("URI:CHK-Verifier:{INDEX}:{HASH}:3:10:300"));
        assert_eq!(verify.to_string().parse(), Ok(Cap::Verify(verify)));
        assert_eq!(cap.size(), 300);
    }

    #[test]
    fn literals() {
        for (text, data) in [("URI:LIT:", ""), ("URI:LIT:me", "a"), ("URI:LIT:nbswy3dp", "hello")] {
            let cap: Cap = text.parse().unwrap();
            assert_eq!(cap, Cap::Literal(Literal(Bytes::from(data))));
            assert_eq!((cap.to_string().as_str(), cap.size()), (text, data.len() as u64));
            assert_eq!(cap.verify_cap(), None);
        }
    }

    #[test]
    fn harmless_variations_are_read_and_written_canonically() {
        let canonical = read("3:10:56");
        for text in [
            format!("ro.{canonical}"),
            format!("imm.{canonical}"),
            format!("{canonical}\n"),
            read("03:010:0056"),
        ] {
            assert_eq!(text.parse::<Cap>().unwrap().to_string(), canonical, "{text}");
        }
        assert_eq!(read("1:1:18446744073709551615").parse::<Cap>().unwrap().size(), u64::MAX);
        assert_eq!(read("256:256:0").parse::<Cap>().unwrap().size(), 0);
    }

    #[test]
    fn everything_else_is_refused() {
        use CapError::*;
        for (text, error) in [
            (String::new(), Unknown),
            ("URI:SSK:a:b".into(), Unknown),
            (format!(" {}", read("3:10:300")), Unknown),
            (format!("ro.imm.{}", read("3:10:300")), Unknown),
            (read("3:10:300").to_lowercase(), Unknown),
            ("URI:CHK:".into(), Field("key")),
            (format!("URI:CHK:{}:{HASH}:3:10:300", KEY.to_uppercase()), Field("key")),
            (format!("URI:CHK:{}f:{HASH}:3:10:300", &KEY[..25]), Field("key")),
            (format!("URI:CHK:{KEY}"), Field("UEB hash")),
            (format!("URI:CHK:{KEY}:{}:3:10:300", &HASH[1..]), Field("UEB hash")),
            (format!("URI:CHK-Verifier:{HASH}:{HASH}:3:10:300"), Field("storage index")),
            (read(""), Field("k")),
            (read("+3:10:300"), Field("k")),
            (read("3:10"), Field("size")),
            (read("3::300"), Field("N")),
            (read("3:10:"), Field("size")),
            (read("3:10:18446744073709551616"), Field("size")),
            (read("3:10:300 "), Field("size")),
            (read("3:10:300\n\n"), Field("size")),
            (read("3:10:٣"), Field("size")),
            (read("3:10:300:"), Trailing),
            (read("0:10:300"), Shares),
            (read("11:10:300"), Shares),
            (read("3:257:300"), Shares),
            (read("4294967299:4294967306:300"), Shares),
            ("URI:LIT:m".into(), Field("data")),
            ("URI:LIT:me:".into(), Field("data")),
            ("URI:LIT:ME".into(), Field("data")),
        ] {
            assert_eq!(text.parse::<Cap>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_neither_key_nor_hash_nor_data() {
        let cap: Cap = read("3:10:300").parse().unwrap();
        assert_eq!(format!("{cap:?}"), format!("Read(ReadCap({INDEX}, 3-of-10, 300 bytes))"));
        let verify = cap.verify_cap().unwrap();
        assert_eq!(format!("{verify:?}"), format!("VerifyCap({INDEX}, 3-of-10, 300 bytes)"));
        let literal: Cap = "URI:LIT:nbswy3dp".parse().unwrap();
        assert_eq!(format!("{literal:?}"), "Literal(Literal(5 bytes))");
    }

    proptest! {
        #[test]
        fn arbitrary_strings_do_no_harm(text in any::<String>()) {
            prop_assert_eq!(text.parse::<Cap>().is_ok(), false);
        }

        /// Near misses: fields of the right kind in the wrong shape. What parses at all says the same
        /// as its canonical form, and is never longer.
        #[test]
        fn whatever_parses_is_stable(
            text in "(ro\\.|imm\\.)?URI:(CHK|CHK-Verifier|LIT):([a-z2-7]{26}:[a-z2-7]{51}[aq]|[a-z2-7]{0,9})(:[0-9]{1,3}){0,4}\n?"
        ) {
            if let Ok(cap) = text.parse::<Cap>() {
                let canonical = cap.to_string();
                prop_assert!(canonical.len() <= text.len());
                prop_assert_eq!(canonical.parse(), Ok(cap));
            }
        }

        #[test]
        fn round_trip(key: [u8; 16], ueb_hash: [u8; 32], n in 1u32..=256, k in 1u32..=256, size: u64) {
            let cap = ReadCap { key: Key(key), ueb_hash, k: k.min(n), n, size };
            prop_assert_eq!(cap.to_string().parse(), Ok(Cap::Read(cap)));
            let verify = cap.verify_cap();
            prop_assert_eq!(verify.to_string().parse(), Ok(Cap::Verify(verify)));
        }

        /// Damage one character of a good capability: the error repeats no piece of it.
        #[test]
        fn errors_contain_nothing_of_the_capability(at in 8usize..90, with in "[A-Z!:]") {
            let mut text = read("3:10:300");
            text.replace_range(at..=at, &with);
            if let Err(error) = text.parse::<Cap>() {
                let said = format!("{error} {error:?}");
                for piece in [KEY, HASH].map(|secret| &secret[..6]) {
                    prop_assert!(!said.contains(piece));
                }
                prop_assert!(!said.contains(&text[8..at.max(12)]));
            }
        }
    }
}
