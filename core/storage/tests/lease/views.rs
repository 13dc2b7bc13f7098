//! What clients see in each state (leasedb-and-storage §8.3), and what a look does about each (§15).

use std::fs;

use bytes::Bytes;
use protocol::server::{ServerError, SlotServer, StorageServer};
use storage::backend::Body;
use storage::config::{Config, Expire, STARTER_LEASE};
use storage::database::{AccountId, State};
use storage::server::{Mode, Outcome, Step};
use storage::share::Kind;

use crate::place::{INDEX, Place, START, come, id, incomplete, write};
use crate::scripted::Call;

fn expiring() -> Config {
    Config { expire: Expire { enabled: true, ..Expire::default() }, ..Config::default() }
}

#[tokio::test(start_paused = true)]
pub async fn none_and_nothing_there() {
    let place = Place::new().await;
    assert_eq!((place.shares().await, place.read(0).await), (vec![], Err(ServerError::NoSuchShare)));
    assert_eq!(place.lease().await, Err(ServerError::NoSuchShare));
    assert_eq!(place.allocate(&[0], 4).await.unwrap().writers.len(), 1);
}

#[tokio::test(start_paused = true)]
pub async fn none_and_a_share_there_is_adopted_by_whatever_call_comes() {
    for call in 0..4 {
        let place = Place::new().await;
        place.copy_in(7, b"copied");
        match call {
            0 => assert_eq!(place.shares().await, [7]),
            1 => assert_eq!(place.allocate(&[], 0).await.unwrap().already, [7].into()),
            2 => place.lease().await.unwrap(),
            _ => {
                assert!(matches!(place.crawl(1).await[..], [Step::Adopt { kind: Kind::Immutable, used: 18 }]))
            }
        }
        assert_eq!(place.state(7).await, Some(State::Stable), "call {call}");
        let starter = place.leases(7).await[&AccountId::STARTER];
        assert_eq!((starter.renewed, starter.expires), (START, Some(START + STARTER_LEASE)));
        assert_eq!(&place.read(7).await.unwrap()[..], b"copied");
    }
}

#[tokio::test(start_paused = true)]
pub async fn readers_ask_the_backend_once_an_hour_and_writers_always() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    let before = place.backend.calls(Call::List);
    for _ in 0..5 {
        assert_eq!(place.shares().await, [0]);
    }
    place.copy_in(7, b"copied");
    assert_eq!(place.shares().await, [0]);
    assert_eq!(place.backend.calls(Call::List), before);
    tokio::time::sleep(Config::default().adopt_interval).await;
    assert_eq!(place.shares().await, [0, 7]);
    assert_eq!(place.backend.calls(Call::List), before + 2, "the crawler, from afar and with a closer look");
    place.copy_in(8, b"copied");
    assert_eq!(place.allocate(&[], 0).await.unwrap().already, [0, 7, 8].into());
    place.copy_in(9, b"copied");
    place.lease().await.unwrap();
    assert_eq!(place.shares().await, [0, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
pub async fn coming() {
    let place = Place::new().await;
    place.backend.show_incoming();
    let writer = place.writer(0, 4).await;
    assert_eq!((place.shares().await, place.read(0).await), (vec![], Err(ServerError::NoSuchShare)));
    let allocated = place.allocate(&[0], 4).await.unwrap();
    assert_eq!((allocated.already.len(), allocated.writers.len()), (0, 0));
    assert_eq!(place.lease().await, Err(ServerError::NoSuchShare));
    assert_eq!(place.crawl(1).await, []);
    assert_eq!(place.leases(0).await.len(), 0);
    writer.write(0, Bytes::from_static(b"abcd")).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(place.shares().await, [0]);
}

#[tokio::test(start_paused = true)]
pub async fn stable() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    let allocated = place.allocate(&[0, 1], 4).await.unwrap();
    assert_eq!(allocated.already, [0].into());
    assert_eq!(allocated.writers.keys().collect::<Vec<_>>(), [&1]);
    place.world.set_wall(START + 1000);
    place.lease().await.unwrap();
    assert_eq!(place.leased_until(0).await, Some(START + 1000 + storage::config::LEASE));
    place.world.set_wall(START + 2000);
    drop(place.allocate(&[], 0).await.unwrap());
    assert_eq!(place.leased_until(0).await, Some(START + 2000 + storage::config::LEASE));
}

#[tokio::test(start_paused = true)]
pub async fn stable_and_corrupted() {
    let place = Place::with(expiring()).await;
    for share in [0, 1, 2] {
        place.upload(share, b"abcd").await;
    }
    let reader = place.server.get_buckets(INDEX).await.unwrap().remove(&1).unwrap();
    let sound = fs::read(place.file(1)).unwrap();
    for damaged in [&b""[..], &sound[..2], &sound[..11], b"\0\0\0\x09\0\0\0\x04\0\0\0\0abcd"] {
        fs::write(place.file(1), damaged).unwrap();
        assert_eq!(place.crawl(1).await.len(), 1);
        assert_eq!(place.row(1).await.unwrap().kind, Kind::Corrupted);
        assert_eq!(place.shares().await, [0, 2]);
        assert_eq!(&place.read(2).await.unwrap()[..], b"abcd");
        assert_eq!(reader.read(0, 4).await, Err(ServerError::NoSuchShare));
        let allocated = place.allocate(&[1, 3], 4).await.unwrap();
        assert_eq!(allocated.already, [0, 2].into());
        assert_eq!(allocated.writers.keys().collect::<Vec<_>>(), [&3]);
        drop(allocated);
        place.lease().await.unwrap();
        assert!(place.leased_until(1).await.is_some(), "evidence is kept");
        reader.advise_corrupt_share("rotten").await.unwrap();
        // Its header is fine again.
        fs::write(place.file(1), &sound).unwrap();
        assert_eq!(place.crawl(2).await.len(), 1);
        assert_eq!(place.shares().await, [0, 1, 2]);
    }
    assert!(fs::read_dir(place.path("corruption-advisories")).unwrap().count() >= 1);
    fs::write(place.file(1), b"").unwrap();
    place.crawl(3).await;
    place.end_leases().await;
    place.crawl(4).await;
    assert!(place.row(1).await.is_none() && !place.file(1).exists(), "nobody has a lease");
}

#[tokio::test(start_paused = true)]
pub async fn a_full_upload_may_replace_a_corrupted_share() {
    let place = Place::with(Config { replace_corrupt: true, ..Config::default() }).await;
    place.plant(0, b"garbage");
    place.plant(1, b"garbage");
    place.upload(0, b"abcd").await;
    assert_eq!(place.shares().await, [0]);
    assert_eq!(place.row(1).await.unwrap().kind, Kind::Corrupted);
    // One that does not fit stays.
    place.backend.set_space(0);
    assert!(place.allocate(&[1], 4).await.unwrap().writers.is_empty());
    assert!(place.file(1).exists());
}

#[tokio::test(start_paused = true)]
pub async fn going() {
    let place = Place::with(expiring()).await;
    place.upload(0, b"abcd").await;
    place.end_leases().await;
    place.backend.fail(Call::Delete, 1);
    let collected = place.reconcile(Mode::Crawl { cycle: 1 }).await;
    assert!(matches!(collected[..], [ref f] if matches!(f.outcome, Outcome::Failed(_))));
    assert_eq!(place.state(0).await, Some(State::Going));
    assert_eq!((place.shares().await, place.read(0).await), (vec![], Err(ServerError::NoSuchShare)));
    let allocated = place.allocate(&[0], 4).await.unwrap();
    assert_eq!((allocated.already.len(), allocated.writers.len()), (0, 0));
    assert_eq!(place.lease().await, Err(ServerError::NoSuchShare));
    assert_eq!(place.leases(0).await.len(), 0);
    assert!(place.change(&[(0, write(0, b"x"))]).await.is_err());
    assert!(matches!(place.crawl(2).await[..], [Step::FinishDeletion { .. }]));
    assert!(place.row(0).await.is_none() && !place.file(0).exists());
}

#[tokio::test(start_paused = true)]
pub async fn a_share_that_disappeared_goes_with_its_leases() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    fs::remove_file(place.file(0)).unwrap();
    assert_eq!(place.lease().await, Err(ServerError::NoSuchShare));
    assert_eq!((place.row(0).await, place.leases(0).await.len()), (None, 0));
    place.upload(0, b"abcd").await;
    fs::remove_file(place.file(0)).unwrap();
    assert_eq!(place.read(0).await, Err(ServerError::NoSuchShare));
    assert!(place.shares().await.is_empty(), "who read it has noticed");
}

#[tokio::test(start_paused = true)]
pub async fn a_share_that_is_only_not_listed_stays() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.backend.show(id(0), None);
    assert_eq!(place.crawl(1).await, []);
    place.lease().await.unwrap();
    assert_eq!(place.allocate(&[0], 4).await.unwrap().already, [0].into());
    // Nor does an outage say that it is gone.
    place.backend.fail(Call::Read, 1);
    assert_eq!(place.crawl(1).await, []);
    assert_eq!(place.leases(0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
pub async fn half_a_share_without_a_row_is_left_for_a_cycle() {
    let place = Place::new().await;
    place.backend.show(id(4), incomplete(10));
    assert!(place.shares().await.is_empty());
    assert!(place.allocate(&[4], 4).await.unwrap().writers.is_empty(), "it is not overwritten");
    assert_eq!(place.crawl(1).await, [Step::Watch { used: 10 }]);
    place.backend.show(id(4), incomplete(20));
    assert_eq!(place.crawl(2).await, [Step::Watch { used: 20 }]);
    assert_eq!(place.backend.calls(Call::Delete), 0);
    assert_eq!(place.crawl(3).await, [Step::Clear { used: 20 }]);
    assert_eq!((place.backend.calls(Call::Delete), place.row(4).await), (1, None));
    assert_eq!(place.crawl(4).await, []);
    assert_eq!(place.allocate(&[4], 4).await.unwrap().writers.len(), 1);
}

#[tokio::test(start_paused = true)]
pub async fn what_lost_some_of_its_objects_is_corrupted_and_keeps_its_leases() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.backend.show(id(0), incomplete(10));
    assert!(matches!(place.crawl(1).await[..], [Step::Correct { kind: Kind::Corrupted, used: 10, .. }]));
    assert_eq!((place.shares().await.len(), place.leases(0).await.len()), (0, 1));
    place.backend.show_all();
    assert!(matches!(place.crawl(2).await[..], [Step::Correct { kind: Kind::Immutable, used: 16, .. }]));
    assert_eq!((place.shares().await.len(), place.leases(0).await.len()), (1, 1));
    assert_eq!(place.crawl(3).await, []);
}

#[tokio::test(start_paused = true)]
pub async fn a_share_of_the_other_kind_is_corrupted() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.backend.show(id(0), Some(Body::Mutable { size: 4, used: 472 }));
    assert!(matches!(place.crawl(1).await[..], [Step::Correct { kind: Kind::Corrupted, .. }]));
    assert_eq!((place.shares().await.len(), place.server.slots(INDEX).await.unwrap().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
pub async fn nothing_is_collected_unless_it_may_expire() {
    let only_mutable = Expire { enabled: true, immutable: false, ..Expire::default() };
    for expire in [Expire::default(), only_mutable] {
        let place = Place::with(Config { expire, ..Config::default() }).await;
        place.upload(0, b"abcd").await;
        place.end_leases().await;
        assert_eq!(place.crawl(1).await, []);
        assert_eq!(place.shares().await, [0]);
    }
    let place = Place::with(expiring()).await;
    place.upload(0, b"abcd").await;
    assert_eq!(place.crawl(1).await, []);
    place.end_leases().await;
    assert_eq!(place.crawl(2).await, [Step::Collect]);
    assert!(place.row(0).await.is_none() && !place.file(0).exists());
}

#[tokio::test(start_paused = true)]
pub async fn looking_changes_nothing() {
    let place = Place::with(expiring()).await;
    place.upload(0, b"abcd").await;
    place.upload(1, b"abcd").await;
    place.end_leases().await;
    place.copy_in(2, b"copied");
    fs::remove_file(place.file(1)).unwrap();
    come(place.database(), 3, Kind::Immutable, Some(9)).await;
    place.backend.show(id(4), incomplete(5));
    let found = place.reconcile(Mode::Dry).await;
    assert!(found.iter().all(|finding| finding.outcome == Outcome::Left));
    assert!(matches!(
        found.iter().map(|finding| finding.step).collect::<Vec<_>>()[..],
        [Step::Collect, Step::Forget { .. }, Step::Adopt { .. }, Step::GiveUp { .. }, Step::Watch { .. }]
    ));
    assert_eq!(place.reconcile(Mode::Dry).await, found);
    assert_eq!(place.state(3).await, Some(State::Coming));
}

/// One file that cannot be read makes a listing fail, again and again. What has a row is there all the same.
#[tokio::test(start_paused = true)]
pub async fn a_backend_that_does_not_tell_hides_no_share_that_has_a_row() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    let place = place.crash(Config::default()).await;
    place.backend.fail(Call::List, 1000);
    assert_eq!((place.shares().await, &place.read(0).await.unwrap()[..]), (vec![0], &b"abcd"[..]));
    assert_eq!(place.server.slots(INDEX).await, Ok([].into()));
    assert_eq!(place.server.read_slot(INDEX, 0, 0, 9).await, Err(ServerError::NoSuchShare));
    place.backend.fail(Call::List, 0);
    // Of a file without rows nothing is known.
    let place = Place::new().await;
    place.copy_in(0, b"copied");
    place.backend.fail(Call::List, 1);
    assert!(matches!(place.server.get_buckets(INDEX).await, Err(ServerError::Disk(_))));
    assert_eq!(place.shares().await, [0]);
}
