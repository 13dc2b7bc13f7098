//! A file far larger than any memory: 2^m segments whose ciphertext repeats every eight segments.
//!
//! With a power of two of segments no hash tree has padding, so a node's value depends only on its height and on
//! its place modulo what is left of the period there. Any byte of any share is so computed from a few tables. The
//! plaintext does not repeat: it is the ciphertext under the file's own keystream.

use std::ops::Range;

use bytes::Bytes;
use protocol::cap::ReadCap;
use protocol::codec::Codec;
use protocol::hash::Hash;
use protocol::hash_tree::HashTree;
use protocol::layout::Layout;
use protocol::segmentation::Segmentation;
use protocol::ueb::Ueb;
use protocol::{Key, hash};

use super::poisoned::end_of_share;

/// After how many segments the ciphertext repeats.
const PERIOD: u64 = 8;

/// A file whose shares are computed as they are read.
pub(crate) struct SparseFile {
    pub(crate) cap: ReadCap,
    pub(crate) sizes: Segmentation,
    pub(crate) layout: Layout,
    /// The ciphertext of each segment of a period.
    segments: Vec<Bytes>,
    /// For each segment of a period, the block of each share.
    blocks: Vec<Vec<Bytes>>,
    crypttext_tree: RepeatingTree,
    /// For each share.
    block_trees: Vec<RepeatingTree>,
    /// For each share, what follows its hash trees.
    ends: Vec<Vec<u8>>,
    header: Vec<u8>,
}

impl SparseFile {
    pub(crate) fn new(
        k: u32,
        n: u32,
        segment_size: u64,
        segments_log2: u32,
    ) -> Result<SparseFile, Box<dyn std::error::Error>> {
        let sizes = Segmentation::new(segment_size << segments_log2, k, n, segment_size)?;
        let layout = Layout::plan(&sizes, None)?;
        let codec = Codec::new(k, n)?;
        let segments: Vec<Bytes> = (0..PERIOD)
            .map(|segment| (0..segment_size).map(|byte| (segment * 31 + byte) as u8).collect())
            .collect();
        let blocks = segments.iter().map(|bytes| codec.encode(bytes)).collect::<Result<Vec<_>, _>>()?;
        let leaves = segments.iter().map(|bytes| hash::crypttext_segment(bytes)).collect();
        let crypttext_tree = RepeatingTree::new(leaves, segments_log2);
        let block_tree = |share: usize| {
            let leaves = blocks.iter().map(|blocks| hash::block(&blocks[share])).collect();
            RepeatingTree::new(leaves, segments_log2)
        };
        let block_trees: Vec<_> = (0..n as usize).map(block_tree).collect();
        let share_tree = HashTree::new(&block_trees.iter().map(|tree| tree.node(0)).collect::<Vec<_>>())?;
        // Nobody checks the hash of the whole ciphertext, and nobody could compute it.
        let ueb = Ueb::new(&sizes, [0; 32], crypttext_tree.node(0), share_tree.root()).to_bytes();
        let ends = (0..n)
            .map(|share| end_of_share(&sizes, &layout, &share_tree, share, &ueb))
            .collect::<Result<Vec<_>, _>>()?;
        let key = Key(*b"sparse sparse sp");
        let cap = ReadCap { key, ueb_hash: hash::ueb(&ueb), k, n, size: sizes.size };
        let header = layout.header(&sizes);
        Ok(SparseFile { cap, sizes, layout, segments, blocks, crypttext_tree, block_trees, ends, header })
    }

    pub(crate) fn share_len(&self) -> u64 {
        self.layout.share_hashes + self.ends[0].len() as u64
    }

    /// Bytes of a share; the range must lie within it.
    pub(crate) fn read(&self, share: u32, range: Range<u64>) -> Vec<u8> {
        read_pieces(range, |place| self.piece(share as usize, place))
    }

    /// Bytes of the ciphertext; the range must lie within it.
    pub(crate) fn ciphertext(&self, range: Range<u64>) -> Vec<u8> {
        let size = self.sizes.segment_size;
        read_pieces(range, |place| (self.segments[(place / size % PERIOD) as usize].clone(), place % size))
    }

    /// A piece of a share that has the byte at `place`, and where in it that byte is.
    fn piece(&self, share: usize, place: u64) -> (Bytes, u64) {
        let layout = &self.layout;
        if place < layout.data {
            (self.header.clone().into(), place)
        } else if place < layout.plaintext_hash_tree {
            let (segment, within) = (
                (place - layout.data) / self.sizes.block_size,
                (place - layout.data) % self.sizes.block_size,
            );
            (self.blocks[(segment % PERIOD) as usize][share].clone(), within)
        } else if place < layout.crypttext_hash_tree {
            (Bytes::from_static(&[0; 32]), (place - layout.plaintext_hash_tree) % 32)
        } else if place < layout.block_hashes {
            let at = place - layout.crypttext_hash_tree;
            (Bytes::copy_from_slice(&self.crypttext_tree.node(at / 32)), at % 32)
        } else if place < layout.share_hashes {
            let at = place - layout.block_hashes;
            (Bytes::copy_from_slice(&self.block_trees[share].node(at / 32)), at % 32)
        } else {
            (self.ends[share].clone().into(), place - layout.share_hashes)
        }
    }
}

fn read_pieces(range: Range<u64>, piece: impl Fn(u64) -> (Bytes, u64)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
    let mut place = range.start;
    while place < range.end {
        let (piece, within) = piece(place);
        let rest = &piece[within as usize..];
        let count = (range.end - place).min(rest.len() as u64);
        bytes.extend_from_slice(&rest[..count as usize]);
        place += count;
    }
    bytes
}

/// A full hash tree over 2^m leaves that repeat every [`PERIOD`].
struct RepeatingTree {
    /// For each height (0: the leaves) the different values there, in order.
    levels: Vec<Vec<Hash>>,
}

impl RepeatingTree {
    fn new(leaves: Vec<Hash>, height: u32) -> RepeatingTree {
        let mut levels = vec![leaves];
        for _ in 0..height {
            let below = &levels[levels.len() - 1];
            let pairs = below.len().div_ceil(2);
            let above = (0..pairs)
                .map(|pair| hash::node(&below[2 * pair], &below[(2 * pair + 1) % below.len()]))
                .collect();
            levels.push(above);
        }
        RepeatingTree { levels }
    }

    fn node(&self, node: u64) -> Hash {
        let depth = (node + 1).ilog2();
        let place = node + 1 - (1 << depth);
        let level = &self.levels[self.levels.len() - 1 - depth as usize];
        level[(place % level.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_sparse_file_is_what_the_encoder_makes() {
        let sparse = SparseFile::new(3, 10, 96, 5).unwrap();
        let mut encoder = protocol::encode::Encoder::new(sparse.sizes, None).unwrap();
        let mut shares = vec![encoder.header(); 10];
        for segment in 0..sparse.sizes.segments {
            let range = sparse.sizes.segment_range(segment).unwrap();
            for (share, block) in encoder.segment(sparse.ciphertext(range).into()).unwrap().iter().enumerate()
            {
                shares[share].extend_from_slice(block);
            }
        }
        let tails = encoder.finish().unwrap().tails;
        for (share, (bytes, tail)) in shares.iter_mut().zip(tails).enumerate() {
            bytes.extend_from_slice(&tail);
            let ours = sparse.read(share as u32, 0..sparse.share_len());
            assert_eq!(ours.len(), bytes.len());
            // All but the hash of the whole ciphertext, which a sparse file does not have.
            let differing = ours.iter().zip(bytes.iter()).filter(|(a, b)| a != b).count();
            assert!((1..=32).contains(&differing), "{differing} bytes of share {share} differ");
        }
    }
}
