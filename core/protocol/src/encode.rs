//! Making shares (spec §3–§8): a file's ciphertext, segment by segment, becomes the blocks of its n
//! shares and in the end the rest of each share and the hash for the capability.
//!
//! [`Encoder`] does it a segment at a time, for an uploader that streams. [`encode`] does a whole file
//! at once in memory.

use bytes::{Bytes, BytesMut};

use crate::cap::ReadCap;
use crate::chain_order::chain_order;
use crate::codec::{Codec, CodecError};
use crate::crypt::{Cipher, ConvergentKey};
use crate::hash::{self, Hash, Tagged};
use crate::hash_tree::{HashTree, HashTreeError};
use crate::ids::Key;
use crate::layout::{self, Layout, LayoutError, Version};
use crate::segmentation::{Segmentation, SegmentationError};
use crate::ueb::Ueb;

/// The settings of an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Shares needed, 1 ≤ k ≤ n.
    pub k: u32,
    /// Shares made, n ≤ 256.
    pub n: u32,
    /// The most ciphertext bytes in a segment, before rounding up to a multiple of k.
    pub max_segment_size: u64,
}

impl Default for Params {
    /// 3 of 10, segments of 1 MiB.
    fn default() -> Params {
        Params { k: 3, n: 10, max_segment_size: 1 << 20 }
    }
}

/// Where a file's key comes from.
#[derive(Clone, Copy, Debug)]
pub enum KeySource<'a> {
    /// From the content, the settings and this secret, which may be empty.
    Convergent(Secret<'a>),
    /// From elsewhere.
    Given(Key),
}

/// A convergence secret. `Debug` does not show it.
#[derive(Clone, Copy)]
pub struct Secret<'a>(pub &'a [u8]);

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A whole file, encoded.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Reads the file.
    pub cap: ReadCap,
    /// Its n shares, by number, each from header to URI extension block.
    pub shares: Vec<Bytes>,
}

/// Why a file cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The file is empty: it has no segments, and belongs into a literal capability.
    #[error("an empty file has no shares: make it a literal capability")]
    Empty,
    /// The settings are impossible.
    #[error(transparent)]
    Sizes(#[from] SegmentationError),
    /// The shares do not fit the layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The erasure code refused.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A hash tree refused.
    #[error(transparent)]
    HashTree(#[from] HashTreeError),
    /// A segment has the wrong length.
    #[error("segment {segment} has {have} bytes where {want} are due")]
    SegmentLen {
        /// The segment's number.
        segment: u64,
        /// Its length.
        have: u64,
        /// The length due.
        want: u64,
    },
    /// More segments came than the file has, or fewer.
    #[error("{have} segments were given of a file that has {want}")]
    SegmentCount {
        /// Segments given.
        have: u64,
        /// Segments of the file.
        want: u64,
    },
}

/// Encodes a whole file in memory. `version` forces a layout; a cap does not depend on it.
pub fn encode(
    plaintext: &[u8],
    params: Params,
    key: KeySource<'_>,
    version: Option<Version>,
) -> Result<Encoded, EncodeError> {
    let Params { k, n, max_segment_size } = params;
    let size = plaintext.len() as u64;
    let file = Segmentation::plan(size, k, n, max_segment_size)?;
    let key = match key {
        KeySource::Given(key) => key,
        KeySource::Convergent(Secret(secret)) => {
            let mut hasher = ConvergentKey::new(&file, secret);
            hasher.update(plaintext);
            hasher.finish()
        }
    };
    let mut ciphertext = BytesMut::from(plaintext);
    Cipher::at(&key, 0).apply(&mut ciphertext);
    let mut ciphertext = ciphertext.freeze();

    let mut encoder = Encoder::new(file, version)?;
    let mut shares = vec![BytesMut::from(&encoder.header()[..]); n as usize];
    while !ciphertext.is_empty() {
        let segment = ciphertext.split_to(ciphertext.len().min(file.segment_size as usize));
        for (share, block) in shares.iter_mut().zip(encoder.segment(segment)?) {
            share.extend_from_slice(&block);
        }
    }
    let finished = encoder.finish()?;
    for (share, tail) in shares.iter_mut().zip(&finished.tails) {
        share.extend_from_slice(tail);
    }
    let cap = ReadCap { key, ueb_hash: finished.ueb_hash, k, n, size };
    Ok(Encoded { cap, shares: shares.into_iter().map(BytesMut::freeze).collect() })
}

/// Encodes the ciphertext of one file, segment by segment.
///
/// A share is its [`header`](Self::header), its block of each [`segment`](Self::segment) in turn,
/// then its tail from [`finish`](Self::finish).
pub struct Encoder {
    file: Segmentation,
    layout: Layout,
    codec: Codec,
    crypttext: Tagged,
    /// Hash of each segment so far.
    segment_hashes: Vec<Hash>,
    /// For each share the hash of each block so far.
    block_hashes: Vec<Vec<Hash>>,
}

/// What an [`Encoder`] has in the end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Hash of the URI extension block: goes into the capability.
    pub ueb_hash: Hash,
    /// The URI extension block.
    pub ueb: Ueb,
    /// For each share what follows its blocks: hash trees, chain, URI extension block.
    pub tails: Vec<Bytes>,
}

impl Encoder {
    /// Starts a file, which must not be empty, with the smallest layout that fits or the one asked
    /// for.
    pub fn new(file: Segmentation, version: Option<Version>) -> Result<Encoder, EncodeError> {
        if file.segments == 0 {
            return Err(EncodeError::Empty);
        }
        Ok(Encoder {
            file,
            layout: Layout::plan(&file, version)?,
            codec: Codec::new(file.k, file.n)?,
            crypttext: hash::crypttext(),
            segment_hashes: Vec::new(),
            block_hashes: vec![Vec::new(); file.n as usize],
        })
    }

    /// Length of each share in bytes; known before anything is encoded.
    pub fn share_len(&self) -> Result<u64, EncodeError> {
        // The hashes do not change the length of the block that carries them.
        let ueb = Ueb::new(&self.file, [0; 32], [0; 32], [0; 32]).to_bytes();
        Ok(self.layout.share_len(ueb.len() as u64)?)
    }

    /// The header of every share.
    pub fn header(&self) -> Vec<u8> {
        self.layout.header(&self.file)
    }

    /// Encodes the next segment: `ciphertext` of exactly the segment's size, without padding. Returns
    /// the block of each share, by number.
    pub fn segment(&mut self, ciphertext: Bytes) -> Result<Vec<Bytes>, EncodeError> {
        let (segment, have) = (self.segment_hashes.len() as u64, ciphertext.len() as u64);
        let counts = EncodeError::SegmentCount { have: segment + 1, want: self.file.segments };
        let range = self.file.segment_range(segment).ok_or(counts)?;
        let want = range.end - range.start;
        if have != want {
            return Err(EncodeError::SegmentLen { segment, have, want });
        }
        self.crypttext.update(&ciphertext);
        self.segment_hashes.push(hash::crypttext_segment(&ciphertext));

        let blocks = self.codec.encode(&pad(ciphertext, u64::from(self.file.k)))?;
        for (hashes, block) in self.block_hashes.iter_mut().zip(&blocks) {
            hashes.push(hash::block(block));
        }
        Ok(blocks)
    }

    /// Ends the file once all its segments are encoded.
    pub fn finish(self) -> Result<Finished, EncodeError> {
        let (have, want) = (self.segment_hashes.len() as u64, self.file.segments);
        if have != want {
            return Err(EncodeError::SegmentCount { have, want });
        }
        let crypttext_tree = HashTree::new(&self.segment_hashes)?;
        let block_trees =
            self.block_hashes.iter().map(|hashes| HashTree::new(hashes)).collect::<Result<Vec<_>, _>>()?;
        let roots: Vec<Hash> = block_trees.iter().map(HashTree::root).collect();
        let share_tree = HashTree::new(&roots)?;
        let crypttext_hash = self.crypttext.clone().finish();
        let ueb = Ueb::new(&self.file, crypttext_hash, crypttext_tree.root(), share_tree.root());
        let ueb_bytes = ueb.to_bytes();

        let mut tails = Vec::with_capacity(block_trees.len());
        for (share, block_tree) in block_trees.iter().enumerate() {
            let mut tail = vec![0; 32 * crypttext_tree.nodes().len()];
            tail.extend_from_slice(crypttext_tree.nodes().as_flattened());
            tail.extend_from_slice(block_tree.nodes().as_flattened());
            for node in chain_order(self.file.n, share as u32)? {
                let hash = share_tree.nodes()[node as usize];
                layout::write_chain_entry(&mut tail, node as u16, &hash);
            }
            self.layout.version.write(&mut tail, ueb_bytes.len() as u64);
            tail.extend_from_slice(&ueb_bytes);
            tails.push(tail.into());
        }
        Ok(Finished { ueb_hash: hash::ueb(&ueb_bytes), ueb, tails })
    }
}

/// Fills a segment up with zeros to a multiple of `k` bytes.
fn pad(segment: Bytes, k: u64) -> Bytes {
    let padded = segment.len().next_multiple_of(k as usize);
    if padded == segment.len() {
        return segment;
    }
    let mut out = BytesMut::with_capacity(padded);
    out.extend_from_slice(&segment);
    out.resize(padded, 0);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(size: u64) -> Encoder {
        Encoder::new(Segmentation::plan(size, 3, 10, 128).unwrap(), None).unwrap()
    }

    #[test]
    fn a_streaming_uploader_makes_the_same_shares() {
        let params = Params { k: 3, n: 10, max_segment_size: 128 };
        let plaintext: Vec<u8> = (0..300).map(|i| i as u8).collect();
        let whole = encode(&plaintext, params, KeySource::Given(Key([5; 16])), None).unwrap();

        let mut encoder = encoder(300);
        assert_eq!(encoder.share_len(), Ok(whole.shares[7].len() as u64), "known beforehand");
        let mut share = encoder.header();
        let mut cipher = Cipher::at(&Key([5; 16]), 0);
        for segment in plaintext.chunks(129) {
            let mut segment = segment.to_vec();
            cipher.apply(&mut segment);
            share.extend_from_slice(&encoder.segment(segment.into()).unwrap()[7]);
        }
        let finished = encoder.finish().unwrap();
        share.extend_from_slice(&finished.tails[7]);
        assert_eq!(share, whole.shares[7]);
        assert_eq!(finished.ueb_hash, whole.cap.ueb_hash);
        assert_eq!(hash::ueb(&finished.ueb.to_bytes()), finished.ueb_hash);
    }

    #[test]
    fn the_file_must_be_the_one_announced() {
        let segment = |len| Bytes::from(vec![0; len]);
        let wrong = |segment, have, want| Some(EncodeError::SegmentLen { segment, have, want });
        let mut encoder = encoder(200);
        assert_eq!(encoder.segment(segment(128)).err(), wrong(0, 128, 129));
        encoder.segment(segment(129)).unwrap();
        assert_eq!(encoder.segment(segment(72)).err(), wrong(1, 72, 71));
        encoder.segment(segment(71)).unwrap();
        let count = |have, want| Some(EncodeError::SegmentCount { have, want });
        assert_eq!(encoder.segment(segment(1)).err(), count(3, 2));
        encoder.finish().unwrap();

        let mut encoder = self::encoder(200);
        encoder.segment(segment(129)).unwrap();
        assert_eq!(encoder.finish().err(), count(1, 2));
    }

    #[test]
    fn an_empty_file_is_refused() {
        let empty = encode(b"", Params::default(), KeySource::Convergent(Secret(b"")), None);
        assert_eq!(empty.err(), Some(EncodeError::Empty));
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", KeySource::Convergent(Secret(b"abc"))), "Convergent(Secret(..))");
        assert_eq!(format!("{:?}", KeySource::Given(Key([1; 16]))), "Given(Key(..))");
    }
}
