//! The real world, on tokio: the only place in core that uses tokio's tasks, timers, threads and sockets.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this is the other side of the door")]

mod jobs;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::future::BoxFuture;
use rustix::fs::{CWD, Dir, DirEntry, FileType, Mode, OFlags, openat};
use rustix::io::retry_on_intr;
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tokio::time::Instant as TokioInstant;

use jobs::{Job, Jobs};

use crate::files::{Entry, File, FileKind, Files, Head, OpenMode, Stamp, head};
use crate::net::{Datagrams, Listener, Network, Stream};
use crate::{Instant, Runtime, TaskHandle, World};

/// The real world. Its calls must be made within a tokio runtime.
#[derive(Debug)]
pub struct RealWorld {
    origin: TokioInstant,
    jobs: Jobs,
}

impl RealWorld {
    /// A handle to the real world.
    pub fn runtime() -> Runtime {
        Runtime::new(Arc::new(RealWorld { origin: TokioInstant::now(), jobs: Jobs::default() }))
    }
}

impl World for RealWorld {
    fn spawn(&self, _kind: &'static str, _index: u64, future: BoxFuture<'static, ()>) -> Box<dyn TaskHandle> {
        Box::new(RealTask(tokio::spawn(future).abort_handle()))
    }

    fn now(&self) -> Instant {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(nanos)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let deadline = self.origin.checked_add(Duration::from_nanos(deadline.as_nanos()));
        Box::pin(async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                // Later than this clock can tell.
                None => std::future::pending().await,
            }
        })
    }

    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn boot_time(&self) -> Duration {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        // Neither is ever negative for a clock that counts from the start of the machine.
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }

    fn fill_entropy(&self, bytes: &mut [u8]) {
        // Keys are made of this. A machine that cannot give any must not go on.
        getrandom::fill(bytes).expect("the operating system gives entropy");
    }

    fn run_job(&self, _kind: &'static str, job: Job) {
        self.jobs.run(job);
    }

    fn run_brief_job(&self, _kind: &'static str, job: Job) {
        self.jobs.run_brief(job);
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(RealFiles)
    }

    fn network(&self) -> Arc<dyn Network> {
        Arc::new(RealNetwork)
    }
}

struct RealTask(tokio::task::AbortHandle);

impl TaskHandle for RealTask {
    fn abort(&self) {
        self.0.abort();
    }
}

struct RealFiles;

impl Files for RealFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        options.create_new(mode == OpenMode::CreateNew).create(mode == OpenMode::CreateOrOpen);
        Ok(Box::new(RealFile(options.open(path)?)))
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        Ok(kind_of(fs::metadata(path)?.file_type()))
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        Ok(stamp_of(&fs::metadata(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let (mut listing, mut names) = (open_dir(dir)?, Vec::new());
        while let Some(entry) = next_entry(&mut listing)? {
            names.push(name_of(&entry));
        }
        names.sort();
        Ok(names)
    }

    /// The directory says itself what is a file, and files are opened from there: that spares a call and a walk for each.
    fn heads(&self, dir: &Path, most: usize, wanted: &dyn Fn(&Path) -> bool) -> io::Result<Vec<Entry>> {
        let (mut listing, mut entries) = (open_dir(dir)?, Vec::new());
        while let Some(entry) = next_entry(&mut listing)? {
            let name = name_of(&entry);
            if wanted(&name) {
                let head = match entry.file_type() {
                    FileType::RegularFile => file_head(listing.fd()?, &name, most),
                    _ => head(self, &dir.join(&name), most),
                };
                entries.push((name, head));
            }
        }
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            made => made,
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn allow_writing(&self, dir: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = fs::metadata(dir)?.permissions();
        permissions.set_mode(permissions.mode() | 0o200);
        fs::set_permissions(dir, permissions)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

fn kind_of(kind: fs::FileType) -> FileKind {
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => FileKind::File,
        (_, true) => FileKind::Directory,
        _ => FileKind::Other,
    }
}

fn stamp_of(metadata: &fs::Metadata) -> Stamp {
    Stamp {
        kind: kind_of(metadata.file_type()),
        id: (metadata.dev(), metadata.ino()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// A directory, to be listed. As the standard library's, but with a small buffer and without a look at it first.
fn open_dir(dir: &Path) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::new(retry_on_intr(|| openat(CWD, dir, flags, Mode::empty()))?)?)
}

/// The next entry that is neither the directory itself nor the one above it.
fn next_entry(listing: &mut Dir) -> io::Result<Option<DirEntry>> {
    loop {
        match listing.read().transpose()? {
            Some(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            next => return Ok(next),
        }
    }
}

fn name_of(entry: &DirEntry) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(entry.file_name().to_bytes()))
}

/// The head of what was a file when it was listed. Should it be a pipe by now, opening it must not wait for a writer.
fn file_head(dir: BorrowedFd<'_>, name: &Path, most: usize) -> io::Result<Head> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(retry_on_intr(|| openat(dir, name, flags, Mode::empty()))?);
    let metadata = file.metadata()?;
    let kind = kind_of(metadata.file_type());
    if kind != FileKind::File {
        return Ok(Head { kind, length: 0, bytes: Vec::new() });
    }
    let mut bytes = vec![0; most.min(usize::try_from(metadata.len()).unwrap_or(most))];
    let got = RealFile(file).read_full_at(0, &mut bytes)?;
    bytes.truncate(got);
    Ok(Head { kind, length: metadata.len(), bytes })
}

struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn lock(&self) -> io::Result<()> {
        Ok(self.0.try_lock()?)
    }

    fn lock_shared(&self) -> io::Result<()> {
        Ok(self.0.try_lock_shared()?)
    }

    fn lock_in_turn(&self) -> io::Result<()> {
        loop {
            match self.0.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked,
            }
        }
    }

    fn stamp(&self) -> io::Result<Stamp> {
        Ok(stamp_of(&self.0.metadata()?))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

struct RealNetwork;

#[async_trait]
impl Network for RealNetwork {
    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(RealListener(TcpListener::bind(address).await?)))
    }

    async fn bind(&self, address: SocketAddr) -> io::Result<Box<dyn Datagrams>> {
        Ok(Box::new(RealDatagrams(UdpSocket::bind(address).await?)))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<_> = lookup_host((host, port)).await?.collect();
        addresses.sort();
        addresses.dedup();
        match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, format!("`{host}` has no address"))),
            false => Ok(addresses),
        }
    }
}

struct RealListener(TcpListener);

#[async_trait]
impl Listener for RealListener {
    fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), from))
    }
}

struct RealDatagrams(UdpSocket);

#[async_trait]
impl Datagrams for RealDatagrams {
    fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.0.send_to(bytes, to).await.map(|_| ())
    }

    async fn receive_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(buffer).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn a_timeout_prefers_the_answer_and_ends_without_one() {
        let runtime = RealWorld::runtime();
        let start = runtime.now();
        assert_eq!(runtime.timeout(Duration::ZERO, async { 1 }).await, Ok(1));
        let never = std::future::pending::<()>();
        assert!(runtime.timeout(Duration::from_secs(3), never).await.is_err());
        assert!(runtime.now() - start >= Duration::from_secs(3));
    }

    #[test]
    fn a_file_is_one_handle_s_alone_or_shared() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let open = || RealFiles.open(place.path(), OpenMode::Write).unwrap();
        let blocks = |locked: io::Result<()>| locked.unwrap_err().kind() == io::ErrorKind::WouldBlock;
        let (one, other) = (open(), open());
        one.lock_shared().unwrap();
        other.lock_shared().unwrap();
        assert!(blocks(open().lock()));
        drop(other);
        one.lock().unwrap();
        assert!(blocks(open().lock_shared()));
        let waiter = std::thread::spawn({
            let file = open();
            move || file.lock_in_turn().unwrap()
        });
        drop(one);
        waiter.join().unwrap();
    }

    #[test]
    fn a_path_names_a_file_until_that_is_renamed_or_removed() {
        let place = tempfile::tempdir().unwrap();
        let [path, other] = ["file", "other"].map(|name| place.path().join(name));
        let file = RealFiles.open(&path, OpenMode::CreateNew).unwrap();
        let before = RealFiles.stamp(&path).unwrap();
        assert!(RealFiles.names(&path, &*file).unwrap());
        assert_eq!(file.stamp().unwrap(), before);
        RealFiles.rename(&path, &other).unwrap();
        assert!(!RealFiles.names(&path, &*file).unwrap());
        assert!(RealFiles.names(&other, &*file).unwrap());
        let next = RealFiles.open(&path, OpenMode::CreateNew).unwrap();
        assert!(!RealFiles.names(&path, &*file).unwrap() && RealFiles.names(&path, &*next).unwrap());
        RealFiles.remove_file(&other).unwrap();
        assert!(!RealFiles.names(&other, &*file).unwrap());
    }

    #[tokio::test]
    async fn dropping_a_scope_ends_its_tasks() {
        struct Counted(Arc<AtomicU32>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let runtime = RealWorld::runtime();
        let (outer, inner) = (runtime.scope(), runtime.scope());
        let dropped = Arc::new(AtomicU32::new(0));
        let (done, ended) = tokio::sync::oneshot::channel::<()>();
        let counted = Counted(dropped.clone());
        inner.spawn("waiter", 0, async move {
            let _held = (counted, done);
            std::future::pending::<()>().await;
        });
        outer.spawn("short", 0, async {});
        outer.drain().await;
        assert!(outer.is_empty());
        assert_eq!(inner.len(), 1);
        drop(inner);
        assert!(ended.await.is_err(), "the task's own half of the channel was dropped with it");
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panicking_job_is_an_error_and_not_a_hang() {
        let runtime = RealWorld::runtime();
        let lost = runtime.blocking("sum", || -> u32 { panic!("planted") }).await;
        assert_eq!(lost, Err(crate::JobLost("sum")));
        assert_eq!(runtime.blocking("sum", || 2 + 2).await, Ok(4));
    }

    #[tokio::test]
    async fn files_keep_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = RealWorld::runtime().files();
        let (sub, path) = (dir.path().join("a/b"), dir.path().join("a/b/file"));
        files.create_dir_all(&sub).unwrap();
        let file = files.open(&path, OpenMode::CreateNew).unwrap();
        file.write_all_at(3, b"late").unwrap();
        file.sync_data().unwrap();
        files.sync_dir(&sub).unwrap();
        let mut bytes = [9; 10];
        assert_eq!(file.read_full_at(0, &mut bytes).unwrap(), 7);
        assert_eq!(&bytes[..7], b"\0\0\0late");
        assert!(files.open(&path, OpenMode::CreateNew).is_err());
        files.rename(&path, &sub.join("other")).unwrap();
        assert_eq!(files.list(&sub).unwrap(), [PathBuf::from("other")]);
        assert_eq!(files.kind(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(files.available_space(&sub).unwrap() > 0);
    }

    #[tokio::test]
    async fn heads_are_those_that_one_operation_after_the_other_finds() {
        let dir = tempfile::tempdir().unwrap();
        let (at, files) = (|name: &str| dir.path().join(name), RealWorld::runtime().files());
        for (name, length) in [("empty", 0), ("short", 3), ("exact", 10), ("long", 5000), ("unwanted", 1)] {
            fs::write(at(name), vec![b'x'; length]).unwrap();
        }
        fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink("long", at("link")).unwrap();
        std::os::unix::fs::symlink("nothing", at("link to nothing")).unwrap();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let wanted = |name: &Path| name != Path::new("unwanted");

        let kinds = |entries: Vec<Entry>| {
            let told = |head: io::Result<Head>| head.map_err(|error| error.kind());
            entries.into_iter().map(|(name, head)| (name, told(head))).collect::<Vec<_>>()
        };
        let found = kinds(files.heads(dir.path(), 10, &wanted).unwrap());
        let one_by_one = files.list(dir.path()).unwrap().into_iter().filter(|name| wanted(name));
        let one_by_one = one_by_one.map(|name| (name.clone(), head(&*files, &dir.path().join(name), 10)));
        assert_eq!(found, kinds(one_by_one.collect()));
        let of = |name: &str| found.iter().find(|(found, _)| found == Path::new(name)).unwrap().1.clone();
        assert_eq!(of("link"), Ok(Head { kind: FileKind::File, length: 5000, bytes: vec![b'x'; 10] }));
        assert_eq!(of("link to nothing"), Err(io::ErrorKind::NotFound));
        assert_eq!(of("pipe").unwrap().kind, FileKind::Other);
        assert_eq!(
            file_head(open_dir(dir.path()).unwrap().fd().unwrap(), Path::new("pipe"), 10).unwrap().kind,
            FileKind::Other,
            "it turned into a pipe"
        );
        assert_eq!(files.heads(&at("none"), 10, &wanted).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn streams_and_datagrams_cross_loopback() {
        let network = RealWorld::runtime().network();
        let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = network.listen(here).await.unwrap();
        let mut client = network.connect(listener.address().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");

        let (left, right) = (network.bind(here).await.unwrap(), network.bind(here).await.unwrap());
        left.send_to(b"datagram", right.address().unwrap()).await.unwrap();
        let mut bytes = [0; 16];
        let (length, from) = right.receive_from(&mut bytes).await.unwrap();
        assert_eq!((&bytes[..length], from), (&b"datagram"[..], left.address().unwrap()));
        assert_eq!(network.resolve("localhost", 80).await.unwrap()[0].port(), 80);
    }
}
