//! A location log in a directory: an empty file for each object and each repository that has it.
//!
//! ```text
//! ROOT/d91/b11/KEY/UUID    the repository UUID has the object KEY, filed as in a repository (annex-p2p §1.3)
//! ```
//!
//! Characters of a name that are not letters, digits, hyphens or underscores are written as `%` and two hexadecimal digits.
//! Each entry is one file of its own: any number of gateways can use one directory at a time, nothing is ever half-written,
//! and `ls` and `touch` read and write it. An entry is durable before [`Located::record`] ends.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use runtime::Runtime;
use runtime::files::{Files, OpenMode};

use super::located::{Located, News};
use crate::key::Key;
use crate::peer::PeerError;
use crate::repository::{if_there, job};
use crate::uuid::Uuid;

/// How often a directory is made again that somebody else removes at the same time.
const ATTEMPTS: u32 = 100;

/// A location log that outlives the process.
pub struct DirectoryLog {
    runtime: Runtime,
    root: Arc<Path>,
}

impl DirectoryLog {
    /// The log in `root`, which is made if it is not there.
    pub async fn open(runtime: Runtime, root: &Path) -> Result<DirectoryLog, PeerError> {
        let (files, root): (_, Arc<Path>) = (runtime.files(), root.into());
        let making = root.clone();
        job(&runtime, "open location log", move || make(&*files, &making)).await?;
        Ok(DirectoryLog { runtime, root })
    }

    /// The directory of an object's holders.
    fn place(&self, key: &Key) -> PathBuf {
        let [first, second] = key.lower_directories();
        self.root.join(first).join(second).join(OsString::from_vec(key.file_name()))
    }
}

#[async_trait]
impl Located for DirectoryLog {
    async fn holders(&self, key: &Key) -> Result<BTreeSet<Uuid>, PeerError> {
        let (files, place) = (self.runtime.files(), self.place(key));
        let listing = move || if_there(files.list(&place));
        let names = job(&self.runtime, "read location log", listing).await?;
        Ok(names.unwrap_or_default().iter().filter_map(|name| repository(name)).collect())
    }

    /// Repositories may have had objects before anybody kept a log of them.
    fn is_complete(&self) -> bool {
        false
    }

    /// What is recorded last stands: where this log is wrong, an object is asked for where it is not said to be.
    async fn record(&self, key: &Key, repository: &Uuid, news: News) -> Result<(), PeerError> {
        let (files, place) = (self.runtime.files(), self.place(key));
        let name = file_name(repository);
        let writing = move || match news {
            News::Present => add(&*files, &place, &name),
            News::Removed { .. } => remove(&*files, &place, &name),
        };
        job(&self.runtime, "write location log", writing).await
    }
}

/// Makes the log's own directory, durably.
fn make(files: &dyn Files, root: &Path) -> io::Result<()> {
    files.create_dir_all(root)?;
    let above = root.parent().filter(|above| !above.as_os_str().is_empty());
    match files.sync_dir(above.unwrap_or(Path::new("."))) {
        // What we may not look into was not made by us.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Adds an entry, durably. Another process may be removing the directory, empty as it is, again and again.
fn add(files: &dyn Files, place: &Path, name: &str) -> io::Result<()> {
    let mut attempts = ATTEMPTS;
    loop {
        match try_to_add(files, place, name) {
            Err(error) if error.kind() == ErrorKind::NotFound && attempts > 0 => attempts -= 1,
            added => return added,
        }
    }
}

fn try_to_add(files: &dyn Files, place: &Path, name: &str) -> io::Result<()> {
    files.create_dir_all(place)?;
    files.open(&place.join(name), OpenMode::CreateOrOpen)?;
    // All the directories below the log's own may be new: with their entries all that is in them would be lost.
    place.ancestors().take(4).try_for_each(|directory| files.sync_dir(directory))
}

/// Removes an entry, durably.
fn remove(files: &dyn Files, place: &Path, name: &str) -> io::Result<()> {
    if if_there(files.remove_file(&place.join(name)))?.is_none() {
        return Ok(());
    }
    if_there(files.sync_dir(place))?;
    // Others may be using the directory: what cannot be removed stays.
    let _ = files.remove_dir(place);
    Ok(())
}

/// What a repository's entry is called.
fn file_name(repository: &Uuid) -> String {
    let mut name = String::new();
    for byte in repository.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name
}

/// The repository whose entry is called so; none of what somebody else has put there.
fn repository(name: &Path) -> Option<Uuid> {
    let (mut bytes, mut rest) = (Vec::new(), name.as_os_str().as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digits = [*high, *low];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            (b'%' | b'.', _) => return None,
            (other, _) => *other,
        });
    }
    Uuid::new(std::str::from_utf8(&bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::real::RealWorld;

    const REMOVED: News = News::Removed { since: 0 };

    #[tokio::test]
    async fn what_is_recorded_is_known_to_whoever_opens_the_log_next() {
        let root = tempfile::tempdir().unwrap();
        let open = || async { DirectoryLog::open(RealWorld::runtime(), root.path()).await.unwrap() };
        let keys = ["WORM-s1--a", "URL--http://a/b%20c", "WORM-s1--.."];
        let keys = keys.map(|text| Key::parse(text.as_bytes().to_vec()).unwrap());
        let names = ["11111111-2222-3333-4444-555555555555", "..", "a/b", "ä%41", "."]
            .map(|name| Uuid::new(name).unwrap());
        for key in &keys {
            assert_eq!(open().await.holders(key).await, Ok(BTreeSet::new()));
            for name in &names {
                open().await.record(key, name, News::Present).await.unwrap();
                open().await.record(key, name, News::Present).await.unwrap();
            }
            assert_eq!(open().await.holders(key).await, Ok(BTreeSet::from(names.clone())));
        }
        let (log, other) = (open().await, open().await);
        for name in &names {
            other.record(&keys[0], name, REMOVED).await.unwrap();
            log.record(&keys[0], name, REMOVED).await.unwrap();
        }
        assert_eq!(log.holders(&keys[0]).await, Ok(BTreeSet::new()));
        assert_eq!(log.holders(&keys[1]).await, Ok(BTreeSet::from(names)));
        // Nothing is left, and nothing is outside.
        assert!(!log.place(&keys[0]).exists() && log.place(&keys[1]).exists());
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let log = DirectoryLog::open(RealWorld::runtime(), root.path()).await.unwrap();
        let (key, name) = (Key::parse("WORM-s1--a").unwrap(), Uuid::new("U").unwrap());
        std::fs::write(root.path().join(key.lower_directories()[0].as_str()), "in the way").unwrap();
        assert!(matches!(log.record(&key, &name, News::Present).await, Err(PeerError::Disk(_))));
        let long = Uuid::new(&"/".repeat(200)).unwrap();
        let other = Key::parse("WORM-s1--b").unwrap();
        assert!(matches!(log.record(&other, &long, News::Present).await, Err(PeerError::Disk(_))));
        assert!(matches!(log.holders(&key).await, Err(PeerError::Disk(_))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_write_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let log = Arc::new(DirectoryLog::open(RealWorld::runtime(), root.path()).await.unwrap());
        let key = Key::parse("WORM-s1--a").unwrap();
        let (runtime, scope) = (RealWorld::runtime(), RealWorld::runtime().scope());
        for number in 0..8 {
            let (log, key) = (log.clone(), key.clone());
            scope.spawn("writer", number, async move {
                let name = Uuid::new(&format!("u{number}")).unwrap();
                for round in 0..20 {
                    let present = round % 2 == 0 || number % 2 == 0;
                    log.record(&key, &name, if present { News::Present } else { REMOVED }).await.unwrap();
                }
            });
        }
        runtime.timeout(std::time::Duration::from_secs(60), scope.drain()).await.unwrap();
        let even = [0, 2, 4, 6].map(|number| Uuid::new(&format!("u{number}")).unwrap());
        assert_eq!(log.holders(&key).await, Ok(BTreeSet::from(even)));
    }
}
