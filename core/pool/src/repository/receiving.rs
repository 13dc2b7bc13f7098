//! An object on its way into the repository (annex-p2p §5).

use async_trait::async_trait;
use bytes::Bytes;
use runtime::files::{File, OpenMode};
use runtime::{reached, relapse};

use super::guards::Doing;
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

/// The file, which nobody else writes to until the last job on it has ended.
struct Incoming {
    file: Box<dyn File>,
    _uploading: Doing,
}

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
    /// Begins an upload where the last one ended.
    pub async fn begin(repository: Repository, key: &Key, uploading: Doing) -> Result<Receiving, PeerError> {
        let name = key.clone();
        let opening = move |layout: &super::Layout, files: &dyn runtime::files::Files| {
            let file = files.open(&layout.incoming(&name), OpenMode::CreateOrOpen)?;
            let mut offset = file.len()?;
            // The real program's repositories go on from there all the same, and gateways have to get on with that.
            let goes_on = relapse!("annex-B14");
            if name.size().is_some_and(|size| size < offset) && !goes_on {
                // More than the object has: nobody can.
                reached!("repository: more has come of an object than there is");
                file.set_len(0)?;
                offset = 0;
            }
            Ok((Incoming { file, _uploading: uploading }, offset))
        };
        let (incoming, offset) = repository.brief("open incoming", opening).await?;
        let taking = Taking::new(repository.runtime.clone(), key, incoming, offset);
        Ok(Receiving { repository, key: key.clone(), taking })
    }

    /// Where the bytes are to begin.
    pub fn offset(&self) -> u64 {
        self.taking.offset()
    }
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
        let (decision, before) = (decide(verdict, self.taking.came(), matches), repository.kept.moment());
        let ending = move |layout: &super::Layout, files: &dyn runtime::files::Files| match decision {
            Decision::Store => {
                incoming.file.sync_data()?;
                layout.publish(files, &layout.incoming(&key), &key)
            }
            Decision::Discard => {
                reached!("repository: an upload of wrong bytes is discarded");
                if_there(files.remove_file(&layout.incoming(&key)))?;
                Ok(Vec::new())
            }
            Decision::Keep => Ok(Vec::new()),
        };
        repository.sync(repository.job("end upload", ending).await?).await?;
        let stored = decision == Decision::Store;
        if stored {
            repository.kept.note(&self.key, before);
        }
        Ok(Outcome::of(stored))
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
    use super::*;

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
