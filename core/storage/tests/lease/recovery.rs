//! What a crash leaves, and what becomes of it (protocol I, leasedb-and-storage §17).

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use storage::config::{Config, LEASE};
use storage::database::{AccountId, State};
use storage::server::Mode;
use storage::share::Kind;

use crate::place::{INDEX, Place, START, come, id, settle, write};
use crate::scripted::Call;

/// A place in which shares were left in every state, as crashes leave them.
pub async fn left() -> Place {
    let place = Place::new().await;
    let database = place.database();
    // 0: A1. 1: A2. 2: A4. 3: A4 of other bytes than promised.
    for (share, size) in [(0, 4), (1, 4), (2, 4), (3, 5)] {
        come(database, share, Kind::Immutable, Some(size)).await;
    }
    fs::create_dir_all(place.incoming(1).parent().unwrap()).unwrap();
    fs::write(place.incoming(1), b"\0\0\0\x02").unwrap();
    place.copy_in(2, b"abcd");
    place.copy_in(3, b"abcd");
    // 4: B1 or F1. 5: F2 done.
    for share in [4, 5] {
        let epoch = come(database, share, Kind::Immutable, Some(4)).await;
        let condemn = database.update("condemn", move |write| write.condemn(id(share), epoch, START));
        condemn.await.unwrap().unwrap();
    }
    place.copy_in(4, b"abcd");
    // 6: the row was lost.
    fs::write(place.incoming(6), b"\0\0\0\x02").unwrap();
    // 7: the same, and the rename was undone by half.
    place.copy_in(7, b"abcd");
    fs::copy(place.file(7), place.incoming(7)).unwrap();
    place
}

pub async fn check(place: &Place) {
    for share in [0, 1, 3, 4, 5, 6] {
        assert_eq!(place.row(share).await, None, "share {share}");
        assert!(!place.file(share).exists() && !place.incoming(share).exists(), "share {share}");
    }
    assert_eq!(place.leased_until(2).await, Some(START + LEASE), "rolled forward with a fresh lease");
    assert_eq!(place.shares().await, [2, 7]);
    assert!(!place.incoming(7).exists());
    assert_eq!(&place.read(7).await.unwrap()[..], b"abcd");
    assert_eq!(place.reconcile(Mode::Dry).await, []);
}

#[tokio::test(start_paused = true)]
pub async fn a_restart_ends_what_was_half_done() {
    let place = left().await.crash(Config::default()).await;
    check(&place).await;
    let place = place.crash(Config::default()).await;
    check(&place).await;
}

/// The lease database came back as it was before its last commits.
#[tokio::test(start_paused = true)]
pub async fn a_deletion_whose_epoch_the_store_has_outlived_is_given_a_new_one() {
    let place = left().await;
    place.backend.outlive(place.row(5).await.unwrap().epoch);
    let place = place.crash(Config::default()).await;
    check(&place).await;
    assert_eq!(place.backend.calls(Call::Delete), 7, "5 shares, 2 of them twice");
}

#[tokio::test(start_paused = true)]
pub async fn a_restart_that_crashes_is_made_good_by_the_next() {
    for call in [Call::List, Call::Delete, Call::Incoming] {
        let place = left().await;
        let held = place.backend.hold(call);
        // The start gives up waiting, and the server crashes in the middle of recovery.
        let place = place.crash(Config::default()).await;
        held.add_permits(1);
        settle().await;
        held.add_permits(1000);
        let place = place.crash(Config::default()).await;
        check(&place).await;
    }
}

#[tokio::test(start_paused = true)]
pub async fn a_backend_that_is_out_at_the_start_puts_recovery_off() {
    let place = left().await;
    place.backend.fail(Call::List, 1);
    place.backend.fail(Call::Incoming, 2);
    let place = place.crash(Config::default()).await;
    assert_eq!(place.state(0).await, Some(State::Coming));
    tokio::time::sleep(Duration::from_secs(120)).await;
    settle().await;
    check(&place).await;
}

#[tokio::test(start_paused = true)]
pub async fn what_a_dying_server_published_is_made_durable_before_it_is_promised() {
    let place = left().await;
    place.backend.fail(Call::MakeDurable, 1);
    let place = place.crash(Config::default()).await;
    assert_eq!(place.state(2).await, Some(State::Coming), "not before it is durable");
    tokio::time::sleep(Duration::from_secs(120)).await;
    settle().await;
    check(&place).await;
    assert_eq!(place.backend.calls(Call::MakeDurable), 2);
}

#[tokio::test(start_paused = true)]
pub async fn a_client_need_not_wait_for_recovery() {
    let place = left().await;
    place.backend.fail(Call::List, 1);
    let place = place.crash(Config::default()).await;
    let mut allocated = place.allocate(&[0, 1, 2, 3], 4).await.unwrap();
    assert_eq!(allocated.already, [2, 7].into());
    assert_eq!(allocated.writers.keys().collect::<Vec<_>>(), [&0, &1, &3]);
    let writer = allocated.writers.remove(&1).unwrap();
    writer.write(0, Bytes::from_static(b"efgh")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    writer.close().await.unwrap();
    assert_eq!(&place.read(1).await.unwrap()[..], b"efgh", "recovery did not touch it");
}

#[tokio::test(start_paused = true)]
pub async fn a_change_that_was_cut_off_never_deletes() {
    let place = Place::new().await;
    for share in [0, 1, 2] {
        place.change(&[(share, write(0, b"old"))]).await.unwrap();
        let begin = place.database().update("D2", move |write| write.begin_change(id(share), START));
        begin.await.unwrap().unwrap();
    }
    fs::write(place.file(1), b"torn").unwrap();
    fs::remove_file(place.file(2)).unwrap();
    // A mutable share whose making was cut off, with and without its container.
    come(place.database(), 3, Kind::Mutable, None).await;
    come(place.database(), 4, Kind::Mutable, None).await;
    fs::copy(place.file(0), place.file(3)).unwrap();
    let place = place.crash(Config::default()).await;
    let row = place.row(0).await.unwrap();
    assert_eq!((row.state, row.kind), (State::Stable, Kind::Mutable));
    let row = place.row(1).await.unwrap();
    assert_eq!((row.state, row.kind), (State::Stable, Kind::Corrupted));
    assert_eq!(place.leases(1).await.len(), 1);
    assert!(place.file(1).exists());
    assert_eq!(place.leases(3).await.keys().collect::<Vec<_>>(), [&AccountId::ANONYMOUS]);
    assert_eq!(place.row(4).await, None);
    place.reconcile(Mode::Crawl { cycle: 1 }).await;
    assert_eq!(place.row(2).await, None, "all of it is gone");
    let slots = storage_slots(&place).await;
    assert_eq!(slots, [0, 3]);
}

/// A share that was being changed has gone, and its directory with it: there is nothing to be made durable.
#[tokio::test(start_paused = true)]
pub async fn a_change_of_what_has_gone_altogether_is_ended() {
    let place = Place::new().await;
    place.change(&[(0, write(0, b"old"))]).await.unwrap();
    let begin = place.database().update("D2", move |write| write.begin_change(id(0), START));
    begin.await.unwrap().unwrap();
    fs::remove_dir_all(place.file(0).parent().unwrap()).unwrap();
    let place = place.crash(Config::default()).await;
    assert_eq!(place.row(0).await.map(|row| (row.state, row.kind)), Some((State::Stable, Kind::Corrupted)));
    place.reconcile(Mode::Crawl { cycle: 1 }).await;
    assert_eq!(place.row(0).await, None);
}

pub async fn storage_slots(place: &Place) -> Vec<u32> {
    use protocol::server::SlotServer;
    place.server.slots(INDEX).await.unwrap().into_iter().collect()
}

#[tokio::test(start_paused = true)]
pub async fn losing_the_database_loses_no_share() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.upload(1, b"efgh").await;
    let Place { root, world, runtime, backend, server } = place;
    server.close().await;
    drop(server);
    fs::write(root.path().join("leasedb.redb"), b"rot").unwrap();
    let again = Place::on(Config::default(), |_| {}).await;
    // The same directory under a new server.
    let place = Place { root, world, runtime, backend, ..again };
    let place = place.crash(Config::default()).await;
    assert_eq!(place.shares().await, [0, 1]);
    assert_eq!(place.leases(1).await.keys().collect::<Vec<_>>(), [&AccountId::STARTER]);
    assert_eq!(&place.read(1).await.unwrap()[..], b"efgh");
}
