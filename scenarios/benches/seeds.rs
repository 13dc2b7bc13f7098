//! Whole runs of the standard scenario, one core. Baselines in the same run: the bare work of its file (every segment
//! hashed, decoded and decrypted from k blocks), and a run in which nothing goes wrong. Items are runs.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use protocol::codec::Codec;
use protocol::crypt::Cipher;
use protocol::hash;
use scenarios::fixtures::FileSpec;
use seedgrid::case::{Case, Detail, run};

/// Seeds in one sample.
const SEEDS: u64 = 200;

fn main() {
    divan::main();
}

#[divan::bench]
fn bare_work_baseline(bencher: Bencher) {
    let file = FileSpec::fixture("standard").load().unwrap();
    let codec = Codec::new(file.cap.k, file.cap.n).unwrap();
    let segments: Vec<Vec<(u32, Bytes)>> = (0..file.sizes.segments)
        .map(|segment| {
            let length = file.sizes.padded_len(segment).unwrap();
            let padded = vec![segment as u8; length as usize];
            let blocks = codec.encode(&padded.into()).unwrap();
            blocks
                .into_iter()
                .enumerate()
                .skip(3)
                .take(3)
                .map(|(share, block)| (share as u32, block))
                .collect()
        })
        .collect();
    bencher.counter(ItemsCount::new(1u64)).bench(|| {
        for blocks in &segments {
            for (_, block) in blocks {
                divan::black_box(hash::block(block));
            }
            let mut segment = codec.decode(blocks).unwrap();
            divan::black_box(hash::crypttext_segment(&segment));
            Cipher::at(&file.cap.key, 0).apply(&mut segment);
            divan::black_box(segment);
        }
    });
}

#[divan::bench(sample_count = 20)]
fn standard_scenario(bencher: Bencher) {
    bench_runs(bencher, |_| {});
}

#[divan::bench(sample_count = 20)]
fn standard_scenario_without_faults(bencher: Bencher) {
    bench_runs(bencher, |case| case.faults.clear());
}

fn bench_runs(bencher: Bencher, change: impl Fn(&mut Case) + Sync) {
    let scenario = scenarios::ALL.find("concurrent-reads").unwrap();
    let cases: Vec<_> = (0..SEEDS)
        .map(|seed| {
            let mut case = Case::draw(scenario, seed);
            change(&mut case);
            case
        })
        .collect();
    bencher.counter(ItemsCount::new(SEEDS)).bench(|| {
        for case in &cases {
            assert!(run(case, Detail::Digest).verdict.is_pass());
        }
    });
}
