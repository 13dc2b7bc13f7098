//! Downloads as Tahoe's own tests pin them (spec §21), against a grid in memory.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod grid;

use client::{Client, Config, OpenError, ReadError, ShareFailure};
use futures::StreamExt;
use grid::{Grid, Manner, Setup, seconds, settle};
use protocol::cap::{Cap, Literal, ReadCap};
use protocol::encode::Params;
use protocol::layout::Version;
use runtime::real::RealWorld;

#[tokio::test(start_paused = true)]
async fn every_shape_of_file_is_read_whatever_is_guessed() {
    let shapes =
        [(56, 1, 1), (57, 1, 3), (300, 3, 10), (301, 5, 7), (600, 4, 4), (400, 25, 100), (255, 2, 3)];
    for (length, k, n) in shapes {
        for max_segment_size in [16, 60, 128, 1 << 20] {
            for guess in [1, 16, 90, 1 << 20] {
                for (version, overrun) in
                    [(None, true), (Some(Version::V2), true), (Some(Version::V2), false)]
                {
                    let params = Params { k, n, max_segment_size };
                    let setup = Setup { length, params, version, overrun, servers: 10, ..Setup::default() };
                    let grid = setup.guess(guess).build();
                    for number in 10..n {
                        grid.place(number, number as usize % 10);
                    }
                    let what =
                        format!("{length} {k}-of-{n} {max_segment_size} {guess} {version:?} {overrun}");
                    assert_eq!(grid.read_all().await.expect(&what), grid.plain, "{what}");
                    assert!(
                        (0..10).all(|i| i >= n as usize || grid.share(i).advice_seen().is_empty()),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_is_clipped_and_an_empty_one_asks_nobody() {
    let grid = Setup::default().build();
    let node = grid.node();
    for (offset, length) in
        [(300, Some(1)), (305, Some(10)), (0, Some(0)), (u64::MAX, Some(u64::MAX)), (300, None)]
    {
        assert_eq!(node.read(offset, length).collect().await.unwrap(), "");
    }
    assert!(grid.servers.iter().all(|server| *server.asked.lock().unwrap() == 0));
    assert_eq!(node.read(299, Some(100)).collect().await.unwrap(), grid.want(299, 1));
    assert_eq!(node.read(290, Some(u64::MAX)).collect().await.unwrap(), grid.want(290, 10));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_until_the_read_is_polled() {
    let grid = Setup::default().build();
    let node = grid.node();
    let read = node.read(0, None);
    settle().await;
    assert!(grid.servers.iter().all(|server| *server.asked.lock().unwrap() == 0));
    drop(read);
    assert!(!node.status().is_active());
}

#[tokio::test(start_paused = true)]
async fn a_node_goes_on_with_other_shares_when_those_in_use_fail() {
    let grid = Setup::default().length(310).build();
    let node = grid.node();
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    let used: Vec<_> = (0..10).filter(|&i| !grid.share(i).reads_seen().is_empty()).collect();
    assert_eq!(used, [0, 1, 2]);
    used.iter().for_each(|&i| grid.share(i).reads.set(Manner::Fail));
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    // All but one.
    (0..9).for_each(|i| grid.share(i).reads.set(Manner::Fail));
    let error = node.read(0, None).collect().await.unwrap_err();
    assert!(matches!(error, ReadError::NotEnoughShares { .. }), "{error}");
    // All, for a node that knows nothing yet.
    grid.keep_shares(&[]);
    let error = grid.read_all().await.unwrap_err();
    assert_eq!(error, ReadError::NoShares { needed: 3, last_failure: None });
    assert_eq!(error.to_string(), "no shares (need 3). Last failure: none");
}

#[tokio::test(start_paused = true)]
async fn readers_that_break_between_pieces_are_replaced() {
    let grid = Setup::segments_of(70).length(310).build();
    let node = grid.node();
    let mut read = node.read(0, None);
    let mut all = read.next().await.unwrap().unwrap().to_vec();
    (0..3).for_each(|i| grid.share(i).reads.set(Manner::Fail));
    while let Some(piece) = read.next().await {
        all.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(all, grid.plain);
    assert!((3..6).all(|i| !grid.share(i).reads_seen().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_guess_costs_one_retry() {
    for guess in [30, 90, 100, 1 << 20] {
        let grid = Setup::segments_of(1 << 20).length(310).guess(guess).build();
        let node = grid.node();
        assert_eq!(node.read(180, Some(20)).collect().await.unwrap(), grid.want(180, 20));
        assert!(node.status().segments.total <= 2, "guess {guess}: {:?}", node.status().segments);
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_reads_each_get_their_own() {
    for guess in [70, 1 << 20] {
        let grid = Setup::segments_of(70).length(310).guess(guess).build();
        let node = grid.node();
        let (one, two) =
            futures::join!(node.read(70, Some(20)).collect(), node.read(140, Some(20)).collect());
        assert_eq!((one.unwrap(), two.unwrap()), (grid.want(70, 20), grid.want(140, 20)));
        let (all, again) = futures::join!(node.read(0, None).collect(), node.read(0, None).collect());
        assert_eq!((all.unwrap(), again.unwrap()), (grid.plain.clone().into(), grid.plain.clone().into()));
    }
}

#[tokio::test(start_paused = true)]
async fn equal_requests_share_one_fetch() {
    let grid = Setup::segments_of(72).length(310).guess(72).build();
    let node = grid.node();
    let reads = (0..20).map(|_| node.read(72, Some(72)).collect());
    for piece in futures::future::join_all(reads).await {
        assert_eq!(piece.unwrap(), grid.want(72, 72));
    }
    assert_eq!(node.status().decodes.total, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_read_leaves_nothing_behind() {
    let grid = Setup::default().build();
    let node = grid.node();
    {
        let mut read = node.read(0, None);
        assert!(futures::poll!(Box::pin(read.next())).is_pending());
    }
    settle().await;
    assert_eq!(node.status().segments.kept[0].finished, None);
    assert!(!node.status().is_active());
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_not_polled_is_paused() {
    let grid = Setup::segments_of(60).guess(60).build();
    let node = grid.node();
    let mut read = node.read(0, None);
    let first = read.next().await.unwrap().unwrap();
    assert_eq!(first, grid.want(0, 60));
    // The next segment is asked for, arrives, and waits. Nothing more is requested.
    assert!(futures::poll!(Box::pin(read.next())).is_pending());
    tokio::time::sleep(seconds(50)).await;
    assert_eq!(node.status().segments.total, 2);
    assert_eq!(node.status().segments.kept[1].success, Some(true));
    assert_eq!(read.next().await.unwrap().unwrap(), grid.want(60, 60));
    tokio::time::sleep(seconds(7)).await;
    assert_eq!(read.collect().await.unwrap(), grid.want(120, 180));
    assert_eq!(node.status().reads.kept[0].paused_time, seconds(7));
    assert_eq!(node.status().bytes_returned, 300);
}

#[tokio::test(start_paused = true)]
async fn a_read_is_a_stream() {
    let grid = Setup::default().build();
    let pieces: Vec<_> = grid.node().read(10, Some(280)).into_stream().collect().await;
    let pieces: Vec<_> = pieces.into_iter().map(Result::unwrap).collect();
    assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [50, 60, 60, 60, 50]);
    assert_eq!(pieces.concat(), grid.plain[10..290]);
}

#[tokio::test(start_paused = true)]
async fn closing_the_client_ends_reads_and_delivers_advice() {
    let grid = Setup::default().build();
    grid.servers.iter().for_each(|server| server.queries.set(Manner::Hang));
    let node = grid.node();
    let read = node.read(0, None).collect();
    let (read, ()) = futures::join!(read, async {
        settle().await;
        grid.client.close(seconds(1)).await;
    });
    assert_eq!(read.unwrap_err(), ReadError::Closed);
    assert_eq!(node.read(0, None).collect().await.unwrap_err(), ReadError::Closed);
    assert!(matches!(grid.client.open(&Cap::Read(grid.cap)), Err(OpenError::Closed)));

    let grid = Setup::segments_of(1 << 20).build();
    let damaged = grid.share(0);
    damaged.edit(|bytes| bytes[36] ^= 1);
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    grid.client.close(seconds(1)).await;
    assert_eq!(damaged.advice_seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_share_number_on_every_server_counts_once() {
    let grid = Setup::default().length(310).build();
    (1..10).for_each(|i| drop(grid.place(0, i)));
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    // Ten copies of one share, and nothing else.
    let grid = Setup::default().build();
    grid.keep_shares(&[]);
    (0..10).for_each(|i| drop(grid.place(0, i)));
    let error = grid.read_all().await.unwrap_err();
    assert!(matches!(error, ReadError::NotEnoughShares { needed: 3, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_verify_capability_gives_ciphertext() {
    let grid = Setup::default().build();
    let node = grid.client.open(&Cap::Verify(grid.cap.verify_cap())).unwrap();
    let mut text = node.read(0, None).collect().await.unwrap().to_vec();
    assert_ne!(text, grid.plain);
    protocol::crypt::Cipher::at(&grid.cap.key, 0).apply(&mut text);
    assert_eq!(text, grid.plain);
}

#[tokio::test(start_paused = true)]
async fn a_literal_is_read_from_its_capability() {
    let client = Client::new(RealWorld::runtime(), Config::default());
    let node = client.open(&Cap::Literal(Literal("hello".into()))).unwrap();
    assert_eq!(node.size(), 5);
    assert_eq!(node.read(1, Some(3)).collect().await.unwrap(), "ell");
    assert_eq!(node.read(9, None).collect().await.unwrap(), "");
    assert_eq!(node.segmentation().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn the_segment_size_is_learnt_once() {
    let grid = Setup::default().build();
    let node = grid.node();
    assert_eq!(node.segmentation().await.unwrap().unwrap().segment_size, 60);
    assert_eq!(node.segmentation().await.unwrap().unwrap().segments, 5);
    assert_eq!(node.status().segments.total, 1);
}

#[tokio::test(start_paused = true)]
async fn seven_of_ten_servers_may_hang() {
    let grid = Setup::default().build();
    (0..7).for_each(|i| grid.servers[i].queries.set(Manner::Hang));
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    let grid = Setup::default().build();
    for i in 0..7 {
        grid.share(i).reads.set(Manner::Hang);
    }
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
}

#[tokio::test(start_paused = true)]
async fn overdue_queries_make_room_for_others() {
    let mut setup = Setup::default();
    setup.config.max_outstanding_dyhbs = 5;
    let grid = setup.build();
    grid.servers[4].queries.set(Manner::Late(40_000));
    (0..5).for_each(|i| grid.servers[i].queries.set(Manner::Hang));
    let node = grid.node();
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    let unanswered = node.status().dyhbs.kept.iter().filter(|event| event.finished.is_none()).count();
    assert_eq!(unanswered, 5);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_recovers_saves_the_read() {
    for share in [None, Some(1)] {
        let grid = Setup::default().build();
        grid.keep_shares(&[0, 1, 2]);
        grid.servers[2].queries.set(Manner::Hang);
        if let Some(other) = share {
            // It has the missing share and one that is known already.
            grid.place(other, 2);
        }
        let node = grid.node();
        let (read, ()) = futures::join!(node.read(0, None).collect(), async {
            tokio::time::sleep(seconds(25)).await;
            grid.servers[2].queries.set(Manner::Answer);
        });
        assert_eq!(read.unwrap(), grid.plain);
    }
}

/// How long a read of the whole file takes, in seconds, and what comes of it.
async fn timed(grid: &Grid) -> (u64, Result<bytes::Bytes, ReadError>) {
    let start = tokio::time::Instant::now();
    let read = grid.read_all().await;
    (start.elapsed().as_millis() as u64 / 1000, read)
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_costs_one_time_limit_and_not_one_a_segment() {
    let grid = Setup::segments_of(30).length(600).build();
    grid.share(1).reads.set(Manner::Hang);
    let (took, read) = timed(&grid).await;
    assert_eq!(read.unwrap(), grid.plain);
    assert_eq!(took, 10);
    assert_eq!(grid.share(1).reads_seen().len(), 1, "a silent share is not asked again");
}

#[tokio::test(start_paused = true)]
async fn a_late_block_is_used() {
    let grid = Setup::default().build();
    grid.keep_shares(&[0, 1, 2]);
    grid.share(1).reads.set(Manner::Late(25_000));
    let node = grid.node();
    let read = node.read(0, Some(60)).collect().await;
    assert_eq!(read.unwrap(), grid.want(0, 60));
}

#[tokio::test(start_paused = true)]
async fn a_read_gives_up_within_its_bound() {
    // Silent queries, with too few shares otherwise.
    let grid = Setup::default().build();
    (2..10).for_each(|i| grid.servers[i].queries.set(Manner::Hang));
    let (took, read) = timed(&grid).await;
    assert!(matches!(read, Err(ReadError::NotEnoughShares { .. })), "{read:?}");
    assert_eq!(took, 40);
    // Silent reads. Each is overdue after ten seconds, and the next is tried.
    let grid = Setup::default().build();
    (2..10).for_each(|i| grid.share(i).reads.set(Manner::Hang));
    let (took, read) = timed(&grid).await;
    let Err(ReadError::NotEnoughShares { tally, last_failure, .. }) = read else { panic!("{read:?}") };
    assert_eq!(tally.complete, [0, 1]);
    assert_eq!(last_failure.unwrap().to_string(), "the server did not answer in time");
    // Eight silent shares, one at a time, and the last of them given up.
    assert_eq!(took, 110);
    assert!(seconds(took) <= Config::default().fetch_bound(10, 10).unwrap());
    // Everything.
    let grid = Setup::default().build();
    grid.servers.iter().for_each(|server| server.queries.set(Manner::Hang));
    let (took, read) = timed(&grid).await;
    assert_eq!(read.unwrap_err(), ReadError::NoShares { needed: 3, last_failure: None });
    assert_eq!(took, 40);
}

#[tokio::test(start_paused = true)]
async fn without_a_bound_the_grid_is_waited_for() {
    let mut setup = Setup::default();
    setup.config.abandon = None;
    let grid = setup.build();
    (2..10).for_each(|i| grid.share(i).reads.set(Manner::Hang));
    let node = grid.node();
    let (read, ()) = futures::join!(node.read(0, None).collect(), async {
        tokio::time::sleep(seconds(100_000)).await;
        assert!(node.status().is_active());
        grid.share(7).reads.set(Manner::Answer);
    });
    assert_eq!(read.unwrap(), grid.plain);
}

#[tokio::test(start_paused = true)]
async fn servers_are_asked_once_in_order_and_preferred_ones_first() {
    let mut setup = Setup::default();
    setup.config.preferred = ["s7".into(), "s4".into()].into();
    let grid = setup.build();
    grid.keep_shares(&[9]);
    let node = grid.node();
    node.read(0, None).collect().await.unwrap_err();
    node.read(0, None).collect().await.unwrap_err();
    let asked: Vec<_> = node.status().dyhbs.kept.iter().map(|event| event.server.to_string()).collect();
    assert_eq!(asked, ["s4", "s7", "s0", "s1", "s2", "s3", "s5", "s6", "s8", "s9"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_keeps_the_servers_of_its_first_read() {
    let grid = Setup::default().build();
    let node = grid.node();
    assert_eq!(node.read(0, Some(1)).collect().await.unwrap(), grid.want(0, 1));
    (0..10).for_each(|i| grid.client.remove_server(&format!("s{i}")));
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    let error = grid.read_all().await.unwrap_err();
    assert_eq!(error, ReadError::NoShares { needed: 3, last_failure: None });
}

#[tokio::test(start_paused = true)]
async fn shares_are_taken_from_different_servers_first() {
    let spread = |servers: &[(u32, usize)]| {
        let grid = Setup::segments_of(1 << 20).servers(3).build();
        grid.keep_shares(&[]);
        let shares: Vec<_> = servers.iter().map(|&(number, server)| grid.place(number, server)).collect();
        grid.servers[1].queries.set(Manner::Late(1000));
        grid.servers[2].queries.set(Manner::Late(2000));
        (grid, shares)
    };
    let (grid, shares) = spread(&[(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)]);
    let node = grid.node();
    // The first segment is read from the server that answers first, and more are looked for meanwhile.
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    let used = |share: &std::sync::Arc<grid::Share>| std::mem::take(&mut *share.log.lock().unwrap()).len();
    assert_eq!(shares.iter().map(used).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    assert_eq!(shares.iter().map(used).collect::<Vec<_>>(), [1, 0, 0, 1, 1]);

    // One server with five shares: all from it.
    let (grid, shares) = spread(&[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]);
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    assert_eq!(shares.iter().map(used).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_finished_request_frees_its_server() {
    // sh0 completes, sh2 is corrupt: the next is sh5, on the server of sh0, which is idle again (B9).
    let grid = Setup::segments_of(1 << 20).servers(3).build();
    grid.place(5, 0);
    grid.share(2).edit(|bytes| bytes[36] ^= 1);
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    assert!(!grid.servers[0].shares.lock().unwrap()[&5].reads_seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn share_numbers_beyond_the_file_are_ignored() {
    let grid = Setup::default().build();
    grid.keep_shares(&[1, 2, 3]);
    let strays = [10, 11, u32::MAX].map(|number| grid.place_bytes(number, 0, grid.encoded.shares[0].clone()));
    assert_eq!(grid.read_all().await.unwrap(), grid.plain);
    assert!(strays.iter().all(|stray| stray.reads_seen().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn oversized_segments_are_refused() {
    let mut setup = Setup::segments_of(60);
    setup.config.max_segment_size = 59;
    let (ReadError::NoShares { last_failure, .. } | ReadError::NotEnoughShares { last_failure, .. }) =
        setup.build().read_all().await.unwrap_err()
    else {
        panic!("another error")
    };
    assert_eq!(last_failure, Some(ShareFailure::SegmentSize(60)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_not_tried_with_another_share() {
    let grid = Setup::segments_of(60).build();
    grid.keep_shares(&[0, 2, 3, 4, 5]);
    let other = grid.place(1, 0);
    let node = grid.node();
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    let (before, start) = (other.reads_seen().len(), tokio::time::Instant::now());
    [&grid.share(0), &other].iter().for_each(|share| share.reads.set(Manner::Hang));
    assert_eq!(node.read(0, None).collect().await.unwrap(), grid.plain);
    assert_eq!((start.elapsed().as_secs(), other.reads_seen().len() - before), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn advice_is_bounded_in_time_and_number() {
    for most in [0, 1, 5] {
        let mut setup = Setup::segments_of(1 << 20);
        setup.config.max_advice = most;
        let grid = setup.build();
        let damaged: Vec<_> = (0..3).map(|i| grid.share(i)).collect();
        damaged.iter().for_each(|share| share.edit(|bytes| bytes[36] ^= 1));
        damaged.iter().for_each(|share| share.advising.set(Manner::Hang));
        assert_eq!(grid.read_all().await.unwrap(), grid.plain);
        let start = tokio::time::Instant::now();
        grid.client.close(seconds(60)).await;
        assert_eq!(start.elapsed().as_secs(), if most == 0 { 0 } else { 10 });
        let sent: usize = damaged.iter().map(|share| share.advice_seen().len()).sum();
        assert_eq!(sent, most.min(3));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_segment_asked_for_by_mistake_is_not_reported() {
    // Byte 170 is guessed to be in segment 1, and is in segment 2; segment 1 is lost.
    let grid = Setup::segments_of(60).guess(90).build();
    (0..10).for_each(|i| grid.share(i).edit(|bytes| bytes[36 + 20] ^= 1));
    assert_eq!(grid.node().read(170, Some(10)).collect().await.unwrap(), grid.want(170, 10));
    grid.node().read(60, Some(10)).collect().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_file_of_2_to_the_60_bytes_costs_nothing_to_open() {
    let grid = Setup::default().guess(1).build();
    for size in [1 << 60, u64::MAX] {
        let cap = Cap::Read(ReadCap { size, ..grid.cap });
        let Ok(node) = grid.client.open(&cap) else { continue };
        let read = node.read(size - 100, None).collect().await;
        assert!(read.is_err(), "{read:?}");
    }
    let grid = Setup::default().build();
    let cap = Cap::Read(ReadCap { size: 1 << 60, ..grid.cap });
    let read = grid.client.open(&cap).unwrap().read(1 << 59, Some(10)).collect().await;
    // The shares are those of a smaller file, yet have the right URI extension block.
    assert!(matches!(read, Err(ReadError::NoShares { .. } | ReadError::NotEnoughShares { .. })), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn the_timeline_agrees_with_what_servers_saw() {
    let mut setup = Setup::default();
    setup.config.status_events = 4;
    let bounded = setup.build();
    let node = bounded.node();
    for _ in 0..100 {
        node.read(0, None).collect().await.unwrap();
    }
    let status = node.status();
    assert_eq!((status.reads.kept.len(), status.reads.total), (4, 100));
    assert_eq!((status.segments.kept.len(), status.decodes.kept.len()), (4, 4));
    assert_eq!(status.bytes_returned, 30_000);

    let grid = Setup::default().build();
    let node = grid.node();
    node.read(0, None).collect().await.unwrap();
    let status = node.status();
    for i in 0..10 {
        let said: Vec<_> = status.blocks.kept.iter().filter(|event| event.share == i).collect();
        let said: Vec<_> = said.iter().map(|event| (event.start, event.length)).collect();
        assert_eq!(said, grid.share(i as usize).reads_seen());
    }
    assert!(status.blocks.kept.iter().all(|event| event.finished.is_some()));
    assert_eq!(status.summary(), "idle");
    assert_eq!(status.progress(), 1.0);
}
