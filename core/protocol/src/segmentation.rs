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
    /// The segment size, rounded up to a multiple of k, does not fit 64 bits.
    #[error("a segment size of {0} cannot be rounded up to a multiple of k within 64 bits")]
    TooLarge(u64),
}

impl Segmentation {
    /// As an uploader cuts a file: segments of at most `max_segment_size` bytes, rounded up to a
    /// multiple of k. A downloader that has seen no UEB yet guesses with the same rule.
    ///
    /// The segment size is at least k, for an empty file too.
    pub fn plan(size: u64, k: u32, n: u32, max_segment_size: u64) -> Result<Self, SegmentationError> {
        check_shares(k, n)?;
        let wanted = size.min(max_segment_size).max(1);
        let segment_size =
            wanted.checked_next_multiple_of(u64::from(k)).ok_or(SegmentationError::TooLarge(wanted))?;
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
        // At most the segment size, which is a multiple of k itself: no overflow.
        let tail_padded = tail_size.next_multiple_of(shares);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sizes_of_vector_b() {
        let file = Segmentation::plan(300, 3, 10, 128).unwrap();
        let expected = Segmentation {
            size: 300,
            k: 3,
            n: 10,
            segment_size: 129,
            segments: 3,
            tail_size: 42,
            tail_padded: 42,
            block_size: 43,
            tail_block_size: 14,
            share_data_size: 100,
        };
        assert_eq!(file, expected);
        assert_eq!(file.segment_at(0), Some(0));
        assert_eq!(file.segment_at(128), Some(0));
        assert_eq!(file.segment_at(129), Some(1));
        assert_eq!(file.segment_at(299), Some(2));
        assert_eq!(file.segment_at(300), None);
        assert_eq!(file.segment_range(1), Some(129..258));
        assert_eq!(file.segment_range(2), Some(258..300));
        assert_eq!(file.segment_range(3), None);
        assert_eq!(file.block_range(1), Some(43..86));
        assert_eq!(file.block_range(2), Some(86..100));
        assert_eq!(file.block_range(3), None);
    }

    #[test]
    fn tails() {
        // A full tail, a padded one (vector E), and a segment size beyond the file's (vector D).
        let full = Segmentation::plan(1000, 2, 3, 100).unwrap();
        assert_eq!((full.segments, full.tail_size, full.tail_block_size), (10, 100, 50));
        let padded = Segmentation::plan(2049, 5, 7, 512).unwrap();
        assert_eq!((padded.segment_size, padded.tail_size, padded.tail_padded), (515, 504, 505));
        assert_eq!(
            (padded.padded_len(0), padded.padded_len(3), padded.padded_len(4)),
            (Some(515), Some(505), None)
        );
        let single = Segmentation::plan(5000, 3, 10, 1 << 20).unwrap();
        assert_eq!((single.segment_size, single.segments, single.tail_size), (5001, 1, 5000));
    }

    #[test]
    fn an_empty_file_has_no_segments() {
        let file = Segmentation::plan(0, 3, 10, 1 << 20).unwrap();
        assert_eq!((file.segment_size, file.segments, file.tail_size, file.share_data_size), (3, 0, 0, 0));
        assert_eq!((file.segment_at(0), file.segment_range(0), file.block_range(0)), (None, None, None));
    }

    #[test]
    fn impossible_figures_are_refused() {
        use SegmentationError::*;
        for (k, n) in [(0, 0), (0, 1), (2, 1), (1, 257), (257, 257), (u32::MAX, u32::MAX)] {
            assert_eq!(Segmentation::new(1, k, n, 1), Err(Shares { k, n }));
            assert_eq!(Segmentation::plan(1, k, n, 1), Err(Shares { k, n }));
        }
        for segment_size in [0, 1, 4, u64::MAX - 1] {
            assert_eq!(Segmentation::new(100, 3, 10, segment_size), Err(SegmentSize { segment_size, k: 3 }));
        }
        assert_eq!(Segmentation::plan(u64::MAX, 2, 2, u64::MAX), Err(TooLarge(u64::MAX)));
    }

    proptest! {
        /// Whatever a UEB claims: an error, or sizes that belong together.
        #[test]
        fn sizes_belong_together(
            size in prop_oneof![any::<u64>(), 0u64..10_000],
            k in 0u32..300,
            n in 0u32..300,
            segment_size in prop_oneof![any::<u64>(), 0u64..1000, (0u64..1000).prop_map(|i| i * 3)],
            at: prop::sample::Index,
        ) {
            let Ok(file) = Segmentation::new(size, k, n, segment_size) else {
                prop_assert!(k == 0 || k > n || n > 256 || segment_size == 0 || segment_size % u64::from(k) != 0);
                return Ok(());
            };
            let shares = u64::from(k);
            prop_assert_eq!(file.block_size * shares, segment_size);
            prop_assert_eq!(file.tail_block_size * shares, file.tail_padded);
            prop_assert!(file.tail_padded - file.tail_size < shares);
            if size == 0 {
                prop_assert_eq!(file.segments, 0);
                return Ok(());
            }
            let last = file.segments - 1;
            prop_assert_eq!(file.segment_range(last).unwrap().end, size);
            prop_assert_eq!(file.block_range(last).unwrap().end, file.share_data_size);
            prop_assert_eq!(file.segment_range(file.segments), None);

            let offset = (at.index(usize::MAX) as u64) % size;
            let segment = file.segment_at(offset).unwrap();
            prop_assert!(file.segment_range(segment).unwrap().contains(&offset));
        }
    }
}
