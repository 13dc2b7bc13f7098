//! Bytes on their way into a file. They are written as they come, and hashed as they are written; while a large piece is
//! written the next one comes.
//!
//! Of an object that is gone on with, what is there already has to be hashed first. That may take longer than anybody waits for
//! a piece to be taken. So a part of it is hashed with each piece, and what came meanwhile, which is in the file as well, after
//! that.

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

/// Bytes that are there already and are hashed with one piece, at the most.
const ALONG: u64 = 32 * 1024 * 1024;

/// A file that bytes go to. Nobody else writes there until the last job on it has ended.
pub trait Place: Send + Sync + 'static {
    /// The file.
    fn file(&self) -> &dyn File;
}

/// Bytes that come.
pub struct Taking<P> {
    runtime: Runtime,
    place: Arc<P>,
    along: u64,
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
            along: ALONG,
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
        while self.verifier.as_ref().is_some_and(|verifier| verifier.passed() < self.offset + self.came) {
            self.hash_on()?;
            self.settle().await?;
        }
        self.verifier.take().map(Verifier::finish).ok_or_else(gone)
    }

    /// Begins to write and hash what came now, after what came earlier.
    async fn write_out(&mut self) -> Result<(), PeerError> {
        self.settle().await?;
        let (pending, place) = (self.pending.split().freeze(), self.place.clone());
        let mut verifier = self.verifier.take().ok_or_else(gone)?;
        let end = self.offset + self.came;
        let at = end - pending.len() as u64;
        let hashed = at.min(verifier.passed() + self.along);
        let bytes = hashed - verifier.passed() + pending.len() as u64;
        let runtime = self.runtime.clone();
        let writing = move || {
            verifier.read(place.file(), hashed)?;
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
            if hashed == at {
                verifier.update(&pending);
            }
            Ok(verifier)
        };
        self.writing = Some(begin(&self.runtime, "write incoming", bytes, writing));
        Ok(())
    }

    /// Begins to hash more of what is written.
    fn hash_on(&mut self) -> Result<(), PeerError> {
        let (place, mut verifier) = (self.place.clone(), self.verifier.take().ok_or_else(gone)?);
        let hashed = (self.offset + self.came).min(verifier.passed() + self.along);
        let bytes = hashed - verifier.passed();
        let hashing = move || verifier.read(place.file(), hashed).map(|()| verifier);
        self.writing = Some(begin(&self.runtime, "hash incoming", bytes, hashing));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use runtime::files::OpenMode;
    use runtime::real::RealWorld;

    const TEXT: &[u8] = b"hello world";
    const KEY: &str = "SHA256E-s11--b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9.txt";

    /// A file that counts the bytes that are read of it.
    struct Counting(Box<dyn File>, AtomicU64);

    impl Place for Counting {
        fn file(&self) -> &dyn File {
            self
        }
    }

    impl File for Counting {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read_at(offset, buffer)?;
            self.1.fetch_add(read as u64, Relaxed);
            Ok(read)
        }
        fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write_all_at(offset, bytes)
        }
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn set_len(&self, length: u64) -> io::Result<()> {
            self.0.set_len(length)
        }
        fn lock(&self) -> io::Result<()> {
            self.0.lock()
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
    }

    #[tokio::test]
    async fn what_is_there_already_is_hashed_a_part_with_each_piece() {
        for (along, offset) in (1..4).flat_map(|along| (0..=TEXT.len()).map(move |offset| (along, offset))) {
            for wrong in [None, Some(0), Some(TEXT.len() - 1)] {
                let mut text = TEXT.to_vec();
                wrong.into_iter().for_each(|at: usize| text[at] ^= 1);
                let place = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(place.path(), &text[..offset]).unwrap();
                let runtime = RealWorld::runtime();
                let file = runtime.files().open(place.path(), OpenMode::Write).unwrap();
                let counting = Counting(file, AtomicU64::new(0));
                let key = Key::parse(KEY).unwrap();
                let mut taking = Taking { along, ..Taking::new(runtime, &key, counting, offset as u64) };
                taking.announce((TEXT.len() - offset) as u64);
                for piece in text[offset..].chunks(2) {
                    let before = taking.place().1.load(Relaxed);
                    taking.take(Bytes::copy_from_slice(piece)).await.unwrap();
                    assert!(taking.place().1.load(Relaxed) - before <= along, "{along} {offset}");
                }
                assert_eq!(
                    taking.finish().await.unwrap(),
                    Some(wrong.is_none()),
                    "{along} {offset} {wrong:?}"
                );
                assert_eq!(std::fs::read(place.path()).unwrap(), text);
            }
        }
    }
}
