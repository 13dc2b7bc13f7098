//! An object on its way into the repository (annex-p2p §5).

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use runtime::files::{File, OpenMode};
use runtime::{reached, relapse};

use super::guards::Doing;
use super::{Repository, if_there};
use crate::key::Key;
use crate::peer::{Outcome, PeerError, Upload, Verdict};
use crate::verify::Verifier;

/// Bytes that are written and hashed in one job, if the peer sends so many.
const PIECE: usize = 256 * 1024;

/// An upload in progress. Dropped, it leaves what has come.
pub struct Receiving {
    repository: Repository,
    key: Key,
    incoming: Arc<Incoming>,
    /// Where the bytes begin that come now.
    offset: u64,
    announced: u64,
    came: u64,
    /// What came and was not written yet.
    pending: BytesMut,
    /// None while a job has it.
    verifier: Option<Verifier>,
}

/// The file, which nobody else writes to until the last job on it has ended.
struct Incoming {
    file: Box<dyn File>,
    _uploading: Doing,
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
        (Verdict::Unknown, _) if relapse!("annex-L13") => Decision::Store,
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
            let offset = file.len()?;
            Ok((Incoming { file, _uploading: uploading }, offset))
        };
        let (incoming, offset) = repository.job("open incoming", opening).await?;
        Ok(Receiving {
            repository,
            incoming: Arc::new(incoming),
            offset,
            announced: 0,
            came: 0,
            pending: BytesMut::new(),
            verifier: Some(Verifier::new(key)),
            key: key.clone(),
        })
    }

    /// Where the bytes are to begin.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Hashes what came earlier, then writes and hashes what came now.
    async fn write_out(&mut self) -> Result<(), PeerError> {
        let (pending, incoming) = (self.pending.split().freeze(), self.incoming.clone());
        let Some(mut verifier) = self.verifier.take() else {
            return Err(PeerError::Disk("an earlier write failed".into()));
        };
        let at = self.offset + self.came - pending.len() as u64;
        let runtime = self.repository.runtime.clone();
        let writing = move || {
            hash_up_to(&*incoming.file, &mut verifier, at)?;
            if relapse!("annex-B13") {
                // Whoever sends goes on, and comes to the end, before this is written.
                let (incoming, piece) = (incoming.clone(), pending.clone());
                runtime.start_blocking("write incoming", move || _ = incoming.file.write_all_at(at, &piece));
            } else {
                incoming.file.write_all_at(at, &pending)?;
            }
            if relapse!("annex-B22") {
                incoming.file.write_all_at(at + pending.len() as u64, &pending)?;
            }
            verifier.update(&pending);
            Ok(verifier)
        };
        self.verifier = Some(super::job(&self.repository.runtime, "write incoming", writing).await?);
        Ok(())
    }
}

#[async_trait]
impl Upload for Receiving {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        self.announced = length;
        Ok(())
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        self.came += piece.len() as u64;
        if self.came > self.announced {
            return Err(PeerError::Refused("more bytes came than were announced".into()));
        }
        self.pending.extend_from_slice(&piece);
        // What is lost with the connection can be gone on from: every piece counts when they come slowly.
        if self.pending.len() >= PIECE || self.came == self.announced || piece.len() < crate::wire::PIECE {
            self.write_out().await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        if self.came < self.announced {
            return Err(PeerError::Refused("fewer bytes came than were announced".into()));
        }
        self.write_out().await?;
        let Some(verifier) = self.verifier.take() else { return Ok(Outcome::of(false)) };
        let (key, incoming, place) = (self.key.clone(), self.incoming.clone(), self.repository.clone());
        let decision = decide(verdict, self.came, verifier.finish());
        let ending = move |layout: &super::Layout, files: &dyn runtime::files::Files| {
            match decision {
                Decision::Store => {
                    incoming.file.sync_data()?;
                    layout.publish(files, &key)?;
                    place.note_kept(&key);
                }
                Decision::Discard => {
                    reached!("repository: an upload of wrong bytes is discarded");
                    if_there(files.remove_file(&layout.incoming(&key)))?;
                }
                Decision::Keep => {}
            }
            Ok(decision == Decision::Store)
        };
        Ok(Outcome::of(self.repository.job("end upload", ending).await?))
    }

    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        let (key, place) = (self.key.clone(), self.repository.clone());
        let there =
            self.repository.job("look for object", move |layout, files| place.holds(layout, files, &key));
        Ok(Outcome::of(there.await?))
    }

    async fn withdraw(self: Box<Self>) -> Result<(), PeerError> {
        Ok(())
    }
}

/// Hashes the bytes of a file that the verifier has not seen, up to `end`.
fn hash_up_to(file: &dyn File, verifier: &mut Verifier, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; PIECE.min(end.saturating_sub(verifier.passed()) as usize)];
    while verifier.passed() < end {
        let length = buffer.len().min((end - verifier.passed()) as usize);
        match file.read_at(verifier.passed(), &mut buffer[..length])? {
            0 => return Err(io::Error::other("what came earlier has become shorter")),
            count => verifier.update(&buffer[..count]),
        }
    }
    Ok(())
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
