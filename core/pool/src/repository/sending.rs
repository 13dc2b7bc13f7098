//! An object on its way out of the repository. It is hashed as it goes: what has rotted on the disk is not said to be valid.
//!
//! Of an object that is sent from an offset on, what is before that has to be hashed as well, and before the rest. That may
//! take longer than anybody waits for the first byte. So it is hashed while the rest is sent, a part with each piece; pieces
//! that are sent meanwhile are kept, and hashed when it is their turn. What would take too long to hash, after all is sent or
//! in room for what is kept, is not verified here: whoever goes on with an object verifies all of it, and only the length is
//! vouched for.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use runtime::files::File;
use runtime::{BoxFuture, Runtime, relapse};

use super::begin;
use crate::key::Key;
use crate::peer::{Download, PeerError, Verdict};
use crate::verify::Verifier;

/// How much is done at a time.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Bytes that are sent in one piece.
    piece: u64,
    /// Bytes before the offset that are hashed with each piece.
    along: u64,
    /// Bytes before the offset that are hashed when all is sent, at the most.
    after: u64,
    /// Pieces that are kept until they are hashed, at the most.
    kept: usize,
}

const EFFORT: Effort = Effort { piece: 256 << 10, along: 32 << 20, after: 1 << 30, kept: 64 };

/// An object, or nothing in its place.
pub struct Sending {
    runtime: Runtime,
    effort: Effort,
    /// None while a job has it.
    object: Option<Object>,
    /// The job that reads the next piece: while one is on its way the next one is read.
    reading: Option<BoxFuture<'static, Result<(Bytes, Object), PeerError>>>,
    at: u64,
    end: u64,
}

struct Object {
    file: Arc<dyn File>,
    verifier: Verifier,
    /// Where what is sent begins.
    offset: u64,
    /// What was sent and is not hashed yet, since what is before it is not.
    kept: VecDeque<Bytes>,
}

impl Sending {
    /// What is sent when the object is not there. Nothing must have been announced.
    pub fn absent(runtime: Runtime, announced: u64) -> Sending {
        Sending { runtime, effort: EFFORT, object: None, reading: None, at: 0, end: announced }
    }

    /// An object from `offset` on, given its file and how long that is.
    pub fn of(runtime: Runtime, key: &Key, (file, end): (Box<dyn File>, u64), offset: u64) -> Sending {
        let offset = offset.min(end);
        let object =
            Object { file: file.into(), verifier: Verifier::new(key), offset, kept: VecDeque::new() };
        Sending { runtime, effort: EFFORT, object: Some(object), reading: None, at: offset, end }
    }

    /// Begins to read the next piece, if there is one and that is not begun.
    fn read_ahead(&mut self) {
        let (at, effort) = (self.at, self.effort);
        let length = effort.piece.min(self.end - at) as usize;
        if length == 0 {
            return;
        }
        if let Some(mut object) = self.object.take() {
            let bytes = at + length as u64 - object.verifier.passed();
            let reading = move || object.piece(at, length, effort).map(|piece| (piece, object));
            self.reading = Some(begin(&self.runtime, "read object", bytes, reading));
        }
    }
}

impl Object {
    /// The bytes from `at` on, so many. Some of what is before the offset is hashed as well.
    fn piece(&mut self, at: u64, length: usize, effort: Effort) -> io::Result<Bytes> {
        self.hash_before(effort.along)?;
        let mut piece = BytesMut::zeroed(length);
        if self.file.read_full_at(at, &mut piece)? < length {
            return Err(io::Error::other("the object has become shorter"));
        }
        let piece = piece.freeze();
        self.kept.push_back(piece.clone());
        if self.kept.len() > effort.kept {
            self.give_up();
        }
        self.hash_kept();
        Ok(piece)
    }

    /// Whether the bytes are the object's, as far as can be told. All are sent.
    fn judge(mut self, effort: Effort) -> io::Result<bool> {
        self.hash_before(effort.after)?;
        if self.verifier.passed() < self.offset {
            self.give_up();
        }
        self.hash_kept();
        Ok(self.verifier.finish() != Some(false))
    }

    /// Hashes what is before the offset, so many bytes of it at the most.
    fn hash_before(&mut self, most: u64) -> io::Result<()> {
        self.verifier.read(&*self.file, self.offset.min(self.verifier.passed().saturating_add(most)))
    }

    /// Hashes what was sent, if it is its turn.
    fn hash_kept(&mut self) {
        if self.verifier.passed() >= self.offset {
            self.kept.drain(..).for_each(|piece| self.verifier.update(&piece));
        }
    }

    /// What is before the offset passes unseen.
    fn give_up(&mut self) {
        self.verifier.skip(self.offset.saturating_sub(self.verifier.passed()));
    }
}

#[async_trait]
impl Download for Sending {
    fn length(&self) -> u64 {
        self.end - self.at
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        if self.at == self.end {
            return Ok(None);
        }
        self.read_ahead();
        let Some(reading) = &mut self.reading else {
            // annex-L5: it was announced, and does not come.
            return std::future::pending().await;
        };
        let read = reading.await;
        self.reading = None;
        let Ok((piece, object)) = read else {
            // Nothing more comes, and it is not valid.
            self.end = self.at;
            return read.map(|_| None);
        };
        self.object = Some(object);
        self.at += piece.len() as u64;
        if relapse!("annex-B3") && self.at < self.end {
            // The file is closed as soon as a piece has been handed on.
            (self.object, self.end) = (None, self.at);
        }
        self.read_ahead();
        Ok(Some(piece))
    }

    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        let Some(object) = self.object.take() else { return Ok(Verdict::Invalid) };
        let (effort, bytes) = (self.effort, object.offset.saturating_sub(object.verifier.passed()));
        let verifying = begin(&self.runtime, "verify object", bytes, move || object.judge(effort));
        Ok(Verdict::of(verifying.await?))
    }

    async fn end(self: Box<Self>, _: bool) -> Result<(), PeerError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::files::OpenMode;
    use runtime::real::RealWorld;

    const TEXT: &[u8] = b"hello world";
    const KEY: &str = "SHA256E-s11--b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9.txt";

    /// What comes of a file that is sent from an offset on.
    async fn send(text: &[u8], offset: u64, effort: Effort) -> (Vec<u8>, Verdict) {
        let place = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(place.path(), text).unwrap();
        let runtime = RealWorld::runtime();
        let file = runtime.files().open(place.path(), OpenMode::Read).unwrap();
        let key = Key::parse(KEY).unwrap();
        let mut sending = Sending { effort, ..Sending::of(runtime, &key, (file, text.len() as u64), offset) };
        let (length, mut came) = (sending.length(), Vec::new());
        while let Some(piece) = sending.next().await.unwrap() {
            came.extend_from_slice(&piece);
        }
        assert_eq!(came.len() as u64, length);
        (came, sending.verdict().await.unwrap())
    }

    #[tokio::test]
    async fn what_is_before_an_offset_is_hashed_with_the_rest() {
        let small = Effort { piece: 2, along: 1, after: 100, kept: 100 };
        let quick = Effort { along: 100, ..small };
        for effort in [small, quick, EFFORT] {
            for offset in 0..=TEXT.len() + 2 {
                let rest = TEXT.get(offset..).unwrap_or_default();
                assert_eq!(send(TEXT, offset as u64, effort).await, (rest.to_vec(), Verdict::Valid));
                for wrong in 0..TEXT.len() {
                    let mut rotten = TEXT.to_vec();
                    rotten[wrong] ^= 1;
                    let (_, verdict) = send(&rotten, offset as u64, effort).await;
                    assert_eq!(verdict, Verdict::Invalid, "{offset} {wrong} {effort:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_takes_too_long_is_not_waited_for() {
        let brief = Effort { piece: 1, along: 1, after: 1, kept: 100 };
        let narrow = Effort { after: 100, kept: 2, ..brief };
        for (effort, offset) in [(brief, 8), (narrow, 8)] {
            assert_eq!(send(TEXT, offset, effort).await, (b"rld".to_vec(), Verdict::Valid));
            assert_eq!(send(b"Hello world", offset, effort).await.1, Verdict::Valid, "nobody has looked");
            assert_eq!(send(b"hello worlds", offset, effort).await.1, Verdict::Invalid, "the length tells");
        }
        // As much as can be done meanwhile is done.
        assert_eq!(send(b"Hello world", 4, brief).await.1, Verdict::Invalid);
    }
}
