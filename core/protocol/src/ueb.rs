//! The URI extension block (spec §7): a small dictionary in every share, authenticated by the hash in
//! the capability, that authenticates everything else.
//!
//! Serialised as `key ":" netstring(value)` in ascending order of keys. Integers are ASCII decimal,
//! hashes raw bytes.

use std::collections::BTreeMap;

use crate::hash::{self, Hash};
use crate::netstring;
use crate::segmentation::{Segmentation, SegmentationError};

/// What a URI extension block says. A downloader needs three fields; the rest may be missing and is
/// looked at by [`Ueb::verify`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ueb {
    /// Ciphertext bytes in each segment but the last.
    pub segment_size: u64,
    /// Root of the tree over the hashes of all ciphertext segments.
    pub crypttext_root_hash: Hash,
    /// Root of the tree over the roots of all shares' block trees.
    pub share_root_hash: Hash,
    /// Hash of the whole ciphertext; 32 bytes in a sane block.
    pub crypttext_hash: Option<Vec<u8>>,
    /// Name of the erasure code: `crs`.
    pub codec_name: Option<Vec<u8>>,
    /// `segment size-k-N`.
    pub codec_params: Option<Vec<u8>>,
    /// `padded tail size-k-N`.
    pub tail_codec_params: Option<Vec<u8>>,
    /// Size of the file.
    pub size: Option<u64>,
    /// Number of segments.
    pub num_segments: Option<u64>,
    /// k.
    pub needed_shares: Option<u64>,
    /// N.
    pub total_shares: Option<u64>,
}

/// What is wrong with a URI extension block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UebError {
    /// Longer than any block may be.
    #[error("a URI extension block of {0} bytes is too long: {MAX_LEN} is the most")]
    TooLong(u64),
    /// Does not hash to what the capability says.
    #[error("the URI extension block does not have the hash that the capability asks for")]
    Hash,
    /// Not a sequence of keys and netstrings.
    #[error("the URI extension block is malformed at byte {0}")]
    Syntax(usize),
    /// A key comes twice.
    #[error("the URI extension block says {0} twice")]
    Duplicate(&'static str),
    /// A field that every reader needs is missing.
    #[error("the URI extension block has no {0}")]
    Missing(&'static str),
    /// A field is not the number or hash it should be.
    #[error("the {0} in the URI extension block is no number, or no hash, as it should be")]
    Field(&'static str),
    /// A field contradicts the capability or the other fields.
    #[error("the {0} in the URI extension block contradicts the capability")]
    Mismatch(&'static str),
    /// The sizes in it make no sense.
    #[error(transparent)]
    Sizes(#[from] SegmentationError),
}

/// The longest block that is read, in bytes; a real one has about 310.
pub const MAX_LEN: u64 = 1999;

impl Ueb {
    /// The block that an uploader writes.
    pub fn new(
        file: &Segmentation,
        crypttext_hash: Hash,
        crypttext_root_hash: Hash,
        share_root_hash: Hash,
    ) -> Ueb {
        Ueb {
            segment_size: file.segment_size,
            crypttext_root_hash,
            share_root_hash,
            crypttext_hash: Some(crypttext_hash.to_vec()),
            codec_name: Some(CODEC.to_vec()),
            codec_params: Some(codec_params(file.segment_size, file)),
            tail_codec_params: Some(codec_params(file.tail_padded, file)),
            size: Some(file.size),
            num_segments: Some(file.segments),
            needed_shares: Some(file.k.into()),
            total_shares: Some(file.n.into()),
        }
    }

    /// Serialises the block. Fields that are `None` are left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let decimal = |number: u64| number.to_string().into_bytes();
        let fields = [
            ("codec_name", self.codec_name.clone()),
            ("codec_params", self.codec_params.clone()),
            ("crypttext_hash", self.crypttext_hash.clone()),
            ("crypttext_root_hash", Some(self.crypttext_root_hash.to_vec())),
            ("needed_shares", self.needed_shares.map(decimal)),
            ("num_segments", self.num_segments.map(decimal)),
            ("segment_size", Some(decimal(self.segment_size))),
            ("share_root_hash", Some(self.share_root_hash.to_vec())),
            ("size", self.size.map(decimal)),
            ("tail_codec_params", self.tail_codec_params.clone()),
            ("total_shares", self.total_shares.map(decimal)),
        ];
        let mut out = Vec::new();
        for (key, value) in fields {
            if let Some(value) = value {
                out.extend_from_slice(key.as_bytes());
                out.push(b':');
                netstring::write(&mut out, &value);
            }
        }
        out
    }

    /// Reads a block that must have the hash `expected`.
    pub fn parse_authentic(bytes: &[u8], expected: &Hash) -> Result<Ueb, UebError> {
        if hash::ueb(bytes) != *expected {
            return Err(UebError::Hash);
        }
        Self::parse(bytes)
    }

    /// Reads a block whoever wrote it. Unknown keys are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Ueb, UebError> {
        let mut fields = Fields::parse(bytes)?;
        Ok(Ueb {
            segment_size: fields.number("segment_size")?.ok_or(UebError::Missing("segment_size"))?,
            crypttext_root_hash: fields.hash("crypttext_root_hash")?,
            share_root_hash: fields.hash("share_root_hash")?,
            crypttext_hash: fields.bytes("crypttext_hash"),
            codec_name: fields.bytes("codec_name"),
            codec_params: fields.bytes("codec_params"),
            tail_codec_params: fields.bytes("tail_codec_params"),
            size: fields.number("size")?,
            num_segments: fields.number("num_segments")?,
            needed_shares: fields.number("needed_shares")?,
            total_shares: fields.number("total_shares")?,
        })
    }

    /// A downloader's check: the segment size is possible for a file of `size` bytes with these
    /// shares. Nothing else in the block is believed; size, k and n come from the capability.
    pub fn segmentation(&self, size: u64, k: u32, n: u32) -> Result<Segmentation, UebError> {
        Ok(Segmentation::new(size, k, n, self.segment_size)?)
    }

    /// A verifier's check: moreover, whatever else the block says agrees with the capability.
    pub fn verify(&self, size: u64, k: u32, n: u32) -> Result<Segmentation, UebError> {
        let file = self.segmentation(size, k, n)?;
        let is = |said: &Option<Vec<u8>>, want: &[u8]| said.as_ref().is_none_or(|said| said == want);
        let same = |said: Option<u64>, want: u64| said.is_none_or(|said| said == want);
        let mismatch = [
            ("crypttext_hash", self.crypttext_hash.as_ref().is_none_or(|hash| hash.len() == 32)),
            ("codec_name", is(&self.codec_name, CODEC)),
            ("codec_params", is(&self.codec_params, &codec_params(file.segment_size, &file))),
            ("tail_codec_params", is(&self.tail_codec_params, &codec_params(file.tail_padded, &file))),
            ("size", same(self.size, size)),
            ("num_segments", same(self.num_segments, file.segments)),
            ("needed_shares", same(self.needed_shares, k.into())),
            ("total_shares", same(self.total_shares, n.into())),
        ]
        .into_iter()
        .find(|(_, agrees)| !agrees);
        match mismatch {
            Some((field, _)) => Err(UebError::Mismatch(field)),
            None => Ok(file),
        }
    }
}

const CODEC: &[u8] = b"crs";

/// The keys this crate reads.
const KEYS: [&str; 11] = [
    "codec_name",
    "codec_params",
    "crypttext_hash",
    "crypttext_root_hash",
    "needed_shares",
    "num_segments",
    "segment_size",
    "share_root_hash",
    "size",
    "tail_codec_params",
    "total_shares",
];

fn codec_params(segment: u64, file: &Segmentation) -> Vec<u8> {
    format!("{segment}-{}-{}", file.k, file.n).into_bytes()
}

/// The known fields of a block as they were read.
struct Fields<'a>(BTreeMap<&'static str, &'a [u8]>);

impl<'a> Fields<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Fields<'a>, UebError> {
        if bytes.len() as u64 > MAX_LEN {
            return Err(UebError::TooLong(bytes.len() as u64));
        }
        let mut fields = BTreeMap::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (key, value, after) = entry(rest).ok_or(UebError::Syntax(bytes.len() - rest.len()))?;
            if let Some(known) = KEYS.into_iter().find(|known| known.as_bytes() == key)
                && fields.insert(known, value).is_some()
            {
                return Err(UebError::Duplicate(known));
            }
            rest = after;
        }
        Ok(Fields(fields))
    }

    fn bytes(&mut self, key: &'static str) -> Option<Vec<u8>> {
        Some(self.0.remove(key)?.to_vec())
    }

    fn hash(&mut self, key: &'static str) -> Result<Hash, UebError> {
        let value = self.0.remove(key).ok_or(UebError::Missing(key))?;
        value.try_into().map_err(|_| UebError::Field(key))
    }

    fn number(&mut self, key: &'static str) -> Result<Option<u64>, UebError> {
        let Some(digits) = self.0.remove(key) else {
            return Ok(None);
        };
        let number = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let number = number.and_then(|digits| digits.parse().ok()).ok_or(UebError::Field(key))?;
        Ok(Some(number))
    }
}

/// `key ":" netstring(value)` and what follows.
fn entry(input: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let colon = input.iter().position(|&b| b == b':')?;
    let (key, value) = (&input[..colon], &input[colon + 1..]);
    let legal = |b: &u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-');
    if key.is_empty() || !key.iter().all(legal) {
        return None;
    }
    let (value, rest) = netstring::read(value)?;
    Some((key, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file() -> Segmentation {
        Segmentation::plan(300, 3, 10, 128).unwrap()
    }

    fn sane() -> Ueb {
        Ueb::new(&file(), [1; 32], [2; 32], [3; 32])
    }

    #[test]
    fn keys_ascend_and_numbers_are_decimal() {
        let hash = |byte: &str| byte.repeat(32);
        let expected = [
            "codec_name:3:crs,codec_params:8:129-3-10,crypttext_hash:32:",
            &hash("\u{1}"),
            ",crypttext_root_hash:32:",
            &hash("\u{2}"),
            ",needed_shares:1:3,num_segments:1:3,segment_size:3:129,share_root_hash:32:",
            &hash("\u{3}"),
            ",size:3:300,tail_codec_params:7:42-3-10,total_shares:2:10,",
        ];
        assert_eq!(String::from_utf8(sane().to_bytes()).unwrap(), expected.concat());
    }

    #[test]
    fn reads_what_it_writes() {
        let bytes = sane().to_bytes();
        assert_eq!(Ueb::parse(&bytes), Ok(sane()));
        assert_eq!(Ueb::parse_authentic(&bytes, &hash::ueb(&bytes)), Ok(sane()));
        assert_eq!(Ueb::parse_authentic(&bytes, &[0; 32]), Err(UebError::Hash));
        assert_eq!(sane().segmentation(300, 3, 10), Ok(file()));
        assert_eq!(sane().verify(300, 3, 10), Ok(file()));
    }

    #[test]
    fn unknown_and_legacy_keys_are_ignored_and_most_may_be_missing() {
        let few = Ueb {
            crypttext_hash: None,
            codec_name: None,
            codec_params: None,
            tail_codec_params: None,
            size: None,
            num_segments: None,
            needed_shares: None,
            total_shares: None,
            ..sane()
        };
        let mut bytes = few.to_bytes();
        bytes.extend_from_slice(b"plaintext_hash:3:abc,Other-key:0:,");
        assert_eq!(Ueb::parse(&bytes), Ok(few.clone()));
        assert_eq!(few.verify(300, 3, 10), Ok(file()));
    }

    #[test]
    fn malformed_blocks_are_refused() {
        use UebError::*;
        let root = format!("crypttext_root_hash:32:{0},share_root_hash:32:{0},", "r".repeat(32));
        let long = format!("x:2000:{},", "x".repeat(2000));
        for (bytes, error) in [
            (String::new(), Missing("segment_size")),
            ("segment_size:3:129,".into(), Missing("crypttext_root_hash")),
            (root.clone(), Missing("segment_size")),
            (format!("{root}segment_size:0:,"), Field("segment_size")),
            (format!("{root}segment_size:2:+1,"), Field("segment_size")),
            (format!("{root}segment_size:2: 1,"), Field("segment_size")),
            (format!("{root}segment_size:20:18446744073709551616,"), Field("segment_size")),
            (format!("{root}segment_size:1:1,size:1:x,"), Field("size")),
            ("segment_size:1:1,crypttext_root_hash:1:a,".into(), Field("crypttext_root_hash")),
            ("size:1:1,size:1:1,".into(), Duplicate("size")),
            ("size:1:1".into(), Syntax(0)),
            ("size:1:1,x".into(), Syntax(9)),
            ("size:1:1,:1:1,".into(), Syntax(9)),
            ("si ze:1:1,".into(), Syntax(0)),
            ("size:01:1,".into(), Syntax(0)),
            ("size:18446744073709551615:1,".into(), Syntax(0)),
            (long, TooLong(2008)),
        ] {
            assert_eq!(Ueb::parse(bytes.as_bytes()), Err(error), "{bytes}");
        }
    }

    #[test]
    fn a_downloader_checks_the_segment_size_alone() {
        for segment_size in [0, 1, 128] {
            let error = SegmentationError::SegmentSize { segment_size, k: 3 };
            let odd = Ueb { segment_size, ..sane() };
            assert_eq!(odd.segmentation(300, 3, 10), Err(UebError::Sizes(error)));
        }
        assert_eq!(sane().segmentation(301, 3, 5).unwrap().tail_size, 43);
    }

    #[test]
    fn a_verifier_checks_every_field() {
        type Damage = fn(&mut Ueb);
        let damages: [(&str, Damage); 8] = [
            ("crypttext_hash", |ueb| ueb.crypttext_hash = Some(vec![0; 31])),
            ("codec_name", |ueb| ueb.codec_name = Some(b"rs".to_vec())),
            ("codec_params", |ueb| ueb.codec_params = Some(b"129-3-11".to_vec())),
            ("tail_codec_params", |ueb| ueb.tail_codec_params = Some(b"129-3-10".to_vec())),
            ("size", |ueb| ueb.size = Some(301)),
            ("num_segments", |ueb| ueb.num_segments = Some(4)),
            ("needed_shares", |ueb| ueb.needed_shares = Some(4)),
            ("total_shares", |ueb| ueb.total_shares = Some(11)),
        ];
        for (field, damage) in damages {
            let mut ueb = sane();
            damage(&mut ueb);
            let read = Ueb::parse(&ueb.to_bytes()).unwrap();
            assert_eq!(read.verify(300, 3, 10), Err(UebError::Mismatch(field)));
            assert_eq!(read.segmentation(300, 3, 10), Ok(file()), "a downloader does not care");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>, size: u64, k: u32, n: u32) {
            if let Ok(ueb) = Ueb::parse(&bytes) {
                let _ = ueb.verify(size, k, n);
            }
        }

        /// Damage that leaves most of the syntax whole.
        #[test]
        fn damaged_blocks_do_no_harm(at: prop::sample::Index, with in "[0-9:,]{0,3}", size: u64, k in 0u32..300) {
            let mut bytes = sane().to_bytes();
            let at = at.index(bytes.len());
            bytes.splice(at..at + 1, with.into_bytes());
            if let Ok(ueb) = Ueb::parse(&bytes) {
                let _ = ueb.verify(size, k, 256);
            }
        }
    }
}
