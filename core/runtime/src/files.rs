//! Files and directories, as traits: what a disk can do, and where it can fail.
//!
//! The calls block. Core makes them inside [`Runtime::blocking`](crate::Runtime::blocking), so that a
//! slow disk stops nobody else. Nothing is durable before its sync has returned: `sync_data` for a file's
//! bytes and length, [`Files::sync_dir`] for the entry that names it.

use std::io;
use std::path::{Path, PathBuf};

/// A file system, or the part of one that a server may use.
pub trait Files: Send + Sync {
    /// Opens a file. Errors: `NotFound`, `AlreadyExists` (for [`OpenMode::CreateNew`]), and the disk's own.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>>;

    /// What the path names: `NotFound` when nothing.
    fn kind(&self, path: &Path) -> io::Result<FileKind>;

    /// The entries' names, sorted. `NotFound` when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// The entries of a directory that `wanted` asks for by their names, sorted, each with its [`Head`]. `NotFound` when
    /// there is no such directory; of an entry, when it has gone since it was listed.
    fn heads(&self, dir: &Path, most: usize, wanted: &dyn Fn(&Path) -> bool) -> io::Result<Vec<Entry>> {
        let names = self.list(dir)?.into_iter().filter(|name| wanted(name));
        let entry = |name: PathBuf| (name.clone(), head(self, &dir.join(name), most));
        Ok(names.map(entry).collect())
    }

    /// Makes a directory and its missing parents. It is no error if it is there.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes a directory in one that is there: `NotFound` when it is not. It is no error if it is there itself.
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if let Some(parent) = dir.parent() {
            self.kind(parent)?;
        }
        self.create_dir_all(dir)
    }

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file, replacing what was at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Lets the owner of a directory change its entries, though somebody has protected it. Nothing where nobody can.
    fn allow_writing(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Makes the directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that can still be written below `path`.
    fn available_space(&self, path: &Path) -> io::Result<u64>;
}

/// How [`Files::open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file that must not exist yet, to read and write.
    CreateNew,
    /// A file to read and write, made when it does not exist.
    CreateOrOpen,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// Neither: a device, a socket, a link to nowhere.
    Other,
}

/// An entry of a directory: its name and what it is, or why that cannot be told.
pub type Entry = (PathBuf, io::Result<Head>);

/// What a file is, by its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is. Nothing but a file is opened: a pipe or a device may keep whoever does so waiting for ever.
    pub kind: FileKind,
    /// Bytes of the file; 0 when it is none.
    pub length: u64,
    /// Its first bytes, as many as were asked for or as it has.
    pub bytes: Vec<u8>,
}

/// The head of a file, one operation after the other.
pub(crate) fn head<F: Files + ?Sized>(files: &F, path: &Path, most: usize) -> io::Result<Head> {
    let kind = files.kind(path)?;
    if kind != FileKind::File {
        return Ok(Head { kind, length: 0, bytes: Vec::new() });
    }
    let file = files.open(path, OpenMode::Read)?;
    let length = file.len()?;
    let mut bytes = vec![0; most.min(usize::try_from(length).unwrap_or(most))];
    let got = file.read_full_at(0, &mut bytes)?;
    bytes.truncate(got);
    Ok(Head { kind, length, bytes })
}

/// An open file. Offsets are absolute; there is no cursor.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset` and says how many; 0 at or past the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`; a gap before it reads as zeros.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// True when the length is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Takes the file for this process alone, until it is dropped. `WouldBlock` when someone else has it.
    fn lock(&self) -> io::Result<()>;

    /// Makes the bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Reads until `buffer` is full or the file ends, and says how many bytes.
    fn read_full_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(offset + filled as u64, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
