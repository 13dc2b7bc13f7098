//! An actor's disk: files in memory that survive its crashes, as far as a disk's do.
//!
//! A disk has two images: what a running process sees, and what is durable, with an ordered list of the changes that lie
//! between them. A process that ends loses neither; when the power goes, any part of the changes may survive.
//!
//! An actor reaches its disk through its door, in one life of it: there operations are counted, and fail, rot or end the
//! life as the case says. [`Disk`] is the same disk as its owner, the scenario, sees it: whole, and without trouble.

mod door;
mod fate;
mod holds;
mod inode;
mod pages;
#[cfg(test)]
mod tests;
mod tree;
mod trouble;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::files::{File, FileKind, Files, OpenMode, Stamp};

use crate::fault::CrashKind;
pub(super) use door::DoorFiles;
use fate::Fate;
use inode::FileRef;
use tree::{Deed, Tree};
use trouble::Trouble;
pub(super) use trouble::start;

/// A disk; clones are the same disk. As [`Files`], it does at once what it is told, whatever the case says, and as
/// durably as what the actor does itself: what a scenario puts there before anything runs, it makes durable with
/// [`sync_all`](Disk::sync_all).
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

struct State {
    tree: Tree,
    trouble: Trouble,
    /// The number of the last handle.
    handles: u64,
}

impl Disk {
    /// The disk of an actor of that name.
    pub(super) fn new(actor: &str) -> Disk {
        let trouble = Trouble::of(actor);
        let mut tree = Tree::default();
        if trouble.has_power_loss() {
            tree.track();
        }
        Disk(Arc::new(Mutex::new(State { tree, trouble, handles: 0 })))
    }

    /// Sets what all files of the disk may come to together, in bytes. The default is 1 GiB.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().tree.capacity = bytes;
    }

    /// Makes all that is on the disk durable.
    pub fn sync_all(&self) {
        self.lock().tree.sync_all();
    }

    /// Says that the power may go: needed before [`Actor::crash_with`](super::Actor::crash_with), for what is durable is
    /// only kept account of when it matters. A disk for which the case has a power loss does so anyway.
    pub fn track(&self) {
        let tree = &mut self.lock().tree;
        if !tree.is_tracked() {
            tree.track();
        }
    }

    /// Ends the trouble with the disk: what is full or slow is so no more, and no further fault of the case strikes it.
    pub fn heal(&self) {
        self.lock().trouble.heal();
    }

    /// The bits that rotted, each by its file and byte, where the file still has a name.
    pub fn rotten(&self) -> Vec<(PathBuf, u64)> {
        let files = self.lock().tree.files();
        let of_file = |(path, file): (PathBuf, FileRef)| {
            let rotten = file.lock().rotten.clone();
            rotten.into_iter().map(move |at| (path.clone(), at)).collect::<Vec<_>>()
        };
        files.into_iter().flat_map(of_file).collect()
    }

    /// How many operations the actor has made: those that change the disk, and others.
    pub fn operations(&self) -> [u32; 2] {
        self.lock().trouble.counts()
    }

    /// As [`Actor::expose_disk`](super::Actor::expose_disk).
    pub(super) fn expose(&self, kinds: &'static [&'static str]) {
        self.lock().trouble.exposed = kinds;
    }

    pub(super) fn set_stage(&self, name: String) {
        self.lock().trouble.stage = name;
    }

    pub(super) fn recovered(&self, life: u32) {
        self.lock().trouble.recovered = life;
    }

    /// Its actor goes down, in the middle of nothing.
    pub(super) fn went_down(&self, how: CrashKind, survivors: u64) {
        self.lock().crash(how, survivors, None);
    }

    /// By how many nanoseconds the next job of its actor begins late.
    pub(super) fn job_delay(&self) -> u64 {
        self.lock().trouble.job_delay()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn perform(&self, deed: Deed<'_>) -> io::Result<()> {
        self.lock().tree.perform(&deed)
    }
}

impl State {
    /// The actor goes down, perhaps in the middle of a deed.
    fn crash(&mut self, how: CrashKind, survivors: u64, deed: Option<&Deed<'_>>) {
        let mut fate = Fate::of(survivors);
        match (how, deed) {
            (CrashKind::Process, Some(deed)) => self.tree.perform_partly(deed, &mut fate),
            (CrashKind::Process, None) => {}
            (CrashKind::Power, deed) => {
                assert!(
                    self.tree.is_tracked(),
                    "a power loss on a disk of which `Disk::track` was not called in time"
                );
                // What had begun may survive like all that had been done. A sync that did not return promised nothing.
                if let Some(deed) = deed.filter(|deed| !matches!(deed, Deed::Sync(_) | Deed::SyncDir(_))) {
                    // Nobody is left to be told that it failed.
                    drop(self.tree.perform(deed));
                }
                self.tree.lose_power(&mut fate);
            }
        }
    }

    /// Opens a file that is there, or that may be made; says whether it must be.
    fn find_to_open(&self, path: &Path, mode: OpenMode) -> io::Result<Option<FileRef>> {
        match (self.tree.file(path), mode) {
            (Ok(_), OpenMode::CreateNew) => Err(ErrorKind::AlreadyExists.into()),
            (Ok(file), _) => Ok(Some(file)),
            (Err(error), OpenMode::CreateNew | OpenMode::CreateOrOpen)
                if error.kind() == ErrorKind::NotFound =>
            {
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl Files for Disk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let mut state = self.lock();
        let file = match state.find_to_open(path, mode)? {
            Some(file) => file,
            None => {
                state.tree.perform(&Deed::Create(path))?;
                state.tree.file(path)?
            }
        };
        Ok(Box::new(OwnersFile { file, disk: self.clone(), writable: mode != OpenMode::Read }))
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        self.lock().tree.kind(path)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        Ok(self.lock().tree.find(path)?.stamp())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.lock().tree.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.perform(Deed::MakeDirs(dir))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.perform(Deed::RemoveFile(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.perform(Deed::RemoveDir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.perform(Deed::Rename(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.perform(Deed::SyncDir(dir))
    }

    fn available_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.lock().tree.room())
    }
}

/// A file as the disk's owner has it open.
struct OwnersFile {
    file: FileRef,
    disk: Disk,
    writable: bool,
}

impl OwnersFile {
    fn write(&self, deed: Deed<'_>) -> io::Result<()> {
        if !self.writable {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.disk.perform(deed)
    }
}

impl File for OwnersFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.file.lock().read_at(offset, buffer))
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(Deed::Write(&self.file, offset, bytes))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.lock().len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.write(Deed::SetLen(&self.file, length))
    }

    /// The owner asks nobody: the file may well be the actor's at the moment.
    fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock_shared(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock_in_turn(&self) -> io::Result<()> {
        Ok(())
    }

    fn stamp(&self) -> io::Result<Stamp> {
        Ok(self.file.stamp())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.perform(Deed::Sync(&self.file))
    }
}
