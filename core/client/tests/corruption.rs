//! The corruption table of the downloader (spec §12.7), row by row, and its example traffic (§12.6).
//!
//! sh0 stands on the fastest server and is damaged; the other nine shares are intact.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod grid;

use std::sync::Arc;

use client::{ReadError, ShareFailure};
use grid::{Grid, Manner, Setup, Share, settle};
use protocol::layout::Version;
use protocol::server::ServerError;

/// What becomes of the damaged share.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Read to the end like the others.
    Used,
    /// Asked for every segment, each time in vain.
    Corrupt,
    /// Not asked again.
    Dead,
}

struct Outcome {
    fate: Fate,
    advice: Vec<String>,
}

/// Damages sh0 of a file of three segments and reads all of it, one segment after the other.
async fn damage(setup: Setup, edit: impl FnOnce(&Grid, &mut Vec<u8>)) -> Outcome {
    let grid = setup.build();
    let share = grid.share(0);
    share.edit(|bytes| edit(&grid, bytes));
    let node = grid.node();
    let mut asked = Vec::new();
    for segment in 0..3 {
        let before = share.reads_seen().len();
        let read = node.read(segment * 129, Some(129)).collect().await;
        let start = segment as usize * 129;
        assert_eq!(read.unwrap(), grid.plain[start..300.min(start + 129)]);
        asked.push(share.reads_seen().len() > before);
    }
    settle().await;
    for i in 1..10 {
        assert!(grid.share(i).advice_seen().is_empty(), "advice against intact sh{i}");
    }
    let fourth = !grid.share(3).reads_seen().is_empty();
    let fate = match (asked.as_slice(), fourth) {
        ([true, true, true], false) => Fate::Used,
        ([true, true, true], true) => Fate::Corrupt,
        ([true, false, false], true) => Fate::Dead,
        other => panic!("neither used nor dead: {other:?}"),
    };
    Outcome { fate, advice: share.advice_seen() }
}

/// 300 bytes in three segments of 129, 129 and 42: vector B of the spec.
fn vector_b() -> Setup {
    Setup::segments_of(128)
}

fn flip(at: u64) -> impl FnOnce(&Grid, &mut Vec<u8>) {
    move |_, bytes| bytes[at as usize] ^= 1
}

fn put(at: usize, value: u32) -> impl FnOnce(&Grid, &mut Vec<u8>) {
    move |_, bytes| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes())
}

#[tokio::test(start_paused = true)]
async fn header() {
    // Version 3, or 2 with a table that is not one.
    for version in [3, 2, 0] {
        let outcome = damage(vector_b(), put(0, version)).await;
        assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Dead, 0), "version {version}");
    }
    // Sizes that are never read, and the place of the plaintext tree.
    for at in [4, 8, 0x10] {
        for value in [0, 77, u32::MAX] {
            let outcome = damage(vector_b(), put(at, value)).await;
            assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Used, 0), "{value} at {at}");
        }
    }
    // The data region elsewhere in the share: a wrong hash, for each segment.
    let outcome = damage(vector_b(), put(0x0c, 37)).await;
    assert_eq!(outcome.fate, Fate::Corrupt);
    let ranges = ["37-80", "80-123", "123-137"];
    for (advice, range) in outcome.advice.iter().zip(ranges) {
        assert!(advice.starts_with(&format!("corruption in share[{range}): ")), "{advice}");
    }
    assert_eq!(outcome.advice.len(), 3);
    // Outside of it.
    let outcome = damage(vector_b(), put(0x0c, 1_000_000)).await;
    assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Dead, 0));
    // The crypttext tree elsewhere: wrong hashes.
    let outcome = damage(vector_b(), put(0x14, 361)).await;
    assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Dead, 1));
    // Regions whose sizes do not fit.
    for (at, value) in [(0x18, 585), (0x1c, 809), (0x20, 979)] {
        let outcome = damage(vector_b(), put(at, value)).await;
        assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Dead, 0), "offset at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn blocks() {
    let grid = vector_b().build();
    let data = grid.layout().data;
    let share = grid.share(0);
    share.edit(|bytes| bytes[data as usize + 50] ^= 1);
    let node = grid.node();
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    settle().await;
    // Segment 1 alone: the share lives, and is used for the others.
    let advice = share.advice_seen();
    assert_eq!(advice.len(), 1);
    assert!(advice[0].starts_with("corruption in share[79-122): "), "{advice:?}");
    let blocks = share.reads_seen().into_iter().filter(|&(start, _)| (36..136).contains(&start));
    assert_eq!(blocks.collect::<Vec<_>>(), [(79, 43), (122, 14)]);
    assert!(!grid.share(3).reads_seen().is_empty());
    // A later read of the segment asks it once more.
    assert_eq!(node.read(129, Some(1)).collect().await.unwrap(), grid.want(129, 1));
    settle().await;
    assert_eq!(share.advice_seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn regions() {
    let layout = vector_b().build().layout();
    let (crypttext, blocks, chain) = (layout.crypttext_hash_tree, layout.block_hashes, layout.share_hashes);
    let ueb = layout.uri_extension;
    let outcome = damage(vector_b(), flip(layout.plaintext_hash_tree)).await;
    assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Used, 0));
    // Roots and computed nodes are never fetched.
    for at in [crypttext, crypttext + 32, blocks, blocks + 32] {
        let outcome = damage(vector_b(), flip(at)).await;
        assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Used, 0), "at {at}");
    }
    // Hashes that the first segment needs: nodes 2, 3 and 4. The range leaves the last one out.
    for (at, range) in
        [(crypttext + 2 * 32, 360..488), (crypttext + 4 * 32, 360..488), (blocks + 3 * 32, 584..712)]
    {
        let outcome = damage(vector_b(), flip(at)).await;
        assert_eq!(outcome.fate, Fate::Dead);
        let wanted = format!("corruption in share[{}-{}): ", range.start, range.end);
        assert_eq!(outcome.advice.len(), 1);
        assert!(outcome.advice[0].starts_with(&wanted), "{:?}", outcome.advice);
    }
    // The chain: an index in range, one beyond, a hash.
    for at in [chain + 1, chain, chain + 2] {
        let outcome = damage(vector_b(), flip(at)).await;
        assert_eq!(outcome.fate, Fate::Dead);
        assert_eq!(outcome.advice.len(), 1);
        assert!(outcome.advice[0].starts_with("corruption in share[808-978): "), "{:?}", outcome.advice);
    }
    // The URI extension block, and its length off by one.
    for (at, end) in [(ueb + 40, 1293), (ueb + 3, 1292)] {
        let outcome = damage(vector_b(), flip(at)).await;
        assert_eq!(outcome.fate, Fate::Dead);
        assert_eq!(outcome.advice.len(), 1);
        let wanted = format!("corruption in share[978-{end}): ");
        assert!(outcome.advice[0].starts_with(&wanted), "{:?}", outcome.advice);
    }
    // Lengths that cannot be.
    for length in [0, 1999, 2000, u32::MAX] {
        let outcome = damage(vector_b(), put(ueb as usize, length)).await;
        assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Dead, 0), "length {length}");
    }
    // A chain of no entries.
    let outcome = damage(vector_b(), put(0x1c, ueb as u32)).await;
    assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Dead, 0));
}

#[tokio::test(start_paused = true)]
async fn truncated() {
    for (version, header) in [(Version::V1, 36), (Version::V2, 68)] {
        for length in [0, 3, 4, 32, header - 1, header, header + 1, 600] {
            for overrun in [true, false] {
                let setup = Setup { version: Some(version), overrun, ..vector_b() };
                let outcome = damage(setup, |_, bytes| bytes.truncate(length)).await;
                assert_eq!((outcome.fate, outcome.advice.len()), (Fate::Dead, 0), "{version:?} {length}");
            }
        }
    }
    // An empty share costs one read (B13).
    let grid = vector_b().build();
    let share = grid.share(0);
    share.edit(Vec::clear);
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    assert!(share.reads_seen().len() <= 2, "{:?}", share.reads_seen());
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_none() {
    let grid = vector_b().build();
    grid.share(0).reads.set(Manner::Fail);
    *grid.share(1).overlong.lock().unwrap() = true;
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    settle().await;
    assert!((0..10).all(|i| grid.share(i).advice_seen().is_empty()));
    let grid = vector_b().build();
    (0..10).for_each(|i| *grid.share(i).overlong.lock().unwrap() = true);
    let (ReadError::NoShares { last_failure, .. } | ReadError::NotEnoughShares { last_failure, .. }) =
        grid.read_all().await.unwrap_err()
    else {
        panic!("another error")
    };
    assert!(
        matches!(last_failure, Some(ShareFailure::Server(ServerError::BadAnswer(_)))),
        "{last_failure:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_damage_everywhere_is_no_shares() {
    let layout = vector_b().build().layout();
    let places = [
        (layout.data, None),
        (layout.block_hashes + 64, Some("block hash tree")),
        (layout.crypttext_hash_tree + 64, Some("crypttext hash tree")),
        (layout.share_hashes + 2, Some("share hash chain")),
    ];
    for (at, region) in places {
        let grid = vector_b().build();
        (0..10).for_each(|i| grid.share(i).edit(|bytes| bytes[at as usize] ^= 1));
        let (last, complete) = match grid.read_all().await.unwrap_err() {
            ReadError::NoShares { last_failure, .. } => (last_failure, vec![]),
            ReadError::NotEnoughShares { last_failure, tally, .. } => (last_failure, tally.complete),
            other => panic!("{other}"),
        };
        assert_eq!(complete, [0; 0]);
        let got = last.map(|failure| match failure {
            ShareFailure::BadHash { region, .. } => region,
            other => panic!("{other}"),
        });
        assert_eq!(got, region);
    }
}

#[tokio::test(start_paused = true)]
async fn damage_in_one_of_the_shares_in_use_is_survived() {
    // The bytes that Tahoe's own tests flip, in share offsets, and every byte of the header.
    for version in [Version::V1, Version::V2] {
        let setup = Setup { version: Some(version), ..Setup::segments_of(120) };
        let layout = setup.clone().build().layout();
        let places = (0..layout.data + 2).chain([
            layout.block_hashes + 2 * 32,
            layout.crypttext_hash_tree + 2 * 32,
            layout.share_hashes,
            layout.uri_extension + 1,
        ]);
        for at in places {
            for guess in [60, 1 << 20] {
                let grid = setup.clone().guess(guess).build();
                grid.share(2).edit(|bytes| bytes[at as usize] ^= 1);
                assert_eq!(grid.read_all().await.expect("other shares are used"), grid.plain, "at {at}");
            }
        }
    }
}

/// Every read that every share saw, as start and length, share by share.
fn traffic(grid: &Grid) -> Vec<Vec<(u64, u64)>> {
    let shares: Vec<Arc<Share>> = (0..4).map(|i| grid.share(i)).collect();
    shares.iter().map(|share| std::mem::take(&mut *share.log.lock().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn example_traffic() {
    // Vector D: one segment, guessed right.
    let grid = Setup::segments_of(1 << 20).length(5000).servers(4).build();
    (1..4).for_each(|i| grid.servers[i].queries.set(Manner::Late(i as u64 * 1000)));
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    let expected =
        [vec![(0, 1703), (1735, 2282)], vec![(0, 1703), (1767, 32)], vec![(0, 1703), (1767, 202)], vec![]];
    // The first share is back before the second is found.
    assert_eq!(traffic(&grid), expected);

    // Five segments where one is guessed.
    let grid = Setup::segments_of(60).servers(4).build();
    (1..4).for_each(|i| grid.servers[i].queries.set(Manner::Late(i as u64 * 1000)));
    let node = grid.node();
    node.read(0, Some(60)).collect().await.unwrap();
    assert_eq!(traffic(&grid)[0], [(0, 2450)]);
    node.read(60, Some(60)).collect().await.unwrap();
    assert_eq!(traffic(&grid)[0], [(56, 20)]);
    node.read(120, Some(60)).collect().await.unwrap();
    assert_eq!(traffic(&grid)[0], [(76, 20), (904, 64), (1384, 64)]);

    // 128 KiB segments: one of 1 MiB was guessed.
    let grid = Setup::segments_of(128 << 10).length(400_000).servers(4).build();
    (1..4).for_each(|i| grid.servers[i].queries.set(Manner::Late(i as u64 * 1000)));
    assert_eq!(grid.node().read(0, Some(1)).collect().await.unwrap(), grid.want(0, 1));
    assert_eq!(traffic(&grid)[0][..2], [(0, 133_370), (133_402, 2282)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_overrun_is_asked_exactly() {
    let setup = Setup { overrun: false, ..Setup::segments_of(1 << 20) };
    let grid = setup.build();
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    let ueb = grid.encoded.shares[0].len() as u64 - grid.layout().uri_extension - 4;
    // Version; table; block, hashes, chain and length; URI extension block.
    let expected = [(0, 4), (12, 24), (36, 100), (168, 238), (406, ueb)];
    let whole = grid.layout();
    assert_eq!((whole.data, whole.crypttext_hash_tree, whole.uri_extension), (36, 168, 402));
    assert_eq!(grid.share(0).reads_seen(), expected);
}
