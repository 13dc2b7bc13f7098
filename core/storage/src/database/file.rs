//! The file that redb stands on: the runtime's, never one of its own.
//!
//! It remembers whether the disk ever failed, so that a failing disk can be told from a damaged file, and it can be
//! severed, so that a database that is given up cannot write any more.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

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
    severed: AtomicBool,
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
        self.health.severed.load(Ordering::Acquire) || self.failure().is_some()
    }

    /// The file itself.
    pub fn file(&self) -> Arc<dyn File> {
        self.file.clone()
    }

    /// Nothing is read or written through this any more.
    pub fn sever(&self) {
        self.health.severed.store(true, Ordering::Release);
    }

    fn call<T>(&self, call: impl FnOnce(&dyn File) -> io::Result<T>) -> io::Result<T> {
        if self.health.severed.load(Ordering::Acquire) {
            return Err(io::Error::other("this database was given up"));
        }
        call(&*self.file).inspect_err(|error| {
            lock(&self.health.failure).get_or_insert_with(|| error.to_string());
        })
    }
}

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
