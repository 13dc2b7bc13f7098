//! Directories: which names there are, which of them are durable, and what was changed since.
//!
//! A change of a directory's entries is durable when that directory has been synced. A rename is one change: it is never
//! half done, and durable when the directory of the new name has been synced. Changes of one name become durable in their
//! order, as with any journal: whoever syncs a change syncs what was done to its names before. Everything else may survive
//! a power loss, or not, in any combination; what survives without what it rests on has nothing to rest on, and is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use runtime::files::{FileKind, Stamp};

use super::fate::Fate;
use super::inode::FileRef;

/// All directories and files of a disk.
pub(super) struct Tree {
    /// The first is the root. Those that were removed stay, as nobody's.
    dirs: Vec<Dir>,
    unsynced: Vec<Change>,
    /// Bytes of all files that have a name.
    used: u64,
    pub(super) capacity: u64,
    /// Whether anybody may ask what is durable.
    tracked: bool,
    /// How many files were made.
    made: u64,
}

#[derive(Default)]
struct Dir {
    seen: BTreeMap<OsString, Node>,
    kept: BTreeMap<OsString, Node>,
}

#[derive(Clone, PartialEq)]
pub(super) enum Node {
    Dir(usize),
    File(FileRef),
}

impl Node {
    /// Which file or directory it is.
    pub(super) fn stamp(&self) -> Stamp {
        match self {
            Node::Dir(dir) => Stamp { kind: FileKind::Directory, id: (1, *dir as u64), changed: (0, 0) },
            Node::File(file) => file.stamp(),
        }
    }
}

/// A directory and a name in it.
type Name = (usize, OsString);

#[derive(Clone)]
enum Change {
    Link(Name, Node),
    Unlink(Name, Node),
    Rename(Name, Name, Node),
}

/// An operation that changes a disk, or makes a change durable.
pub(super) enum Deed<'a> {
    Create(&'a Path),
    Write(&'a FileRef, u64, &'a [u8]),
    SetLen(&'a FileRef, u64),
    Sync(&'a FileRef),
    MakeDirs(&'a Path),
    RemoveFile(&'a Path),
    RemoveDir(&'a Path),
    Rename(&'a Path, &'a Path),
    SyncDir(&'a Path),
}

/// What all files of a disk may come to together, unless a scenario says otherwise.
const CAPACITY: u64 = 1 << 30;

impl Default for Tree {
    fn default() -> Self {
        let dirs = vec![Dir::default()];
        Tree { dirs, unsynced: Vec::new(), used: 0, capacity: CAPACITY, tracked: false, made: 0 }
    }
}

impl Tree {
    /// What a path names.
    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Dir(0);
        for name in names(path)? {
            let Node::Dir(dir) = node else { return Err(ErrorKind::NotADirectory.into()) };
            node = self.dirs[dir].seen.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<FileRef> {
        match self.find(path)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn kind(&self, path: &Path) -> io::Result<FileKind> {
        Ok(self.find(path)?.stamp().kind)
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.dirs[self.dir(path)?].seen.keys().map(PathBuf::from).collect())
    }

    /// Bytes that can still be written.
    pub(super) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// Does what is asked, or nothing of it.
    pub(super) fn perform(&mut self, deed: &Deed<'_>) -> io::Result<()> {
        match *deed {
            Deed::Create(path) => {
                let name = self.place(path)?;
                if self.dirs[name.0].seen.contains_key(&name.1) {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                let file = FileRef::default();
                self.made += 1;
                file.lock().id = self.made;
                file.lock().linked = true;
                self.change(Change::Link(name, Node::File(file)));
            }
            Deed::Write(file, offset, bytes) => {
                let end = offset.checked_add(bytes.len() as u64).ok_or(ErrorKind::FileTooLarge)?;
                let mut inode = file.lock();
                self.used += self.growth(inode.len(), end, inode.linked)?;
                inode.write_at(offset, bytes, self.tracked);
            }
            Deed::SetLen(file, length) => {
                let mut inode = file.lock();
                self.used += self.growth(inode.len(), length, inode.linked)?;
                if inode.linked {
                    self.used -= inode.len().saturating_sub(length);
                }
                inode.set_len(length, self.tracked);
            }
            Deed::Sync(file) => {
                if self.tracked {
                    file.lock().sync();
                }
            }
            Deed::MakeDirs(path) => {
                if self.make_dirs(path, usize::MAX)? == 0 {
                    self.dir(path)?;
                }
            }
            Deed::RemoveFile(path) => {
                let file = self.file(path)?;
                let name = self.place(path)?;
                self.forget(&file);
                self.change(Change::Unlink(name, Node::File(file)));
            }
            Deed::RemoveDir(path) => {
                let dir = self.dir(path)?;
                if !self.dirs[dir].seen.is_empty() {
                    return Err(ErrorKind::DirectoryNotEmpty.into());
                }
                let name = self.place(path)?;
                self.change(Change::Unlink(name, Node::Dir(dir)));
            }
            Deed::Rename(from, to) => {
                let file = self.file(from)?;
                let (from, to) = (self.place(from)?, self.place(to)?);
                match self.dirs[to.0].seen.get(&to.1) {
                    Some(Node::Dir(_)) => return Err(ErrorKind::IsADirectory.into()),
                    Some(Node::File(same)) if *same == file => return Ok(()),
                    Some(Node::File(replaced)) => self.forget(&replaced.clone()),
                    None => {}
                }
                self.change(Change::Rename(from, to, Node::File(file)));
            }
            Deed::SyncDir(path) => {
                let dir = self.dir(path)?;
                self.sync_dir(dir);
            }
        }
        Ok(())
    }

    /// Does as much of it as fate has it: the process ended in the middle.
    pub(super) fn perform_partly(&mut self, deed: &Deed<'_>, fate: &mut Fate) {
        let done = match *deed {
            Deed::Write(file, offset, bytes) => {
                let parts = fate.sectors(offset, bytes.len());
                parts.into_iter().try_for_each(|part| {
                    self.perform(&Deed::Write(file, offset + part.start as u64, &bytes[part]))
                })
            }
            Deed::MakeDirs(path) if !fate.spares_all() => {
                let missing = path.ancestors().filter(|dir| self.find(dir).is_err()).count();
                self.make_dirs(path, fate.up_to(missing)).map(|_| ())
            }
            _ if fate.spares() => self.perform(deed),
            _ => Ok(()),
        };
        // Nobody is left to be told that it failed.
        drop(done);
    }

    /// The power goes. What is not durable meets its fate.
    pub(super) fn lose_power(&mut self, fate: &mut Fate) {
        let unsynced = std::mem::take(&mut self.unsynced);
        if !fate.spares_all() {
            for change in unsynced {
                if fate.spares() {
                    self.keep(&change, false);
                }
            }
            self.dirs.iter_mut().for_each(|dir| dir.seen = dir.kept.clone());
        }
        self.used = 0;
        for (_, file) in self.files() {
            let mut inode = file.lock();
            inode.lose_power(fate);
            inode.linked = true;
            self.used += inode.len();
        }
        self.track();
    }

    /// From here on it matters what is durable: all that there is.
    pub(super) fn track(&mut self) {
        self.tracked = true;
        self.unsynced.clear();
        self.dirs.iter_mut().for_each(|dir| dir.kept = dir.seen.clone());
        self.files().iter().for_each(|(_, file)| file.lock().track());
    }

    /// Whether it is known what is durable.
    pub(super) fn is_tracked(&self) -> bool {
        self.tracked
    }

    /// Makes everything durable.
    pub(super) fn sync_all(&mut self) {
        if self.tracked {
            (0..self.dirs.len()).for_each(|dir| self.sync_dir(dir));
            self.files().iter().for_each(|(_, file)| file.lock().sync());
        }
    }

    /// All files that have a name, in order.
    pub(super) fn files(&self) -> Vec<(PathBuf, FileRef)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), 0)];
        while let Some((path, dir)) = open.pop() {
            for (name, node) in &self.dirs[dir].seen {
                match node {
                    Node::Dir(dir) => open.push((path.join(name), *dir)),
                    Node::File(file) => found.push((path.join(name), file.clone())),
                }
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found
    }

    fn dir(&self, path: &Path) -> io::Result<usize> {
        match self.find(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory that has, or would have, the name.
    fn place(&self, path: &Path) -> io::Result<Name> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        Ok((self.dir(parent)?, name.into()))
    }

    /// How many bytes more are used when a file grows.
    fn growth(&self, old: u64, new: u64, linked: bool) -> io::Result<u64> {
        let growth = new.saturating_sub(old);
        match growth > self.room() {
            true => Err(ErrorKind::StorageFull.into()),
            false => Ok(if linked { growth } else { 0 }),
        }
    }

    /// A file loses its name.
    fn forget(&mut self, file: &FileRef) {
        let mut inode = file.lock();
        inode.linked = false;
        self.used -= inode.len();
    }

    /// Makes the first so many of the directories that are missing. Says how many were made.
    fn make_dirs(&mut self, path: &Path, most: usize) -> io::Result<usize> {
        let (mut at, mut made) = (0, 0);
        for name in names(path)? {
            at = match self.dirs[at].seen.get(name) {
                Some(Node::Dir(dir)) => *dir,
                Some(Node::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None if made == most => break,
                None => {
                    let dir = self.dirs.len();
                    self.dirs.push(Dir::default());
                    self.change(Change::Link((at, name.into()), Node::Dir(dir)));
                    made += 1;
                    dir
                }
            };
        }
        Ok(made)
    }

    fn change(&mut self, change: Change) {
        match &change {
            Change::Link((dir, name), node) => _ = self.dirs[*dir].seen.insert(name.clone(), node.clone()),
            Change::Unlink((dir, name), _) => _ = self.dirs[*dir].seen.remove(name),
            Change::Rename((from, old), (to, new), node) => {
                self.dirs[*from].seen.remove(old);
                self.dirs[*to].seen.insert(new.clone(), node.clone());
            }
        }
        if self.tracked {
            self.unsynced.push(change);
        }
    }

    fn sync_dir(&mut self, synced: usize) {
        // Backwards, so that it is known which names matter when what was done to them before comes up.
        let mut names = BTreeSet::new();
        let (mut durable, mut pending) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.unsynced).into_iter().rev() {
            let touched: Vec<Name> = match &change {
                Change::Link(name, _) | Change::Unlink(name, _) => vec![name.clone()],
                Change::Rename(from, to, _) => vec![to.clone(), from.clone()],
            };
            match touched[0].0 == synced || touched.iter().any(|name| names.contains(name)) {
                true => {
                    names.extend(touched);
                    durable.push(change);
                }
                false => pending.push(change),
            }
        }
        pending.reverse();
        self.unsynced = pending;
        durable.iter().rev().for_each(|change| self.keep(change, true));
    }

    /// Makes a change durable, unless what it rests on is not there. A directory whose removal was synced is gone, whatever
    /// in it had not been.
    fn keep(&mut self, change: &Change, synced: bool) {
        let has = |name: &Name, node: &Node| self.dirs[name.0].kept.get(&name.1) == Some(node);
        match change {
            Change::Link((dir, name), node) => {
                self.dirs[*dir].kept.entry(name.clone()).or_insert_with(|| node.clone());
            }
            Change::Unlink(name, node) if has(name, node) => {
                let full = matches!(node, Node::Dir(dir) if !self.dirs[*dir].kept.is_empty());
                if synced || !full {
                    self.dirs[name.0].kept.remove(&name.1);
                }
            }
            Change::Rename(from, to, node) if has(from, node) && !self.keeps_dir(to) => {
                self.dirs[from.0].kept.remove(&from.1);
                self.dirs[to.0].kept.insert(to.1.clone(), node.clone());
            }
            _ => {}
        }
    }

    fn keeps_dir(&self, name: &Name) -> bool {
        matches!(self.dirs[name.0].kept.get(&name.1), Some(Node::Dir(_)))
    }
}

/// The names on the way from the root. A path of the process is one from the root.
fn names(path: &Path) -> io::Result<impl Iterator<Item = &OsStr>> {
    match path.components().any(|component| component == Component::ParentDir) {
        true => Err(ErrorKind::InvalidInput.into()),
        false => Ok(path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })),
    }
}
