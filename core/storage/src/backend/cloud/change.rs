//! A change of a mutable share in an object store.
//!
//! The whole share is in memory, so it may have 256 MiB at the most. Its objects never shrink. As long as it fits into one
//! chunk, a change is one put. Else some of its writes may be done when it fails; the old length stays until all are.

use bytes::{Bytes, BytesMut};
use runtime::reached;

use super::look::Look;
use super::{Shared, first_turn, second_turn};
use crate::backend::{BackendError, SlotChange};
use crate::container::{Header, MAX_READ, mutable};
use crate::error::StorageError;
use crate::share::ShareId;

impl Shared {
    /// Makes or changes a mutable share. Gives the bytes that it uses.
    pub async fn change(&self, id: ShareId, change: &SlotChange, epoch: u64) -> Result<u64, BackendError> {
        let (header, old, look) = match self.sound(id).await? {
            Some(look) => match &look.header {
                Ok(Header::Mutable(header)) => {
                    (Some(header.clone()), self.image(id, &look).await?, Some(look))
                }
                Ok(Header::Immutable(_)) => return Err(StorageError::NotMutable.into()),
                Err(flaw) => return Err(StorageError::from(flaw.clone()).about(id)),
            },
            None => (None, Bytes::new(), None),
        };
        let new = mutable::changed_image(header.as_ref().map(|header| (header, &old[..])), change)?;
        let chunk = match look.as_ref().map(|look| &look.chunks[..]) {
            Some([first, _, ..]) => *first,
            _ => self.chunk.max(old.len() as u64),
        };
        let old: Vec<&[u8]> = old.chunks(chunk as usize).collect();
        let mut puts: Vec<(usize, Bytes)> = (0..)
            .zip(new.chunks(chunk as usize))
            .filter(|(number, piece)| old.get(*number) != Some(piece))
            .map(|(number, piece)| (number, Bytes::copy_from_slice(piece)))
            .collect();
        if !old.is_empty() && puts.first().is_some_and(|(number, _)| *number == 0) {
            // It tells the length: the old one holds until everything else is there.
            let first = puts.remove(0);
            if let ([only], [_, ..]) = (&old[..], &puts[..]) {
                reached!("storage: a share in an object store outgrows its only chunk");
                puts.insert(0, (0, with_lengths_of(only, &first.1)));
            }
            puts.push(first);
        }
        for (place, (number, piece)) in puts.iter().enumerate() {
            let again = puts[..place].iter().any(|(earlier, _)| earlier == number);
            let turn = if again { second_turn(epoch) } else { first_turn(epoch) };
            self.put((id, *number as u64), piece.clone(), turn).await?;
        }
        Ok(new.len() as u64)
    }

    /// The whole container.
    async fn image(&self, id: ShareId, look: &Look) -> Result<Bytes, BackendError> {
        match look.total() {
            total if total > MAX_READ => Err(StorageError::ReadTooLong(total).into()),
            total => self.get(id, look, 0..total).await,
        }
    }
}

/// The first chunk sets the size of all, so it must be full before there is a second one: its new bytes, with the old
/// lengths.
fn with_lengths_of(old: &[u8], new: &[u8]) -> Bytes {
    let mut full = BytesMut::from(new);
    if let (Some(lengths), Some(old)) = (full.get_mut(mutable::LENGTHS), old.get(mutable::LENGTHS)) {
        lengths.copy_from_slice(old);
    }
    full.freeze()
}
