//! The dossier's simulations that need no simulator, each with its own oracle.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use protocol::server::ServerError;
use storage::config::{Config, Expire, LEASE};
use storage::database::State;
use storage::server::{Mode, Outcome};

use crate::place::{Place, START, is_over, settle};
use crate::scripted::Call;

fn expiring() -> Config {
    Config { expire: Expire { enabled: true, ..Expire::default() }, ..Config::default() }
}

/// L3: a share is uploaded while its predecessor is being deleted.
#[tokio::test(start_paused = true)]
pub async fn nothing_is_uploaded_into_a_share_that_goes() {
    let place = Place::with(expiring()).await;
    place.upload(0, b"abcd").await;
    place.end_leases().await;
    let deleting = place.backend.hold(Call::Delete);
    let mut crawl = Box::pin(place.reconcile(Mode::Crawl { cycle: 1 }));
    assert!(!is_over(&mut crawl).await);
    settle().await;
    assert_eq!((place.state(0).await, place.server.activity().deletions.len()), (Some(State::Going), 1));

    let mut allocate = Box::pin(place.allocate(&[0], 4));
    let early = is_over(&mut allocate).await;
    settle().await;
    assert!(!early && !is_over(&mut allocate).await, "a slot while the deletion is under way");
    deleting.add_permits(1000);
    let writer = allocate.await.unwrap().writers.remove(&0).unwrap();
    crawl.await;
    writer.write(0, Bytes::from_static(b"efgh")).await.unwrap();
    writer.close().await.unwrap();
    settle().await;
    assert_eq!(&place.read(0).await.unwrap()[..], b"efgh");

    // The same with a deletion that fails, and is tried again after the next upload might have begun.
    place.end_leases().await;
    place.backend.fail(Call::Delete, 1);
    place.reconcile(Mode::Crawl { cycle: 2 }).await;
    assert!(place.allocate(&[0], 4).await.unwrap().writers.is_empty());
    tokio::time::sleep(Duration::from_secs(11)).await;
    settle().await;
    place.upload(0, b"ijkl").await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    assert_eq!(&place.read(0).await.unwrap()[..], b"ijkl");
}

/// L4: a lease comes between the look for leases and the mark.
#[tokio::test(start_paused = true)]
pub async fn a_lease_that_is_granted_keeps_the_share() {
    let place = Place::with(expiring()).await;
    place.upload(0, b"abcd").await;
    place.upload(1, b"abcd").await;
    place.end_leases().await;
    let deleting = place.backend.hold(Call::Delete);
    let mut crawl = Box::pin(place.reconcile(Mode::Crawl { cycle: 1 }));
    assert!(!is_over(&mut crawl).await);
    settle().await;
    let mut lease = Box::pin(place.lease());
    assert!(!is_over(&mut lease).await);
    settle().await;
    deleting.add_permits(1000);
    crawl.await;
    let granted = lease.await;
    settle().await;
    assert_eq!(granted.is_ok(), !place.shares().await.is_empty(), "a lease on nothing");
    assert_eq!(place.leases(0).await.len() + place.leases(1).await.len(), place.shares().await.len());

    // One that is there before the crawler's turn.
    place.upload(2, b"abcd").await;
    place.end_leases().await;
    place.lease().await.unwrap();
    assert_eq!(place.reconcile(Mode::Crawl { cycle: 2 }).await, []);
    assert_eq!(place.shares().await, [2]);
}

/// L9: uploads that somebody keeps touching, and those that nobody does.
#[tokio::test(start_paused = true)]
pub async fn only_new_bytes_keep_an_upload_open() {
    let place = Place::new().await;
    let vanished = place.allocate(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4).await.unwrap().writers;
    let attacker = &vanished[&0];
    attacker.write(0, Bytes::from_static(b"a")).await.unwrap();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(899)).await;
        assert!(attacker.write(0, Bytes::from_static(b"b")).await.is_err());
        attacker.write(0, Bytes::from_static(b"a")).await.expect("the same bytes again are no harm");
        assert!(place.allocate(&[0, 9], 4).await.unwrap().writers.is_empty());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    settle().await;
    assert_eq!(place.allocate(&[0, 9], 4).await.unwrap().writers.len(), 2);

    // New bytes do.
    let slow = place.writer(11, 4).await;
    for offset in 0..4 {
        tokio::time::sleep(Duration::from_secs(1799)).await;
        slow.write(offset, Bytes::from_static(b"x")).await.unwrap();
    }
    slow.close().await.unwrap();
}

/// L10: a backend that deletes nothing for an hour, with a restart in between.
#[tokio::test(start_paused = true)]
pub async fn a_share_that_cannot_be_deleted_yet_is_deleted_in_the_end() {
    for restart in [false, true] {
        let mut place = Place::with(expiring()).await;
        place.upload(0, b"abcd").await;
        place.end_leases().await;
        place.backend.fail(Call::Delete, 2);
        let collected = place.reconcile(Mode::Crawl { cycle: 1 }).await;
        assert!(matches!(collected[0].outcome, Outcome::Failed(_)));
        assert_eq!((place.state(0).await, place.shares().await.len()), (Some(State::Going), 0));
        if restart {
            place = place.crash(expiring()).await;
            assert_eq!((place.state(0).await, place.shares().await.len()), (Some(State::Going), 0));
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        settle().await;
        assert!(place.row(0).await.is_none() && !place.file(0).exists());
    }
}

/// L13: an outage says nothing about what is there.
#[tokio::test(start_paused = true)]
pub async fn an_outage_is_no_disappearance() {
    let place = Place::with(expiring()).await;
    place.upload(0, b"abcd").await;
    place.world.set_wall(START + 1000);
    for _ in 0..3 {
        place.backend.fail(Call::List, 1);
        assert!(place.server.reconcile(crate::place::INDEX, Mode::Crawl { cycle: 1 }).await.is_err());
        place.backend.fail(Call::List, 1);
        assert!(matches!(place.allocate(&[0], 4).await, Err(ServerError::Disk(_))), "no slot, and no answer");
    }
    assert_eq!(place.leased_until(0).await, Some(START + LEASE));
    assert_eq!(place.crawl(2).await, []);
    assert_eq!(&place.read(0).await.unwrap()[..], b"abcd");
}

/// L14: a second client while the first is in the middle of an upload, or of its close.
#[tokio::test(start_paused = true)]
pub async fn half_an_upload_is_no_share() {
    for abort in [true, false] {
        let place = Place::new().await;
        place.backend.show_incoming();
        let first = place.writer(0, 8).await;
        first.write(0, Bytes::from_static(b"abcd")).await.unwrap();
        let (second, listed) = (place.allocate(&[0], 8).await.unwrap(), place.shares().await);
        assert_eq!((second.already.len(), second.writers.len(), listed.len()), (0, 0, 0));
        assert_eq!(place.lease().await, Err(ServerError::NoSuchShare));
        first.write(4, Bytes::from_static(b"efgh")).await.unwrap();
        let publishing = place.backend.hold(Call::Publish);
        let mut close = first.close();
        assert!(!is_over(&mut close).await);
        settle().await;
        let mut second = Box::pin(place.allocate(&[0], 8));
        assert!(!is_over(&mut second).await);
        settle().await;
        assert!(place.server.activity().uploads.values().all(|count| *count == 1));
        if abort {
            place.backend.fail(Call::Publish, 1);
        }
        publishing.add_permits(1);
        let (closed, second) = (close.await, second.await.unwrap());
        assert_eq!((closed.is_err(), second.already.is_empty()), (abort, abort));
        assert_eq!(second.writers.len(), usize::from(abort));
        drop(second);
        settle().await;
        assert_eq!(
            place.shares().await.len(),
            usize::from(!abort),
            "the second one's end is not the first's"
        );
    }
}

/// L8 is `views::stable_and_corrupted`; here, that an unknown container spoils none of the calls.
#[tokio::test(start_paused = true)]
pub async fn an_unreadable_header_is_one_shares_trouble() {
    let place = Place::new().await;
    for share in [0, 1, 2] {
        place.upload(share, b"abcd").await;
    }
    let mut header = fs::read(place.file(1)).unwrap();
    header[3] = 9;
    fs::write(place.file(1), &header).unwrap();
    let allocated = place.allocate(&[3], 4).await.unwrap();
    assert_eq!((allocated.already, allocated.writers.len()), ([0, 2].into(), 1));
    assert_eq!(place.shares().await, [0, 2]);
    assert_eq!(&place.read(0).await.unwrap()[..], b"abcd");
    place.lease().await.unwrap();
    let place = place.crash(Config::default()).await;
    assert_eq!(place.shares().await, [0, 2]);
}
