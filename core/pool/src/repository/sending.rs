//! An object on its way out of the repository. It is hashed as it goes: what has rotted on the disk is not said to be valid.
//! While one piece is on its way the next one is read.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use runtime::files::File;
use runtime::{BoxFuture, Runtime, relapse};

use super::{FEW, done};
use crate::key::Key;
use crate::peer::{Download, PeerError, Verdict};
use crate::verify::Verifier;

/// Bytes that are read and hashed in one job.
const PIECE: u64 = 256 * 1024;

/// An object, or nothing in its place.
pub struct Sending {
    runtime: Runtime,
    /// None while a job has it.
    object: Option<Object>,
    /// The job that reads the next piece.
    reading: Option<BoxFuture<'static, Result<(Bytes, Object), PeerError>>>,
    at: u64,
    end: u64,
}

struct Object {
    file: Arc<dyn File>,
    verifier: Verifier,
}

impl Sending {
    /// What is sent when the object is not there.
    pub fn absent(runtime: Runtime, key: &Key) -> Sending {
        let end = if relapse!("annex-L5") { key.size().unwrap_or(0) } else { 0 };
        Sending { runtime, object: None, reading: None, at: 0, end }
    }

    /// An object from `offset` on, given its file and length. What is before that is hashed first.
    pub async fn of(
        runtime: Runtime,
        key: &Key,
        (file, length): (Box<dyn File>, u64),
        offset: u64,
    ) -> Result<Sending, PeerError> {
        let object = Object { file: file.into(), verifier: Verifier::new(key) };
        let mut sending = Sending { runtime, object: Some(object), reading: None, at: 0, end: length };
        while sending.at < offset.min(length) {
            sending.read(offset).await?;
        }
        sending.at = sending.at.max(offset);
        Ok(sending)
    }

    /// The next piece, which does not go beyond `limit`.
    async fn read(&mut self, limit: u64) -> Result<Bytes, PeerError> {
        self.read_ahead(limit);
        let Some(reading) = &mut self.reading else {
            return Err(PeerError::Disk("an earlier read failed".into()));
        };
        let read = reading.await;
        self.reading = None;
        let (piece, object) = read?;
        self.object = Some(object);
        self.at += piece.len() as u64;
        Ok(piece)
    }

    /// Begins to read the next piece, unless that is begun.
    fn read_ahead(&mut self, limit: u64) {
        let (at, length) = (self.at, limit.min(self.end).saturating_sub(self.at).min(PIECE) as usize);
        if length == 0 {
            return;
        }
        let Some(Object { file, mut verifier }) = self.object.take() else { return };
        let reading = move || {
            let mut piece = BytesMut::zeroed(length);
            if file.read_full_at(at, &mut piece)? < length {
                return Err(std::io::Error::other("the object has become shorter"));
            }
            verifier.update(&piece);
            Ok((piece.freeze(), Object { file, verifier }))
        };
        self.reading = Some(match length <= FEW {
            true => {
                let job = self.runtime.brief("read object", reading);
                Box::pin(async move { done(job.await) })
            }
            false => {
                let job = self.runtime.blocking("read object", reading);
                Box::pin(async move { done(job.await) })
            }
        });
    }
}

#[async_trait]
impl Download for Sending {
    fn length(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        if relapse!("annex-L5") && self.object.is_none() && self.end > 0 {
            std::future::pending::<()>().await;
        }
        if self.at >= self.end {
            return Ok(None);
        }
        let piece = self.read(self.end).await?;
        self.read_ahead(self.end);
        Ok(Some(piece))
    }

    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        let Some(object) = self.object.take() else { return Ok(Verdict::Invalid) };
        Ok(Verdict::of(object.verifier.finish() != Some(false)))
    }

    async fn end(self: Box<Self>, _: bool) -> Result<(), PeerError> {
        Ok(())
    }
}
