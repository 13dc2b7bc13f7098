//! Files that a simulated grid stores: shares, capability and what a reader must get.

use std::sync::Arc;

use bytes::Bytes;
use protocol::cap::ReadCap;
use protocol::crypt::Cipher;
use protocol::layout::{Layout, LayoutError};
use protocol::segmentation::{Segmentation, SegmentationError};

use super::poisoned;
use super::share::ShareSource;
use super::sparse::SparseFile;
use crate::fault::Region;

/// A file as a grid stores it.
#[derive(Clone)]
pub struct StoredFile {
    /// Reads it.
    pub cap: ReadCap,
    /// Its sizes.
    pub sizes: Segmentation,
    /// A segment whose blocks are authentic and decode to something else than its hash says, if any.
    pub poisoned: Option<u64>,
    layout: Layout,
    plaintext: Plaintext,
    shares: Vec<ShareSource>,
}

#[derive(Clone)]
enum Plaintext {
    Whole(Bytes),
    Sparse(Arc<SparseFile>),
}

/// Why shares and a plaintext do not make a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The sizes are impossible.
    #[error(transparent)]
    Sizes(#[from] SegmentationError),
    /// A share has no readable header.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There are not n shares of one length, or the plaintext is not of the capability's size.
    #[error("{0}")]
    Mismatch(String),
    /// The encoder refused.
    #[error("the file cannot be encoded: {0}")]
    Encoding(String),
}

impl StoredFile {
    /// A file whose n shares somebody else made, in the order of their numbers.
    pub fn new(
        cap: ReadCap,
        segment_size: u64,
        plaintext: Bytes,
        shares: Vec<Bytes>,
    ) -> Result<StoredFile, FileError> {
        let sizes = Segmentation::new(cap.size, cap.k, cap.n, segment_size)?;
        if shares.len() != cap.n as usize || plaintext.len() as u64 != cap.size {
            let text = format!(
                "{} shares for n = {}, {} bytes of plaintext for a size of {}",
                shares.len(),
                cap.n,
                plaintext.len(),
                cap.size
            );
            return Err(FileError::Mismatch(text));
        }
        let layout = Layout::parse(&shares[0])?;
        let shares = shares.into_iter().map(ShareSource::Whole).collect();
        Ok(StoredFile { cap, sizes, poisoned: None, layout, plaintext: Plaintext::Whole(plaintext), shares })
    }

    /// A file of which one segment's blocks, though authentic, decode to something else than the segment's hash
    /// says: what a malicious uploader can make.
    pub fn poisoned(
        sizes: Segmentation,
        key: protocol::Key,
        plaintext: Bytes,
        segment: u64,
    ) -> Result<StoredFile, FileError> {
        let (cap, shares) = poisoned::encode(&sizes, key, &plaintext, segment)
            .map_err(|error| FileError::Encoding(error.to_string()))?;
        let file = StoredFile::new(cap, sizes.segment_size, plaintext, shares)?;
        Ok(StoredFile { poisoned: Some(segment), ..file })
    }

    /// A file of `2^segments_log2` segments that never exists in memory: its ciphertext repeats every few segments.
    pub fn sparse(k: u32, n: u32, segment_size: u64, segments_log2: u32) -> Result<StoredFile, FileError> {
        let file = SparseFile::new(k, n, segment_size, segments_log2)
            .map_err(|error| FileError::Encoding(error.to_string()))?;
        let file = Arc::new(file);
        let shares = (0..n).map(|share| ShareSource::Sparse(file.clone(), share)).collect();
        Ok(StoredFile {
            cap: file.cap,
            sizes: file.sizes,
            poisoned: None,
            layout: file.layout,
            plaintext: Plaintext::Sparse(file),
            shares,
        })
    }

    /// The plaintext of `[offset, offset + length)`, cut at the file's end.
    pub fn plaintext(&self, offset: u64, length: u64) -> Bytes {
        let start = offset.min(self.cap.size);
        let end = start + length.min(self.cap.size - start);
        match &self.plaintext {
            Plaintext::Whole(bytes) => bytes.slice(start as usize..end as usize),
            Plaintext::Sparse(file) => {
                let mut bytes = file.ciphertext(start..end);
                Cipher::at(&self.cap.key, start).apply(&mut bytes);
                bytes.into()
            }
        }
    }

    /// An undamaged share.
    pub(crate) fn share(&self, number: u32) -> Option<&ShareSource> {
        self.shares.get(number as usize)
    }

    /// Where a region is in each undamaged share.
    pub fn region(&self, region: Region) -> std::ops::Range<u64> {
        region.range(&self.layout, &self.sizes, self.share_len())
    }

    /// The length of each share.
    pub fn share_len(&self) -> u64 {
        self.shares[0].len()
    }

    /// The layout of each share.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}
