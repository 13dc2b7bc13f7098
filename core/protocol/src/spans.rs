//! Sets of byte positions, and bytes at positions (spec §12.9): what a share reader has asked for,
//! what it got, and what the server does not have.
//!
//! Ranges are `start..end` in `u64`. An empty or inverted range holds nothing: adding or removing it
//! changes nothing. Each operation costs O(log n) and the runs it covers; bytes are never copied to
//! be merged, so that adding n replies costs n and not n².

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A set of positions, held as disjoint runs that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Start of each run to its end.
    runs: BTreeMap<u64, u64>,
}

impl Spans {
    /// The empty set.
    pub fn new() -> Spans {
        Spans::default()
    }

    /// Adds the positions of `range`.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        // Runs that overlap or touch become one with the new one.
        while let Some((&s, &e)) = self.runs.range(..=end).next_back()
            && e >= start
        {
            self.runs.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.runs.insert(start, end);
    }

    /// Removes the positions of `range`.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&s, &e)) = self.runs.range(..range.end).next_back()
            && e > range.start
        {
            self.runs.remove(&s);
            if e > range.end {
                self.runs.insert(range.end, e);
            }
            if s < range.start {
                self.runs.insert(s, range.start);
            }
        }
    }

    /// Whether every position of `range` is in the set; true of an empty range.
    pub fn contains(&self, range: Range<u64>) -> bool {
        range.is_empty() || self.runs.range(..=range.start).next_back().is_some_and(|(_, &e)| range.end <= e)
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The number of positions in the set.
    pub fn len(&self) -> u64 {
        self.iter().map(|run| run.end - run.start).sum()
    }

    /// The maximal runs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs.iter().map(|(&start, &end)| start..end)
    }

    /// The positions in either set.
    pub fn union(&self, other: &Spans) -> Spans {
        let mut out = self.clone();
        out.extend(other.iter());
        out
    }

    /// The positions in this set and not in `other`.
    pub fn difference(&self, other: &Spans) -> Spans {
        let mut out = self.clone();
        for run in other.iter() {
            out.remove(run);
        }
        out
    }

    /// The positions in both sets.
    pub fn intersection(&self, other: &Spans) -> Spans {
        self.difference(&self.difference(other))
    }
}

impl Extend<Range<u64>> for Spans {
    fn extend<T: IntoIterator<Item = Range<u64>>>(&mut self, ranges: T) {
        for range in ranges {
            self.add(range);
        }
    }
}

impl FromIterator<Range<u64>> for Spans {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(ranges: T) -> Spans {
        let mut out = Spans::new();
        out.extend(ranges);
        out
    }
}

/// Bytes at positions. Held as the chunks they came in: adjacent chunks stay apart and are joined
/// only for a [`get`](Self::get) that spans them.
#[derive(Clone, Debug, Default)]
pub struct DataSpans {
    /// Position of each chunk to the chunk. Chunks are not empty and do not overlap.
    chunks: BTreeMap<u64, Bytes>,
}

impl DataSpans {
    /// No bytes.
    pub fn new() -> DataSpans {
        DataSpans::default()
    }

    /// Puts `data` at `start`, over whatever is there. What would lie past position 2^64 − 1 is
    /// dropped.
    pub fn add(&mut self, start: u64, mut data: Bytes) {
        data.truncate(usize::try_from(u64::MAX - start).unwrap_or(usize::MAX));
        if !data.is_empty() {
            self.remove(start..start + data.len() as u64);
            self.chunks.insert(start, data);
        }
    }

    /// Removes the bytes of `range`.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&start, chunk)) = self.chunks.range(..range.end).next_back()
            && end(start, chunk) > range.start
            && let Some(mut chunk) = self.chunks.remove(&start)
        {
            if end(start, &chunk) > range.end {
                self.chunks.insert(range.end, chunk.split_off((range.end - start) as usize));
            }
            if start < range.start {
                chunk.truncate((range.start - start) as usize);
                self.chunks.insert(start, chunk);
            }
        }
    }

    /// The bytes of `range` if all of them are there. Copies only when they lie in several chunks.
    pub fn get(&self, range: Range<u64>) -> Option<Bytes> {
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let (&first, chunk) = self.chunks.range(..=range.start).next_back()?;
        if range.end <= end(first, chunk) {
            return Some(chunk.slice((range.start - first) as usize..(range.end - first) as usize));
        }
        if !self.covers(range.clone(), first) {
            return None;
        }
        let mut out = BytesMut::with_capacity((range.end - range.start) as usize);
        for (&start, chunk) in self.chunks.range(first..range.end) {
            let from = range.start.max(start) - start;
            let to = range.end.min(end(start, chunk)) - start;
            out.extend_from_slice(&chunk[from as usize..to as usize]);
        }
        Some(out.freeze())
    }

    /// [`get`](Self::get), and [`remove`](Self::remove) what was got.
    pub fn pop(&mut self, range: Range<u64>) -> Option<Bytes> {
        let data = self.get(range.clone())?;
        self.remove(range);
        Some(data)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.chunks.clear();
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        self.chunks.values().map(|chunk| chunk.len() as u64).sum()
    }

    /// The positions that have bytes.
    pub fn spans(&self) -> Spans {
        self.chunks.iter().map(|(&start, chunk)| start..end(start, chunk)).collect()
    }

    /// Whether chunks from the one at `first` on cover `range` without a gap.
    fn covers(&self, range: Range<u64>, first: u64) -> bool {
        let mut reached = range.start;
        for (&start, chunk) in self.chunks.range(first..range.end) {
            if start > reached {
                return false;
            }
            reached = end(start, chunk);
        }
        reached >= range.end
    }
}

fn end(start: u64, chunk: &Bytes) -> u64 {
    start + chunk.len() as u64
}
