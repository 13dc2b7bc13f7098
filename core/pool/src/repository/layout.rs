//! Which file is where. All methods touch the disk: they are called in jobs.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::files::{File, FileKind, Files, OpenMode, Stamp};

use super::if_there;
use crate::key::Key;

/// How often a directory is made again that somebody else removes at the same time.
const ATTEMPTS: u32 = 100;

/// The names of files in a directory of objects.
#[derive(Clone, Debug)]
pub struct Layout {
    root: Arc<Path>,
}

impl Layout {
    /// The layout below `root`.
    pub fn new(root: &Path) -> Layout {
        Layout { root: root.into() }
    }

    /// Makes the directories that are always there in a repository of our own.
    pub fn make(&self, files: &dyn Files) -> io::Result<()> {
        for name in ["incoming", "retention"] {
            files.create_dir_all(&self.root.join(name))?;
        }
        // Who removes an object needs this file, be there room for it by then or not. Who only reads needs none.
        let _ = files.open(&self.turn(), OpenMode::CreateOrOpen);
        files.sync_dir(&self.root)?;
        // The root may be new as well: with its entry all that is in it would be lost.
        let above = self.root.parent().filter(|above| !above.as_os_str().is_empty());
        match files.sync_dir(above.unwrap_or(Path::new("."))) {
            // What we may not look into was not made by us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    }

    /// What has come of an object so far.
    pub fn incoming(&self, key: &Key) -> PathBuf {
        self.root.join("incoming").join(file_name(key))
    }

    /// Until when locks keep an object.
    pub fn retention(&self, key: &Key) -> PathBuf {
        self.root.join("retention").join(file_name(key))
    }

    /// Whose turn it is to change who may do what. No key has such a name.
    pub fn turn(&self) -> PathBuf {
        self.root.join("retention").join(".turn")
    }

    /// Where a special remote has what has not all come yet.
    pub fn spools(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Whether the directory itself is there. What is on a disk that is not is not absent.
    pub fn is_there(&self, files: &dyn Files) -> io::Result<bool> {
        Ok(if_there(files.kind(&self.root))? == Some(FileKind::Directory))
    }

    /// Opens an object; none when it is not there.
    pub fn open(&self, files: &dyn Files, key: &Key) -> io::Result<Option<Box<dyn File>>> {
        for place in self.places(key) {
            if let Some(file) = if_there(files.open(&place, OpenMode::Read))? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Where an object is, and which file; none when it is not there.
    pub fn find(&self, files: &dyn Files, key: &Key) -> io::Result<Option<(PathBuf, Stamp)>> {
        for place in self.places(key) {
            let stamp = if_there(files.stamp(&place))?;
            if let Some(stamp) = stamp.filter(|stamp| stamp.kind == FileKind::File) {
                return Ok(Some((place, stamp)));
            }
        }
        Ok(None)
    }

    /// Makes what has come to `from` an object. Its bytes are durable already; so is the object when these directories are.
    /// Whoever removes the one that was there before may take its directory away, again and again.
    pub fn publish(&self, files: &dyn Files, from: &Path, key: &Key) -> io::Result<Vec<PathBuf>> {
        let [lower, _] = self.places(key);
        let try_to = || {
            files.create_dir_all(parent(&lower))?;
            change(files, parent(&lower), || files.rename(from, &lower))
        };
        let mut attempts = ATTEMPTS;
        loop {
            match try_to() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts > 0 => attempts -= 1,
                published => {
                    published?;
                    return Ok(above(&lower).map(Path::to_owned).collect());
                }
            }
        }
    }

    /// Has an object stay where it is should the power fail now: one that a process published and then died may be seen before
    /// it is durable. False when it is removed meanwhile.
    pub fn keep(&self, files: &dyn Files, place: &Path) -> io::Result<bool> {
        Ok(if_there(above(place).try_for_each(|directory| files.sync_dir(directory)))?.is_some())
    }

    /// Removes an object, durably, wherever it is.
    pub fn remove(&self, files: &dyn Files, key: &Key) -> io::Result<()> {
        let directories = self.take_away(files, key)?;
        self.sweep(files, &directories)
    }

    /// Removes an object, wherever it is. It is durably gone when these directories have been swept.
    pub fn take_away(&self, files: &dyn Files, key: &Key) -> io::Result<Vec<PathBuf>> {
        let mut directories = Vec::new();
        for place in self.places(key) {
            let directory = parent(&place);
            if if_there(change(files, directory, || files.remove_file(&place)))?.is_some() {
                directories.push(directory.to_owned());
            }
        }
        Ok(directories)
    }

    /// Makes it durable that an object has gone from its directories, and removes those.
    pub fn sweep(&self, files: &dyn Files, directories: &[PathBuf]) -> io::Result<()> {
        for directory in directories {
            if_there(files.sync_dir(directory))?;
            // Others may be using the directory: what cannot be removed stays.
            let _ = files.remove_dir(directory);
        }
        Ok(())
    }

    /// Where an object may be: where we put it, and where a repository of another kind has it.
    fn places(&self, key: &Key) -> [PathBuf; 2] {
        let name = file_name(key);
        let below = |[first, second]: [String; 2]| self.root.join(first).join(second).join(&name).join(&name);
        [below(key.lower_directories()), below(key.mixed_directories())]
    }
}

/// Changes a directory of one object. The real program protects those against being written to.
fn change(files: &dyn Files, directory: &Path, change: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match change() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            files.allow_writing(directory)?;
            change()
        }
        changed => changed,
    }
}

/// The directories that must be durable for an object to be. All may be new: their entries must not be lost either.
fn above(object: &Path) -> impl Iterator<Item = &Path> {
    object.ancestors().skip(1).take(4)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn file_name(key: &Key) -> OsString {
    OsString::from_vec(key.file_name())
}

#[cfg(test)]
mod tests {
    use super::super::between::{Between, Happens};
    use super::*;
    use runtime::real::RealWorld;

    #[test]
    fn an_object_appears_though_its_directory_is_removed_again_and_again() {
        let place = tempfile::tempdir().unwrap();
        let (layout, key) = (Layout::new(place.path()), Key::parse("WORM-s5--hello").unwrap());
        let files = Between::new(RealWorld::runtime().files());
        let put = || {
            let from = place.path().join("from");
            std::fs::write(&from, "hello").unwrap();
            layout.publish(&files, &from, &key)
        };
        let removed = || -> Happens { Box::new(|dir| std::fs::remove_dir(dir).unwrap()) };
        files.next([removed(), removed()]);
        put().unwrap();
        assert!(layout.find(&files, &key).unwrap().is_some());
        layout.remove(&files, &key).unwrap();
        files.next((0..=ATTEMPTS).map(|_| removed()));
        assert!(put().is_err(), "nobody tries for ever");
    }
}
