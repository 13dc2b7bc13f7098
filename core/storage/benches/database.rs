//! What the lease database and a crawl cost, on the real disk. The baseline writes and syncs 4 KiB, which is what a commit
//! cannot do without. Items are changes, shares or crawled shares.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::ItemsCount;
use protocol::StorageIndex;
use protocol::server::ServerId;
use runtime::files::OpenMode;
use runtime::real::RealWorld;
use storage::backend::disk::Disk;
use storage::config::{Config, LEASE, Sync};
use storage::database::{AccountId, Database};
use storage::server::{Server, Setup};
use storage::share::{Kind, ShareId};
use tempfile::TempDir;

const NOW: u64 = 1_700_000_000;
/// Rows of a large database.
const ROWS: u64 = 100_000;
/// Files that are crawled, one share each.
const FILES: u64 = 10_000;

fn main() {
    divan::main();
}

static TOKIO: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

/// A share of a file of its own, anywhere in the ring.
fn share(number: u64) -> ShareId {
    let mut index = [0; 16];
    index[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    ShareId { index: StorageIndex(index), share: 0 }
}

async fn open(directory: &Path, sync: Sync) -> Database {
    Database::open(RealWorld::runtime(), &directory.join("leasedb.redb"), sync).await.unwrap().database
}

/// A database with [`ROWS`] shares, each with a starter lease.
async fn large(directory: &Path) -> Database {
    let database = open(directory, Sync::Full).await;
    for first in (0..ROWS).step_by(10_000) {
        let adopt = database.update("adopt", move |write| {
            (first..first + 10_000)
                .try_for_each(|number| write.adopt(share(number), Kind::Immutable, 100, NOW).map(drop))
        });
        adopt.await.unwrap();
    }
    database
}

async fn renew(database: &Database, number: u64, now: u64) {
    let renew = database.update("renew", move |write| {
        write.renew(share(number % ROWS), AccountId::ANONYMOUS, now, Some(now + LEASE))
    });
    renew.await.unwrap().unwrap();
}

#[divan::bench]
fn write_and_sync_baseline(bencher: Bencher) {
    let directory = TempDir::new().unwrap();
    let files = TOKIO.block_on(async { RealWorld::runtime().files() });
    let file = files.open(&directory.path().join("file"), OpenMode::CreateNew).unwrap();
    let mut offset = 0;
    bencher.bench_local(move || {
        offset += 4096;
        file.write_all_at(offset, &[7; 4096]).unwrap();
        file.sync_data().unwrap();
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn make_a_database(bencher: Bencher) {
    bencher.with_inputs(|| TempDir::new().unwrap()).bench_local_values(|directory| {
        let database = TOKIO.block_on(open(directory.path(), Sync::Full));
        (directory, database)
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn open_a_small_database(bencher: Bencher) {
    let directory = TempDir::new().unwrap();
    TOKIO.block_on(async { open(directory.path(), Sync::Full).await.close().await });
    bencher.bench_local(|| TOKIO.block_on(async { open(directory.path(), Sync::Full).await.close().await }));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn open_a_large_database(bencher: Bencher) {
    let directory = TempDir::new().unwrap();
    TOKIO.block_on(async { large(directory.path()).await.close().await });
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        TOKIO.block_on(async { open(directory.path(), Sync::Full).await.close().await });
    });
}

/// A client that waits for each of its renewals.
#[divan::bench(sample_count = 20, sample_size = 1, args = [Sync::Full, Sync::Normal])]
fn renew_one_after_the_other(bencher: Bencher, sync: Sync) {
    let directory = TempDir::new().unwrap();
    let database = TOKIO.block_on(async {
        large(directory.path()).await.close().await;
        open(directory.path(), sync).await
    });
    let mut now = NOW;
    bencher.counter(ItemsCount::new(20_u64)).bench_local(|| {
        now += 1;
        TOKIO.block_on(async {
            for number in 0..20 {
                renew(&database, number * 4999, now).await;
            }
        });
    });
}

/// Many clients at once: their renewals share commits.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn renew_all_at_once(bencher: Bencher) {
    let directory = TempDir::new().unwrap();
    let database = TOKIO.block_on(large(directory.path()));
    let mut now = NOW;
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        now += 1;
        TOKIO.block_on(async {
            for first in (0..ROWS).step_by(1000) {
                let renewals = (first..first + 1000).map(|number| renew(&database, number, now));
                futures::future::join_all(renewals).await;
            }
        });
    });
}

/// Every prefix is read on both sides, every file under its lock; nothing has to be done.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn crawl(bencher: Bencher) {
    let directory = TempDir::new().unwrap();
    for number in 0..FILES {
        let index = share(number).index.to_string();
        let shareset = directory.path().join("shares").join(&index[..2]).join(&index);
        fs::create_dir_all(&shareset).unwrap();
        fs::write(shareset.join("0"), [[2, 4, 0].map(u32::to_be_bytes).concat(), vec![7; 4]].concat())
            .unwrap();
    }
    let server = TOKIO.block_on(async {
        let backend = Arc::new(Disk::open(RealWorld::runtime(), directory.path()).await.unwrap());
        let setup = Setup {
            id: ServerId::new("bench", *b"seed"),
            node: [0; 20],
            state: directory.path().into(),
            backend,
            config: Config::default(),
        };
        let server = Server::open(RealWorld::runtime(), setup).await.unwrap();
        assert_eq!(server.crawl(|_| {}).await.unwrap().counts.adopted, FILES);
        server
    });
    bencher.counter(ItemsCount::new(FILES)).bench_local(|| {
        let counts = TOKIO.block_on(server.crawl(|_| {})).unwrap().counts;
        assert_eq!((counts.files, counts.adopted), (FILES, 0));
    });
}
