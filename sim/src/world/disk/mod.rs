//! An actor's disk: files in memory that survive its crashes.
//!
//! Every write is durable at once here; what a real disk may lose or tear is not simulated yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::files::{File, FileKind, Files, OpenMode};
use xxhash_rust::xxh3::xxh3_64;

use crate::trace;

/// A disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    files: BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>,
    dirs: BTreeSet<PathBuf>,
}

/// What all files of a disk may come to together.
const CAPACITY: u64 = 1 << 30;

impl Disk {
    /// Sets what all files of the disk may come to together, in bytes. The default is 1 GiB.
    pub fn set_capacity(&self, _bytes: u64) {}

    /// Makes all that is on the disk durable: for what a scenario puts there before anything runs.
    pub fn sync_all(&self) {}

    /// Ends the trouble with the disk: what is full or slow is so no more, and no further fault of the case strikes it.
    pub fn heal(&self) {}

    /// The bits that rotted, each by its file and byte, where the file still exists.
    pub fn rotten(&self) -> Vec<(PathBuf, u64)> {
        Vec::new()
    }

    /// As [`Actor::expose_disk`](super::Actor::expose_disk).
    pub(super) fn expose(&self, _kinds: &'static [&'static str]) {}

    /// Its actor goes down.
    pub(super) fn went_down(&self, _how: crate::fault::CrashKind, _survivors: u64) {}

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(file: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Content {
    fn used(&self) -> u64 {
        self.files.values().map(|file| bytes_of(file).len() as u64).sum()
    }

    fn need_dir(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(dir) if dir != Path::new("") && dir != Path::new("/") && !self.dirs.contains(dir) => {
                Err(io::ErrorKind::NotFound.into())
            }
            _ => Ok(()),
        }
    }
}

impl Files for Disk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let mut content = self.lock();
        if content.dirs.contains(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let bytes = match (content.files.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(bytes), _) => bytes.clone(),
            (None, OpenMode::Read | OpenMode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::CreateNew | OpenMode::CreateOrOpen) => {
                content.need_dir(path)?;
                let bytes = Arc::<Mutex<Vec<u8>>>::default();
                content.files.insert(path.into(), bytes.clone());
                bytes
            }
        };
        Ok(Box::new(DiskFile { bytes, disk: self.clone(), writable: mode != OpenMode::Read }))
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        let content = self.lock();
        match (content.files.contains_key(path), content.dirs.contains(path)) {
            (true, _) => Ok(FileKind::File),
            (_, true) => Ok(FileKind::Directory),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let content = self.lock();
        if !content.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let here = |path: &&PathBuf| path.parent() == Some(dir);
        let paths = content.files.keys().filter(here).chain(content.dirs.iter().filter(here));
        let names: BTreeSet<_> = paths.filter_map(|path| path.file_name().map(PathBuf::from)).collect();
        Ok(names.into_iter().collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut content = self.lock();
        for dir in dir.ancestors().filter(|dir| *dir != Path::new("")) {
            if content.files.contains_key(dir) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            content.dirs.insert(dir.into());
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.lock().files.remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match self.list(dir)?.is_empty() {
            true => {
                self.lock().dirs.remove(dir);
                Ok(())
            }
            false => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut content = self.lock();
        content.need_dir(to)?;
        let file = content.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        content.files.insert(to.into(), file);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.kind(dir).map(|_| ())
    }

    fn available_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(CAPACITY.saturating_sub(self.lock().used()))
    }
}

struct DiskFile {
    bytes: Arc<Mutex<Vec<u8>>>,
    disk: Disk,
    writable: bool,
}

impl DiskFile {
    fn resize(&self, length: u64) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let old = bytes_of(&self.bytes).len() as u64;
        if length > old && length - old > CAPACITY.saturating_sub(self.disk.lock().used()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        bytes_of(&self.bytes).resize(length as usize, 0);
        Ok(())
    }
}

impl File for DiskFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = bytes_of(&self.bytes);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.resize(end.max(self.len()?))?;
        bytes_of(&self.bytes)[offset as usize..end as usize].copy_from_slice(bytes);
        let hash = trace::mix(xxh3_64(bytes), offset);
        trace::with_recording(|recording| {
            recording.effect("write to a file, what and where has the hash", hash)
        });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(bytes_of(&self.bytes).len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.resize(length)
    }

    fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
