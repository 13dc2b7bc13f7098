//! Bytes on their way into a file. They are written as they come, and hashed as they are written; while a large piece is
//! written the next one comes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use runtime::files::File;
use runtime::{BoxFuture, Runtime, relapse};

use super::begin;
use crate::key::Key;
use crate::peer::PeerError;
use crate::verify::Verifier;

/// Bytes that are written and hashed in one job, if the peer sends so many.
const PIECE: usize = 256 * 1024;

/// A file that bytes go to. Nobody else writes there until the last job on it has ended.
pub trait Place: Send + Sync + 'static {
    /// The file.
    fn file(&self) -> &dyn File;
}

/// Bytes that come.
pub struct Taking<P> {
    runtime: Runtime,
    place: Arc<P>,
    /// Where the bytes begin that come now.
    offset: u64,
    announced: u64,
    came: u64,
    /// What came and was not written yet.
    pending: BytesMut,
    /// None while a job has it.
    verifier: Option<Verifier>,
    /// The job that writes and hashes what came before that.
    writing: Option<BoxFuture<'static, Result<Verifier, PeerError>>>,
}

impl<P: Place> Taking<P> {
    /// Goes on with an object at `offset`.
    pub fn new(runtime: Runtime, key: &Key, place: P, offset: u64) -> Taking<P> {
        Taking {
            runtime,
            place: Arc::new(place),
            offset,
            announced: 0,
            came: 0,
            pending: BytesMut::new(),
            verifier: Some(Verifier::new(key)),
            writing: None,
        }
    }

    /// Where the bytes go.
    pub fn place(&self) -> &Arc<P> {
        &self.place
    }

    /// Where the bytes begin that come now.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many have come.
    pub fn came(&self) -> u64 {
        self.came
    }

    /// So many bytes will come.
    pub fn announce(&mut self, length: u64) {
        self.announced = length;
    }

    /// The next piece.
    pub async fn take(&mut self, piece: Bytes) -> Result<(), PeerError> {
        self.came += piece.len() as u64;
        if self.came > self.announced {
            return Err(PeerError::Refused("more bytes came than were announced".into()));
        }
        self.pending.extend_from_slice(&piece);
        if self.pending.len() >= PIECE {
            return self.write_out().await;
        }
        // What is lost with the connection can be gone on from: every piece counts when they come slowly.
        if self.came == self.announced || piece.len() < crate::wire::PIECE {
            self.write_out().await?;
            self.settle().await?;
        }
        Ok(())
    }

    /// All that was announced has come: whether it is the object, if the key tells.
    pub async fn finish(&mut self) -> Result<Option<bool>, PeerError> {
        if self.came < self.announced {
            return Err(PeerError::Refused("fewer bytes came than were announced".into()));
        }
        self.write_out().await?;
        self.settle().await?;
        self.verifier.take().map(Verifier::finish).ok_or_else(gone)
    }

    /// Begins to write and hash what came now, after what came earlier.
    async fn write_out(&mut self) -> Result<(), PeerError> {
        self.settle().await?;
        let (pending, place) = (self.pending.split().freeze(), self.place.clone());
        let mut verifier = self.verifier.take().ok_or_else(gone)?;
        let end = self.offset + self.came;
        let (at, bytes) = (end - pending.len() as u64, end - verifier.passed());
        let runtime = self.runtime.clone();
        let writing = move || {
            verifier.read(place.file(), at)?;
            if relapse!("annex-B13") {
                // Whoever sends goes on, and comes to the end, before this is written.
                let (place, piece) = (place.clone(), pending.clone());
                runtime.start_blocking("write incoming", move || _ = place.file().write_all_at(at, &piece));
            } else {
                place.file().write_all_at(at, &pending)?;
            }
            if relapse!("annex-B22") {
                place.file().write_all_at(at + pending.len() as u64, &pending)?;
            }
            verifier.update(&pending);
            Ok(verifier)
        };
        self.writing = Some(begin(&self.runtime, "write incoming", bytes, writing));
        Ok(())
    }

    /// Waits until all that was given to a job is written.
    async fn settle(&mut self) -> Result<(), PeerError> {
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            self.verifier = Some(written?);
        }
        Ok(())
    }
}

fn gone() -> PeerError {
    PeerError::Disk("an earlier write failed".into())
}
