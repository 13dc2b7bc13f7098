//! The database on a disk that fails when told to.

mod disk;
mod model;

use std::path::{Path, PathBuf};

use protocol::StorageIndex;

use self::disk::TestWorld;
use super::{AccountId, Database, DatabaseError, Held, Lease, OpenError, Opened, State, Write};
use crate::config::{STARTER_LEASE, Sync};
use crate::share::{Kind, Prefix, ShareId};

const NOW: u64 = 1_700_000_000;

fn path() -> PathBuf {
    Path::new("/state/leasedb.redb").into()
}

/// Beside it: the epochs that were given.
fn epochs() -> PathBuf {
    Path::new("/state/leasedb.epochs").into()
}

fn id(file: u8, share: u32) -> ShareId {
    ShareId { index: StorageIndex([file; 16]), share }
}

async fn open_as(world: &TestWorld, sync: Sync) -> Result<Opened, OpenError> {
    Database::open(world.runtime(), &path(), sync).await
}

async fn open(world: &TestWorld) -> Database {
    open_as(world, Sync::Full).await.unwrap().database
}

async fn adopt(database: &Database, share: ShareId) -> Result<u64, DatabaseError> {
    let adopt = move |write: &mut Write<'_>| write.adopt(share, Kind::Immutable, 100, NOW);
    database.update("adopt", adopt).await.map(|epoch| epoch.unwrap())
}

async fn is_stable(database: &Database, share: ShareId) -> bool {
    let row = database.view("look", move |read| read.row(share)).await.unwrap();
    row.is_some_and(|row| row.state == State::Stable)
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let world = TestWorld::default();
    let opened = open_as(&world, Sync::Full).await.unwrap();
    assert!(opened.fresh && opened.set_aside.is_none());
    let epoch = adopt(&opened.database, id(1, 0)).await.unwrap();
    assert!(epoch >= NOW * 1_000_000, "epochs begin at the time");
    opened.database.close().await;
    assert!(adopt(&opened.database, id(2, 0)).await.is_err(), "it is closed");
    let opened = open_as(&world, Sync::Full).await.unwrap();
    assert!(!opened.fresh && opened.set_aside.is_none());
    assert!(is_stable(&opened.database, id(1, 0)).await && !is_stable(&opened.database, id(2, 0)).await);
    let lease = Lease { renewed: NOW, expires: Some(NOW + STARTER_LEASE) };
    let leases = opened.database.view("look", |read| read.leases(id(1, 0))).await.unwrap();
    assert_eq!(leases.into_iter().collect::<Vec<_>>(), [(AccountId::STARTER, lease)]);
    let totals = opened.database.view("look", |read| read.totals()).await.unwrap();
    assert_eq!((totals.shares, totals.files, totals.leased_shares, totals.leased_space), (1, 1, 1, 100));
    assert_eq!(totals.accounts[&AccountId::STARTER], Held { leases: 1, space: 100 });
    let rows = opened.database.view("look", |read| read.prefix(Prefix::of(&id(1, 0).index))).await.unwrap();
    assert_eq!(rows[&id(1, 0)].epoch, epoch);
}

#[tokio::test]
async fn a_database_is_for_one_process() {
    let world = TestWorld::default();
    let first = open(&world).await;
    assert!(matches!(open_as(&world, Sync::Full).await, Err(OpenError::InUse(_))));
    first.close().await;
    open(&world).await;
}

/// Every event in every state: §15 and nothing else.
#[tokio::test]
async fn the_table_of_transitions() {
    use State::{Changing, Coming, Going, Stable};
    let allowed: [(Option<State>, &str, Option<State>); 16] = [
        (None, "come", Some(Coming)),
        (None, "adopt", Some(Stable)),
        (None, "condemn leftover", Some(Going)),
        (Some(Coming), "settle", Some(Stable)),
        (Some(Coming), "condemn", Some(Going)),
        (Some(Stable), "begin change", Some(Changing)),
        (Some(Stable), "condemn", Some(Going)),
        (Some(Stable), "condemn unleased", Some(Going)),
        (Some(Stable), "correct", Some(Stable)),
        (Some(Stable), "forget vanished", None),
        (Some(Stable), "renew", Some(Stable)),
        (Some(Changing), "settle", Some(Stable)),
        (Some(Changing), "settle corrupted", Some(Stable)),
        (Some(Changing), "renew", Some(Changing)),
        (Some(Going), "condemn again", Some(Going)),
        (Some(Going), "forget", None),
    ];
    let events = [
        "come",
        "adopt",
        "condemn leftover",
        "settle",
        "settle corrupted",
        "condemn",
        "condemn unleased",
        "condemn again",
        "begin change",
        "correct",
        "forget",
        "forget vanished",
        "renew",
    ];
    let world = TestWorld::default();
    let database = open(&world).await;
    for state in [None, Some(Coming), Some(Changing), Some(Stable), Some(Going)] {
        for event in events {
            for stale in [false, true] {
                let case = move |write: &mut Write<'_>| {
                    let share = id(1, 0);
                    bring_to(write, share, state)?;
                    let before = write.row(share)?;
                    let epoch = before.map_or(0, |row| row.epoch) + u64::from(stale);
                    let done = play(write, share, event, epoch)?;
                    let (row, leases) = (write.row(share)?, write.leases(share)?);
                    if done {
                        assert!(row.is_none_or(
                            |row| event == "renew" || row.epoch > before.map_or(0, |row| row.epoch)
                        ));
                    } else {
                        assert_eq!(row, before, "a refusal changes nothing");
                    }
                    assert_eq!(leases.len(), usize::from(done && matches!(event, "adopt" | "renew")));
                    // Leaves nothing for the next case.
                    Err::<(), _>(DatabaseError::Failed(format!("{done} {:?}", row.map(|row| row.state))))
                };
                let told = database.update("case", case).await.unwrap_err();
                let after = allowed.iter().find(|(from, by, _)| *from == state && *by == event);
                // An event that names no epoch is decided where it is.
                let names_epoch = matches!(
                    event,
                    "settle"
                        | "settle corrupted"
                        | "condemn"
                        | "condemn again"
                        | "correct"
                        | "forget"
                        | "forget vanished"
                );
                let expected = match after {
                    Some((_, _, to)) if !(stale && names_epoch) => format!("true {to:?}"),
                    _ => format!("false {state:?}"),
                };
                assert_eq!(told, DatabaseError::Failed(expected), "{event} in {state:?}, stale: {stale}");
            }
        }
    }
}

fn bring_to(write: &mut Write<'_>, share: ShareId, state: Option<State>) -> Result<(), DatabaseError> {
    let Some(state) = state else { return Ok(()) };
    let epoch = write.come(share, Kind::Mutable, None, NOW)?.unwrap();
    if state != State::Coming {
        let epoch = write.settle(share, epoch, Kind::Mutable, 1, NOW)?.unwrap();
        match state {
            State::Changing => drop(write.begin_change(share, NOW)?.unwrap()),
            State::Going => drop(write.condemn(share, epoch, NOW)?.unwrap()),
            _ => {}
        }
    }
    Ok(())
}

fn play(write: &mut Write<'_>, share: ShareId, event: &str, epoch: u64) -> Result<bool, DatabaseError> {
    Ok(match event {
        "come" => write.come(share, Kind::Mutable, None, NOW)?.is_ok(),
        "adopt" => write.adopt(share, Kind::Mutable, 1, NOW)?.is_ok(),
        "condemn leftover" => write.condemn_leftover(share, 1, NOW)?.is_ok(),
        "settle" => write.settle(share, epoch, Kind::Mutable, 1, NOW)?.is_ok(),
        "settle corrupted" => write.settle(share, epoch, Kind::Corrupted, 1, NOW)?.is_ok(),
        "condemn" => write.condemn(share, epoch, NOW)?.is_ok(),
        "condemn unleased" => write.condemn_unleased(share, NOW)?.is_ok(),
        "condemn again" => write.condemn_again(share, epoch, NOW)?.is_ok(),
        "begin change" => write.begin_change(share, NOW)?.is_ok(),
        "correct" => write.correct(share, epoch, Kind::Corrupted, 1)?.is_ok(),
        "forget" => write.forget(share, epoch)?.is_ok(),
        "forget vanished" => write.forget_vanished(share, epoch)?.is_ok(),
        "renew" => write.renew(share, AccountId::ANONYMOUS, NOW, Some(NOW))?.is_ok(),
        _ => unreachable!(),
    })
}

#[tokio::test]
async fn only_mutable_shares_are_changed_and_a_lease_keeps_a_share() {
    let world = TestWorld::default();
    let database = open(&world).await;
    adopt(&database, id(1, 0)).await.unwrap();
    let tried = database.update("try", |write| {
        assert!(write.begin_change(id(1, 0), NOW)?.is_err(), "it is immutable");
        assert!(write.condemn_unleased(id(1, 0), NOW)?.is_err(), "it has a starter lease");
        let prefix = Prefix::of(&id(1, 0).index);
        assert_eq!(write.end_leases(prefix, &|kind, _| kind == Kind::Mutable)?, 0);
        assert_eq!(write.end_leases(prefix, &|kind, _| kind == Kind::Immutable)?, 1);
        assert!(write.condemn_unleased(id(1, 0), NOW)?.is_ok());
        Ok(())
    });
    tried.await.unwrap();
}

#[tokio::test]
async fn no_time_of_a_lease_moves_back() {
    let world = TestWorld::default();
    let database = open(&world).await;
    adopt(&database, id(1, 0)).await.unwrap();
    let renewals = [
        ((50, Some(100)), (50, Some(100))),
        ((40, Some(200)), (50, Some(200))),
        ((60, Some(150)), (60, Some(200))),
        ((10, None), (60, None)),
        ((70, Some(900)), (70, None)),
    ];
    for ((renewed, expires), expected) in renewals {
        let renew = move |write: &mut Write<'_>| write.renew(id(1, 0), AccountId(7), renewed, expires);
        let lease = database.update("renew", renew).await.unwrap().unwrap();
        assert_eq!((lease.renewed, lease.expires), expected);
        let held = database.view("look", |read| read.leases(id(1, 0))).await.unwrap();
        assert_eq!(held[&AccountId(7)], lease);
    }
}

#[tokio::test]
async fn changes_that_wait_together_share_a_commit() {
    let world = TestWorld::default();
    let database = open(&world).await;
    adopt(&database, id(0, 0)).await.unwrap();
    let before = world.disk.syncs();
    adopt(&database, id(0, 1)).await.unwrap();
    let alone = world.disk.syncs() - before;
    world.hold_jobs();
    let waiting = futures::future::join_all((1..=50).map(|file| {
        let database = database.clone();
        async move { adopt(&database, id(file, 0)).await }
    }));
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    let before = world.disk.syncs();
    let jobs = world.release_jobs();
    assert_eq!(jobs.len(), 1, "one job for all");
    jobs.into_iter().for_each(|job| job());
    assert_eq!(world.disk.syncs() - before, alone, "and one commit");
    let epochs = waiting.await.into_iter().collect::<Result<std::collections::BTreeSet<_>, _>>().unwrap();
    assert_eq!(epochs.len(), 50);
}

#[tokio::test]
async fn nothing_is_lost_when_a_caller_goes_away() {
    let world = TestWorld::default();
    let database = open(&world).await;
    world.hold_jobs();
    {
        let mut update = std::pin::pin!(adopt(&database, id(1, 0)));
        assert!(futures::poll!(update.as_mut()).is_pending());
    }
    world.release_jobs().into_iter().for_each(|job| job());
    assert!(is_stable(&database, id(1, 0)).await);
    // A job that never runs takes its work with it, and the next one is served.
    world.hold_jobs();
    let mut update = std::pin::pin!(adopt(&database, id(2, 0)));
    assert!(futures::poll!(update.as_mut()).is_pending());
    drop(world.release_jobs());
    assert!(matches!(update.await, Err(DatabaseError::JobLost(_))));
    adopt(&database, id(3, 0)).await.unwrap();
}

#[tokio::test]
async fn a_panic_costs_its_batch_and_no_more() {
    let world = TestWorld::default();
    let database = open(&world).await;
    adopt(&database, id(1, 0)).await.unwrap();
    world.hold_jobs();
    let panics = database.update("panics", |write| -> Result<(), DatabaseError> {
        write.adopt(id(3, 0), Kind::Immutable, 1, NOW)?.unwrap();
        panic!("planted")
    });
    let all = futures::future::join3(adopt(&database, id(2, 0)), panics, adopt(&database, id(4, 0)));
    let mut all = std::pin::pin!(all);
    assert!(futures::poll!(all.as_mut()).is_pending());
    for job in world.release_jobs() {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        assert!(ended.is_err(), "whoever watches over jobs is told");
    }
    let (before, at, after) = all.await;
    assert!(
        matches!(before, Err(DatabaseError::Failed(_))) && matches!(after, Err(DatabaseError::Failed(_)))
    );
    assert!(matches!(at, Err(DatabaseError::JobLost(runtime::JobLost("panics")))));
    assert!(is_stable(&database, id(1, 0)).await);
    for file in 2..5 {
        assert!(!is_stable(&database, id(file, 0)).await);
        adopt(&database, id(file, 0)).await.unwrap();
    }
    let panics = database.view("panics", |_| -> Result<(), DatabaseError> { panic!("planted") }).await;
    assert!(matches!(panics, Err(DatabaseError::JobLost(_))));
    assert!(is_stable(&database, id(2, 0)).await);
}

#[tokio::test(start_paused = true)]
async fn full_is_durable_at_once_and_normal_within_a_second() {
    for (sync, at_once) in [(Sync::Full, true), (Sync::Normal, false)] {
        let world = TestWorld::default();
        let database = open_as(&world, sync).await.unwrap().database;
        adopt(&database, id(0, 0)).await.unwrap();
        let before = world.disk.syncs();
        adopt(&database, id(1, 0)).await.unwrap();
        assert_eq!(world.disk.syncs() > before, at_once, "{sync:?}");
        let before = world.disk.syncs();
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        assert_eq!(world.disk.syncs() > before, !at_once, "{sync:?}");
        adopt(&database, id(2, 0)).await.unwrap();
        database.close().await;
        let database = open(&world).await;
        assert!(is_stable(&database, id(2, 0)).await, "closing makes it durable");
    }
}

/// The disk fails from the n-th change on, while a database is made: the next opening makes one.
#[tokio::test]
async fn a_database_that_was_half_made_is_no_obstacle() {
    let mut failures = 0;
    for change in 0.. {
        let world = TestWorld::default();
        world.disk.fail_after(change, false);
        let opened = open_as(&world, Sync::Full).await;
        let done = opened.is_ok();
        drop(opened);
        world.disk.mend();
        let database = open(&world).await;
        adopt(&database, id(1, 0)).await.unwrap();
        if done {
            break;
        }
        failures += 1;
    }
    assert!(failures > 5);
}

/// The disk fails at the n-th change of a commit, once or for good: what was acknowledged is there, and the database
/// serves on as soon as the disk does.
#[tokio::test]
async fn a_failing_disk_costs_nothing_that_was_acknowledged() {
    for once in [true, false] {
        for change in 0.. {
            let world = TestWorld::default();
            let database = open(&world).await;
            let first = adopt(&database, id(1, 0)).await.unwrap();
            world.disk.fail_after(change, once);
            let second = adopt(&database, id(2, 0)).await;
            if !once && second.is_err() {
                assert!(adopt(&database, id(3, 0)).await.is_err());
                assert!(database.view("look", |read| read.row(id(1, 0))).await.is_err());
            }
            world.disk.mend();
            let third = adopt(&database, id(3, 0)).await.unwrap();
            assert!(third > first && second.as_ref().is_ok_and(|second| *second < third) | second.is_err());
            for reopened in [false, true] {
                let database = if reopened {
                    database.close().await;
                    open(&world).await
                } else {
                    database.clone()
                };
                assert!(is_stable(&database, id(1, 0)).await && is_stable(&database, id(3, 0)).await);
                assert!(second.is_err() || is_stable(&database, id(2, 0)).await);
            }
            if second.is_ok() {
                assert!(change > 1);
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_database_is_set_aside_and_kept() {
    let world = TestWorld::default();
    let aside = |number: u32| PathBuf::from(format!("/state/leasedb.redb.unusable-{number}"));
    let database = open(&world).await;
    adopt(&database, id(1, 0)).await.unwrap();
    database.close().await;
    let sound = world.disk.bytes(&path()).unwrap();
    let cut = sound[..sound.len() / 2].to_vec();
    let mut rotten = sound.clone();
    let key = super::records::share_key(id(1, 0));
    let place = rotten.windows(20).position(|bytes| bytes == key).unwrap();
    rotten[place] ^= 0x40;
    let unusable = [b"no database at all".to_vec(), vec![0; 8192], cut, rotten];
    for (number, bytes) in (1..).zip(unusable) {
        world.disk.put(&path(), bytes.clone());
        let opened = open_as(&world, Sync::Full).await.unwrap();
        assert_eq!(opened.set_aside, Some(aside(number)));
        assert!(opened.fresh);
        // Of a file that it knows, redb may have noted in the head that it is being opened.
        let kept = world.disk.bytes(&aside(number)).unwrap();
        assert!(kept.len() == bytes.len() && kept.ends_with(&bytes[bytes.len().min(4096)..]));
        assert!(!is_stable(&opened.database, id(1, 0)).await);
        opened.database.close().await;
    }
    world.disk.put(&path(), sound);
    assert!(is_stable(&open(&world).await, id(1, 0)).await);
    assert_eq!(world.disk.names().len(), 6);
}

#[tokio::test]
async fn a_disk_that_fails_at_opening_sets_nothing_aside() {
    let world = TestWorld::default();
    let database = open(&world).await;
    adopt(&database, id(1, 0)).await.unwrap();
    drop(database);
    for change in 0..3 {
        for once in [false, true] {
            world.disk.fail_after(change, once);
            let opened = open_as(&world, Sync::Full).await;
            world.disk.mend();
            assert!(matches!(opened, Err(OpenError::Disk { .. })), "change {change}");
            assert_eq!(world.disk.names(), [epochs(), path()]);
        }
    }
    assert!(is_stable(&open(&world).await, id(1, 0)).await);
}

/// Neither when the database is lost nor when its last commits are, though the clock stands still.
#[tokio::test]
async fn no_epoch_is_given_twice() {
    let world = TestWorld::default();
    let database = open(&world).await;
    let first = adopt(&database, id(1, 0)).await.unwrap();
    database.close().await;
    let before = world.disk.bytes(&path()).unwrap();
    let mut last = first;
    for lost in [Some(before.clone()), Some(before), None, None] {
        world.disk.put(&path(), lost.unwrap_or_default());
        let database = open(&world).await;
        for share in 1..4 {
            let epoch = adopt(&database, id(1, share)).await.unwrap();
            assert!(epoch > last);
            last = epoch;
        }
        database.close().await;
    }
}

#[tokio::test]
async fn another_version_is_refused_and_left_alone() {
    let world = TestWorld::default();
    open(&world).await.close().await;
    let file = world.runtime().files().open(&path(), runtime::files::OpenMode::Write).unwrap();
    let redb = redb::Builder::new().create_with_backend(super::file::DatabaseFile::new(file.into())).unwrap();
    let transaction = redb.begin_write().unwrap();
    let mut meta = transaction.open_table(super::records::META).unwrap();
    meta.insert(super::records::META_VERSION, 3).unwrap();
    drop(meta);
    transaction.commit().unwrap();
    drop(redb);
    let before = world.disk.bytes(&path());
    assert!(matches!(open_as(&world, Sync::Full).await, Err(OpenError::Version { found: 3, .. })));
    let after = world.disk.bytes(&path());
    assert!(before.is_some() && world.disk.names() == [epochs(), path()]);
    assert_eq!(before.unwrap().len(), after.unwrap().len());
}

#[tokio::test]
async fn a_record_without_sense_spoils_itself_alone() {
    let world = TestWorld::default();
    let database = open(&world).await;
    for share in 0..3 {
        adopt(&database, id(1, share)).await.unwrap();
    }
    adopt(&database, id(2, 0)).await.unwrap();
    let spoil = |write: &mut Write<'_>| write.spoil_row(id(1, 1));
    database.update("spoil", spoil).await.unwrap();
    let senseless = DatabaseError::Senseless(id(1, 1));
    assert_eq!(database.view("look", |read| read.row(id(1, 1))).await, Err(senseless.clone()));
    let condemned = database.update("condemn", |write| write.condemn_unleased(id(1, 1), NOW)).await;
    assert_eq!(condemned, Err(senseless));
    assert!(is_stable(&database, id(1, 0)).await && is_stable(&database, id(2, 0)).await);
    let rows = database.view("look", |read| read.prefix(Prefix::of(&id(1, 0).index))).await.unwrap();
    assert_eq!(rows.len(), 2);
}

#[tokio::test]
async fn accounts_and_the_crawlers_notes() {
    let world = TestWorld::default();
    let database = open(&world).await;
    let made = database.update("accounts", |write| {
        let first = write.account("pub-one", NOW)?;
        let second = write.account("pub-two", NOW + 1)?;
        assert_eq!(write.account("pub-one", NOW + 2)?, first);
        write.set_attribute(second, "name", "Two")?;
        write.set_attribute(second, "quota", "10")?;
        write.set_attribute(first, "name", "One")?;
        write.set_attribute(second, "quota", "20")?;
        write.set_crawler_state("{\"prefix\":3}")?;
        Ok((first, second))
    });
    let (first, second) = made.await.unwrap();
    assert_eq!((first, second), (AccountId(2), AccountId(3)));
    for cycle in 1..=13 {
        database
            .update("cycle", move |write| write.add_crawler_cycle(cycle, &cycle.to_string()))
            .await
            .unwrap();
    }
    // What fails leaves nothing, here neither.
    let failed = database.update("fails", |write| {
        write.account("pub-three", NOW)?;
        write.set_attribute(AccountId(2), "name", "other")?;
        write.set_crawler_state("other")?;
        write.add_crawler_cycle(99, "other")?;
        Err::<(), _>(DatabaseError::Failed("planted".into()))
    });
    failed.await.unwrap_err();
    let look = move |read: &super::Read| {
        let accounts = read.accounts()?;
        assert_eq!(accounts.keys().map(|id| id.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(accounts[&second].public_key.as_deref(), Some("pub-two"));
        assert_eq!(
            (accounts[&AccountId::STARTER].public_key.as_ref(), accounts[&second].created),
            (None, NOW + 1)
        );
        let attributes: Vec<_> = read.attributes(second)?.into_iter().collect();
        assert_eq!(attributes, [("name".into(), "Two".into()), ("quota".into(), "20".into())]);
        assert_eq!(read.attributes(first)?.len(), 1);
        assert_eq!(read.crawler_state()?.as_deref(), Some("{\"prefix\":3}"));
        assert_eq!(read.crawler_history()?.into_keys().collect::<Vec<_>>(), (4..=13).collect::<Vec<u64>>());
        Ok(())
    };
    database.view("look", look).await.unwrap();
}

#[tokio::test]
async fn looking_changes_nothing() {
    let world = TestWorld::default();
    let database = open(&world).await;
    adopt(&database, id(1, 0)).await.unwrap();
    // Not closed, as after a crash.
    let crashed = world.disk.bytes(&path()).unwrap();
    drop(database);
    world.disk.put(&path(), crashed.clone());
    let looking = Database::look(world.runtime(), &path()).await.unwrap();
    assert!(is_stable(&looking, id(1, 0)).await);
    adopt(&looking, id(2, 0)).await.unwrap();
    assert!(is_stable(&looking, id(2, 0)).await, "as long as it is open");
    assert!(matches!(Database::look(world.runtime(), &path()).await, Err(OpenError::InUse(_))));
    looking.close().await;
    world.disk.put(&path(), [crashed.clone(), vec![1]].concat()[1..].to_vec());
    assert!(matches!(Database::look(world.runtime(), &path()).await, Err(OpenError::Damaged { .. })));
    assert_eq!(world.disk.names(), [epochs(), path()]);
    world.disk.put(&path(), crashed.clone());
    Database::look(world.runtime(), &path()).await.unwrap().close().await;
    assert!(world.disk.bytes(&path()) == Some(crashed));
}

/// The system tells once that it could not write something, and then takes it for written. Whatever sync of whichever commit
/// that befalls, what is acknowledged afterwards is there when the power has gone: by the same process, or by the next.
#[tokio::test]
async fn what_is_acknowledged_after_a_failed_sync_is_durable() {
    let mut failed = 0;
    for (after, next) in (0..20).flat_map(|after| [(after, false), (after, true)]) {
        let world = TestWorld::default();
        let mut database = open(&world).await;
        // So many that they do not lie in one page: nothing that is written later takes the place of what was lost.
        let mut acknowledged: Vec<_> = (0..=255).map(|file| id(file, 0)).collect();
        let all = acknowledged.clone();
        let adopt_all = move |write: &mut Write<'_>| {
            all.iter().try_for_each(|share| write.adopt(*share, Kind::Immutable, 100, NOW).map(drop))
        };
        database.update("adopt", adopt_all).await.unwrap();
        world.disk.fail_after(after, true);
        match adopt(&database, id(1, 1)).await {
            Ok(_) => acknowledged.push(id(1, 1)),
            Err(_) => failed += 1,
        }
        world.disk.mend();
        if next {
            drop(database);
            database = open(&world).await;
        }
        for share in 1..3 {
            adopt(&database, id(250, share)).await.unwrap();
            acknowledged.push(id(250, share));
        }
        world.disk.lose_power();
        let opened = open_as(&world, Sync::Full).await.unwrap();
        assert!(opened.set_aside.is_none(), "after {after} changes, {next}");
        for share in acknowledged {
            assert!(is_stable(&opened.database, share).await, "after {after} changes: {share}");
        }
    }
    assert!(failed > 0);
}

/// The same when a process ends with that, and another opens what the system has in memory.
#[tokio::test]
async fn what_a_process_could_not_make_durable_the_next_one_does() {
    for after in 0..60 {
        let world = TestWorld::default();
        world.disk.fail_after(after, true);
        let first = open_as(&world, Sync::Full).await;
        world.disk.mend();
        drop(first);
        let database = open_as(&world, Sync::Full).await.unwrap().database;
        adopt(&database, id(1, 0)).await.unwrap();
        world.disk.lose_power();
        let opened = open_as(&world, Sync::Full).await.unwrap();
        assert!(opened.set_aside.is_none(), "after {after} changes");
        assert!(is_stable(&opened.database, id(1, 0)).await, "after {after} changes");
    }
}

/// The floor of the epochs is one number in a file, which may rot.
#[tokio::test]
async fn a_spoilt_floor_is_none() {
    let world = TestWorld::default();
    open(&world).await.close().await;
    world.disk.put(&epochs(), b"18446744073709551615".to_vec());
    let database = open(&world).await;
    let first = adopt(&database, id(1, 0)).await.unwrap();
    assert!(adopt(&database, id(2, 0)).await.unwrap() > first);
}
