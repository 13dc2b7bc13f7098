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

    /// What the path names, and which one that is: `NotFound` when nothing.
    fn stamp(&self, _path: &Path) -> io::Result<Stamp> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether the path names this open file: by now somebody may have renamed or removed it.
    fn names(&self, path: &Path, file: &dyn File) -> io::Result<bool> {
        match self.stamp(path) {
            Ok(stamp) => Ok(stamp.id == file.stamp()?.id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

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

/// Which file it is. Two stamps that differ are of two files, or of one that was changed or renamed between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What it is.
    pub kind: FileKind,
    /// Its number, and the number of its file system: no other file has them as long as this one is there.
    pub id: (u64, u64),
    /// When its bytes or its names were last changed, as the file system has it. The number of a file that was removed is given
    /// to others, but not at the same time.
    pub changed: (i64, i64),
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

    /// Takes the file for this handle alone, until it is dropped or the process ends. `WouldBlock` when some other handle has
    /// it, of whichever process; what this one had of it before is then gone.
    fn lock(&self) -> io::Result<()>;

    /// Takes the file as [`lock`](File::lock) does, but together with others who take it so.
    fn lock_shared(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes the file as [`lock`](File::lock) does, when it is this handle's turn. It is for what everybody has for a few
    /// operations within a job: nobody can be told to stop waiting.
    fn lock_in_turn(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Which file it is.
    fn stamp(&self) -> io::Result<Stamp> {
        Err(io::ErrorKind::Unsupported.into())
    }

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
