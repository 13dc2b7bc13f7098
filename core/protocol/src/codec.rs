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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(len: usize) -> Bytes {
        (0..len).map(|i| (i * i + i / 7 + 3) as u8).collect()
    }

    fn rows(k: u32, n: u32) -> Vec<Vec<u8>> {
        Codec::new(k, n).unwrap().rows
    }

    #[test]
    fn the_rows_of_zfec() {
        assert_eq!(rows(2, 3), [[3, 2]]);
        let expected = [
            [15, 8, 6],
            [45, 48, 28],
            [153, 224, 120],
            [11, 231, 237],
            [137, 59, 179],
            [70, 241, 182],
            [186, 217, 98],
        ];
        assert_eq!(rows(3, 10), expected);
        assert_eq!(rows(3, 5), expected[..2], "more shares change none of the others");
        assert_eq!(rows(5, 7), [[84, 116, 231, 216, 30], [2, 177, 161, 130, 145]]);
        assert_eq!(rows(1, 256), vec![[1]; 255]);
        assert_eq!(rows(256, 256).len(), 0);
    }

    /// §5.2 read literally: E = V · T⁻¹, so E · T = V, row by row.
    #[test]
    fn the_rows_are_those_of_the_vandermonde_matrix() {
        let vandermonde = |share: usize, column: usize| match share.checked_sub(1) {
            Some(power) => gf256::power(power * column),
            None => u8::from(column == 0),
        };
        for (k, n) in [(1, 3), (2, 3), (3, 5), (4, 4), (25, 100), (71, 255), (101, 256), (255, 256)] {
            for (share, row) in (k as usize..).zip(rows(k, n)) {
                for column in 0..k as usize {
                    let products =
                        row.iter().enumerate().map(|(i, &e)| gf256::multiply(e, vandermonde(i, column)));
                    assert_eq!(products.fold(0, |a, b| a ^ b), vandermonde(share, column), "{k} of {n}");
                }
            }
        }
    }

    #[test]
    fn the_blocks_of_zfec() {
        let segment = Bytes::from_static(&[1, 2, 3, 4, 5, 6]);
        let blocks = Codec::new(3, 10).unwrap().encode(&segment).unwrap();
        let expected: [[u8; 2]; 10] = [
            [1, 2],
            [3, 4],
            [5, 6],
            [0x09, 0x2a],
            [0x11, 0xd2],
            [0x21, 0x85],
            [0x41, 0xf9],
            [0x81, 0x6e],
            [0x1c, 0xfc],
            [0x3b, 0x7b],
        ];
        assert_eq!(blocks, expected.map(Bytes::from_owner));
        assert_eq!(blocks[1].as_ptr(), segment[2..].as_ptr(), "data blocks are not copied");
    }

    #[test]
    fn chosen_shares_in_the_order_asked() {
        let codec = Codec::new(3, 10).unwrap();
        let segment = noise(30_000);
        let all = codec.encode(&segment).unwrap();
        let some = codec.encode_shares(&segment, &[9, 0, 4, 4, 2]).unwrap();
        assert_eq!(some, [9, 0, 4, 4, 2].map(|share: usize| all[share].clone()));
        assert_eq!(codec.encode_shares(&segment, &[]), Ok(vec![]));
    }

    #[test]
    fn every_choice_of_shares_decodes() {
        let codec = Codec::new(3, 6).unwrap();
        let segment = noise(3 * 50);
        let blocks = codec.encode(&segment).unwrap();
        for a in 0..6 {
            for b in (0..6).filter(|&b| b != a) {
                for c in (0..6).filter(|&c| c != a && c != b) {
                    let chosen = [a, b, c].map(|share| (share, blocks[share as usize].clone()));
                    assert_eq!(codec.decode(&chosen).unwrap(), segment, "{a} {b} {c}");
                }
            }
        }
    }

    #[test]
    fn wrong_input_is_refused() {
        use CodecError::*;
        for (k, n) in [(0, 1), (2, 1), (1, 257)] {
            assert_eq!(Codec::new(k, n), Err(Shares { k, n }));
        }
        let codec = Codec::new(3, 10).unwrap();
        assert_eq!(codec.encode(&noise(4)), Err(SegmentLen { len: 4, k: 3 }));
        assert_eq!(codec.encode_shares(&noise(3), &[10]), Err(NoSuchShare { share: 10, n: 10 }));

        let block = |share: u32, len: usize| (share, noise(len));
        let decode = |blocks: &[_]| codec.decode(blocks);
        assert_eq!(decode(&[block(0, 5), block(1, 5)]), Err(BlockCount { have: 2, k: 3 }));
        assert_eq!(decode(&[0, 1, 2, 3].map(|share| block(share, 5))), Err(BlockCount { have: 4, k: 3 }));
        assert_eq!(decode(&[block(4, 5), block(1, 5), block(4, 5)]), Err(Duplicate { share: 4 }));
        let odd = BlockLen { share: 1, have: 6, want: 5 };
        assert_eq!(decode(&[block(4, 5), block(1, 6), block(5, 5)]), Err(odd));
        let far = NoSuchShare { share: u32::MAX, n: 10 };
        assert_eq!(decode(&[block(u32::MAX, 5), block(1, 5), block(2, 5)]), Err(far));
    }

    #[test]
    fn empty_blocks() {
        let codec = Codec::new(2, 4).unwrap();
        assert_eq!(codec.encode(&Bytes::new()), Ok(vec![Bytes::new(); 4]));
        assert_eq!(codec.decode(&[(3, Bytes::new()), (1, Bytes::new())]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn any_k_of_n_give_the_segment_back(
            (k, order) in (1u32..=256).prop_flat_map(|n| (1..=n, Just((0..n).collect::<Vec<_>>()).prop_shuffle())),
            len in prop_oneof![0usize..70, 8180usize..8200],
        ) {
            let codec = Codec::new(k, order.len() as u32).unwrap();
            let len = if k > 30 { len % 70 } else { len };
            let segment = noise(len * k as usize);
            let chosen = &order[..k as usize];
            let blocks = codec.encode_shares(&segment, chosen).unwrap();
            let blocks: Vec<_> = chosen.iter().copied().zip(blocks).collect();
            prop_assert_eq!(codec.decode(&blocks).unwrap(), segment);
        }
    }
}
