//! The database on a disk that fails when told to.

mod disk;

use std::path::{Path, PathBuf};

use protocol::StorageIndex;

use self::disk::TestWorld;
use super::{AccountId, Database, DatabaseError, Held, Lease, OpenError, Opened, State};
use crate::config::{STARTER_LEASE, Sync};
use crate::share::{Kind, Prefix, ShareId};

const NOW: u64 = 1_700_000_000;

fn path() -> PathBuf {
    Path::new("/state/leasedb.redb").into()
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
    let adopt = move |write: &mut super::Write<'_>| write.adopt(share, Kind::Immutable, 100, NOW);
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
