//! An object on its way out of the repository. It is hashed as it goes: what has rotted on the disk is not said to be valid.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use runtime::files::File;
use runtime::{Runtime, relapse};

use super::job;
use crate::key::Key;
use crate::peer::{Download, PeerError, Verdict};
use crate::verify::Verifier;

/// Bytes that are read and hashed in one job.
const PIECE: u64 = 256 * 1024;

/// An object, or nothing in its place.
pub struct Sending {
    runtime: Runtime,
    object: Option<Object>,
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
        Sending { runtime, object: None, at: 0, end }
    }

    /// An object from `offset` on. What is before that is hashed first.
    pub async fn of(
        runtime: Runtime,
        key: &Key,
        file: Box<dyn File>,
        offset: u64,
    ) -> Result<Sending, PeerError> {
        let file: Arc<dyn File> = file.into();
        let length = file.clone();
        let end = job(&runtime, "open object", move || length.len()).await?;
        let object = Object { file, verifier: Verifier::new(key) };
        let mut sending = Sending { runtime, object: Some(object), at: 0, end };
        while sending.at < offset.min(end) {
            sending.read(PIECE.min(offset - sending.at)).await?;
        }
        sending.at = sending.at.max(offset);
        Ok(sending)
    }

    async fn read(&mut self, length: u64) -> Result<Bytes, PeerError> {
        let Some(Object { file, mut verifier }) = self.object.take() else { return Ok(Bytes::new()) };
        let (at, length) = (self.at, length.min(self.end - self.at) as usize);
        let reading = move || {
            let mut piece = BytesMut::zeroed(length);
            if file.read_full_at(at, &mut piece)? < length {
                return Err(std::io::Error::other("the object has become shorter"));
            }
            verifier.update(&piece);
            Ok((piece.freeze(), Object { file, verifier }))
        };
        let (piece, object) = job(&self.runtime, "read object", reading).await?;
        self.object = Some(object);
        self.at += piece.len() as u64;
        Ok(piece)
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
        let piece = self.read(PIECE).await?;
        if relapse!("annex-B3") && self.at < self.end {
            // The file is closed as soon as a piece has been handed on.
            (self.object, self.end) = (None, self.at);
        }
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
