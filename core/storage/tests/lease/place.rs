//! A server in a directory of its own, and the words in which the tests speak of it.

use std::collections::BTreeMap;
use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{
    Allocate, Allocated, ReadTestWrite, ReadTestWritten, ServerError, ServerId, ShareNumber, ShareWriter,
    SlotServer, SlotTest, StorageServer, TestAndWrite,
};
use runtime::Runtime;
use storage::backend::Body;
use storage::backend::disk::Disk;
use storage::config::Config;
use storage::database::{AccountId, Database, Lease, Row, State};
use storage::server::{Finding, Mode, Server, Setup, Step};
use storage::share::{Kind, ShareId};
use tempfile::TempDir;

use crate::scripted::Scripted;
use crate::world::TestWorld;

pub const INDEX: StorageIndex = StorageIndex(*b"storage indexxxx");
pub const START: u64 = 1_700_000_000;
pub const DAY: u64 = 86_400;
pub const ENABLER: [u8; 32] = [b'E'; 32];

pub struct Place {
    pub root: TempDir,
    pub world: Arc<TestWorld>,
    pub runtime: Runtime,
    pub backend: Scripted,
    pub server: Server,
}

pub fn id(share: ShareNumber) -> ShareId {
    ShareId { index: INDEX, share }
}

impl Place {
    pub async fn new() -> Place {
        Place::with(Config::default()).await
    }

    /// A server so configured in an empty directory.
    pub async fn with(config: Config) -> Place {
        Place::on(config, |_| {}).await
    }

    /// One whose backend is told what to do before it starts.
    pub async fn on(config: Config, prepare: impl FnOnce(&Scripted)) -> Place {
        // In memory, if there is such a place: these tests are not about what a disk takes its time for.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let world = TestWorld::new(START);
        let runtime = Runtime::new(world.clone());
        let backend = Scripted::new(Disk::open(runtime.clone(), root.path()).await.unwrap());
        prepare(&backend);
        let server = start(&runtime, &root, &backend, config).await;
        Place { root, world, runtime, backend, server }
    }

    /// Ends the server as a crash does, and starts it again.
    pub async fn crash(self, config: Config) -> Place {
        let Place { root, world, runtime, backend, server } = self;
        let database = server.database().clone();
        drop(server);
        // The file's lock goes with the process; what was committed stays.
        database.close().await;
        let server = start(&runtime, &root, &backend, config).await;
        Place { root, world, runtime, backend, server }
    }

    pub fn database(&self) -> &Database {
        self.server.database()
    }

    pub async fn allocate(&self, shares: &[ShareNumber], size: u64) -> Result<Allocated, ServerError> {
        let shares = shares.iter().copied().collect();
        let request = Allocate { index: INDEX, shares, size, renew: [1; 32], cancel: [2; 32] };
        self.server.allocate_buckets(request).await
    }

    /// A slot for one share.
    pub async fn writer(&self, share: ShareNumber, size: u64) -> Box<dyn ShareWriter> {
        self.allocate(&[share], size).await.unwrap().writers.remove(&share).unwrap()
    }

    pub async fn upload(&self, share: ShareNumber, bytes: &'static [u8]) {
        let writer = self.writer(share, bytes.len() as u64).await;
        writer.write(0, Bytes::from_static(bytes)).await.unwrap();
        writer.close().await.unwrap();
    }

    pub async fn lease(&self) -> Result<(), ServerError> {
        self.server.add_lease(INDEX, [1; 32], [2; 32]).await
    }

    /// The shares that clients are told of.
    pub async fn shares(&self) -> Vec<ShareNumber> {
        self.server.get_buckets(INDEX).await.unwrap().into_keys().collect()
    }

    pub async fn read(&self, share: ShareNumber) -> Result<Bytes, ServerError> {
        match self.server.get_buckets(INDEX).await?.remove(&share) {
            Some(reader) => reader.read(0, 1 << 20).await,
            None => Err(ServerError::NoSuchShare),
        }
    }

    pub async fn row(&self, share: ShareNumber) -> Option<Row> {
        self.database().view("row", move |read| read.row(id(share))).await.unwrap()
    }

    pub async fn state(&self, share: ShareNumber) -> Option<State> {
        self.row(share).await.map(|row| row.state)
    }

    pub async fn leases(&self, share: ShareNumber) -> BTreeMap<AccountId, Lease> {
        self.database().view("leases", move |read| read.leases(id(share))).await.unwrap()
    }

    /// When the clients' lease ends.
    pub async fn leased_until(&self, share: ShareNumber) -> Option<u64> {
        self.leases(share).await.get(&AccountId::ANONYMOUS).and_then(|lease| lease.expires)
    }

    /// Ends all leases.
    pub async fn end_leases(&self) {
        let prefix = storage::share::Prefix::of(&INDEX);
        let end = self.database().update("end leases", move |write| write.end_leases(prefix, &|_, _| true));
        end.await.unwrap();
    }

    pub async fn reconcile(&self, mode: Mode) -> Vec<Finding> {
        self.server.reconcile(INDEX, mode).await.unwrap()
    }

    pub async fn crawl(&self, cycle: u64) -> Vec<Step> {
        self.reconcile(Mode::Crawl { cycle }).await.into_iter().map(|finding| finding.step).collect()
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// Where a published share is.
    pub fn file(&self, share: ShareNumber) -> PathBuf {
        self.path(&format!("shares/on/{INDEX}/{share}"))
    }

    /// Where a share on its way in is.
    pub fn incoming(&self, share: ShareNumber) -> PathBuf {
        self.path(&format!("shares/incoming/{INDEX}.{share}"))
    }

    /// An operator copies a share in: an immutable one with these bytes.
    pub fn copy_in(&self, share: ShareNumber, data: &[u8]) {
        let header = [2, data.len() as u32, 0].map(u32::to_be_bytes).concat();
        self.plant(share, &[&header[..], data].concat());
    }

    /// Puts a file among the published shares.
    pub fn plant(&self, share: ShareNumber, bytes: &[u8]) {
        fs::create_dir_all(self.file(share).parent().unwrap()).unwrap();
        fs::write(self.file(share), bytes).unwrap();
    }

    /// Tests and writes slots.
    pub async fn change(
        &self,
        shares: &[(ShareNumber, TestAndWrite)],
    ) -> Result<ReadTestWritten, ServerError> {
        self.rtw(shares, &[]).await
    }

    pub async fn rtw(
        &self,
        shares: &[(ShareNumber, TestAndWrite)],
        reads: &[(u64, u64)],
    ) -> Result<ReadTestWritten, ServerError> {
        self.server.read_test_write(request(ENABLER, shares, reads)).await
    }
}

pub fn request(
    write_enabler: [u8; 32],
    shares: &[(ShareNumber, TestAndWrite)],
    reads: &[(u64, u64)],
) -> ReadTestWrite {
    ReadTestWrite {
        index: INDEX,
        write_enabler,
        renew: [1; 32],
        cancel: [2; 32],
        shares: shares.iter().cloned().collect(),
        reads: reads.to_vec(),
    }
}

pub fn write(offset: u64, bytes: &'static [u8]) -> TestAndWrite {
    TestAndWrite { writes: vec![(offset, Bytes::from_static(bytes))], ..TestAndWrite::default() }
}

pub fn delete() -> TestAndWrite {
    TestAndWrite { new_length: Some(0), ..TestAndWrite::default() }
}

pub fn test(offset: u64, length: u64, specimen: &'static [u8]) -> TestAndWrite {
    let tests = vec![SlotTest { offset, length, specimen: Bytes::from_static(specimen) }];
    TestAndWrite { tests, ..TestAndWrite::default() }
}

/// A row for a share that a test makes by hand.
pub async fn come(database: &Database, share: ShareNumber, kind: Kind, size: Option<u64>) -> u64 {
    let come = database.update("come", move |write| write.come(id(share), kind, size, START));
    come.await.unwrap().unwrap()
}

/// A share as a listing tells of it.
pub fn incomplete(used: u64) -> Option<Body> {
    Some(Body::Incomplete { used })
}

/// Polls a call once: true when it is over.
pub async fn is_over<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_ready())).await
}

/// Lets everyone else run until nobody can.
pub async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

async fn start(runtime: &Runtime, root: &TempDir, backend: &Scripted, config: Config) -> Server {
    let setup = Setup {
        id: ServerId::new("v0-test", *b"seed"),
        node: [9; 20],
        state: root.path().to_owned(),
        backend: Arc::new(backend.clone()),
        config,
    };
    Server::start(runtime.clone(), setup).await.unwrap()
}
