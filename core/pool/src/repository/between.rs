//! Files where something happens between two operations of ours: as when another process does it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use runtime::files::{File, FileKind, Files, OpenMode, Stamp};

/// What happens to what was opened or made.
pub type Happens = Box<dyn FnOnce(&Path) + Send>;

/// Files where one thing after the other happens, each when something has been opened or made.
pub struct Between {
    files: Arc<dyn Files>,
    happen: Mutex<VecDeque<Happens>>,
}

impl Between {
    /// Nothing happens so far.
    pub fn new(files: Arc<dyn Files>) -> Between {
        Between { files, happen: Mutex::default() }
    }

    /// What will happen.
    pub fn next(&self, happen: impl IntoIterator<Item = Happens>) {
        self.happen.lock().unwrap().extend(happen);
    }

    fn happens(&self, path: &Path) {
        let next = self.happen.lock().unwrap().pop_front();
        if let Some(happens) = next {
            happens(path);
        }
    }
}

impl Files for Between {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let file = self.files.open(path, mode)?;
        self.happens(path);
        Ok(file)
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        self.files.kind(path)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        self.files.stamp(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.files.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir_all(dir)?;
        self.happens(dir);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.files.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.remove_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.sync_dir(dir)
    }

    fn available_space(&self, path: &Path) -> io::Result<u64> {
        self.files.available_space(path)
    }
}
