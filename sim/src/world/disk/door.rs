//! A disk as its actor reaches it, in one life: counted, and with the trouble that the case has for it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use runtime::files::{File, FileKind, Files, OpenMode, Stamp};
use xxhash_rust::xxh3::xxh3_64;

use super::inode::FileRef;
use super::tree::{Deed, Node};
use super::{Disk, State};
use crate::fault::{DiskEffect, DiskOp};
use crate::trace::{self, mix};
use crate::world::{Actor, context, executor, lives, took_effect};

/// The files of an actor, for one life of it.
#[derive(Clone)]
pub(in crate::world) struct DoorFiles {
    actor: Actor,
    life: u32,
}

/// What an operation is about, for rot.
enum About<'a> {
    Nothing,
    File(&'a FileRef),
    Part(&'a FileRef, u64, usize),
}

impl DoorFiles {
    pub(in crate::world) fn new(actor: Actor, life: u32) -> DoorFiles {
        DoorFiles { actor, life }
    }

    fn disk(&self) -> &Disk {
        &self.actor.disk
    }

    /// The life is over, as far as it can tell.
    fn check_power(&self) -> io::Result<()> {
        context::burn();
        match executor::is_alive(self.actor.id, self.life) {
            true => Ok(()),
            false => Err(gone()),
        }
    }

    /// Carries out an operation that changes the disk, unless the case has it otherwise.
    fn change(&self, deed: &Deed<'_>) -> io::Result<()> {
        self.check_power()?;
        let mut state = self.disk().lock();
        let effect = state.trouble.come_by(DiskOp::Change, self.life).inspect_err(|_| {
            if let Deed::Sync(file) = deed {
                file.lock().fail_to_sync();
            }
        })?;
        self.crash_if(&effect, &mut state, Some(deed))?;
        if state.trouble.is_full() && needs_room(deed) {
            state.trouble.was_felt_full();
            return Err(ErrorKind::StorageFull.into());
        }
        let about = effect.as_ref().and_then(|_| state.about(deed));
        state.tree.perform(deed)?;
        drop(state);
        if let (Some(effect), Some((file, at, length))) = (effect, about) {
            rot(&file, at, length, &effect);
        }
        note(deed);
        Ok(())
    }

    /// A point at which the actor may go down though its disk does nothing.
    pub(in crate::world) fn may_crash_here(&self) {
        if self.check_power().is_ok() {
            let mut state = self.disk().lock();
            if let Ok(effect) = state.trouble.come_by(DiskOp::Change, self.life) {
                // There is nobody here to be told that the power is gone.
                drop(self.crash_if(&effect, &mut state, None));
            }
        }
    }

    /// Takes the actor down in the middle of an operation, if that is the effect.
    fn crash_if(
        &self,
        effect: &Option<DiskEffect>,
        state: &mut State,
        deed: Option<&Deed<'_>>,
    ) -> io::Result<()> {
        let Some(DiskEffect::Crash { how, survivors, restart_us }) = effect else { return Ok(()) };
        state.crash(*how, *survivors, deed);
        took_effect(how.name());
        lives::fell(self.actor.clone(), *restart_us);
        Err(gone())
    }

    /// Carries out an operation that changes nothing, unless the case has it otherwise.
    fn read<T>(&self, about: About<'_>, read: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        self.check_power()?;
        let mut state = self.disk().lock();
        let effect = state.trouble.come_by(DiskOp::Read, self.life)?;
        self.crash_if(&effect, &mut state, None)?;
        match (effect, about) {
            (Some(effect), About::File(file)) => rot(file, 0, u64::MAX, &effect),
            (Some(effect), About::Part(file, offset, length)) => rot(file, offset, length as u64, &effect),
            _ => {}
        }
        read(&state)
    }
}

impl State {
    /// The part of a file that a deed is about, if it is about any.
    fn about(&self, deed: &Deed<'_>) -> Option<(FileRef, u64, u64)> {
        match deed {
            Deed::Write(file, offset, bytes) => Some(((*file).clone(), *offset, bytes.len() as u64)),
            Deed::SetLen(file, _) | Deed::Sync(file) => Some(((*file).clone(), 0, u64::MAX)),
            Deed::Rename(path, _) => Some((self.tree.file(path).ok()?, 0, u64::MAX)),
            _ => None,
        }
    }
}

/// Whether an operation takes more room than there is taken already.
fn needs_room(deed: &Deed<'_>) -> bool {
    match deed {
        Deed::Create(_) | Deed::MakeDirs(_) => true,
        Deed::Write(file, offset, bytes) => offset.saturating_add(bytes.len() as u64) > file.lock().len(),
        Deed::SetLen(file, length) => *length > file.lock().len(),
        _ => false,
    }
}

/// Flips a bit in a part of a file, if it has any bytes there.
fn rot(file: &FileRef, start: u64, length: u64, effect: &DiskEffect) {
    let DiskEffect::Rot { at, bit } = effect else { return };
    let mut inode = file.lock();
    let length = length.min(inode.len().saturating_sub(start));
    if let Some(at) = at.checked_rem(length) {
        inode.rot(start + at, *bit);
        took_effect(effect.name());
    }
}

/// What code is told whose power has gone. Nobody outside will ever hear of it.
fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

/// Has the digest cover a change of the disk.
fn note(deed: &Deed<'_>) {
    let of = |path: &Path| xxh3_64(path.as_os_str().as_encoded_bytes());
    let (what, hash) = match deed {
        Deed::Write(_, offset, bytes) => {
            ("write to a file, what and where has the hash", mix(xxh3_64(bytes), *offset))
        }
        Deed::SetLen(_, length) => ("set a file's length, to", *length),
        Deed::Sync(_) => ("sync a file, one of", 1),
        Deed::Create(path) => ("make a file, whose path has the hash", of(path)),
        Deed::MakeDirs(path) => ("make a directory, whose path has the hash", of(path)),
        Deed::RemoveFile(path) => ("remove a file, whose path has the hash", of(path)),
        Deed::RemoveDir(path) => ("remove a directory, whose path has the hash", of(path)),
        Deed::Rename(from, to) => ("rename a file, from and to has the hash", mix(of(from), of(to))),
        Deed::SyncDir(path) => ("sync a directory, whose path has the hash", of(path)),
    };
    executor::did(|| hash);
    trace::with_recording(|recording| recording.effect(what, hash));
}

impl Files for DoorFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        self.check_power()?;
        let found = self.disk().lock().find_to_open(path, mode);
        let file = match found {
            Ok(None) => {
                self.change(&Deed::Create(path))?;
                self.disk().lock().tree.file(path)?
            }
            Ok(Some(file)) => self.read(About::Nothing, |_| Ok(file))?,
            Err(error) => self.read(About::Nothing, |_| Err(error))?,
        };
        let mut state = self.disk().lock();
        state.handles += 1;
        Ok(Box::new(DoorFile {
            file,
            files: self.clone(),
            handle: state.handles,
            writable: mode != OpenMode::Read,
        }))
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        let kind = self.read(About::Nothing, |state| state.tree.kind(path))?;
        executor::did(|| kind as u64);
        Ok(kind)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        let stamp = self.read(About::Nothing, |state| Ok(state.tree.find(path)?.stamp()))?;
        executor::did(|| stamp.id.1);
        Ok(stamp)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let names = self.read(About::Nothing, |state| state.tree.list(dir))?;
        executor::did(|| xxh3_64(format!("{names:?}").as_bytes()));
        Ok(names)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.check_power()?;
        // What is there already is looked at, not made.
        let found = self.disk().lock().tree.find(dir);
        match found {
            Ok(Node::Dir(_)) => self.read(About::Nothing, |_| Ok(())),
            _ => self.change(&Deed::MakeDirs(dir)),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(&Deed::RemoveFile(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(&Deed::RemoveDir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(&Deed::Rename(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(&Deed::SyncDir(dir))
    }

    fn available_space(&self, _path: &Path) -> io::Result<u64> {
        let room = self.read(About::Nothing, |state| match state.trouble.is_full() {
            true => {
                state.trouble.was_felt_full();
                Ok(0)
            }
            false => Ok(state.tree.room()),
        })?;
        executor::did(|| room);
        Ok(room)
    }
}

/// A file that the actor has open.
struct DoorFile {
    file: FileRef,
    files: DoorFiles,
    handle: u64,
    writable: bool,
}

impl DoorFile {
    fn write(&self, deed: Deed<'_>) -> io::Result<()> {
        if !self.writable {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.files.change(&deed)
    }

    fn take(&self, shared: bool) -> io::Result<()> {
        self.files.check_power()?;
        let taken = self.file.lock().holds.take((self.files.life, self.handle), shared);
        executor::did(|| u64::from(taken.is_ok()));
        taken
    }
}

impl File for DoorFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let about = About::Part(&self.file, offset, buffer.len());
        let count = self.files.read(about, |_| Ok(self.file.lock().read_at(offset, buffer)))?;
        executor::did(|| xxh3_64(&buffer[..count]));
        Ok(count)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(Deed::Write(&self.file, offset, bytes))
    }

    fn len(&self) -> io::Result<u64> {
        let length = self.files.read(About::File(&self.file), |_| Ok(self.file.lock().len()))?;
        executor::did(|| length);
        Ok(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.write(Deed::SetLen(&self.file, length))
    }

    fn lock(&self) -> io::Result<()> {
        self.take(false)
    }

    fn lock_shared(&self) -> io::Result<()> {
        self.take(true)
    }

    /// Jobs are done one after the other, each to its end: who would have to wait would wait for ever.
    fn lock_in_turn(&self) -> io::Result<()> {
        self.take(false).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ErrorKind::Deadlock.into(),
            _ => error,
        })
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let stamp = self.files.read(About::Nothing, |_| Ok(self.file.stamp()))?;
        executor::did(|| stamp.id.1);
        Ok(stamp)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.files.change(&Deed::Sync(&self.file))
    }
}

impl Drop for DoorFile {
    fn drop(&mut self) {
        self.file.lock().holds.give_back((self.files.life, self.handle));
    }
}
