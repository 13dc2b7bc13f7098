//! How fast shares are made and put together again: `cargo bench -p protocol`.
//!
//! The erasure code runs over one segment of 1 MiB, 3 of 10, and is measured against two baselines of
//! the same run: the same products by table lookup, byte by byte, and a plain copy of the segment.
//! Throughput counts the bytes of the segment (or of the message hashed), not those of the shares.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say so")]

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use protocol::codec::Codec;
use protocol::crypt::Cipher;
use protocol::encode::{KeySource, Params, Secret, encode};
use protocol::{Key, hash};

const K: u32 = 3;
const N: u32 = 10;
/// 1 MiB, rounded up to a multiple of k.
const SEGMENT: usize = (1 << 20) + 2;

fn main() {
    println!("processor: {}", instructions());
    divan::main();
}

/// Whether the instructions are there that hashing, encryption and coding want.
#[cfg(target_arch = "x86_64")]
fn instructions() -> String {
    use std::arch::is_x86_feature_detected as has;
    let found =
        [("sha", has!("sha")), ("aes", has!("aes")), ("avx2", has!("avx2")), ("ssse3", has!("ssse3"))];
    found.map(|(name, has)| format!("{}{name}", if has { "" } else { "no " })).join(", ")
}

#[cfg(not(target_arch = "x86_64"))]
fn instructions() -> String {
    std::env::consts::ARCH.into()
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * i + i / 7 + 3) as u8).collect()
}

#[divan::bench_group]
mod erasure_code {
    use super::*;

    #[divan::bench]
    fn baseline_copy(bencher: Bencher) {
        let segment = noise(SEGMENT);
        bencher.counter(BytesCount::new(SEGMENT)).bench(|| black_box(&segment).to_vec());
    }

    /// The seven blocks that are not data by a lookup in a table of products for every byte.
    #[divan::bench]
    fn baseline_table_lookup(bencher: Bencher) {
        let segment = noise(SEGMENT);
        let tables: Vec<Vec<[u8; 256]>> = (K..N).map(product_tables).collect();
        bencher.counter(BytesCount::new(SEGMENT)).bench(|| {
            let pieces: Vec<&[u8]> = black_box(&segment).chunks(SEGMENT / K as usize).collect();
            let block = |tables: &Vec<[u8; 256]>| {
                let mut block = vec![0; SEGMENT / K as usize];
                for (table, piece) in tables.iter().zip(&pieces) {
                    for (out, &byte) in block.iter_mut().zip(*piece) {
                        *out ^= table[usize::from(byte)];
                    }
                }
                block
            };
            tables.iter().map(block).collect::<Vec<_>>()
        });
    }

    #[divan::bench]
    fn encode(bencher: Bencher) {
        let (codec, segment) = (Codec::new(K, N).unwrap(), Bytes::from(noise(SEGMENT)));
        bencher.counter(BytesCount::new(SEGMENT)).bench(|| codec.encode(black_box(&segment)).unwrap());
    }

    /// From the data blocks themselves: nothing to compute.
    #[divan::bench]
    fn decode_from_data(bencher: Bencher) {
        decode(bencher, [2, 0, 1]);
    }

    #[divan::bench]
    fn decode_one_lost(bencher: Bencher) {
        decode(bencher, [2, 7, 1]);
    }

    #[divan::bench]
    fn decode_all_lost(bencher: Bencher) {
        decode(bencher, [5, 7, 9]);
    }

    fn decode(bencher: Bencher, shares: [u32; K as usize]) {
        let codec = Codec::new(K, N).unwrap();
        let blocks = codec.encode_shares(&noise(SEGMENT).into(), &shares).unwrap();
        let blocks: Vec<_> = shares.into_iter().zip(blocks).collect();
        bencher.counter(BytesCount::new(SEGMENT)).bench(|| codec.decode(black_box(&blocks)).unwrap());
    }

    #[divan::bench]
    fn make_codec_3_of_10() -> Codec {
        Codec::new(3, 10).unwrap()
    }

    #[divan::bench]
    fn make_codec_101_of_256() -> Codec {
        Codec::new(101, 256).unwrap()
    }

    /// The products of every byte with each coefficient of a share, read off the codec itself.
    fn product_tables(share: u32) -> Vec<[u8; 256]> {
        let codec = Codec::new(K, N).unwrap();
        let table = |piece: usize| {
            let mut segment = vec![0; 256 * K as usize];
            for byte in 0..=255 {
                segment[256 * piece + usize::from(byte)] = byte;
            }
            let block = codec.encode_shares(&segment.into(), &[share]).unwrap().remove(0);
            <[u8; 256]>::try_from(&block[..]).unwrap()
        };
        (0..K as usize).map(table).collect()
    }
}

#[divan::bench_group]
mod hashes_and_cipher {
    use super::*;

    #[divan::bench(args = [64, 4096, SEGMENT / K as usize])]
    fn block_hash(bencher: Bencher, len: usize) {
        let block = noise(len);
        bencher.counter(BytesCount::new(len)).bench(|| hash::block(black_box(&block)));
    }

    #[divan::bench]
    fn merkle_node() -> hash::Hash {
        hash::node(black_box(&[1; 32]), black_box(&[2; 32]))
    }

    #[divan::bench]
    fn encrypt(bencher: Bencher) {
        let mut segment = noise(SEGMENT);
        bencher
            .counter(BytesCount::new(SEGMENT))
            .bench_local(|| Cipher::at(&Key([1; 16]), 1 << 30).apply(black_box(&mut segment)));
    }
}

/// A whole file of 10 MiB: key, cipher, code, hashes, shares.
#[divan::bench]
fn encode_file(bencher: Bencher) {
    let file = noise(10 << 20);
    let key = KeySource::Convergent(Secret(b"secret"));
    bencher
        .counter(BytesCount::new(file.len()))
        .bench(|| encode(black_box(&file), Params::default(), key, None).unwrap());
}
