//! The crawler: what it finds, what it ends, and that nothing stops it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{Allocate, ServerError, StorageServer};
use storage::config::{Config, Crawl, Expire, ExpireMode, LEASE, STARTER_LEASE};
use storage::crawler::{AgeBin, Cycle, Pulse, Tally};
use storage::database::{AccountId, Lease, State};
use storage::share::{Kind, ShareId};

use crate::place::{DAY, INDEX, Place, START, id, incomplete, settle, write};
use crate::scripted::Call;

fn expiring(mode: ExpireMode) -> Config {
    Config { expire: Expire { enabled: true, mode, ..Expire::default() }, ..Config::default() }
}

async fn crawl(place: &Place) -> Cycle {
    place.server.crawl(|_| {}).await.unwrap()
}

/// Shares in three files under three prefixes, copied in; the middle one is `INDEX`.
fn copy_in_three(place: &Place) -> [ShareId; 3] {
    let [mut before, mut after] = [INDEX; 2];
    (before.0[0], after.0[0]) = (3, 250);
    [before, INDEX, after].map(|index| copy_in_at(place, index))
}

/// Share 0 of a file, copied in.
fn copy_in_at(place: &Place, index: StorageIndex) -> ShareId {
    let name = index.to_string();
    let file = place.path(&format!("shares/{}/{name}/0", &name[..2]));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, [[2, 4, 0].map(u32::to_be_bytes).concat(), b"abcd".to_vec()].concat()).unwrap();
    ShareId { index, share: 0 }
}

/// How many shares the database knows.
async fn known(place: &Place) -> u64 {
    place.database().view("totals", |read| Ok(read.totals()?.shares)).await.unwrap()
}

/// Both clocks move on, a few minutes at a time.
async fn pass(place: &Place, now: &mut u64, length: u64) {
    let end = *now + length;
    while *now < end {
        let step = (end - *now).min(300);
        *now += step;
        place.world.set_wall(*now);
        tokio::time::sleep(Duration::from_secs(step)).await;
        settle().await;
        assert!(place.server.crawler().is_some(), "it sleeps or works (I13)");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crawl_counts_what_is_there_and_adopts_what_was_copied_in() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.copy_in(1, b"copied in");
    place.plant(2, b"no container");
    place.change(&[(0, write(0, b"x"))]).await.unwrap_err();
    let copied = copy_in_three(&place);
    place.world.set_wall(START + 3 * DAY);
    let mut steps = Vec::new();
    let cycle = place.server.crawl(|progress| steps.push((progress.done, progress.of))).await.unwrap();
    assert_eq!(steps, [(1, 3), (2, 3), (3, 3)]);
    let counts = cycle.counts;
    assert_eq!((counts.prefixes, counts.files, counts.adopted), (3, 3, 2), "{counts:?}");
    assert_eq!((counts.immutable.shares, counts.mutable.shares, counts.corrupted.shares), (4, 0, 1));
    assert_eq!(counts.corrupted, Tally { shares: 1, bytes: 12 });
    assert_eq!(cycle.corrupted, [id(2).to_string()]);
    assert_eq!(cycle.lease_ages, [AgeBin { days: 0, leases: 2 }, AgeBin { days: 3, leases: 3 }]);
    assert_eq!((cycle.number, cycle.started, counts.leases), (1, START + 3 * DAY, 5));
    let starter = Lease { renewed: START + 3 * DAY, expires: Some(START + 3 * DAY + STARTER_LEASE) };
    let leases = place.database().view("look", move |read| read.leases(copied[0])).await.unwrap();
    assert_eq!(leases.into_iter().collect::<Vec<_>>(), [(AccountId::STARTER, starter)]);
    // Again, it finds the same and does nothing (Q6).
    let again = crawl(&place).await;
    assert_eq!((again.counts.adopted, again.counts.shares()), (0, counts.shares()));
    assert_eq!(place.server.crawls().await.unwrap().len(), 2);
}

/// H of many files at a time: that one of them cannot be listed is no reason not to adopt the others, and it has its turn.
#[tokio::test(start_paused = true)]
async fn files_that_nobody_knows_are_adopted_together() {
    let place = Place::new().await;
    let nth = |number: u8| {
        let mut index = INDEX;
        index.0[15] = number;
        index
    };
    let copied: Vec<_> = (0..5).map(|number| copy_in_at(&place, nth(number))).collect();
    place.backend.fail(Call::List, 1);
    let counts = crawl(&place).await.counts;
    assert_eq!(
        (counts.files, counts.adopted, counts.failed_files, counts.leases),
        (5, 5, 0, 5),
        "{counts:?}"
    );
    let mut epochs = Vec::new();
    for id in copied {
        let row = place.database().view("row", move |read| read.row(id)).await.unwrap().unwrap();
        assert_eq!((row.state, row.kind, row.used_space), (State::Stable, Kind::Immutable, 16));
        epochs.push(row.epoch);
    }
    // In one go and in order, and then the one of which the backend did not tell at first.
    assert_eq!(epochs[1..].iter().map(|epoch| epoch - epochs[1]).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(epochs[0], epochs[4] + 1);
    assert_eq!(crawl(&place).await.counts.adopted, 0);
}

/// The modes of §6, each a moment before and after.
#[tokio::test(start_paused = true)]
async fn leases_end_when_the_policy_says() {
    let natural = ExpireMode::Age(None);
    let cases = [
        (natural, START + LEASE, START + LEASE + 1),
        (ExpireMode::Age(Some(5 * DAY)), START + 5 * DAY, START + 5 * DAY + 1),
        (ExpireMode::CutOff(START + 9), START, START + 3 * LEASE),
    ];
    for (mode, kept, gone) in cases {
        let place = Place::with(expiring(mode)).await;
        place.upload(0, b"abcd").await;
        place.world.set_wall(kept);
        if !matches!(mode, ExpireMode::CutOff(_)) {
            let counts = crawl(&place).await.counts;
            assert_eq!((counts.ended_leases, counts.immutable.shares), (0, 1), "{mode:?}");
        }
        place.world.set_wall(gone);
        let counts = crawl(&place).await.counts;
        assert_eq!(
            (counts.ended_leases, counts.collected, counts.immutable.shares),
            (1, Tally { shares: 1, bytes: 16 }, 0)
        );
        assert!(place.row(0).await.is_none() && !place.file(0).exists());
    }
    // A lease that was renewed after the cut-off, types that are excepted, and no policy at all.
    let spared = [
        expiring(ExpireMode::CutOff(START)),
        Config {
            expire: Expire { enabled: true, immutable: false, ..Expire::default() },
            ..Config::default()
        },
        Config::default(),
    ];
    for config in spared {
        let place = Place::with(config).await;
        place.upload(0, b"abcd").await;
        place.world.set_wall(START + 20 * LEASE);
        let expire = place.server.crawl(|_| {}).await.unwrap().counts;
        assert_eq!((expire.ended_leases, expire.immutable.shares), (0, 1));
    }
    let types = Expire { enabled: true, mutable: false, ..Expire::default() };
    let place = Place::with(Config { expire: types, ..Config::default() }).await;
    place.change(&[(0, write(0, b"mutable"))]).await.unwrap();
    place.world.set_wall(START + 20 * LEASE);
    assert_eq!(crawl(&place).await.counts.mutable.shares, 1);
    assert_eq!(place.row(0).await.map(|row| row.kind), Some(Kind::Mutable));
}

/// L6 (b): a share that an operator copied in is collected when its starter lease is over.
#[tokio::test(start_paused = true)]
async fn a_share_that_was_copied_in_is_not_immortal() {
    let place = Place::with(expiring(ExpireMode::Age(None))).await;
    place.copy_in(0, b"copied in");
    crawl(&place).await;
    place.world.set_wall(START + STARTER_LEASE);
    assert_eq!(crawl(&place).await.counts.immutable.shares, 1);
    place.world.set_wall(START + STARTER_LEASE + 1);
    assert_eq!(crawl(&place).await.counts.collected.shares, 1);
    assert!(!place.file(0).exists());
}

#[tokio::test(start_paused = true)]
async fn cycles_begin_by_themselves_and_keep_their_distance() {
    let place = Place::new().await;
    copy_in_three(&place);
    let mut now = START;
    pass(&place, &mut now, 540).await;
    assert!(place.server.crawls().await.unwrap().is_empty());
    pass(&place, &mut now, 120).await;
    let first = place.server.crawls().await.unwrap();
    assert_eq!((first.len(), first[0].counts.adopted), (1, 3));
    assert!(matches!(place.server.crawler(), Some(Pulse::SleepsUntil(_))));
    pass(&place, &mut now, 43_000).await;
    assert_eq!(place.server.crawls().await.unwrap().len(), 1);
    pass(&place, &mut now, 600).await;
    let both = place.server.crawls().await.unwrap();
    assert_eq!(both.len(), 2);
    assert!(both[1].started >= both[0].started + 43_200);
    for _ in 0..12 {
        crawl(&place).await;
    }
    let kept: Vec<u64> = place.server.crawls().await.unwrap().iter().map(|cycle| cycle.number).collect();
    assert_eq!(kept, (5..=14).collect::<Vec<u64>>());
    place.server.close().await;
    settle().await;
    assert_eq!(place.server.crawler(), None);
}

/// L11: the server is restarted in the middle of a cycle, after each of its slices.
#[tokio::test(start_paused = true)]
async fn a_cycle_goes_on_after_a_restart() {
    let slices = Crawl { slice: Duration::ZERO, ..Crawl::default() };
    let config = Config { crawl: slices, ..expiring(ExpireMode::Age(None)) };
    let mut place = Place::with(config.clone()).await;
    copy_in_three(&place);
    crawl(&place).await;
    // Nothing but the clock has moved, further than it may: this cycle and the next end no leases.
    let mut now = START + STARTER_LEASE + 1;
    place.world.set_wall(now);
    let mut came_to = BTreeSet::new();
    while place.server.crawls().await.unwrap().len() < 4 {
        // One prefix, and the crawler waits in the next.
        place.backend.hold(Call::Files).add_permits(1);
        pass(&place, &mut now, 660).await;
        came_to.extend(
            place.server.crawl_in_progress().await.unwrap().map(|(cycle, next)| (cycle.number, next)),
        );
        place.server.close().await;
        place = place.crash(config.clone()).await;
        now += 3600;
        place.world.set_wall(now);
    }
    assert!(came_to.len() >= 6, "{came_to:?}");
    let cycles = place.server.crawls().await.unwrap();
    let collected: Vec<u64> = cycles.iter().map(|cycle| cycle.counts.collected.shares).collect();
    assert_eq!(collected, [0, 0, 3, 0]);
    assert!(cycles[..3].iter().all(|cycle| cycle.counts.files == 3), "each file once");
    assert_eq!(known(&place).await, 0);
}

/// L11 and L13: one file cannot be listed, or one prefix.
#[tokio::test(start_paused = true)]
async fn what_fails_stops_nothing_and_concludes_nothing() {
    let place = Place::new().await;
    copy_in_three(&place);
    crawl(&place).await;
    place.copy_in(1, b"late");
    let before = place.leases(0).await;
    // From afar, and then with a closer look.
    place.backend.fail(Call::List, 2);
    let counts = crawl(&place).await.counts;
    assert_eq!((counts.failed_files, counts.files, counts.vanished, counts.adopted), (1, 3, 0, 1));
    place.backend.fail(Call::Files, 2);
    let counts = crawl(&place).await.counts;
    assert_eq!((counts.failed_prefixes, counts.files, counts.vanished), (2, 1, 0));
    place.backend.fail(Call::Prefixes, 1);
    let counts = crawl(&place).await.counts;
    assert_eq!((counts.failed_prefixes, counts.files), (1, 3), "those that the database knows");
    assert_eq!((place.leases(0).await, known(&place).await), (before, 4));
    // The background crawler, whose every look fails for two slices.
    let mut now = START;
    place.backend.fail(Call::List, 3);
    pass(&place, &mut now, 2 * 43_200).await;
    let last = place.server.crawls().await.unwrap().pop().unwrap();
    assert_eq!((last.counts.failed_files, last.counts.shares().shares), (0, 4));
}

/// L2: a share is uploaded while its prefix is crawled, at every moment of that.
#[tokio::test(start_paused = true)]
async fn a_share_that_comes_during_a_crawl_keeps_its_lease() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    // Others under the same prefix, so that it takes a while.
    for other in 0..8 {
        let mut index = INDEX;
        index.0[15] = 240 + other;
        copy_in_at(&place, index);
    }
    for moment in 1..20 {
        let scope = place.runtime.scope();
        let (server, crawling) = (place.server.clone(), place.server.clone());
        scope.spawn("crawl", 0, async move { drop(crawling.crawl(|_| {}).await.unwrap()) });
        let runtime = place.runtime.clone();
        scope.spawn("upload", 0, async move {
            for _ in 0..moment {
                // One turn of everyone; tokio's own yield would wait until all others wait.
                runtime.blocking("turn", || {}).await.unwrap();
            }
            let shares = [moment].into();
            let request = Allocate { index: INDEX, shares, size: 4, renew: [1; 32], cancel: [2; 32] };
            let writer = server.allocate_buckets(request).await.unwrap().writers.remove(&moment).unwrap();
            writer.write(0, Bytes::from_static(b"efgh")).await.unwrap();
            writer.close().await.unwrap();
        });
        scope.drain().await;
        assert_eq!(place.leased_until(moment).await, Some(START + LEASE), "moment {moment}");
    }
    assert_eq!(place.shares().await.len(), 20);
}

/// A9: the clock steps forward by 90 days.
#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_forward_ends_no_lease_for_a_full_cycle() {
    let config = expiring(ExpireMode::Age(None));
    let place = Place::with(config).await;
    place.upload(0, b"abcd").await;
    let mut now = START;
    pass(&place, &mut now, 700).await;
    now += 90 * DAY;
    pass(&place, &mut now, 2 * 43_200 - 700).await;
    let cycles = place.server.crawls().await.unwrap();
    let suspended: Vec<bool> = cycles.iter().map(|cycle| cycle.counts.suspended).collect();
    assert_eq!(suspended, [false, true]);
    assert_eq!(place.shares().await, [0]);
    pass(&place, &mut now, 43_200).await;
    let last = place.server.crawls().await.unwrap().pop().unwrap();
    assert_eq!((last.counts.suspended, last.counts.collected.shares), (false, 1));
    assert_eq!(known(&place).await, 0);
}

/// A9: it does so while a slice of the crawler runs.
#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_forward_during_a_slice_ends_no_lease() {
    let crawls = Crawl { slice: Duration::from_secs(3600), ..Crawl::default() };
    let place = Place::with(Config { crawl: crawls, ..expiring(ExpireMode::Age(None)) }).await;
    copy_in_three(&place);
    crawl(&place).await;
    // The crawler is in the first prefix, whose leases it has looked at.
    let files = place.backend.hold(Call::Files);
    let mut now = START;
    pass(&place, &mut now, 43_800).await;
    assert!(matches!(place.server.crawler(), Some(Pulse::WorksSince(_))));
    now += 90 * DAY;
    place.world.set_wall(now);
    files.add_permits(1000);
    settle().await;
    let last = place.server.crawls().await.unwrap().pop().unwrap();
    assert_eq!((last.number, last.counts.suspended, last.counts.ended_leases), (2, true, 0));
    assert_eq!(known(&place).await, 3);
}

/// I13: the crawler goes on after a panic.
#[tokio::test(start_paused = true)]
async fn a_panic_costs_a_slice() {
    let place = Place::new().await;
    copy_in_three(&place);
    place.backend.panic_next(Call::Prefixes);
    let mut now = START;
    pass(&place, &mut now, 1200).await;
    assert_eq!(place.server.crawls().await.unwrap().pop().unwrap().counts.adopted, 3);
}

/// L13: the volume with the shares is not mounted, or a link to it leads nowhere.
#[tokio::test(start_paused = true)]
async fn a_missing_tree_is_no_absence_of_its_shares() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    let (here, away) = (place.path("shares"), place.path("away"));
    std::fs::rename(&here, &away).unwrap();
    let counts = crawl(&place).await.counts;
    assert_eq!((counts.vanished, counts.failed_prefixes), (0, 1), "{counts:?}");
    assert!(matches!(place.read(0).await, Err(ServerError::Disk(_))));
    assert_eq!((known(&place).await, place.leases(0).await.len()), (1, 1));
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(&place.read(0).await.unwrap()[..], b"abcd");
    // One directory is a directory.
    std::fs::remove_dir_all(place.path("shares/on")).unwrap();
    assert_eq!(crawl(&place).await.counts.vanished, 1);
}

/// Objects that make no share wait for a full cycle.
#[tokio::test(start_paused = true)]
async fn what_makes_no_share_is_given_a_cycle() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.backend.show(id(7), incomplete(30));
    assert_eq!(crawl(&place).await.counts.watched, 1);
    place.backend.show(id(7), incomplete(40));
    assert_eq!(crawl(&place).await.counts.watched, 1, "it grows: somebody is copying it in");
    let counts = crawl(&place).await.counts;
    assert_eq!((counts.watched, counts.cleared), (0, Tally { shares: 1, bytes: 40 }));
    assert!(place.row(7).await.is_none());
}
