//! Mutable slots: protocols C, D and E, and the order of read-test-write (gbs-http §9.1).

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use protocol::server::{ReadTestWritten, ServerError, ShareNumber, SlotServer, StorageServer, TestAndWrite};
use storage::backend::BackendError;
use storage::config::{Config, LEASE};
use storage::database::State;
use storage::share::Kind;

use crate::place::{INDEX, Place, START, delete, id, is_over, request, settle, test, write};
use crate::scripted::Call;

pub async fn slots(place: &Place) -> Vec<ShareNumber> {
    place.server.slots(INDEX).await.unwrap().into_iter().collect()
}

pub async fn slot(place: &Place, share: ShareNumber) -> Result<Bytes, ServerError> {
    place.server.read_slot(INDEX, share, 0, 1 << 20).await
}

fn done(success: bool, reads: &[(ShareNumber, &[&'static [u8]])]) -> Result<ReadTestWritten, ServerError> {
    let answers = |found: &[&'static [u8]]| found.iter().copied().map(Bytes::from_static).collect();
    let reads = reads.iter().map(|(share, found)| (*share, answers(found))).collect();
    Ok(ReadTestWritten { success, reads })
}

#[tokio::test(start_paused = true)]
pub async fn the_examples_of_the_specification() {
    let place = Place::new().await;
    let make = TestAndWrite { new_length: Some(10), ..write(0, b"xxxxxxxxxx") };
    let make = TestAndWrite { tests: test(0, 1, b"").tests, ..make };
    assert_eq!(place.rtw(&[(3, make.clone())], &[]).await, done(true, &[]));
    assert_eq!(place.rtw(&[(3, make)], &[(0, 20)]).await, done(false, &[(3, &[b"xxxxxxxxxx"])]));
    assert_eq!(place.change(&[(3, write(15, b"yy"))]).await, done(true, &[(3, &[])]));
    assert_eq!(slot(&place, 3).await.unwrap(), &b"xxxxxxxxxx\0\0\0\0\0yy"[..]);
    let row = place.row(3).await.unwrap();
    assert_eq!((row.state, row.kind), (State::Stable, Kind::Mutable));
    assert_eq!(row.used_space, fs::metadata(place.file(3)).unwrap().len());
    assert_eq!(place.leased_until(3).await, Some(START + LEASE));
    assert!(place.shares().await.is_empty(), "it is no immutable share");
}

#[tokio::test(start_paused = true)]
pub async fn all_tests_decide_and_reads_are_of_before() {
    let place = Place::new().await;
    place.change(&[(0, write(0, b"aaaa")), (1, write(0, b"bbbb"))]).await.unwrap();
    let both = |tests_0: TestAndWrite, tests_1: TestAndWrite| {
        let wish = |tests: TestAndWrite, bytes| TestAndWrite { tests: tests.tests, ..write(0, bytes) };
        [(0, wish(tests_0, b"cccc")), (1, wish(tests_1, b"dddd"))]
    };
    for (tests_0, tests_1) in [
        (test(0, 4, b"aaaa"), test(0, 4, b"xbbb")),
        (test(0, 5, b"aaaaa"), test(0, 4, b"bbbb")),
        (test(0, 4, b"aaa"), test(0, 4, b"bbbb")),
    ] {
        let tested = place.rtw(&both(tests_0, tests_1), &[(1, 2), (3, 9), (7, 1)]).await;
        assert_eq!(tested, done(false, &[(0, &[b"aa", b"a", b""]), (1, &[b"bb", b"b", b""])]));
        assert_eq!(slot(&place, 0).await.unwrap(), &b"aaaa"[..]);
    }
    // A share that is not there is empty, and asked of too.
    let absent = TestAndWrite { new_length: Some(0), ..test(0, 1, b"z") };
    assert_eq!(place.rtw(&[(9, absent)], &[]).await.map(|written| written.success), Ok(false));
    let tested = place.rtw(&both(test(0, 9, b"aaaa"), test(4, 9, b"")), &[(0, 4)]).await;
    assert_eq!(tested, done(true, &[(0, &[b"aaaa"]), (1, &[b"bbbb"])]));
    assert_eq!(slot(&place, 1).await.unwrap(), &b"dddd"[..]);
}

#[tokio::test(start_paused = true)]
pub async fn lengths() {
    let place = Place::new().await;
    let cut = |length| TestAndWrite { new_length: Some(length), ..TestAndWrite::default() };
    place.change(&[(0, TestAndWrite::default()), (1, write(0, b"abcdef"))]).await.unwrap();
    assert_eq!(slot(&place, 0).await.unwrap().len(), 0, "an empty share is made");
    place.change(&[(1, cut(9))]).await.unwrap();
    assert_eq!(slot(&place, 1).await.unwrap(), &b"abcdef"[..], "never longer");
    place.change(&[(1, cut(2))]).await.unwrap();
    assert_eq!(slot(&place, 1).await.unwrap(), &b"ab"[..]);
    place.change(&[(1, cut(0)), (7, cut(0))]).await.unwrap();
    assert_eq!(slots(&place).await, [0]);
    assert!(place.row(1).await.is_none() && !place.file(1).exists());
    assert_eq!(place.leases(1).await.len(), 0);
    assert_eq!(slot(&place, 1).await, Err(ServerError::NoSuchShare));
}

#[tokio::test(start_paused = true)]
pub async fn every_share_must_open_to_the_write_enabler() {
    let place = Place::new().await;
    place.change(&[(0, write(0, b"a")), (1, write(0, b"b"))]).await.unwrap();
    let other = |shares: &[(ShareNumber, TestAndWrite)]| {
        let request = request([b'F'; 32], shares, &[(0, 9)]);
        async { place.server.read_test_write(request).await }
    };
    let recorded_by = "bee" /* 20 × 9, in base32 */;
    for shares in [&[][..], &[(0, write(0, b"z"))], &[(5, write(0, b"z"))]] {
        match other(shares).await {
            Err(ServerError::WriteEnabler { recorded_by: by }) => {
                assert!(by.starts_with(recorded_by), "{by}")
            }
            answer => panic!("{answer:?}"),
        }
    }
    assert_eq!(slots(&place).await, [0, 1]);
    place.change(&[(0, delete())]).await.unwrap();
    assert!(other(&[(5, write(0, b"z"))]).await.is_err(), "one share is left");
    place.change(&[(1, delete())]).await.unwrap();
    other(&[(5, write(0, b"z"))]).await.expect("with the last share the enabler went");
}

#[tokio::test(start_paused = true)]
pub async fn files_of_the_other_kind_are_refused() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    assert!(matches!(place.change(&[(1, write(0, b"x"))]).await, Err(ServerError::Refused(_))));
    assert!(!place.file(1).exists() && place.row(1).await.is_none());
    assert_eq!((slots(&place).await, slot(&place, 0).await), (vec![], Err(ServerError::NoSuchShare)));
    let place = Place::new().await;
    place.change(&[(1, write(0, b"x"))]).await.unwrap();
    assert!(matches!(place.allocate(&[0], 4).await, Err(ServerError::Refused(_))));
    assert_eq!(place.row(0).await, None);
}

#[tokio::test(start_paused = true)]
pub async fn requests_have_limits() {
    let place = Place::new().await;
    let many = |count: u32| (0..count).map(|share| (share, TestAndWrite::default())).collect::<Vec<_>>();
    let tests = |count| {
        let tests = std::iter::repeat_n(test(0, 0, b"").tests.remove(0), count).collect();
        [(0, TestAndWrite { tests, ..TestAndWrite::default() })]
    };
    let refused = |answer| matches!(answer, Err(ServerError::Refused(_)));
    assert!(refused(place.rtw(&many(257), &[]).await));
    assert!(refused(place.rtw(&[], &[(0, 1); 31]).await));
    assert!(refused(place.rtw(&tests(31), &[]).await));
    for offset in [1 << 34, 69_105_000_000_000_000, u64::MAX] {
        assert!(refused(place.rtw(&[(0, write(0, b"x")), (1, write(offset, b"x"))], &[]).await));
        assert!(slots(&place).await.is_empty(), "nothing was begun");
    }
    assert!(place.rtw(&tests(30), &[(0, 1); 30]).await.unwrap().success);
    place.change(&[(7, write((1 << 34) - 1, b"x"))]).await.expect("the last byte that a share can have");
}

/// An answer is in memory as a whole.
#[tokio::test(start_paused = true)]
pub async fn all_reads_of_a_call_have_one_limit() {
    let place = Place::new().await;
    let half = 1 << 27;
    for share in [0, 1] {
        place.change(&[(share, write(half - 1, b"x"))]).await.unwrap();
    }
    let whole = place.rtw(&[], &[(0, u64::MAX)]).await.unwrap();
    assert_eq!(whole.reads[&1][0].len() as u64, half);
    let more = place.rtw(&[(2, write(0, b"x"))], &[(half - 1, 1), (0, u64::MAX)]).await;
    assert!(matches!(more, Err(ServerError::Refused(why)) if why.contains("268435456 bytes")));
    assert_eq!(slots(&place).await, [0, 1], "nothing was written");
}

#[tokio::test(start_paused = true)]
pub async fn what_fails_half_way_leaves_nothing_half_made() {
    let place = Place::new().await;
    place.change(&[(1, write(0, b"old")), (2, write(0, b"old"))]).await.unwrap();
    // The first is done, the second fails, the others are not begun.
    let changing = place.backend.hold(Call::Change);
    let all = [0, 1, 2, 3].map(|share| (share, write(0, b"new")));
    let mut change = Box::pin(place.change(&all));
    assert!(!is_over(&mut change).await);
    settle().await;
    let states = [place.state(0).await, place.state(1).await, place.state(3).await];
    assert_eq!(states, [Some(State::Coming), Some(State::Changing), Some(State::Coming)]);
    changing.add_permits(1);
    settle().await;
    place.backend.fail_with(Call::Change, BackendError::Failed("503".into()));
    changing.add_permits(1);
    assert_eq!(change.await, Err(ServerError::Disk("the backend failed: 503".into())));
    assert_eq!(slots(&place).await, [0, 1, 2]);
    for (share, bytes) in [(0, &b"new"[..]), (1, b"old"), (2, b"old")] {
        assert_eq!(slot(&place, share).await.unwrap(), bytes, "share {share}");
        assert_eq!(place.state(share).await, Some(State::Stable));
        assert_eq!(place.leases(share).await.len(), 1);
    }
    assert!(place.row(3).await.is_none() && !place.file(3).exists());
    assert_eq!(place.server.activity(), Default::default());
}

#[tokio::test(start_paused = true)]
pub async fn a_share_that_could_not_be_made_is_gone() {
    let place = Place::new().await;
    place.backend.fail_with(Call::Change, BackendError::NoSpace);
    assert_eq!(place.change(&[(0, write(0, b"x"))]).await, Err(ServerError::NoSpace));
    assert!(place.row(0).await.is_none() && !place.file(0).exists());
    // The same when it was made, and only the answer was lost.
    place.backend.lose_answer(Call::Change);
    assert!(matches!(place.change(&[(0, write(0, b"x"))]).await, Err(ServerError::Disk(_))));
    assert!(place.row(0).await.is_none() && !place.file(0).exists());
    // A change is what it is.
    place.change(&[(0, write(0, b"x"))]).await.unwrap();
    place.backend.lose_answer(Call::Change);
    place.change(&[(0, write(0, b"yy"))]).await.unwrap_err();
    assert_eq!(slot(&place, 0).await.unwrap(), &b"yy"[..]);
    assert_eq!(place.row(0).await.unwrap().used_space, fs::metadata(place.file(0)).unwrap().len());
}

#[tokio::test(start_paused = true)]
pub async fn what_a_failed_change_leaves_beside_the_share_is_swept() {
    let place = Place::new().await;
    place.change(&[(0, write(0, b"x"))]).await.unwrap();
    place.backend.fail_with(Call::Change, BackendError::NoSpace);
    place.change(&[(0, write(0, b"y"))]).await.unwrap_err();
    fs::create_dir_all(place.incoming(0).parent().unwrap()).unwrap();
    fs::write(place.incoming(0), b"half").unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    settle().await;
    assert!(!place.incoming(0).exists());
    assert_eq!(slot(&place, 0).await.unwrap(), &b"x"[..]);
}

#[tokio::test(start_paused = true)]
pub async fn a_deleted_slot_stays_deleted_while_its_deletion_fails() {
    let place = Place::new().await;
    place.change(&[(0, write(0, b"x")), (1, write(0, b"y"))]).await.unwrap();
    place.backend.fail(Call::Delete, 1);
    place.change(&[(0, delete())]).await.expect("E1 is committed");
    assert_eq!((place.state(0).await, slots(&place).await), (Some(State::Going), vec![1]));
    assert_eq!(slot(&place, 0).await, Err(ServerError::NoSuchShare));
    let place = place.crash(Config::default()).await;
    assert!(place.row(0).await.is_none() && !place.file(0).exists());
}

#[tokio::test(start_paused = true)]
pub async fn a_damaged_slot_harms_only_itself() {
    let place = Place::new().await;
    place.change(&[(0, write(0, b"x")), (1, write(0, b"y"))]).await.unwrap();
    fs::write(place.file(0), b"Tahoe mutable container v9").unwrap();
    assert_eq!(place.rtw(&[(1, write(1, b"z"))], &[(0, 9)]).await, done(true, &[(1, &[b"y"])]));
    assert_eq!((slots(&place).await, slot(&place, 1).await.unwrap()), (vec![1], Bytes::from_static(b"yz")));
    assert!(matches!(place.change(&[(0, write(0, b"z"))]).await, Err(ServerError::Refused(_))));
    assert_eq!(fs::read(place.file(0)).unwrap(), b"Tahoe mutable container v9");
    place.server.advise_corrupt_share(id(0), "no header").await.unwrap();
    let report = fs::read_dir(place.path("corruption-advisories")).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(report).unwrap().ends_with("no header\n\n"));
    assert!(place.server.advise_corrupt_share(id(5), "?").await.is_err());
}

#[tokio::test(start_paused = true)]
pub async fn a_read_waits_for_a_change_and_a_listing_does_not() {
    let place = Place::new().await;
    place.change(&[(0, write(0, b"old"))]).await.unwrap();
    let changing = place.backend.hold(Call::Change);
    let writes = [(0, write(0, b"new"))];
    let mut change = Box::pin(place.change(&writes));
    assert!(!is_over(&mut change).await);
    settle().await;
    tokio::time::sleep(Config::default().adopt_interval).await;
    assert_eq!(slots(&place).await, [0]);
    let mut read = Box::pin(slot(&place, 0));
    assert!(!is_over(&mut read).await);
    settle().await;
    assert!(!is_over(&mut read).await);
    changing.add_permits(1);
    assert_eq!(read.await.unwrap(), &b"new"[..]);
    change.await.unwrap();
    assert!(place.server.get_buckets(INDEX).await.unwrap().is_empty());
}
