//! What the objects of a share come to (leasedb-and-storage §14): a share, a part of one, or none.

use std::collections::BTreeMap;

use super::{HEAD, Shared};
use crate::backend::{BackendError, Body};
use crate::container::{Header, promised};
use crate::error::{Flaw, StorageError};
use crate::share::ShareId;

/// The objects of a share, seen as one container.
#[derive(Debug)]
pub(super) struct Look {
    /// The sizes of its chunks, from the first on, without a gap.
    pub chunks: Vec<u64>,
    /// What they come to.
    pub header: Result<Header, Flaw>,
    /// Bytes of the container by its header, as far as that tells.
    promised: u64,
    /// Bytes of all objects.
    used: u64,
}

impl Look {
    /// Bytes of the container.
    pub fn total(&self) -> u64 {
        self.chunks.iter().sum()
    }

    /// What is kept under the name of the share.
    pub fn body(&self) -> Body {
        let used = self.used;
        match &self.header {
            // Half an upload, whose later chunks came first, or what somebody copies in.
            _ if self.chunks.is_empty() => Body::Incomplete { used },
            Err(flaw @ Flaw::Chunks(_)) => Body::Corrupted { used, why: flaw.to_string() },
            _ if self.total() < self.promised => Body::Incomplete { used },
            Ok(Header::Immutable(header)) => Body::Immutable { size: header.data_len, used },
            Ok(Header::Mutable(header)) => Body::Mutable { size: header.data_len, used },
            Err(flaw) => Body::Corrupted { used, why: flaw.to_string() },
        }
    }
}

impl Shared {
    /// Looks at a share of which these chunks, and their sizes, were listed. A listing may be late: what is missing is asked
    /// for by name. None when there is nothing.
    pub async fn look(&self, id: ShareId, listed: BTreeMap<u64, u64>) -> Result<Option<Look>, BackendError> {
        let Some(head) = self.get_chunk((id, 0), 0..HEAD as u64).await? else {
            // Of the first chunk alone, a listing that is late may tell when it is gone.
            let used = listed.values().sum();
            let others = listed.into_keys().any(|chunk| chunk > 0);
            let header = Err(Flaw::Chunks("there is no first chunk".into()));
            return Ok(others.then_some(Look { chunks: Vec::new(), header, promised: 0, used }));
        };
        let promised = promised(&head);
        let last = listed.keys().next_back().copied().unwrap_or_default();
        let (mut chunks, mut total) = (Vec::new(), 0);
        for number in 0.. {
            let size = match listed.get(&number) {
                Some(size) => *size,
                None if number <= last || total < promised => {
                    match self.get_chunk((id, number), 0..u64::MAX).await? {
                        Some(bytes) => bytes.len() as u64,
                        None => break,
                    }
                }
                None => break,
            };
            chunks.push(size);
            total += size;
        }
        let used = total + listed.range(chunks.len() as u64..).map(|(_, size)| size).sum::<u64>();
        let header = match flaw(&chunks, last) {
            Some(flaw) => Err(Flaw::Chunks(flaw)),
            None => Header::parse(&head, total),
        };
        Ok(Some(Look { chunks, header, promised, used }))
    }

    /// Looks at a share that must be sound; none when there is nothing.
    pub async fn sound(&self, id: ShareId) -> Result<Option<Look>, BackendError> {
        let listed = self.chunks(id).await?.into_iter().map(|((_, chunk), size)| (chunk, size)).collect();
        let look = self.look(id, listed).await?;
        match look.as_ref().map(Look::body) {
            Some(Body::Corrupted { why, .. }) => Err(BackendError::Corrupted { id, why }),
            Some(Body::Incomplete { .. }) => {
                let flaw = Flaw::Chunks("some of its chunks are missing".into());
                Err(StorageError::from(flaw).about(id))
            }
            _ => Ok(look),
        }
    }
}

/// What is wrong with the sizes of these chunks, when the last one that was listed has the number `last`.
fn flaw(chunks: &[u64], last: u64) -> Option<String> {
    let (first, end) = (chunks.first()?, chunks.len().saturating_sub(1));
    if (end as u64) < last {
        return Some(format!("chunk {} of {last} is missing", end + 1));
    }
    let wrong = chunks.iter().enumerate().position(|(number, size)| match number {
        0 => false,
        number if number == end => *size == 0 || size > first,
        _ => size != first,
    });
    wrong.map(|number| format!("chunk {number} has {} bytes, and the first {first}", chunks[number]))
}
