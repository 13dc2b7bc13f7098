//! The known bugs of downloaders (dossier tahoe-bugs): for each the scenario that shows it, in which this
//! client does right, and does wrong as history did once the bug is put back.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod grid;

use std::future::Future;

use bytes::Bytes;
use client::{Node, Read, ReadError};
use grid::{Grid, Manner, Setup, seconds, settle};

/// Runs the scenario mended, and then with the bug put back.
async fn both<F: Future<Output = bool>>(bug: &str, scenario: impl Fn() -> F) {
    runtime::arm_relapses(Vec::new());
    assert!(scenario().await, "{bug}: mended, and yet the scenario fails");
    runtime::arm_relapses(vec![bug.to_owned()]);
    let symptom = !scenario().await;
    runtime::arm_relapses(Vec::new());
    assert!(symptom, "{bug}: put back, and yet there is no symptom");
}

/// The result of a read, or `None` if it hangs.
async fn result(read: Read) -> Option<Result<Bytes, ReadError>> {
    tokio::time::timeout(seconds(100_000), read.collect()).await.ok()
}

async fn is(read: Read, want: Bytes) -> bool {
    result(read).await == Some(Ok(want))
}

/// A node that has read all of its file: it knows all sizes and k shares.
async fn warm(grid: &Grid) -> Node {
    let node = grid.node();
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    node
}

/// Polls the read once, and lets the grid come to rest.
async fn begin(read: &mut Read) {
    assert!(futures::poll!(std::pin::pin!(read.next())).is_pending());
    settle().await;
}

fn five_segments() -> Setup {
    Setup::segments_of(60).guess(60)
}

/// The first block of every share is damaged.
fn first_segment_lost() -> Grid {
    let grid = five_segments().build();
    (0..10).for_each(|i| grid.share(i).edit(|bytes| bytes[36] ^= 1));
    grid
}

#[tokio::test(start_paused = true)]
async fn b1_a_failed_segment_makes_way_for_the_next() {
    both("tahoe-B1", || async {
        let grid = first_segment_lost();
        let node = grid.node();
        let (first, second) =
            futures::join!(result(node.read(0, Some(20))), is(node.read(140, Some(20)), grid.want(140, 20)));
        assert!(matches!(first, Some(Err(ReadError::NoShares { .. } | ReadError::NotEnoughShares { .. }))));
        second
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b2_a_cancel_while_nothing_is_fetched_is_harmless() {
    both("tahoe-B2", || async {
        let grid = first_segment_lost();
        let node = grid.node();
        let mut second = node.read(140, Some(20));
        let first = result(node.read(0, Some(20)));
        let (first, ()) = futures::join!(first, async {
            begin(&mut second).await;
        });
        assert!(matches!(first, Some(Err(_))));
        drop(second);
        settle().await;
        is(node.read(140, Some(20)), grid.want(140, 20)).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_leaves_makes_way_for_the_next() {
    let grid = five_segments().build();
    let node = warm(&grid).await;
    grid.gate.close();
    let (mut first, mut second) = (node.read(0, None), node.read(140, Some(20)));
    begin(&mut first).await;
    begin(&mut second).await;
    drop(first);
    settle().await;
    assert_eq!(grid.gate.open(), 2, "both segments were fetched");
    assert!(is(second, grid.want(140, 20)).await);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_task_died_is_closed_and_not_silent() {
    runtime::arm_relapses(vec!["tahoe-B2".to_owned()]);
    let grid = first_segment_lost();
    let node = grid.node();
    let mut second = node.read(140, Some(20));
    let (first, ()) = futures::join!(result(node.read(0, Some(20))), begin(&mut second));
    assert!(matches!(first, Some(Err(_))));
    let third = node.read(200, Some(20));
    drop(second);
    settle().await;
    runtime::arm_relapses(Vec::new());
    assert_eq!(result(third).await, Some(Err(ReadError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn b3_a_late_cancel_changes_nothing() {
    // The cancel comes when the reader has its segment.
    both("tahoe-B3", || async {
        let grid = five_segments().build();
        let node = warm(&grid).await;
        (0..10).for_each(|i| grid.share(i).reads.set(Manner::Late(5)));
        let first = is(node.read(0, Some(60)), grid.want(0, 60));
        let second = is(node.read(60, Some(60)), grid.want(60, 60));
        futures::join!(first, second) == (true, true)
    })
    .await;
    // The reader is dropped when its segment was delivered and it has not looked yet.
    both("tahoe-B3", || async {
        let grid = five_segments().build();
        let node = warm(&grid).await;
        let mut first = node.read(0, None);
        let mut second = node.read(60, Some(60));
        grid.gate.close();
        begin(&mut first).await;
        begin(&mut second).await;
        assert_eq!(grid.gate.open(), 1);
        grid.gate.close();
        // The first segment is delivered; the second is being decoded.
        settle().await;
        drop(first);
        settle().await;
        grid.gate.open();
        is(second, grid.want(60, 60)).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_between_decoding_and_delivery_is_final() {
    let grid = five_segments().build();
    let node = warm(&grid).await;
    let mut first = node.read(0, None);
    grid.gate.close();
    begin(&mut first).await;
    drop(first);
    settle().await;
    grid.gate.open();
    settle().await;
    assert_eq!(node.status().segments.kept.back().unwrap().finished, None);
    assert!(is(node.read(0, None), grid.plain.clone().into()).await);
}

#[tokio::test(start_paused = true)]
async fn b4_shares_found_before_the_sizes_were_known_are_good() {
    both("tahoe-B4", || async {
        // Five segments where one is guessed.
        let grid = Setup::segments_of(60).servers(4).build();
        let node = grid.node();
        let mut read = node.read(0, None);
        assert_eq!(read.next().await.unwrap().unwrap(), grid.want(0, 60));
        grid.share(0).reads.set(Manner::Fail);
        is(read, grid.want(60, 240)).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b5_the_last_answer_counts() {
    both("tahoe-B5", || async {
        // All servers answer at the same moment, and all their shares are needed.
        let grid = Setup::default().servers(3).build();
        is(grid.node().read(0, None), grid.plain.clone().into()).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b7_a_share_that_comes_with_the_news_is_not_asked_for_an_impossible_segment() {
    both("tahoe-B7", || async {
        let grid = Setup::segments_of(1 << 20).length(310).guess(90).servers(3).build();
        grid.share(0).reads.set(Manner::Hang);
        (1..3).for_each(|i| grid.servers[i].queries.set(Manner::Hang));
        let node = grid.node();
        let mut read = node.read(180, Some(20));
        begin(&mut read).await;
        grid.share(0).reads.set(Manner::Answer);
        grid.servers[1].queries.set(Manner::Answer);
        settle().await;
        grid.servers[2].queries.set(Manner::Answer);
        is(read, grid.want(180, 20)).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b13_a_truncated_share_is_dead() {
    for length in [0, 3, 4, 32, 35] {
        both("tahoe-B13", || async {
            let grid = five_segments().build();
            grid.share(0).edit(|bytes| bytes.truncate(length));
            let node = grid.node();
            let mut read = node.read(0, None);
            begin(&mut read).await;
            // The other nine are good; the clock must not be what ends this.
            grid.share(0).reads_seen().len() < 10
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn b14_a_segment_that_decodes_to_nonsense_fails_alone() {
    both("tahoe-B14", || async {
        let mut grid = five_segments().build();
        grid.poison_segment(0);
        let node = grid.node();
        let (first, second) =
            futures::join!(result(node.read(0, Some(20))), is(node.read(140, Some(20)), grid.want(140, 20)));
        assert_eq!(first, Some(Err(ReadError::BadCiphertextHash { segment: 0 })));
        second && is(node.read(200, Some(20)), grid.want(200, 20)).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b15_a_stale_decoding_hurts_nobody() {
    both("tahoe-B15", || async {
        let grid = five_segments().build();
        let node = warm(&grid).await;
        let mut first = node.read(0, Some(60));
        grid.gate.close();
        begin(&mut first).await;
        drop(first);
        let (mut second, mut third) = (node.read(120, Some(60)), node.read(0, Some(60)));
        begin(&mut second).await;
        begin(&mut third).await;
        assert_eq!(grid.gate.open(), 2);
        let (second, third) = futures::join!(is(second, grid.want(120, 60)), is(third, grid.want(0, 60)));
        second && third
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b22_silent_servers_are_not_waited_for() {
    // Ten silent queries, the limit, in front of the servers that have shares.
    both("tahoe-B22", || async {
        let mut setup = Setup::default();
        setup.config.max_outstanding_dyhbs = 5;
        let grid = setup.build();
        (0..5).for_each(|i| grid.servers[i].queries.set(Manner::Hang));
        is(grid.node().read(0, None), grid.plain.clone().into()).await
    })
    .await;
    // A silent read, with spare shares.
    both("tahoe-B22", || async {
        let grid = Setup::default().build();
        grid.share(0).reads.set(Manner::Hang);
        is(grid.node().read(0, None), grid.plain.clone().into()).await
    })
    .await;
    // Too few shares, and silent queries.
    both("tahoe-B22", || async {
        let grid = Setup::default().build();
        (2..10).for_each(|i| grid.servers[i].queries.set(Manner::Hang));
        result(grid.node().read(0, None)).await.is_some()
    })
    .await;
}
