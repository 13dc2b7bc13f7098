//! The disk backend on a disk that fails: after the n-th operation for good, for every n; and what it makes durable when.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{Allocate, ServerId, StorageServer};
use runtime::files::{File, FileKind, Files, OpenMode};
use runtime::net::Network;
use runtime::real::RealWorld;
use runtime::{BoxFuture, Instant, Runtime, TaskHandle, World};
use storage::ShareDirectory;
use storage::backend::disk::Disk;
use storage::backend::{Backend, BackendError, Body, SlotChange, WriteEnabler};
use storage::share::{Prefix, ShareId};
use tempfile::TempDir;

const INDEX: StorageIndex = StorageIndex(*b"storage indexxxx");
const SHARESET: &str = "shares/on/on2g64tbm5ssa2lomrsxq6dypa";
const INCOMING: &str = "shares/incoming/on2g64tbm5ssa2lomrsxq6dypa";

/// A real disk that notes what is asked of it, and fails after a number of operations.
#[derive(Clone)]
struct Shaky {
    files: Arc<dyn Files>,
    root: PathBuf,
    state: Arc<Mutex<(Vec<String>, usize)>>,
}

impl Shaky {
    fn step(&self, what: &str, path: &Path) -> io::Result<()> {
        let (log, left) = &mut *self.state.lock().unwrap();
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("planted"))?;
        let path = path.strip_prefix(&self.root).unwrap_or(Path::new("outside"));
        log.push(format!("{what} {}", path.display()));
        Ok(())
    }
}

impl Files for Shaky {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        self.step("open", path)?;
        let file = self.files.open(path, mode)?;
        Ok(Box::new(ShakyFile { file, disk: self.clone(), path: path.into() }))
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        self.step("kind", path)?;
        self.files.kind(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.step("list", dir)?;
        self.files.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.step("create_dir_all", dir)?;
        self.files.create_dir_all(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step("remove_file", path)?;
        self.files.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.step("remove_dir", dir)?;
        self.files.remove_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", from)?;
        self.files.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Noted and not done: nothing here loses its power.
        self.step("sync_dir", dir)?;
        self.files.kind(dir).map(|_| ())
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        self.step("available_space", path)?;
        self.files.available_space(path)
    }
}

struct ShakyFile {
    file: Box<dyn File>,
    disk: Shaky,
    path: PathBuf,
}

impl File for ShakyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.step("read", &self.path)?;
        self.file.read_at(offset, buffer)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.step("write", &self.path)?;
        self.file.write_all_at(offset, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.step("len", &self.path)?;
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.step("set_len", &self.path)?;
        self.file.set_len(length)
    }

    fn lock(&self) -> io::Result<()> {
        self.file.lock()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.step("sync_data", &self.path)
    }
}

/// A world of files alone.
struct FilesOnly(Shaky);

impl World for FilesOnly {
    fn spawn(&self, kind: &'static str, _: u64, _: BoxFuture<'static, ()>) -> Box<dyn TaskHandle> {
        panic!("a backend starts no tasks: {kind}")
    }

    fn now(&self) -> Instant {
        Instant::default()
    }

    fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }

    fn fill_entropy(&self, _: &mut [u8]) {}

    fn run_job(&self, _: &'static str, job: Box<dyn FnOnce() + Send>) {
        job();
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(self.0.clone())
    }

    fn network(&self) -> Arc<dyn Network> {
        panic!("a backend needs no network")
    }
}

struct Place {
    shaky: Shaky,
    disk: Disk,
    _root: TempDir,
}

impl Place {
    async fn new() -> Place {
        let root = TempDir::new().unwrap();
        let state = Arc::new(Mutex::new((Vec::new(), usize::MAX)));
        let shaky = Shaky { files: RealWorld::runtime().files(), root: root.path().into(), state };
        let runtime = Runtime::new(Arc::new(FilesOnly(shaky.clone())));
        let disk = Disk::open(runtime, root.path()).await.unwrap();
        Place { shaky, disk, _root: root }
    }

    /// From now on, the disk fails after so many operations. The log begins anew.
    fn fail_after(&self, operations: usize) {
        *self.shaky.state.lock().unwrap() = (Vec::new(), operations);
    }

    fn heal(&self) {
        self.fail_after(usize::MAX);
    }

    fn log(&self) -> Vec<String> {
        self.shaky.state.lock().unwrap().0.clone()
    }

    /// The same as an [`Self::upload`] of share 0, in a file from the beginning.
    async fn upload_to(&self, disk: &Disk, bytes: &'static [u8]) -> Result<(), BackendError> {
        let incoming = disk.create(id(0), bytes.len() as u64, 1).await?;
        incoming.write(0, Bytes::from_static(bytes)).await?;
        incoming.publish().await.map(drop)
    }

    async fn upload(&self, share: u32, bytes: &'static [u8]) -> Result<u64, BackendError> {
        let incoming = self.disk.create(id(share), bytes.len() as u64, 1).await?;
        incoming.write(0, Bytes::from_static(bytes)).await?;
        incoming.publish().await
    }

    async fn change(&self, share: u32, bytes: &'static [u8]) -> Result<u64, BackendError> {
        let enabler = WriteEnabler { secret: [b'E'; 32], node: [b'N'; 20] };
        let writes = vec![(0, Bytes::from_static(bytes))];
        self.disk.change(id(share), SlotChange { enabler, writes, new_length: None }, 1).await
    }

    async fn data(&self, share: u32) -> Option<Bytes> {
        match self.disk.read(id(share), 0, 99).await {
            Err(BackendError::NoSuchShare(_)) => None,
            read => Some(read.unwrap()),
        }
    }
}

fn id(share: u32) -> ShareId {
    ShareId { index: INDEX, share }
}

/// Where in the log this is, the first time.
fn at(log: &[String], what: &str) -> usize {
    log.iter().position(|step| step == what).unwrap_or_else(|| panic!("no `{what}` in {log:#?}"))
}

/// Publishing, changing and deleting happen whole or not at all, whatever operation the disk fails from; what is said to
/// have happened has; and it all goes well once the disk does.
#[tokio::test]
async fn cut_off_at_any_operation_it_is_the_old_or_the_new() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Work {
        Upload,
        UploadPieces,
        Make,
        Change,
        Delete,
    }
    for work in [Work::Upload, Work::UploadPieces, Work::Make, Work::Change, Work::Delete] {
        for operations in 0.. {
            let place = Place::new().await;
            place.upload(1, b"sibling").await.unwrap();
            let old = match work {
                Work::Upload | Work::UploadPieces | Work::Make => None,
                Work::Change | Work::Delete => {
                    place.change(0, b"old").await.unwrap();
                    Some(Bytes::from_static(b"old"))
                }
            };
            let new = (work != Work::Delete).then(|| Bytes::from_static(b"newer"));
            let attempt = async || match work {
                Work::Upload => place.upload(0, b"newer").await.map(|_| ()),
                Work::UploadPieces => place.upload_to(&place.disk.clone().with_small(0), b"newer").await,
                Work::Make | Work::Change => place.change(0, b"newer").await.map(|_| ()),
                Work::Delete => place.disk.delete(id(0), 1).await,
            };
            place.fail_after(operations);
            let done = attempt().await;
            place.heal();
            let now = place.data(0).await;
            let case = format!("{work:?}, {operations} operations: {done:?}");
            match &done {
                Ok(()) => assert_eq!(now, new, "{case}"),
                Err(BackendError::Failed(_)) => assert!(now == old || now == new, "{case}: {now:?}"),
                Err(_) => panic!("{case}"),
            }
            assert_eq!(place.data(1).await.unwrap(), b"sibling"[..], "{case}");
            if done.is_ok() {
                break;
            }
            attempt().await.unwrap();
            assert_eq!(place.data(0).await, new, "{case}, again");
            place.disk.discard(id(0)).await.unwrap();
            assert_eq!(place.disk.incoming().await.unwrap(), [].into(), "{case}");
        }
    }
}

/// A disk that cannot be read says nothing of what is on it.
#[tokio::test]
async fn a_failing_disk_is_an_error_and_no_absence() {
    let place = Place::new().await;
    place.upload(0, b"data").await.unwrap();
    place.change(1, b"data").await.unwrap();
    drop(place.disk.clone().with_small(0).create(id(2), 9, 1).await.unwrap());
    let list = place.disk.list(INDEX).await.unwrap();
    assert_eq!(list[&0], Body::Immutable { size: 4, used: 16 });
    for operations in 0..12 {
        let failed =
            |error: &BackendError| matches!(error, BackendError::Failed(why) if why.contains("planted"));
        place.fail_after(operations);
        let listed = place.disk.list(INDEX).await;
        assert!(listed.as_ref().map_or_else(failed, |found| *found == list), "{operations}: {listed:?}");
        place.fail_after(operations);
        let files = place.disk.files(Prefix::of(&INDEX)).await;
        assert!(
            files.as_ref().map_or_else(failed, |found| *found == [INDEX].into()),
            "{operations}: {files:?}"
        );
        place.fail_after(operations);
        let incoming = place.disk.incoming().await;
        assert!(
            incoming.as_ref().map_or_else(failed, |found| *found == [id(2)].into()),
            "{operations}: {incoming:?}"
        );
        place.fail_after(operations);
        let read = place.disk.read(id(0), 0, 9).await;
        assert!(read.as_ref().map_or_else(failed, |found| found == &b"data"[..]), "{operations}: {read:?}");
        place.fail_after(operations);
        let enabler = place.disk.write_enabler(id(1)).await;
        assert!(
            enabler.map_or_else(|error| failed(&error), |found| found.secret == [b'E'; 32]),
            "{operations}"
        );
    }
}

#[tokio::test]
async fn bytes_are_durable_before_the_name_and_the_name_before_the_answer() {
    let place = Place::new().await;
    let log = place.log();
    assert!(at(&log, "sync_dir shares") < at(&log, "sync_dir "));
    assert!(at(&log, "sync_dir ") < at(&log, "sync_dir outside"));
    let durable_after = |log: &[String], start: usize, directories: &[&str]| {
        for directory in directories {
            at(&log[start..], &format!("sync_dir {directory}"));
        }
    };
    for make in [true, false] {
        place.heal();
        match make {
            true => place.upload(0, b"data").await.unwrap(),
            false => place.change(1, b"data").await.unwrap(),
        };
        let (log, name) = (place.log(), format!("{INCOMING}.{}", u32::from(!make)));
        let renamed = at(&log, &format!("rename {name}"));
        let before =
            [format!("sync_data {name}"), "kind shares/on".to_owned(), format!("create_dir_all {SHARESET}")];
        assert!(log[..renamed].ends_with(&before), "{log:#?}");
        durable_after(&log, renamed, &[SHARESET, "shares/on"]);
        // The prefix is new once.
        assert_eq!(log[renamed..].contains(&"sync_dir shares".to_owned()), make);
    }
    // Or when somebody takes it away.
    std::fs::remove_dir_all(place.shaky.root.join("shares/on")).unwrap();
    place.heal();
    place.upload(0, b"data").await.unwrap();
    let log = place.log();
    let renamed = at(&log, &format!("rename {INCOMING}.0"));
    durable_after(&log, renamed, &[SHARESET, "shares/on", "shares"]);
    drop(place.disk.clone().with_small(0).create(id(0), 9, 1).await.unwrap());
    place.heal();
    place.disk.delete(id(0), 1).await.unwrap();
    let log = place.log();
    durable_after(&log, at(&log, &format!("remove_file {INCOMING}.0")), &["shares/incoming"]);
    durable_after(&log, at(&log, &format!("remove_file {SHARESET}/0")), &[SHARESET]);
    // The first attempt may have removed it, and have died before it was durable.
    place.heal();
    place.disk.delete(id(0), 1).await.unwrap();
    at(&place.log(), &format!("sync_dir {SHARESET}"));
}

/// What was made on the way to a new place is durable too.
#[tokio::test]
async fn every_directory_that_is_made_is_made_durable() {
    let place = Place::new().await;
    place.heal();
    let runtime = Runtime::new(Arc::new(FilesOnly(place.shaky.clone())));
    Disk::open(runtime, &place.shaky.root.join("a/b/c")).await.unwrap();
    let log = place.log();
    let made = at(&log, "create_dir_all a/b/c/shares/incoming");
    for directory in ["a/b/c/shares", "a/b/c", "a/b", "a", ""] {
        at(&log[made..], &format!("sync_dir {directory}"));
    }
}

/// The guest in a node's directory, on such a disk.
async fn guest(place: &Place) -> ShareDirectory {
    let runtime = Runtime::new(Arc::new(FilesOnly(place.shaky.clone())));
    ShareDirectory::open(runtime, &place.shaky.root, ServerId::new("v0-test", *b"seed")).await.unwrap()
}

#[tokio::test]
async fn a_report_is_durable_by_its_name_too() {
    let place = Place::new().await;
    place.upload(0, b"data").await.unwrap();
    let guest = guest(&place).await;
    let reader = guest.get_buckets(INDEX).await.unwrap().remove(&0).unwrap();
    place.heal();
    reader.advise_corrupt_share("it is bad").await.unwrap();
    let log = place.log();
    let written = log.iter().position(|step| step.starts_with("sync_data corruption-advisories/")).unwrap();
    at(&log[written..], "sync_dir corruption-advisories");
    at(&log[written..], "sync_dir ");
}

/// A disk says once that it could not write something, and is then asked in vain.
#[tokio::test]
async fn what_could_not_be_made_durable_once_is_never_published() {
    let place = Place::new().await;
    let guest = guest(&place).await;
    let request = Allocate { index: INDEX, shares: [0].into(), size: 4, renew: [1; 32], cancel: [2; 32] };
    let writer = guest.allocate_buckets(request.clone()).await.unwrap().writers.remove(&0).unwrap();
    writer.write(0, Bytes::from_static(b"ab")).await.unwrap();
    writer.close().await.expect_err("it is not complete");
    writer.write(2, Bytes::from_static(b"cd")).await.unwrap();
    place.fail_after(0);
    writer.close().await.unwrap_err();
    place.heal();
    writer.close().await.expect_err("the upload is over");
    assert!(guest.get_buckets(INDEX).await.unwrap().is_empty());
    writer.abort().await.unwrap();
    assert_eq!(guest.allocate_buckets(request).await.unwrap().writers.len(), 1, "its place is free");
}
