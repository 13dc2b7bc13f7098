//! Sets of byte positions, and bytes at positions (spec §12.9): what a share reader has asked for,
//! what it got, and what the server does not have.
//!
//! Ranges are `start..end` in `u64`. An empty or inverted range holds nothing: adding or removing it
//! changes nothing. A set is a sorted vector of runs: a share reader has some hundred of them at most,
//! and walks all of them at each turn. Bytes are never copied to be merged, so that adding n replies
//! costs n copies of a chunk's handle and not n² of its bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A set of positions, held as disjoint runs that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Neither empty nor overlapping nor touching, in ascending order.
    runs: Vec<Range<u64>>,
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
        // In ascending order is how most come.
        if self.runs.last().is_none_or(|last| last.end < range.start) {
            return self.runs.push(range);
        }
        // Runs that overlap or touch become one with the new one.
        let first = self.runs.partition_point(|run| run.end < range.start);
        let after = first + self.runs[first..].partition_point(|run| run.start <= range.end);
        match self.runs[first..after] {
            [] => self.runs.insert(first, range),
            [ref mut run] => *run = run.start.min(range.start)..run.end.max(range.end),
            [ref mut run, .., ref last] => {
                *run = run.start.min(range.start)..last.end.max(range.end);
                self.runs.drain(first + 1..after);
            }
        }
    }

    /// Removes the positions of `range`.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.runs.partition_point(|run| run.end <= range.start);
        let after = first + self.runs[first..].partition_point(|run| run.start < range.end);
        if first == after {
            return;
        }
        let before = self.runs[first].start..range.start;
        let behind = range.end..self.runs[after - 1].end;
        let left = [before, behind].into_iter().filter(|run| !run.is_empty());
        self.runs.splice(first..after, left);
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// Whether every position of `range` is in the set; true of an empty range.
    pub fn contains(&self, range: Range<u64>) -> bool {
        let run = self.runs.partition_point(|run| run.end <= range.start);
        range.is_empty()
            || self.runs.get(run).is_some_and(|run| run.start <= range.start && range.end <= run.end)
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The number of positions in the set.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }

    /// The maximal runs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs.iter().cloned()
    }

    /// The positions in either set.
    pub fn union(&self, other: &Spans) -> Spans {
        let mut out = self.clone();
        out.extend(other.iter());
        out
    }

    /// The positions in this set and not in `other`.
    pub fn difference(&self, other: &Spans) -> Spans {
        let mut runs = Vec::with_capacity(self.runs.len());
        let mut others = other.runs.iter().peekable();
        for run in &self.runs {
            let mut start = run.start;
            while let Some(cut) = others.next_if(|cut| cut.end <= run.end) {
                if start < cut.start {
                    runs.push(start..cut.start);
                }
                start = start.max(cut.end);
            }
            // The next cut, if it reaches into this run, ends behind it.
            let end = others.peek().map_or(run.end, |cut| run.end.min(cut.start));
            if start < end {
                runs.push(start..end);
            }
        }
        Spans { runs }
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

    /// The positions of `range` that have no bytes.
    pub fn gaps(&self, range: Range<u64>) -> Spans {
        let mut gaps: Spans = [range.clone()].into_iter().collect();
        if !range.is_empty() {
            let first =
                self.chunks.range(..=range.start).next_back().map_or(range.start, |(&start, _)| start);
            for (&start, chunk) in self.chunks.range(first..range.end) {
                gaps.remove(start..end(start, chunk));
            }
        }
        gaps
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

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "sets of a single run")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    fn spans(ranges: &[Range<u64>]) -> Spans {
        ranges.iter().cloned().collect()
    }

    fn runs(spans: &Spans) -> Vec<Range<u64>> {
        spans.iter().collect()
    }

    #[test]
    fn neighbours_become_one_run() {
        let mut some = spans(&[10..20, 30..40]);
        some.add(20..25);
        assert_eq!(runs(&some), [10..25, 30..40]);
        some.add(25..30);
        assert_eq!(runs(&some), [10..40]);
        some.remove(15..16);
        assert_eq!(runs(&some), [10..15, 16..40]);
        assert_eq!(some.len(), 29);
    }

    #[test]
    fn empty_and_inverted_ranges_hold_nothing() {
        let mut some = spans(&[10..20]);
        #[expect(clippy::reversed_empty_ranges)]
        for range in [0..0, 15..15, 18..12, u64::MAX..0] {
            some.add(range.clone());
            some.remove(range.clone());
            assert_eq!(runs(&some), [10..20]);
            assert!(some.contains(range.clone()));
            assert_eq!(DataSpans::new().get(range), Some(Bytes::new()));
        }
    }

    #[test]
    fn positions_up_to_the_last() {
        let mut all = spans(&[0..u64::MAX]);
        assert_eq!(all.len(), u64::MAX);
        assert!(all.contains(u64::MAX - 1..u64::MAX));
        all.remove(1 << 40..u64::MAX - 1);
        assert_eq!(runs(&all), [0..1 << 40, u64::MAX - 1..u64::MAX]);

        let mut data = DataSpans::new();
        data.add(u64::MAX - 2, Bytes::from("abcd"));
        assert_eq!(data.get(u64::MAX - 2..u64::MAX), Some(Bytes::from("ab")));
        data.add(u64::MAX, Bytes::from("e"));
        assert_eq!(data.len(), 2);
    }

    #[test]
    fn newer_data_covers_older() {
        let mut data = DataSpans::new();
        data.add(10, Bytes::from("aaaaaaaaaa"));
        data.add(12, Bytes::from("bb"));
        data.add(18, Bytes::from("cccc"));
        assert_eq!(data.get(10..22), Some(Bytes::from("aabbaaaacccc")));
        assert_eq!(data.get(10..23), None);
        assert_eq!(data.get(9..12), None);
        assert_eq!(runs(&data.spans()), [10..22]);
        assert_eq!(data.pop(13..15), Some(Bytes::from("ba")));
        assert_eq!(data.pop(13..15), None);
        assert_eq!(runs(&data.spans()), [10..13, 15..22]);
        data.clear();
        assert!(data.is_empty());
    }

    /// Many small replies for one large region: nothing is copied until the whole is asked for.
    #[test]
    fn chunks_are_kept_as_they_came() {
        let (mut data, chunk) = (DataSpans::new(), Bytes::from(vec![1; 1000]));
        for i in 0..1000 {
            data.add(i * 1000, chunk.clone());
        }
        assert_eq!(data.get(5000..6000).unwrap().as_ptr(), chunk.as_ptr());
        assert_eq!(data.get(5100..5200).unwrap().as_ptr(), chunk[100..].as_ptr());
        assert_eq!(data.get(500..999_500).unwrap(), vec![1; 999_000]);
    }

    fn range() -> impl Strategy<Value = Range<u64>> {
        (0u64..100, 0u64..30).prop_map(|(start, len)| start..start + len)
    }

    /// A set of runs, as random ones come.
    fn some_spans() -> impl Strategy<Value = (Spans, BTreeSet<u64>)> {
        prop::collection::vec((any::<bool>(), range()), 0..12).prop_map(|steps| {
            let (mut spans, mut model) = (Spans::new(), BTreeSet::new());
            for (add, range) in steps {
                if add {
                    spans.add(range.clone());
                    model.extend(range);
                } else {
                    spans.remove(range.clone());
                    model.retain(|at| !range.contains(at));
                }
            }
            (spans, model)
        })
    }

    fn positions(spans: &Spans) -> BTreeSet<u64> {
        spans.iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn spans_are_sets((a, in_a) in some_spans(), (b, in_b) in some_spans(), asked in range()) {
            prop_assert_eq!(&positions(&a), &in_a);
            prop_assert_eq!(a.len(), in_a.len() as u64);
            prop_assert_eq!(a.is_empty(), in_a.is_empty());
            prop_assert_eq!(a.contains(asked.clone()), asked.clone().all(|at| in_a.contains(&at)));
            let runs = runs(&a);
            prop_assert!(runs.iter().all(|run| !run.is_empty()));
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "runs touch: {:?}", runs);

            prop_assert_eq!(positions(&a.union(&b)), &in_a | &in_b);
            prop_assert_eq!(positions(&a.difference(&b)), &in_a - &in_b);
            prop_assert_eq!(positions(&a.intersection(&b)), &in_a & &in_b);
            prop_assert_eq!(a == b, in_a == in_b);
        }

        #[test]
        fn data_spans_are_maps(steps in prop::collection::vec((0u8..4, range()), 0..30)) {
            let (mut data, mut model) = (DataSpans::new(), BTreeMap::new());
            for (value, (what, range)) in (0u8..).zip(steps) {
                let bytes: Vec<u8> = range.clone().map(|at| (at as u8).wrapping_add(value.wrapping_mul(101))).collect();
                let known: Option<Vec<u8>> = range.clone().map(|at| model.get(&at).copied()).collect();
                match what {
                    0 | 1 => {
                        data.add(range.start, bytes.clone().into());
                        model.extend(range.clone().zip(bytes));
                    }
                    2 => {
                        data.remove(range.clone());
                        model.retain(|at, _| !range.contains(at));
                    }
                    _ => {
                        prop_assert_eq!(data.get(range.clone()).map(Vec::from), known.clone());
                        prop_assert_eq!(data.pop(range.clone()).map(Vec::from), known.clone());
                        if known.is_some() {
                            model.retain(|at, _| !range.contains(at));
                        }
                    }
                }
                prop_assert_eq!(positions(&data.spans()), model.keys().copied().collect::<BTreeSet<_>>());
                let missing = range.clone().filter(|at| !model.contains_key(at)).collect::<BTreeSet<_>>();
                prop_assert_eq!(positions(&data.gaps(range.clone())), missing);
                prop_assert_eq!(data.len(), model.len() as u64);
                for (&at, &byte) in &model {
                    prop_assert_eq!(data.get(at..at + 1), Some(Bytes::from(vec![byte])));
                }
            }
        }
    }
}
