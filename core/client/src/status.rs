//! The status timeline of a node (spec §13): what was read, fetched and asked, and when.
//!
//! The timeline is bounded: of each kind of event the latest are kept, and how many there ever were.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::Instant;

/// The timeline of a node, as it was when it was asked for.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The first read or segment request.
    pub first: Option<Instant>,
    /// The last time anything ended.
    pub last: Option<Instant>,
    /// Calls of [`Node::read`](crate::Node::read).
    pub reads: Log<ReadEvent>,
    /// Requests for segments.
    pub segments: Log<SegmentEvent>,
    /// Queries to servers: "do you have block".
    pub dyhbs: Log<DyhbEvent>,
    /// Reads of shares.
    pub blocks: Log<BlockEvent>,
    /// Decoding and checking of segments.
    pub decodes: Log<DecodeEvent>,
    /// Bytes asked for by all reads together.
    pub bytes_requested: u64,
    /// Bytes handed to all readers together.
    pub bytes_returned: u64,
}

/// The latest events of one kind, oldest first, and how many there ever were.
#[derive(Clone, Debug)]
pub struct Log<T> {
    /// The latest events.
    pub kept: VecDeque<T>,
    /// How many there ever were; the last of `kept` has this number, counted from 1.
    pub total: u64,
}

/// One call of [`Node::read`](crate::Node::read).
#[derive(Clone, Debug)]
pub struct ReadEvent {
    /// First byte asked for.
    pub start: u64,
    /// Bytes asked for, clipped at the end of the file.
    pub length: u64,
    /// When it was called.
    pub started: Instant,
    /// When it ended: with its last byte, an error, or because it was dropped.
    pub finished: Option<Instant>,
    /// Bytes handed over so far.
    pub bytes_returned: u64,
    /// Time spent decrypting.
    pub decrypt_time: Duration,
    /// Time in which the reader did not ask for more.
    pub paused_time: Duration,
}

/// One request for a segment. A cancelled one never finishes.
#[derive(Clone, Debug)]
pub struct SegmentEvent {
    /// The segment.
    pub segment: u64,
    /// When it was requested.
    pub started: Instant,
    /// When its fetch began, or was joined.
    pub active: Option<Instant>,
    /// When it was delivered.
    pub finished: Option<Instant>,
    /// Whether it was delivered whole.
    pub success: Option<bool>,
    /// Where in the file it starts, and its length.
    pub range: Option<(u64, u64)>,
}

/// One query to one server.
#[derive(Clone, Debug)]
pub struct DyhbEvent {
    /// The server's name.
    pub server: Arc<str>,
    /// When it was sent.
    pub started: Instant,
    /// When it was answered, failed or was given up.
    pub finished: Option<Instant>,
    /// The share numbers in the answer; `None` for a failure.
    pub shares: Option<Vec<u32>>,
}

/// One read of one share.
#[derive(Clone, Debug)]
pub struct BlockEvent {
    /// The server's name.
    pub server: Arc<str>,
    /// The share's number.
    pub share: u32,
    /// First byte asked for.
    pub start: u64,
    /// Bytes asked for.
    pub length: u64,
    /// When it was sent.
    pub started: Instant,
    /// When it was answered, failed or was given up.
    pub finished: Option<Instant>,
    /// Bytes in the answer; `None` for a failure.
    pub response_length: Option<u64>,
}

/// One decoding, with the check of the segment's hash.
#[derive(Clone, Debug)]
pub struct DecodeEvent {
    /// The segment.
    pub segment: u64,
    /// When it was started.
    pub started: Instant,
    /// When its result came back.
    pub finished: Option<Instant>,
}

impl Status {
    /// What the node is doing, in a line: `idle`, `fetching segment 3`.
    pub fn summary(&self) -> String {
        let numbers = |keep: fn(&SegmentEvent) -> bool| {
            let mut numbers: Vec<u64> =
                self.segments.kept.iter().filter(|event| keep(event)).map(|event| event.segment).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
        };
        let active = numbers(|event| event.active.is_some() && event.finished.is_none());
        let failed = numbers(|event| event.success == Some(false));
        let mut out = match active.as_str() {
            "" => "idle".to_owned(),
            one if !one.contains(',') => format!("fetching segment {one}"),
            several => format!("fetching segments {several}"),
        };
        if !failed.is_empty() {
            let _ = write!(out, "; errors on segment(s) {failed}");
        }
        out
    }

    /// How far the unfinished reads are, 0 to 1: 0 before the first read, 1 when none is unfinished.
    pub fn progress(&self) -> f64 {
        if self.reads.total == 0 {
            return 0.0;
        }
        let unfinished = self.reads.kept.iter().filter(|event| event.finished.is_none());
        let (returned, length) = unfinished.fold((0.0, 0.0), |sum, event| {
            (sum.0 + event.bytes_returned as f64, sum.1 + event.length as f64)
        });
        if length == 0.0 { 1.0 } else { returned / length }
    }

    /// Whether any read is unfinished.
    pub fn is_active(&self) -> bool {
        self.reads.kept.iter().any(|event| event.finished.is_none())
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log { kept: VecDeque::new(), total: 0 }
    }
}

/// The number of an event, by which it can be brought up to date later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventId(u64);

impl<T> Log<T> {
    fn push(&mut self, limit: usize, event: T) -> EventId {
        self.total += 1;
        self.kept.push_back(event);
        while self.kept.len() > limit {
            self.kept.pop_front();
        }
        EventId(self.total)
    }

    fn get_mut(&mut self, id: EventId) -> Option<&mut T> {
        let behind = usize::try_from(self.total - id.0).ok()?;
        let place = self.kept.len().checked_sub(behind + 1)?;
        self.kept.get_mut(place)
    }
}

/// The timeline as the node and its readers write it.
pub(crate) struct Journal {
    status: Mutex<Status>,
    limit: usize,
}

impl Journal {
    pub fn new(limit: usize) -> Self {
        Journal { status: Mutex::default(), limit }
    }

    pub fn read_out(&self) -> Status {
        self.lock().clone()
    }

    pub fn read_started(&self, now: Instant, start: u64, length: u64) -> EventId {
        let event = ReadEvent {
            start,
            length,
            started: now,
            finished: None,
            bytes_returned: 0,
            decrypt_time: Duration::ZERO,
            paused_time: Duration::ZERO,
        };
        let mut status = self.lock();
        status.first.get_or_insert(now);
        status.bytes_requested = status.bytes_requested.saturating_add(length);
        status.reads.push(self.limit, event)
    }

    pub fn read_paused(&self, id: EventId, length: Duration) {
        if let Some(event) = self.lock().reads.get_mut(id) {
            event.paused_time += length;
        }
    }

    pub fn read_returned(&self, id: EventId, bytes: u64, decrypt_time: Duration) {
        let mut status = self.lock();
        status.bytes_returned += bytes;
        if let Some(event) = status.reads.get_mut(id) {
            event.bytes_returned += bytes;
            event.decrypt_time += decrypt_time;
        }
    }

    pub fn read_finished(&self, now: Instant, id: EventId) {
        let mut status = self.lock();
        status.last = Some(now);
        if let Some(event) = status.reads.get_mut(id) {
            event.finished = Some(now);
        }
    }

    pub fn segment_requested(&self, now: Instant, segment: u64) -> EventId {
        let (active, finished, success, range) = (None, None, None, None);
        let mut status = self.lock();
        status.first.get_or_insert(now);
        status
            .segments
            .push(self.limit, SegmentEvent { segment, started: now, active, finished, success, range })
    }

    pub fn segment_active(&self, now: Instant, id: EventId) {
        if let Some(event) = self.lock().segments.get_mut(id) {
            event.active.get_or_insert(now);
        }
    }

    /// `range` is where the segment starts in the file and its length; `None` says that it failed.
    pub fn segment_finished(&self, now: Instant, id: EventId, range: Option<(u64, u64)>) {
        let mut status = self.lock();
        status.last = Some(now);
        if let Some(event) = status.segments.get_mut(id) {
            event.active.get_or_insert(now);
            event.finished = Some(now);
            event.success = Some(range.is_some());
            event.range = range;
        }
    }

    pub fn dyhb_sent(&self, now: Instant, server: Arc<str>) -> EventId {
        let event = DyhbEvent { server, started: now, finished: None, shares: None };
        self.lock().dyhbs.push(self.limit, event)
    }

    pub fn dyhb_finished(&self, now: Instant, id: EventId, shares: Option<Vec<u32>>) {
        let mut status = self.lock();
        status.last = Some(now);
        if let Some(event) = status.dyhbs.get_mut(id) {
            event.finished = Some(now);
            event.shares = shares;
        }
    }

    pub fn block_sent(&self, now: Instant, server: Arc<str>, share: u32, start: u64, length: u64) -> EventId {
        let (started, finished, response_length) = (now, None, None);
        let event = BlockEvent { server, share, start, length, started, finished, response_length };
        self.lock().blocks.push(self.limit, event)
    }

    pub fn block_finished(&self, now: Instant, id: EventId, response_length: Option<u64>) {
        let mut status = self.lock();
        status.last = Some(now);
        if let Some(event) = status.blocks.get_mut(id) {
            event.finished = Some(now);
            event.response_length = response_length;
        }
    }

    pub fn decode_started(&self, now: Instant, segment: u64) -> EventId {
        self.lock().decodes.push(self.limit, DecodeEvent { segment, started: now, finished: None })
    }

    pub fn decode_finished(&self, now: Instant, id: EventId) {
        let mut status = self.lock();
        status.last = Some(now);
        if let Some(event) = status.decodes.get_mut(id) {
            event.finished = Some(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Each change is a few plain stores; a poisoned timeline is at worst short of one event.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_is_bounded_and_finds_its_events() {
        let journal = Journal::new(3);
        let at = Instant::from_nanos;
        let ids: Vec<_> = (0..5).map(|n| journal.segment_requested(at(n), n)).collect();
        journal.segment_active(at(9), ids[3]);
        journal.segment_finished(at(10), ids[1], None);
        let status = journal.read_out();
        assert_eq!(status.segments.total, 5);
        let kept: Vec<_> = status.segments.kept.iter().map(|event| (event.segment, event.active)).collect();
        assert_eq!(kept, [(2, None), (3, Some(at(9))), (4, None)]);
        assert_eq!(status.summary(), "fetching segment 3");
        journal.segment_finished(at(11), ids[3], None);
        assert_eq!(journal.read_out().summary(), "idle; errors on segment(s) 3");
    }

    #[test]
    fn progress_counts_unfinished_reads_alone() {
        let journal = Journal::new(8);
        assert_eq!(journal.read_out().progress(), 0.0);
        let (first, second) = (journal.read_started(Instant::default(), 0, 10), {
            journal.read_started(Instant::default(), 0, 40)
        });
        journal.read_returned(first, 10, Duration::ZERO);
        journal.read_finished(Instant::default(), first);
        journal.read_returned(second, 10, Duration::ZERO);
        assert_eq!(journal.read_out().progress(), 0.25);
        journal.read_finished(Instant::default(), second);
        assert_eq!(journal.read_out().progress(), 1.0);
        assert_eq!(journal.read_out().bytes_returned, 20);
    }
}
