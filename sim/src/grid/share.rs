//! A share as a server has it: whole or computed, damaged or not, without copying what is not damaged.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::file::StoredFile;
use super::sparse::SparseFile;
use crate::fault::Damage;
use crate::world::took_effect;

/// An undamaged share.
#[derive(Clone)]
pub(crate) enum ShareSource {
    Whole(Bytes),
    Sparse(Arc<SparseFile>, u32),
}

impl ShareSource {
    pub(crate) fn len(&self) -> u64 {
        match self {
            ShareSource::Whole(bytes) => bytes.len() as u64,
            ShareSource::Sparse(file, _) => file.share_len(),
        }
    }

    fn read(&self, range: Range<u64>) -> Bytes {
        match self {
            ShareSource::Whole(bytes) => bytes.slice(range.start as usize..range.end as usize),
            ShareSource::Sparse(file, share) => file.read(*share, range).into(),
        }
    }
}

/// A share on a server's disk.
#[derive(Clone)]
pub struct ShareData {
    source: ShareSource,
    length: u64,
    /// Bytes that are not what the source says.
    patches: BTreeMap<u64, u8>,
    /// What happened to its bytes, until somebody has read where it shows.
    unseen: Option<Damage>,
}

impl ShareData {
    pub(crate) fn new(source: ShareSource) -> ShareData {
        ShareData { length: source.len(), source, patches: BTreeMap::new(), unseen: None }
    }

    /// The share after `damage`, under its number; none when it is gone.
    pub(crate) fn damaged(
        mut self,
        number: u32,
        damage: &Damage,
        file: &StoredFile,
        other: &StoredFile,
    ) -> Option<(u32, ShareData)> {
        match damage {
            Damage::Flip { region, at, bit } => {
                let range = file.region(*region);
                if !range.is_empty() {
                    let place = range.start + at % (range.end - range.start);
                    self.patch(place, |byte| byte ^ (1 << (bit % 8)));
                }
            }
            Damage::Truncate { length } => self.length = self.length.min(*length),
            Damage::Missing => return None,
            Damage::WrongNumber { claims } => return Some((*claims, self)),
            Damage::OtherFile => {
                let source = other.share(number).or(other.share(0))?;
                self = ShareData::new(source.clone());
            }
            Damage::StaleOffset { field, by } => {
                let range = field.range(file.layout().version);
                let mut value = [0; 8];
                let width = (range.end - range.start) as usize;
                value[8 - width..].copy_from_slice(&self.read(range.start, width as u64));
                let value = u64::from_be_bytes(value).wrapping_add_signed(*by).to_be_bytes();
                for (place, byte) in range.zip(&value[8 - width..]) {
                    self.patch(place, |_| *byte);
                }
            }
        }
        self.unseen = Some(damage.clone());
        Some((number, self))
    }

    /// What a client is given that reads there: the first time that it shows damage, that has taken effect.
    pub(super) fn serve(&mut self, offset: u64, length: u64) -> Bytes {
        if let Some(damage) = &self.unseen
            && self.shows(damage, offset, length)
        {
            took_effect(damage.name());
            self.unseen = None;
        }
        self.read(offset, length)
    }

    /// Whether what is read there is not what it would be without the damage.
    fn shows(&self, damage: &Damage, offset: u64, length: u64) -> bool {
        let (whole, end) = (self.source.len(), offset.saturating_add(length));
        match damage {
            Damage::Truncate { .. } => offset < whole && self.length < end.min(whole),
            Damage::OtherFile => offset < self.length.min(end),
            _ => self.patches.range(offset..end).next().is_some(),
        }
    }

    /// The bytes of `[offset, offset + length)`, cut at the end of the share.
    pub fn read(&self, offset: u64, length: u64) -> Bytes {
        let start = offset.min(self.length);
        let end = start + length.min(self.length - start);
        let bytes = self.source.read(start..end);
        if self.patches.range(start..end).next().is_none() {
            return bytes;
        }
        let mut bytes = bytes.to_vec();
        for (place, byte) in self.patches.range(start..end) {
            bytes[(place - start) as usize] = *byte;
        }
        bytes.into()
    }

    /// The length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn patch(&mut self, place: u64, change: impl Fn(u8) -> u8) {
        if let Some(byte) = self.read(place, 1).first() {
            self.patches.insert(place, change(*byte));
        }
    }
}
