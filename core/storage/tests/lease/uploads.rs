//! Protocols A and B, and the room for them.

use std::time::Duration;

use bytes::Bytes;
use protocol::server::{ServerError, StorageServer};
use storage::backend::BackendError;
use storage::config::{Config, LEASE};
use storage::database::State;
use storage::server::{Activity, Mode, Step};
use storage::share::Kind;

use crate::place::{INDEX, Place, START, id, is_over, settle};
use crate::scripted::Call;

const IDLE: Duration = Duration::from_secs(1800);

#[tokio::test(start_paused = true)]
pub async fn an_upload_is_there_when_it_is_acknowledged_and_not_before() {
    let place = Place::new().await;
    let writer = place.writer(3, 10).await;
    assert_eq!(place.state(3).await, Some(State::Coming));
    assert_eq!(place.row(3).await.unwrap().expected_size, Some(10));
    assert_eq!(place.server.uploads(), [(id(3), 10)].into());
    assert_eq!(place.server.activity().uploads, [(id(3), 1)].into());
    writer.write(6, Bytes::from_static(b"6789")).await.unwrap();
    assert!(matches!(writer.close().await, Err(ServerError::Refused(why)) if why.contains("not all")));
    writer.write(0, Bytes::from_static(b"012345")).await.unwrap();
    assert_eq!((place.shares().await, place.read(3).await), (vec![], Err(ServerError::NoSuchShare)));
    assert_eq!(place.leases(3).await.len(), 0);

    writer.close().await.unwrap();
    let row = place.row(3).await.unwrap();
    assert_eq!((row.state, row.kind, row.used_space), (State::Stable, Kind::Immutable, 12 + 10));
    assert_eq!(place.leased_until(3).await, Some(START + LEASE));
    assert_eq!((place.server.uploads().len(), place.server.activity()), (0, Activity::default()));
    assert_eq!(place.shares().await, [3]);
    assert_eq!(&place.read(3).await.unwrap()[..], b"0123456789");

    writer.close().await.expect("closing again says the same");
    assert!(matches!(writer.abort().await, Err(ServerError::Refused(_))), "it is too late");
    assert!(writer.write(0, Bytes::from_static(b"0")).await.is_err());
    drop(writer);
    settle().await;
    assert_eq!(place.shares().await, [3]);
}

#[tokio::test(start_paused = true)]
pub async fn what_was_written_may_be_written_again_and_not_changed() {
    let place = Place::new().await;
    let writer = place.writer(0, 4).await;
    writer.write(0, Bytes::from_static(b"ab")).await.unwrap();
    writer.write(0, Bytes::from_static(b"abcd")).await.unwrap();
    for (offset, bytes) in [(0, &b"x"[..]), (1, b"bX"), (4, b"e"), (u64::MAX, b"e")] {
        let refused = writer.write(offset, Bytes::copy_from_slice(bytes)).await;
        assert!(matches!(refused, Err(ServerError::Refused(_))), "{offset}");
    }
    writer.close().await.unwrap();
    assert_eq!(&place.read(0).await.unwrap()[..], b"abcd");
}

#[tokio::test(start_paused = true)]
pub async fn a_share_without_bytes_is_complete_at_once() {
    let place = Place::new().await;
    let writer = place.writer(0, 0).await;
    assert_eq!((place.state(0).await, place.shares().await), (Some(State::Stable), vec![0]));
    writer.close().await.unwrap();
    assert_eq!(place.read(0).await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
pub async fn aborting_leaves_nothing_whoever_does_it() {
    let place = Place::new().await;
    let [client, dropped, idle, failed, create] = [0, 1, 2, 3, 4];

    let writer = place.writer(client, 4).await;
    writer.abort().await.unwrap();
    writer.abort().await.expect("aborting again says the same");
    assert!(writer.close().await.is_err());

    drop(place.writer(dropped, 4).await);

    let writer = place.writer(failed, 4).await;
    place.backend.fail(Call::Write, 1);
    assert_eq!(
        writer.write(0, Bytes::from_static(b"abcd")).await,
        Err(ServerError::Disk("the backend failed: 503".into()))
    );

    place.backend.fail(Call::Create, 1);
    assert!(place.allocate(&[create], 4).await.is_err());

    let writer = place.writer(idle, 4).await;
    tokio::time::sleep(IDLE + Duration::from_secs(1)).await;
    settle().await;
    let late = writer.write(0, Bytes::from_static(b"abcd")).await;
    assert_eq!(
        late,
        Err(ServerError::Refused("the upload was given up: no new bytes came for too long".into()))
    );

    for share in [client, dropped, failed, create, idle] {
        assert_eq!(place.row(share).await, None, "share {share}");
        assert!(!place.incoming(share).exists() && !place.file(share).exists(), "share {share}");
    }
    assert_eq!((place.server.uploads().len(), place.server.activity()), (0, Activity::default()));
    assert_eq!(place.allocate(&[0, 1, 2, 3, 4], 4).await.unwrap().writers.len(), 5);
}

#[tokio::test(start_paused = true)]
pub async fn publishing_that_fails_leaves_nothing() {
    let place = Place::new().await;
    let writer = place.writer(0, 4).await;
    writer.write(0, Bytes::from_static(b"abcd")).await.unwrap();
    place.backend.fail_with(Call::Publish, BackendError::NoSpace);
    assert_eq!(writer.close().await, Err(ServerError::NoSpace));
    assert_eq!((place.row(0).await, place.server.uploads().len()), (None, 0));
    // The same when it was published, and only the answer was lost.
    let writer = place.writer(0, 4).await;
    writer.write(0, Bytes::from_static(b"abcd")).await.unwrap();
    place.backend.lose_answer(Call::Publish);
    assert!(matches!(writer.close().await, Err(ServerError::Disk(_))));
    assert!(place.row(0).await.is_none() && !place.file(0).exists());
    place.upload(0, b"abcd").await;
}

#[tokio::test(start_paused = true)]
pub async fn one_place_that_cannot_be_made_does_not_take_the_others_along() {
    let place = Place::new().await;
    place.backend.fail(Call::Create, 1);
    let allocated = place.allocate(&[0, 1, 2], 4).await.unwrap();
    assert_eq!(allocated.writers.keys().collect::<Vec<_>>(), [&1, &2]);
    assert_eq!((place.row(0).await, place.server.uploads().len()), (None, 2));
}

#[tokio::test(start_paused = true)]
pub async fn closing_the_server_gives_uploads_up() {
    let place = Place::new().await;
    let writer = place.writer(0, 4).await;
    let server = place.server.clone();
    server.close().await;
    assert!(!place.incoming(0).exists());
    assert_eq!(
        writer.write(0, Bytes::from_static(b"abcd")).await,
        Err(ServerError::Refused("the server is closed".into()))
    );
    assert!(place.lease().await.is_err() && place.server.get_buckets(INDEX).await.is_err());
    let place = place.crash(Config::default()).await;
    assert_eq!(place.row(0).await, None);
}

#[tokio::test(start_paused = true)]
pub async fn room_is_reserved_from_allocation_to_the_end() {
    let place = Place::with(Config { reserved_space: 1000, ..Config::default() }).await;
    place.backend.set_space(1100);
    let mut first = place.allocate(&[5, 6, 7], 40).await.unwrap();
    assert_eq!(first.writers.keys().collect::<Vec<_>>(), [&5, &6], "in order, as far as they fit");
    assert_eq!(place.server.version().available_space, Some(100));
    assert!(place.allocate(&[0], 21).await.unwrap().writers.is_empty());
    assert_eq!(place.allocate(&[0], 20).await.unwrap().writers.len(), 1);
    first.writers.remove(&5).unwrap().abort().await.unwrap();
    settle().await;
    assert_eq!(place.allocate(&[0], 60).await.unwrap().writers.len(), 1, "both were given back");
}

#[tokio::test(start_paused = true)]
pub async fn a_server_for_reading_tells_what_it_has_and_takes_nothing() {
    let place = Place::new().await;
    place.upload(1, b"abcd").await;
    let place = place.crash(Config { read_only: true, ..Config::default() }).await;
    let allocated = place.allocate(&[0, 1], 0).await.unwrap();
    assert_eq!((allocated.already, allocated.writers.len()), ([1].into(), 0));
    assert_eq!(place.server.version().available_space, Some(0));
}

#[tokio::test(start_paused = true)]
pub async fn a_call_that_is_dropped_is_done_to_its_end() {
    let place = Place::new().await;
    let writer = place.writer(0, 4).await;
    writer.write(0, Bytes::from_static(b"abcd")).await.unwrap();
    let publishing = place.backend.hold(Call::Publish);
    let mut close = writer.close();
    assert!(!is_over(&mut close).await);
    settle().await;
    drop(close);
    drop(writer);
    settle().await;
    assert_eq!(place.server.activity().writes, [(id(0), 1)].into());
    publishing.add_permits(1);
    settle().await;
    assert_eq!(place.shares().await, [0], "the writer that was dropped came too late");

    // The answer to this allocation comes to nobody: its places are given up.
    let creating = place.backend.hold(Call::Create);
    let mut allocate = Box::pin(place.allocate(&[1, 2], 4));
    assert!(!is_over(&mut allocate).await);
    settle().await;
    drop(allocate);
    creating.add_permits(2);
    settle().await;
    assert_eq!((place.row(1).await, place.row(2).await), (None, None));
    assert_eq!(place.server.activity(), Activity::default());
}

#[tokio::test(start_paused = true)]
pub async fn a_deletion_that_fails_is_tried_again() {
    let place = Place::new().await;
    let writer = place.writer(0, 4).await;
    place.backend.fail(Call::Delete, 3);
    writer.abort().await.expect("after B1 it is gone as far as the client is concerned");
    assert_eq!(place.state(0).await, Some(State::Going));
    assert_eq!(place.reconcile(Mode::Request).await, []);
    let [finding] = &place.reconcile(Mode::Dry).await[..] else { panic!("it is to be finished") };
    assert!(matches!(finding.step, Step::FinishDeletion { .. }));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    settle().await;
    assert_eq!((place.state(0).await, place.backend.calls(Call::Delete)), (None, 4));
}

#[tokio::test(start_paused = true)]
pub async fn an_attempt_that_panics_is_not_the_last() {
    let place = Place::new().await;
    let writer = place.writer(0, 4).await;
    place.backend.fail(Call::Delete, 1);
    writer.abort().await.unwrap();
    place.backend.panic_next(Call::List);
    tokio::time::sleep(Duration::from_secs(11)).await;
    settle().await;
    assert_eq!(place.state(0).await, Some(State::Going));
    tokio::time::sleep(Duration::from_secs(60)).await;
    settle().await;
    assert_eq!(place.state(0).await, None);
}
