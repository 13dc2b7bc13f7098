//! The file that redb stands on: the runtime's, never one of its own.
//!
//! It remembers whether the disk ever failed, so that a failing disk can be told from a damaged file, and it can be
//! severed, so that a database that is given up cannot write any more.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use runtime::files::File;

use crate::lock::lock;

/// The lease database's file. Clones are the same file in the same health.
#[derive(Clone)]
pub(super) struct DatabaseFile {
    file: Arc<dyn File>,
    health: Arc<Health>,
}

#[derive(Default)]
struct Health {
    /// Held by every call while it lasts: when it has been severed, none is on its way any more.
    severed: RwLock<bool>,
    /// Something could not be made durable: what is read from the file may not be on the disk.
    doubtful: AtomicBool,
    /// The first failure of the disk.
    failure: Mutex<Option<String>>,
}

impl DatabaseFile {
    pub fn new(file: Arc<dyn File>) -> Self {
        DatabaseFile { file, health: Arc::default() }
    }

    /// What the disk said when it failed first, if it did.
    pub fn failure(&self) -> Option<String> {
        lock(&self.health.failure).clone()
    }

    /// The disk failed, or this was severed.
    pub fn is_useless(&self) -> bool {
        *self.gate() || self.failure().is_some()
    }

    /// Something could not be made durable.
    pub fn is_doubtful(&self) -> bool {
        self.health.doubtful.load(Ordering::Acquire)
    }

    /// The file itself.
    pub fn file(&self) -> Arc<dyn File> {
        self.file.clone()
    }

    /// Nothing is read or written through this any more.
    pub fn sever(&self) {
        *self.health.severed.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn gate(&self) -> RwLockReadGuard<'_, bool> {
        self.health.severed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T>(&self, call: impl FnOnce(&dyn File) -> io::Result<T>) -> io::Result<T> {
        let severed = self.gate();
        if *severed {
            return Err(io::Error::other("this database was given up"));
        }
        call(&*self.file).inspect_err(|error| {
            lock(&self.health.failure).get_or_insert_with(|| error.to_string());
        })
    }
}

/// Makes durable what is read from a file of which something could not be. The system tells of that once, and then takes
/// for written what is in its memory alone: no later sync writes it, and only the loss of the power shows that it is not
/// there. So all of it is written again.
pub(super) fn write_again(file: &dyn File) -> io::Result<()> {
    let (length, mut piece) = (file.len()?, vec![0; PIECE]);
    let mut offset = 0;
    while offset < length {
        let count = file.read_full_at(offset, &mut piece)?;
        if count == 0 {
            break;
        }
        file.write_all_at(offset, &piece[..count])?;
        offset += count as u64;
    }
    file.sync_data()
}

/// How much of the file is in memory at a time.
const PIECE: usize = 1 << 20;

impl redb::StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        self.call(|file| file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.call(|file| file.read_full_at(offset, out))? < out.len() {
            // The file is damaged, and the disk has not failed. redb takes both alike and refuses everything from now on.
            self.sever();
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.call(|file| file.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(|file| file.sync_data())
            .inspect_err(|_| self.health.doubtful.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.call(|file| file.write_all_at(offset, bytes))
    }
}

impl fmt::Debug for DatabaseFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseFile")
    }
}
