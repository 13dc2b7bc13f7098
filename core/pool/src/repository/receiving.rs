//! An object on its way into the repository (annex-p2p §5).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use runtime::files::{File, Files, OpenMode};
use runtime::{reached, relapse};

use super::flock::if_free;
use super::guards::{Doing, GRACE};
use super::layout::Layout;
use super::taking::{Place, Taking};
use super::{Repository, if_there};
use crate::key::Key;
use crate::peer::{Outcome, PeerError, Upload, Verdict};

/// An upload in progress. Dropped, it leaves what has come.
pub struct Receiving {
    repository: Repository,
    key: Key,
    taking: Taking<Incoming>,
}

/// The file, which nobody else writes to until the last job on it has ended: no process that takes it first, as this one has.
struct Incoming {
    file: Box<dyn File>,
    _uploading: Arc<Doing>,
}

/// How an upload begins.
pub enum Begun {
    /// It goes on where the last one ended.
    Upload(Box<Receiving>),
    /// The object is there by now.
    Present,
    /// Another process is uploading it.
    Busy,
}

/// What is found where the bytes are to go.
enum Found {
    /// Bytes that have come, so many.
    File(Incoming, u64),
    Present,
    Busy,
}

/// How often a file is opened again that others rename or remove before it can be taken.
const ATTEMPTS: u32 = 10;
/// How long it takes until somebody looks again whether another process has ended its upload.
const AGAIN: Duration = Duration::from_millis(100);

impl Place for Incoming {
    fn file(&self) -> &dyn File {
        &*self.file
    }
}

/// What becomes of bytes that have all come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They are the object.
    Store,
    /// They are not, and nobody can go on from there.
    Discard,
    /// They are not all of it. A later upload may go on from there.
    Keep,
}

/// Decides about `length` bytes that have come, all that were announced, given what their sender says of them, and whether
/// the key says so, if it does.
pub fn decide(verdict: Verdict, length: u64, matches: Option<bool>) -> Decision {
    match (verdict, matches) {
        // The sender had nothing to send.
        (Verdict::Invalid, _) if length == 0 => Decision::Keep,
        (_, Some(true)) => Decision::Store,
        (_, Some(false)) | (Verdict::Invalid, None) => Decision::Discard,
        (Verdict::Valid | Verdict::Unknown, None) => Decision::Store,
    }
}

impl Receiving {
    /// Begins an upload where the last one ended. One of another process that has just been given up is waited for, as one of
    /// this process is.
    pub async fn begin(repository: Repository, key: &Key, uploading: Doing) -> Result<Begun, PeerError> {
        let (runtime, uploading) = (repository.runtime.clone(), Arc::new(uploading));
        let deadline = runtime.now() + GRACE;
        loop {
            let (name, uploading) = (key.clone(), uploading.clone());
            let opening = move |layout: &Layout, files: &dyn Files| find(layout, files, &name, uploading);
            match repository.brief("open incoming", opening).await? {
                Found::File(incoming, offset) => {
                    let taking = Taking::new(runtime, key, incoming, offset);
                    return Ok(Begun::Upload(Box::new(Receiving { repository, key: key.clone(), taking })));
                }
                Found::Present => return Ok(Begun::Present),
                Found::Busy if runtime.now() >= deadline => return Ok(Begun::Busy),
                Found::Busy => runtime.sleep(AGAIN).await,
            }
        }
    }

    /// Where the bytes are to begin.
    pub fn offset(&self) -> u64 {
        self.taking.offset()
    }
}

/// Finds where the bytes are to go. Called in jobs.
fn find(layout: &Layout, files: &dyn Files, key: &Key, uploading: Arc<Doing>) -> io::Result<Found> {
    let path = layout.incoming(key);
    let Some(file) = take(files, &path)? else {
        reached!("repository: an object is being uploaded by another process");
        return Ok(Found::Busy);
    };
    // Whoever had the file before may have made it the object.
    if layout.find(files, key)?.is_some() {
        reached!("repository: an object appears before its upload begins");
        files.remove_file(&path)?;
        return Ok(Found::Present);
    }
    let mut offset = file.len()?;
    // The real program's repositories go on from there all the same, and gateways have to get on with that.
    let goes_on = relapse!("annex-B14");
    // More than the object has: nobody can. Nor where nothing would tell that it is of something else.
    let is_other = key.size().map_or(key.hash().is_none(), |size| size < offset);
    if offset > 0 && is_other && !goes_on {
        reached!("repository: more has come of an object than there is");
        file.set_len(0)?;
        offset = 0;
    }
    Ok(Found::File(Incoming { file, _uploading: uploading }, offset))
}

/// Takes the file of that name, which is made if it is not there; none when another process has it.
fn take(files: &dyn Files, path: &Path) -> io::Result<Option<Box<dyn File>>> {
    for _ in 0..ATTEMPTS {
        let file = files.open(path, OpenMode::CreateOrOpen)?;
        if !if_free(path, file.lock())? {
            return Ok(None);
        }
        // Before it was taken, whoever had it may have renamed or removed it.
        if files.names(path, &*file)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

#[async_trait]
impl Upload for Receiving {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        self.taking.announce(length);
        Ok(())
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        self.taking.take(piece).await
    }

    async fn finish(mut self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        let matches = self.taking.finish().await?;
        let (key, incoming, repository) = (self.key.clone(), self.taking.place().clone(), &self.repository);
        let decision = decide(verdict, self.taking.came(), matches);
        let ending = move |layout: &Layout, files: &dyn Files| match decision {
            Decision::Store => {
                if let Err(error) = incoming.file.sync_data() {
                    // Nobody must go on with it: the system may take for written what is not, and never say so again.
                    let _ = files.remove_file(&layout.incoming(&key));
                    return Err(error);
                }
                let directories = layout.publish(files, &layout.incoming(&key), &key)?;
                Ok(Some((directories, incoming.file.stamp()?)))
            }
            Decision::Discard => {
                reached!("repository: an upload of wrong bytes is discarded");
                if_there(files.remove_file(&layout.incoming(&key)))?;
                Ok(None)
            }
            Decision::Keep => Ok(None),
        };
        let Some((directories, stamp)) = repository.job("end upload", ending).await? else {
            return Ok(Outcome::of(false));
        };
        repository.sync(directories).await?;
        repository.kept.note(&self.key, stamp);
        Ok(Outcome::of(true))
    }

    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        Ok(Outcome::of(self.repository.has(&self.key).await?))
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::between::{Between, Happens};
    use super::*;
    use runtime::real::RealWorld;

    /// Another process ends its upload between two operations of ours.
    #[tokio::test]
    async fn a_file_that_was_renamed_or_removed_is_not_written_to() {
        let place = tempfile::tempdir().unwrap();
        let (path, object) = (place.path().join("incoming"), place.path().join("object"));
        let published = object.clone();
        let files = Between::new(RealWorld::runtime().files());
        let is_published: Happens = Box::new(move |path| std::fs::rename(path, published).unwrap());
        let is_removed = || -> Happens { Box::new(|path| std::fs::remove_file(path).unwrap()) };
        files.next([is_published, is_removed()]);
        let file = take(&files, &path).unwrap().unwrap();
        file.write_all_at(0, b"mine").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(std::fs::read(&object).unwrap(), b"");
        assert!(take(&files, &path).unwrap().is_none(), "it is taken");
        drop(file);
        files.next((0..ATTEMPTS).map(|_| is_removed()));
        assert!(take(&files, &path).unwrap().is_none(), "nobody tries for ever");
    }

    /// The table of §5.
    #[test]
    fn what_becomes_of_bytes() {
        use Decision::*;
        use Verdict::*;
        let table = [
            (Valid, 6, Some(true), Store),
            (Valid, 6, Some(false), Discard),
            (Valid, 6, None, Store),
            (Invalid, 0, Some(false), Keep),
            (Invalid, 0, Some(true), Keep),
            (Invalid, 6, Some(true), Store),
            (Invalid, 6, Some(false), Discard),
            (Invalid, 6, None, Discard),
            (Unknown, 6, Some(true), Store),
            (Unknown, 6, Some(false), Discard),
            (Unknown, 6, None, Store),
        ];
        for (verdict, length, matches, decision) in table {
            assert_eq!(decide(verdict, length, matches), decision, "{verdict:?} {length} {matches:?}");
        }
    }
}
