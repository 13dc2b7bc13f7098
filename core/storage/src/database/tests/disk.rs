//! A world for tests: a disk in memory that fails when told to, and jobs that run at once or when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use runtime::files::{File, FileKind, Files, OpenMode};
use runtime::net::Network;
use runtime::real::RealWorld;
use runtime::{Instant, Runtime, TaskHandle, World};

use crate::lock::lock;

/// The world. Clones are the same world.
#[derive(Clone, Default)]
pub struct TestWorld {
    pub disk: TestDisk,
    jobs: Arc<Jobs>,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Jobs {
    held: AtomicBool,
    waiting: Mutex<Vec<Job>>,
}

impl TestWorld {
    pub fn runtime(&self) -> Runtime {
        Runtime::new(Arc::new(Handle { world: self.clone(), real: RealWorld::runtime() }))
    }

    /// From now on jobs wait.
    pub fn hold_jobs(&self) {
        self.jobs.held.store(true, Ordering::Relaxed);
    }

    /// Takes the jobs that wait, and lets later ones run at once.
    pub fn release_jobs(&self) -> Vec<Job> {
        self.jobs.held.store(false, Ordering::Relaxed);
        std::mem::take(&mut lock(&self.jobs.waiting))
    }
}

struct Handle {
    world: TestWorld,
    real: Runtime,
}

impl World for Handle {
    fn spawn(&self, _kind: &'static str, _index: u64, future: BoxFuture<'static, ()>) -> Box<dyn TaskHandle> {
        #[allow(clippy::disallowed_methods, reason = "this is the other side of the door")]
        let task = tokio::spawn(future);
        Box::new(Task(task.abort_handle()))
    }

    fn now(&self) -> Instant {
        self.real.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.real.sleep_until(deadline)
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }

    fn fill_entropy(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn run_job(&self, _kind: &'static str, job: Job) {
        match self.world.jobs.held.load(Ordering::Relaxed) {
            true => lock(&self.world.jobs.waiting).push(job),
            // A job that panics ends alone, as a thread does.
            false => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))),
        }
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(self.world.disk.clone())
    }

    fn network(&self) -> Arc<dyn Network> {
        self.real.network()
    }
}

struct Task(tokio::task::AbortHandle);

impl TaskHandle for Task {
    fn abort(&self) {
        self.0.abort();
    }
}

/// A disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct TestDisk(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    files: BTreeMap<PathBuf, Arc<Mutex<Node>>>,
    /// Calls that change something, so far.
    changes: u64,
    syncs: u64,
    /// From this change on everything fails.
    fails_at: Option<u64>,
    /// The failure is over after one call.
    once: bool,
}

#[derive(Default)]
struct Node {
    bytes: Vec<u8>,
    /// What a loss of the power would leave.
    durable: Vec<u8>,
    /// Pages that the next sync makes durable. One that fails takes them off, as Linux does.
    dirty: BTreeSet<usize>,
    locked: bool,
}

const PAGE: usize = 4096;

impl Node {
    fn soil(&mut self, bytes: Range<usize>) {
        self.dirty.extend(bytes.start / PAGE..bytes.end.div_ceil(PAGE));
    }

    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let end = self.bytes.len().min((page + 1) * PAGE);
            if page * PAGE < end {
                self.durable[page * PAGE..end].copy_from_slice(&self.bytes[page * PAGE..end]);
            }
        }
    }
}

impl TestDisk {
    /// Calls that make something durable, so far.
    pub fn syncs(&self) -> u64 {
        lock(&self.0).syncs
    }

    /// The change after `more` others fails: alone, or with everything after it.
    pub fn fail_after(&self, more: u64, once: bool) {
        let mut content = lock(&self.0);
        (content.fails_at, content.once) = (Some(content.changes + more), once);
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        lock(&self.0).fails_at = None;
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        lock(&self.0).files.get(path).map(|node| lock(node).bytes.clone())
    }

    /// Puts a file there.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let node = Node { durable: bytes.clone(), bytes, ..Node::default() };
        lock(&self.0).files.insert(path.into(), Arc::new(Mutex::new(node)));
    }

    /// All that was not made durable is gone.
    pub fn lose_power(&self) {
        for node in lock(&self.0).files.values() {
            let node = &mut *lock(node);
            node.bytes = node.durable.clone();
            (node.dirty, node.locked) = (BTreeSet::new(), false);
        }
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<PathBuf> {
        lock(&self.0).files.keys().cloned().collect()
    }

    fn change(&self) -> io::Result<()> {
        let mut content = lock(&self.0);
        content.changes += 1;
        let fails = content.fails_at.is_some_and(|at| content.changes > at);
        if fails && content.once {
            content.fails_at = None;
        }
        if fails { Err(io::Error::other("injected")) } else { Ok(()) }
    }

    fn look(&self) -> io::Result<()> {
        let content = lock(&self.0);
        let dead = content.fails_at.is_some_and(|at| content.changes > at);
        if dead { Err(io::Error::other("injected")) } else { Ok(()) }
    }
}

impl Files for TestDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        self.look()?;
        let known = lock(&self.0).files.get(path).cloned();
        let node = match (known, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(node), _) => node,
            (None, OpenMode::Read | OpenMode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                self.change()?;
                lock(&self.0).files.entry(path.into()).or_default().clone()
            }
        };
        Ok(Box::new(TestFile { node, disk: self.clone(), locked: AtomicBool::new(false) }))
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        self.look()?;
        match lock(&self.0).files.contains_key(path) {
            true => Ok(FileKind::File),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        lock(&self.0).files.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        let mut content = lock(&self.0);
        let node = content.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        content.files.insert(to.into(), node);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.change()
    }

    fn available_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

struct TestFile {
    node: Arc<Mutex<Node>>,
    disk: TestDisk,
    locked: AtomicBool,
}

impl File for TestFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.look()?;
        let node = lock(&self.node);
        let rest = node.bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.change()?;
        let mut node = lock(&self.node);
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if node.bytes.len() < end {
            node.bytes.resize(end, 0);
        }
        node.bytes[start..end].copy_from_slice(bytes);
        node.soil(start..end);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.look()?;
        Ok(lock(&self.node).bytes.len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.change()?;
        let (mut node, length) = (lock(&self.node), length as usize);
        let before = node.bytes.len();
        node.bytes.resize(length, 0);
        node.soil(before.min(length)..before.max(length));
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        let mut node = lock(&self.node);
        if node.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        node.locked = true;
        self.locked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.disk.change();
        let mut node = lock(&self.node);
        match synced {
            Ok(()) => node.sync(),
            Err(_) => node.dirty.clear(),
        }
        drop(node);
        synced?;
        lock(&self.disk.0).syncs += 1;
        Ok(())
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        if self.locked.load(Ordering::Relaxed) {
            lock(&self.node).locked = false;
        }
    }
}
