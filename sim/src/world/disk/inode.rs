//! A file: what a process sees of it, what is durable, and what lies between the two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::files::{FileKind, Stamp};

use super::fate::Fate;
use super::holds::Holds;
use super::pages::{Pages, place};

/// A file, whichever names it has.
#[derive(Clone, Default)]
pub(super) struct FileRef(Arc<Mutex<Inode>>);

impl FileRef {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which file it is. Its number alone tells.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp { kind: FileKind::File, id: (0, self.lock().id), changed: (0, 0) }
    }
}

impl PartialEq for FileRef {
    fn eq(&self, other: &FileRef) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A file's content.
#[derive(Default)]
pub(super) struct Inode {
    seen: Pages,
    /// What is durable. Only kept up when somebody may ask for it.
    kept: Pages,
    /// Pages that were written to, and changes that were made, since the last sync; the same.
    dirty: Vec<usize>,
    unsynced: Vec<Change>,
    /// A sync has failed: some of what is seen is not durable, and is not dirty either.
    lost: bool,
    /// Some directory names it.
    pub(super) linked: bool,
    /// Its number; no other file of the disk ever has it.
    pub(super) id: u64,
    /// Who has it.
    pub(super) holds: Holds,
    /// Bytes in which a bit has rotted.
    pub(super) rotten: Vec<u64>,
}

enum Change {
    Write(u64, Box<[u8]>),
    Length(u64),
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.seen.len()
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        self.seen.read_at(offset, buffer)
    }

    /// Writes; `tracked` says whether to remember that it is not durable.
    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8], tracked: bool) {
        let end = offset + bytes.len() as u64;
        if tracked && !bytes.is_empty() {
            if end > self.len() {
                self.unsynced.push(Change::Length(end));
            }
            self.unsynced.push(Change::Write(offset, bytes.into()));
            self.dirty.extend(place(offset).0..=place(end - 1).0);
        }
        if !bytes.is_empty() {
            self.seen.write_at(offset, bytes);
        }
    }

    pub(super) fn set_len(&mut self, length: u64, tracked: bool) {
        if tracked && length != self.len() {
            self.unsynced.push(Change::Length(length));
            if length < self.len() {
                self.dirty.extend(place(length).0..=place(self.len() - 1).0);
            }
        }
        self.seen.set_len(length);
    }

    /// A bit of what is stored flips. What is durable rots with it, unless it is about to be overwritten.
    pub(super) fn rot(&mut self, at: u64, bit: u8) {
        self.seen.flip(at, bit);
        if !self.dirty.contains(&place(at).0) {
            self.kept.flip(at, bit);
        }
        self.rotten.push(at);
    }

    /// Everything is durable.
    pub(super) fn sync(&mut self) {
        self.kept.set_len(self.seen.len());
        for page in self.dirty.drain(..) {
            self.kept.take_page(page, &self.seen);
        }
        self.unsynced.clear();
    }

    /// A sync fails: what was not durable stays to be seen, but the system takes it for written, and no later sync makes it
    /// durable. So Linux does, and tells of it once.
    pub(super) fn fail_to_sync(&mut self) {
        self.lost |= !self.unsynced.is_empty();
        self.dirty.clear();
        self.unsynced.clear();
    }

    /// From here on it matters what is durable: all that there is.
    pub(super) fn track(&mut self) {
        self.kept = self.seen.clone();
    }

    /// The power goes: what was not durable meets its fate.
    pub(super) fn lose_power(&mut self, fate: &mut Fate) {
        if self.lost || !fate.spares_all() {
            self.seen = self.survivor(fate);
        }
        self.lost = false;
        self.kept = self.seen.clone();
        self.dirty.clear();
        self.unsynced.clear();
    }

    /// Lengths survive in their order, as all of a file's own record does on a file system with a journal; writes
    /// survive each by itself, sector by sector. Of a write beyond the length that survives nothing is seen.
    fn survivor(&self, fate: &mut Fate) -> Pages {
        let mut image = self.kept.clone();
        let mut length = image.len();
        let lengths = self.unsynced.iter().filter(|change| matches!(change, Change::Length(_))).count();
        let mut lengths_left = fate.up_to(lengths);
        for change in &self.unsynced {
            match change {
                Change::Length(next) if lengths_left > 0 => {
                    lengths_left -= 1;
                    if *next < length {
                        image.set_len(*next);
                    }
                    length = *next;
                }
                Change::Length(_) => {}
                Change::Write(offset, bytes) => {
                    for part in fate.sectors(*offset, bytes.len()) {
                        image.write_at(*offset + part.start as u64, &bytes[part]);
                    }
                }
            }
        }
        image.set_len(length);
        image
    }
}
