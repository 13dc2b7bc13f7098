//! How a file is cut into segments, and a segment into blocks (spec §4): every size that follows
//! from file size, k and segment size.

use std::ops::Range;

/// All sizes of one file's segments and blocks, in bytes. Built by [`Segmentation::plan`] for an
/// upload (or a guess), by [`Segmentation::new`] when the segment size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The file's size.
    pub size: u64,
    /// Shares needed to recover a segment, 1 ≤ k ≤ n.
    pub k: u32,
    /// Shares made, n ≤ 256.
    pub n: u32,
    /// Ciphertext bytes in each segment but the last; a positive multiple of k. May exceed the
    /// file's size.
    pub segment_size: u64,
    /// Number of segments; 0 only for an empty file.
    pub segments: u64,
    /// Ciphertext bytes in the last segment, 1 ≤ tail ≤ segment size (0 for an empty file).
    pub tail_size: u64,
    /// The last segment with the zeros that fill it up to a multiple of k.
    pub tail_padded: u64,
    /// Bytes of each block but the last of a share.
    pub block_size: u64,
    /// Bytes of the last block of a share.
    pub tail_block_size: u64,
    /// All blocks of one share together.
    pub share_data_size: u64,
}

/// Why there is no such segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentationError {
    /// k and n are not 1 ≤ k ≤ n ≤ 256.
    #[error("{k}-of-{n} is not a possible encoding: 1 ≤ k ≤ n ≤ 256 is")]
    Shares {
        /// Shares needed.
        k: u32,
        /// Shares made.
        n: u32,
    },
    /// The segment size is zero or no multiple of k.
    #[error("a segment size of {segment_size} is not a positive multiple of k = {k}")]
    SegmentSize {
        /// The segment size in question.
        segment_size: u64,
        /// Shares needed.
        k: u32,
    },
    /// A size derived from these does not fit 64 bits.
    #[error("a file of {size} bytes in segments of {segment_size} has sizes beyond 64 bits")]
    TooLarge {
        /// The file's size.
        size: u64,
        /// The segment size in question.
        segment_size: u64,
    },
}

impl Segmentation {
    /// As an uploader cuts a file: segments of at most `max_segment_size` bytes, rounded up to a
    /// multiple of k. A downloader that has seen no UEB yet guesses with the same rule.
    ///
    /// An empty file gets the smallest segment size there is, k.
    pub fn plan(size: u64, k: u32, n: u32, max_segment_size: u64) -> Result<Self, SegmentationError> {
        check_shares(k, n)?;
        let wanted = size.min(max_segment_size).max(1);
        let segment_size = wanted
            .checked_next_multiple_of(u64::from(k))
            .ok_or(SegmentationError::TooLarge { size, segment_size: wanted })?;
        Self::new(size, k, n, segment_size)
    }

    /// For a known `segment_size`, be it from a hostile UEB.
    pub fn new(size: u64, k: u32, n: u32, segment_size: u64) -> Result<Self, SegmentationError> {
        check_shares(k, n)?;
        let shares = u64::from(k);
        if segment_size == 0 || !segment_size.is_multiple_of(shares) {
            return Err(SegmentationError::SegmentSize { segment_size, k });
        }
        let segments = size.div_ceil(segment_size);
        let tail_size = match size % segment_size {
            0 if size > 0 => segment_size,
            rest => rest,
        };
        let tail_padded = tail_size
            .checked_next_multiple_of(shares)
            .ok_or(SegmentationError::TooLarge { size, segment_size })?;
        Ok(Segmentation {
            size,
            k,
            n,
            segment_size,
            segments,
            tail_size,
            tail_padded,
            block_size: segment_size / shares,
            tail_block_size: tail_padded / shares,
            share_data_size: size.div_ceil(shares),
        })
    }

    /// The segment that holds the file's byte at `offset`, `None` at or past the end of the file.
    pub fn segment_at(&self, offset: u64) -> Option<u64> {
        (offset < self.size).then(|| offset / self.segment_size)
    }

    /// The bytes of the file that segment `segment` holds, `None` when there is no such segment.
    pub fn segment_range(&self, segment: u64) -> Option<Range<u64>> {
        let start = self.start_of(segment, self.segment_size)?;
        Some(start..start + self.pick(segment, self.segment_size, self.tail_size))
    }

    /// Length of `segment` as it is encoded, padding included.
    pub fn padded_len(&self, segment: u64) -> Option<u64> {
        self.start_of(segment, self.segment_size)?;
        Some(self.pick(segment, self.segment_size, self.tail_padded))
    }

    /// The bytes of a share's data region that hold its block of `segment`, counted from the start
    /// of that region.
    pub fn block_range(&self, segment: u64) -> Option<Range<u64>> {
        let start = self.start_of(segment, self.block_size)?;
        Some(start..start + self.pick(segment, self.block_size, self.tail_block_size))
    }

    fn start_of(&self, segment: u64, each: u64) -> Option<u64> {
        // In range: segments before the last are full, so this is below the file's or share's size.
        (segment < self.segments).then(|| segment * each)
    }

    fn pick(&self, segment: u64, full: u64, tail: u64) -> u64 {
        if segment + 1 == self.segments { tail } else { full }
    }
}

/// 1 ≤ k ≤ n ≤ 256, or the error that says so.
pub(crate) fn check_shares(k: u32, n: u32) -> Result<(), SegmentationError> {
    if 1 <= k && k <= n && n <= 256 { Ok(()) } else { Err(SegmentationError::Shares { k, n }) }
}
