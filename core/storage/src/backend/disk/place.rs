//! The directories of a [`Disk`](super::Disk), and the few steps of which everything on it is made.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::files::{Entry, File, FileKind, Files, OpenMode};

use crate::container::HEAD;
use crate::error::StorageError;
use crate::layout::{below, parse_incoming, parse_index, parse_prefix, parse_share};
use crate::lock::lock;
use crate::share::{Prefix, ShareId};

/// Where the shares are. All methods touch the disk: they are called in jobs.
#[derive(Clone)]
pub(super) struct Place {
    files: Arc<dyn Files>,
    root: PathBuf,
    /// Directories of prefixes whose own entries this process has made durable. It never removes one.
    durable: Arc<Mutex<BTreeSet<Prefix>>>,
}

impl Place {
    pub fn new(files: Arc<dyn Files>, root: &Path) -> Place {
        Place { files, root: root.to_owned(), durable: Arc::default() }
    }

    pub fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// Bytes that can still be written.
    pub fn available_space(&self) -> Result<u64, StorageError> {
        Ok(self.files.available_space(&self.root)?)
    }

    /// Makes the directories that are always there, durably. A crash may have undone that last time, so it is done anew.
    pub fn make_root(&self) -> Result<(), StorageError> {
        let missing = self.missing_ancestors()?;
        self.files.create_dir_all(&self.incoming())?;
        self.files.sync_dir(&self.shares())?;
        self.files.sync_dir(&self.root)?;
        match self.files.sync_dir(parent_of(&self.root)) {
            // A directory that we may not even look into was not made by us, nor was the entry in it.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
        missing.iter().try_for_each(|made| Ok(self.files.sync_dir(parent_of(made))?))
    }

    /// The directories above the root that are not there, the lowest first.
    fn missing_ancestors(&self) -> Result<Vec<PathBuf>, StorageError> {
        let mut missing = Vec::new();
        for ancestor in self.root.ancestors().skip(1).filter(|ancestor| *ancestor != Path::new("")) {
            match self.files.kind(ancestor) {
                Err(error) if error.kind() == ErrorKind::NotFound => missing.push(ancestor.to_owned()),
                // What cannot be looked at was not made by us.
                _ => break,
            }
        }
        Ok(missing)
    }

    /// An error when the directories are not there that always are: the volume is not mounted, or somebody has moved it.
    /// What is not found then is no absence.
    pub fn check_root(&self) -> Result<(), StorageError> {
        match self.files.kind(&self.incoming()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(io::Error::other("the directory of the shares is not there").into())
            }
            looked => Ok(looked.map(drop)?),
        }
    }

    /// Where the published shares of a file are.
    pub fn shareset(&self, index: &StorageIndex) -> PathBuf {
        below(self.shares(), index)
    }

    /// Where a published share is.
    pub fn share(&self, id: ShareId) -> PathBuf {
        self.shareset(&id.index).join(id.share.to_string())
    }

    /// The prefixes that have a directory.
    pub fn prefixes(&self) -> Result<BTreeSet<Prefix>, StorageError> {
        let listed = self.list(&self.shares())?;
        if listed.is_empty() {
            self.check_root()?;
        }
        Ok(listed.iter().filter_map(|name| parse_prefix(name)).collect())
    }

    /// The files that have a directory under a prefix.
    pub fn indexes(&self, prefix: Prefix) -> Result<BTreeSet<StorageIndex>, StorageError> {
        let names = self.list(&self.shares().join(prefix.to_string()))?;
        let indexes = names.iter().filter_map(|name| parse_index(name));
        Ok(indexes.filter(|index| Prefix::of(index) == prefix).collect())
    }

    /// The names in a directory; none when it is not there, or is no directory.
    pub fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, StorageError> {
        self.none_if_no_directory(directory, self.files.list(directory))
    }

    /// The numbers that have a name among a file's shares.
    pub fn numbers(&self, index: &StorageIndex) -> Result<BTreeSet<ShareNumber>, StorageError> {
        Ok(self.list(&self.shareset(index))?.iter().filter_map(|name| parse_share(name)).collect())
    }

    /// What is under the names of a file's shares, as far as their first bytes tell.
    pub fn heads(&self, index: &StorageIndex) -> Result<Vec<Entry>, StorageError> {
        let shareset = self.shareset(index);
        let heads = self.files.heads(&shareset, HEAD, &|name| parse_share(name).is_some());
        self.none_if_no_directory(&shareset, heads)
    }

    fn none_if_no_directory<T>(
        &self,
        directory: &Path,
        listed: io::Result<Vec<T>>,
    ) -> Result<Vec<T>, StorageError> {
        match listed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => match self.files.kind(directory) {
                Ok(FileKind::File | FileKind::Other) => Ok(Vec::new()),
                _ => Err(error.into()),
            },
            Ok(entries) => Ok(entries),
        }
    }

    /// Makes a fresh file for a share on its way in. What an earlier attempt left there goes; it is removed and not cut,
    /// for a power failure in the middle of a rename may have left one file under both names.
    pub fn begin(&self, id: ShareId) -> Result<Box<dyn File>, StorageError> {
        let path = self.incoming_file(id);
        Ok(match self.files.open(&path, OpenMode::CreateNew) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.files.remove_file(&path)?;
                self.files.open(&path, OpenMode::CreateNew)?
            }
            opened => opened?,
        })
    }

    /// Makes a fresh file for a share on its way in, with all of its bytes, which are durable on return.
    pub fn write_whole(&self, id: ShareId, bytes: &[u8]) -> Result<(), StorageError> {
        let file = self.begin(id)?;
        let written = file.write_all_at(0, bytes).and_then(|()| file.sync_data());
        self.forget_if_failed(id, written.map_err(StorageError::from))
    }

    /// When something about the incoming file of a share has failed, there is no such file any more.
    pub fn forget_if_failed<T>(&self, id: ShareId, done: Result<T, StorageError>) -> Result<T, StorageError> {
        if done.is_err() {
            // Best effort: the disk is full or worse, and the name is of no account.
            let _ = self.remove_incoming(id);
        }
        done
    }

    /// Gives the incoming file, whose bytes are durable, its name among the shares. Durable on return.
    pub fn publish(&self, id: ShareId) -> Result<(), StorageError> {
        let (shareset, prefix) = (self.shareset(&id.index), Prefix::of(&id.index));
        match self.files.create_dir(&shareset) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody else removed the prefix, or it never was.
                lock(&self.durable).remove(&prefix);
                self.files.create_dir_all(&shareset)?;
            }
            made => made?,
        }
        self.files.rename(&self.incoming_file(id), &shareset.join(id.share.to_string()))?;
        self.make_durable(&id.index)
    }

    /// Makes the entries of a file's published shares durable, then those of the directories on the way to them. That
    /// they were there before does not make them so: whoever made them may have died before it came to that.
    pub fn make_durable(&self, index: &StorageIndex) -> Result<(), StorageError> {
        let prefix = Prefix::of(index);
        self.files.sync_dir(&self.shareset(index))?;
        self.files.sync_dir(&self.shares().join(prefix.to_string()))?;
        if !lock(&self.durable).contains(&prefix) {
            self.files.sync_dir(&self.shares())?;
            lock(&self.durable).insert(prefix);
        }
        Ok(())
    }

    /// Removes a published share, if it is there. Durable on return, also when an earlier attempt had removed it.
    pub fn remove_published(&self, id: ShareId) -> Result<(), StorageError> {
        self.remove(&self.shareset(&id.index), id.share)
    }

    /// Removes the incoming file of a share, if it is there, also one of Tahoe-LAFS. Durable on return.
    pub fn remove_incoming(&self, id: ShareId) -> Result<(), StorageError> {
        absent(self.files.remove_file(&self.incoming_file(id)))?;
        self.files.sync_dir(&self.incoming())?;
        self.remove(&below(self.incoming(), &id.index), id.share)
    }

    /// Every share that has an incoming file, also one of Tahoe-LAFS.
    pub fn all_incoming(&self) -> Result<BTreeSet<ShareId>, StorageError> {
        let mut found = BTreeSet::new();
        for name in self.list(&self.incoming())? {
            if let Some(id) = parse_incoming(&name) {
                found.insert(id);
                continue;
            }
            if parse_prefix(&name).is_none() {
                continue;
            }
            let prefix = self.incoming().join(name);
            for index in self.list(&prefix)?.iter().filter_map(|name| parse_index(name)) {
                let shares = self.list(&prefix.join(index.to_string()))?;
                let shares = shares.iter().filter_map(|name| parse_share(name));
                found.extend(shares.map(|share| ShareId { index, share }));
            }
        }
        Ok(found)
    }

    fn remove(&self, directory: &Path, share: ShareNumber) -> Result<(), StorageError> {
        let path = directory.join(share.to_string());
        match self.files.remove_file(&path) {
            // A foreign file is where a directory should be: below it there is nothing.
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(()),
            // Someone made a directory under the name of a share. An empty one we can do without.
            Err(error) if error.kind() != ErrorKind::NotFound => match self.files.kind(&path) {
                Ok(FileKind::Directory) => self.files.remove_dir(&path)?,
                _ => return Err(error.into()),
            },
            _ => {}
        }
        if absent(self.files.sync_dir(directory))?.is_some() {
            // Best effort: other shares may be in it.
            let _ = self.files.remove_dir(directory);
        }
        Ok(())
    }

    fn shares(&self) -> PathBuf {
        self.root.join("shares")
    }

    fn incoming(&self) -> PathBuf {
        self.root.join("shares").join("incoming")
    }

    fn incoming_file(&self, id: ShareId) -> PathBuf {
        self.incoming().join(format!("{}.{}", id.index, id.share))
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// None when there is nothing: that is no error.
pub(super) fn absent<T>(result: Result<T, impl Into<StorageError>>) -> Result<Option<T>, StorageError> {
    match result.map_err(Into::into) {
        Err(StorageError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
