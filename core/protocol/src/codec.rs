//! The erasure code (spec §5), compatible with zfec: k pieces of data become n blocks, any k of
//! which give the data back.
//!
//! Byte c of the k pieces holds the values of a polynomial of degree below k over GF(2^8), piece j
//! giving its value at the point x_j, where x_0 = 0 and x_r = α^(r−1). Share r is its value at x_r. So
//! the first k shares are the data itself, and every coefficient, of encoding and of decoding alike, is
//! one of Lagrange's: no matrix is ever inverted.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::gf256;
use crate::segmentation::check_shares;

/// The code for one choice of k and n. Cheap to make for small k; worth keeping for large ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    k: usize,
    n: usize,
    /// One row of k coefficients for each share from k to n−1: its block is their sum of products
    /// with the k pieces.
    rows: Vec<Vec<u8>>,
}

/// Why something cannot be encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// k and n are not 1 ≤ k ≤ n ≤ 256.
    #[error("{k}-of-{n} is not a possible encoding: 1 ≤ k ≤ n ≤ 256 is")]
    Shares {
        /// Shares needed.
        k: u32,
        /// Shares made.
        n: u32,
    },
    /// A segment is not a multiple of k bytes long.
    #[error("a segment of {len} bytes cannot be cut into {k} equal pieces: pad it first")]
    SegmentLen {
        /// The segment's length.
        len: usize,
        /// Shares needed.
        k: usize,
    },
    /// Not exactly k blocks.
    #[error("{have} blocks were given to decode where exactly {k} are needed")]
    BlockCount {
        /// Blocks given.
        have: usize,
        /// Blocks needed.
        k: usize,
    },
    /// Blocks differ in length.
    #[error("the block of share {share} has {have} bytes where another has {want}")]
    BlockLen {
        /// The share whose block differs.
        share: u32,
        /// Its block's length.
        have: usize,
        /// The first block's length.
        want: usize,
    },
    /// There is no such share.
    #[error("there is no share {share} among {n}")]
    NoSuchShare {
        /// The share number.
        share: u32,
        /// Shares made.
        n: usize,
    },
    /// Two blocks are of one share.
    #[error("two blocks of share {share} were given")]
    Duplicate {
        /// The share.
        share: u32,
    },
}

impl Codec {
    /// The code that makes `n` shares of which any `k` suffice, 1 ≤ k ≤ n ≤ 256.
    pub fn new(k: u32, n: u32) -> Result<Codec, CodecError> {
        check_shares(k, n).map_err(|_| CodecError::Shares { k, n })?;
        let (k, n) = (k as usize, n as usize);
        let basis = Lagrange::new((0..k).map(point).collect());
        let rows = (k..n).map(|share| basis.at(point(share))).collect();
        Ok(Codec { k, n, rows })
    }

    /// Encodes a segment of a multiple of k bytes: the blocks of all n shares, in order, each a k-th of
    /// the segment's length. The first k of them are slices of the segment, not copies.
    pub fn encode(&self, segment: &Bytes) -> Result<Vec<Bytes>, CodecError> {
        let all: Vec<u32> = (0..self.n as u32).collect();
        self.encode_shares(segment, &all)
    }

    /// Like [`encode`](Self::encode), for the blocks of `shares` alone, in the order given.
    pub fn encode_shares(&self, segment: &Bytes, shares: &[u32]) -> Result<Vec<Bytes>, CodecError> {
        if !segment.len().is_multiple_of(self.k) {
            return Err(CodecError::SegmentLen { len: segment.len(), k: self.k });
        }
        let len = segment.len() / self.k;
        let piece = |piece: usize| segment.slice(piece * len..(piece + 1) * len);
        let pieces: Vec<Bytes> = (0..self.k).map(piece).collect();

        let mut rows = Vec::new();
        for &share in shares {
            self.check_share(share)?;
            if let Some(row) = (share as usize).checked_sub(self.k) {
                rows.push(&self.rows[row][..]);
            }
        }
        let mut made: Vec<Vec<u8>> = rows.iter().map(|_| vec![0; len]).collect();
        combine(&rows, &pieces, &mut made);

        let mut made = made.into_iter().map(Bytes::from);
        let block = |&share: &u32| match pieces.get(share as usize) {
            Some(piece) => Some(piece.clone()),
            None => made.next(),
        };
        Ok(shares.iter().filter_map(block).collect())
    }

    /// Decodes exactly k blocks of different shares, each with its share number, in any order: the
    /// segment as it was encoded, padding included, k times as long as a block.
    pub fn decode(&self, blocks: &[(u32, Bytes)]) -> Result<Vec<u8>, CodecError> {
        let len = self.check_blocks(blocks)?;
        if len == 0 {
            return Ok(Vec::new());
        }
        let mut segment = vec![0; self.k * len];
        let mut missing: Vec<Option<&mut [u8]>> = segment.chunks_exact_mut(len).map(Some).collect();
        for (share, block) in blocks {
            if let Some(piece) = missing.get_mut(*share as usize).and_then(Option::take) {
                piece.copy_from_slice(block);
            }
        }
        let (lost, mut pieces): (Vec<usize>, Vec<&mut [u8]>) =
            missing.into_iter().enumerate().filter_map(|(i, piece)| Some((i, piece?))).unzip();
        if !lost.is_empty() {
            let (points, blocks): (Vec<u8>, Vec<&Bytes>) =
                blocks.iter().map(|(share, block)| (point(*share as usize), block)).unzip();
            let basis = Lagrange::new(points);
            let rows: Vec<Vec<u8>> = lost.into_iter().map(|piece| basis.at(point(piece))).collect();
            combine(&rows, &blocks, &mut pieces);
        }
        Ok(segment)
    }

    fn check_share(&self, share: u32) -> Result<(), CodecError> {
        if (share as usize) < self.n { Ok(()) } else { Err(CodecError::NoSuchShare { share, n: self.n }) }
    }

    /// The length that all blocks have, if they can be decoded at all.
    fn check_blocks(&self, blocks: &[(u32, Bytes)]) -> Result<usize, CodecError> {
        if blocks.len() != self.k {
            return Err(CodecError::BlockCount { have: blocks.len(), k: self.k });
        }
        let want = blocks.first().map_or(0, |(_, block)| block.len());
        let mut seen = BTreeSet::new();
        for (share, block) in blocks {
            let share = *share;
            self.check_share(share)?;
            if !seen.insert(share) {
                return Err(CodecError::Duplicate { share });
            }
            if block.len() != want {
                return Err(CodecError::BlockLen { share, have: block.len(), want });
            }
        }
        Ok(want)
    }
}

/// The point at which the polynomials are evaluated for a share: 0, 1, α, α², …
fn point(share: usize) -> u8 {
    match share.checked_sub(1) {
        Some(power) => gf256::power(power),
        None => 0,
    }
}

/// Adds to each of `outputs` its row of coefficients times the `inputs`, all of one length.
///
/// Works in tiles, so that a tile of all inputs stays in the cache while every output is made of it.
fn combine(rows: &[impl AsRef<[u8]>], inputs: &[impl AsRef<[u8]>], outputs: &mut [impl AsMut<[u8]>]) {
    const TILE: usize = 8 << 10;
    let len = inputs.first().map_or(0, |input| input.as_ref().len());
    for start in (0..len).step_by(TILE) {
        let tile = start..len.min(start + TILE);
        for (row, output) in rows.iter().zip(outputs.iter_mut()) {
            for (&coefficient, input) in row.as_ref().iter().zip(inputs) {
                let input = &input.as_ref()[tile.clone()];
                gf256::add_product(&mut output.as_mut()[tile.clone()], coefficient, input);
            }
        }
    }
}

/// Interpolation through a set of distinct points.
struct Lagrange {
    points: Vec<u8>,
    /// For each point the product of its differences from all others, inverted.
    weights: Vec<u8>,
}

impl Lagrange {
    fn new(points: Vec<u8>) -> Lagrange {
        let weight = |&x: &u8| {
            let others = points.iter().filter(|&&other| other != x);
            gf256::inverse(others.fold(1, |product, other| gf256::multiply(product, x ^ other)))
        };
        let weights = points.iter().map(weight).collect();
        Lagrange { points, weights }
    }

    /// The coefficients that make a polynomial's value at `x`, none of the points, out of its values
    /// at the points.
    fn at(&self, x: u8) -> Vec<u8> {
        let whole = self.points.iter().fold(1, |product, point| gf256::multiply(product, x ^ point));
        let coefficient = |(point, &weight): (&u8, &u8)| {
            gf256::multiply(whole, gf256::multiply(weight, gf256::inverse(x ^ point)))
        };
        self.points.iter().zip(&self.weights).map(coefficient).collect()
    }
}
