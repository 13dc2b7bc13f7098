//! A node's state machine: requests, the one active fetch, the search, the shares (spec §12.4).
//!
//! [`Machine::handle`] takes one event and leaves in an [`Outbox`] what follows from it. It never waits,
//! so no state is ever half changed, and whoever is cancelled is cancelled between two events.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use protocol::segmentation::Segmentation;
use runtime::{hold, reached, relapse, wait};
use tracing::{Span, debug};

use crate::errors::ReadError;
use crate::event::{
    Action, Decode, Event, FetchId, Notice, Outbox, QueryAnswer, Request, RequestId, Segment, ServerIndex,
    ShareIndex, Source,
};
use crate::fetcher::{Fetcher, Progress};
use crate::file::File;
use crate::finder::Finder;
use crate::share::Share;

/// The sizes of a file as its readers see them, once they are known.
pub(crate) type KnownSizes = Arc<Mutex<Option<Segmentation>>>;

/// What a node knows and does.
pub(crate) struct Machine {
    file: File,
    finder: Finder,
    shares: Vec<Share>,
    /// Those of the shares that a fetch may use: all that were delivered.
    delivered: Vec<ShareIndex>,
    /// In the order in which they came.
    requests: VecDeque<Request>,
    /// Requests that were neither delivered nor cancelled. More than `requests`, by those whose result is
    /// in the queue.
    open: BTreeSet<RequestId>,
    active: Option<Active>,
    next_fetch: FetchId,
    known: KnownSizes,
}

/// The fetch under way.
struct Active {
    fetcher: Fetcher,
    /// It has its blocks, and waits for what they decode to.
    decoding: bool,
    _held: Span,
}

impl Machine {
    pub fn new(file: File, finder: Finder, known: KnownSizes) -> Self {
        Machine {
            file,
            finder,
            shares: Vec::new(),
            delivered: Vec::new(),
            requests: VecDeque::new(),
            open: BTreeSet::new(),
            active: None,
            next_fetch: 0,
            known,
        }
    }

    /// Changes the state as the event demands.
    pub fn handle(&mut self, event: Event, out: &mut Outbox) {
        match event {
            Event::Request(request) => self.request(request, out),
            Event::Cancel(id) => self.cancel(id, out),
            Event::QueryOverdue(server) => self.finder.overdue(server, out),
            Event::QueryAnswered { server, answer, rtt } => self.query_answered(server, answer, rtt, out),
            Event::ReadOverdue { share, call } => {
                if let Some(share) = self.shares.get_mut(share) {
                    self.finder.note(share.server, true);
                    share.overdue(call, out);
                }
            }
            Event::ReadAnswered { share, call, answer } => {
                if let Some(share) = self.shares.get_mut(share) {
                    if answer.is_some() {
                        self.finder.note(share.server, false);
                    }
                    share.answered(call, answer, out);
                }
            }
            Event::Decoded { fetch, segment, result, status } => {
                out.journal.decode_finished(out.now, status);
                self.decoded(fetch, segment, result, out);
            }
            Event::FinderTurn => {
                if self.finder.turn(out) {
                    if relapse!("tahoe-B5") {
                        self.no_more_shares(out);
                    } else {
                        // Behind the shares that are queued already.
                        out.post(Event::NoMoreShares);
                    }
                }
            }
            Event::SharesFound(found) => self.shares_found(found, out),
            Event::NoMoreShares => self.no_more_shares(out),
            Event::ShareTurn(share) => {
                if let Some(share) = self.shares.get_mut(share) {
                    share.turn(&mut self.file, out);
                    self.publish_sizes();
                }
            }
            Event::Notice { fetch, share, notice } => self.notice(fetch, share, notice, out),
            Event::FetchTurn(fetch) => {
                if self.fetching(fetch).is_some() {
                    self.fetch_turn(out);
                }
            }
            Event::Deliver { request, result } => self.deliver(request, result, out),
        }
    }
}

/// Requests.
impl Machine {
    fn request(&mut self, mut request: Request, out: &mut Outbox) {
        self.open.insert(request.id);
        request.held = Some(hold!("segment", node = out.node, segment = request.segment));
        match &self.active {
            Some(active) if active.fetcher.segment == request.segment => {
                reached!("node: a request joins the active fetch");
                out.journal.segment_active(out.now, request.status);
            }
            _ => request.queued = Some(wait!("fetcher", node = out.node)),
        }
        self.requests.push_back(request);
        self.start_next(out);
    }

    /// Idempotent, and without effect once the result has been handed over.
    fn cancel(&mut self, id: RequestId, out: &mut Outbox) {
        if !self.open.remove(&id) {
            reached!("node: a late cancel");
            if relapse!("tahoe-B3") {
                self.clear_active(out);
            }
            return;
        }
        self.requests.retain(|request| request.id != id);
        if relapse!("tahoe-B2") && self.active.is_none() {
            panic!("a request was cancelled while no fetch is active");
        }
        let Some(active) = &self.active else { return };
        let segment = active.fetcher.segment;
        if !self.requests.iter().any(|request| request.segment == segment) {
            reached!("node: a fetch that nobody wants any more");
            if active.decoding {
                reached!("node: cancelled while decoding");
            }
            self.clear_active(out);
            self.start_next(out);
        }
    }

    /// Starts a fetch of what the first request wants, unless one is under way.
    fn start_next(&mut self, out: &mut Outbox) {
        let Some(segment) = self.requests.front().map(|request| request.segment) else { return };
        if self.active.is_some() {
            return;
        }
        let id = self.next_fetch;
        self.next_fetch += 1;
        let mut fetcher = Fetcher::new(id, segment);
        let alive = |index: &ShareIndex| self.shares.get(*index).is_some_and(Share::is_alive);
        let shares: Vec<_> = self.delivered.iter().copied().filter(alive).collect();
        fetcher.add_shares(&shares, &self.shares);
        debug!(target: "client", node = out.node, segment, "segment started");
        for request in self.requests.iter_mut().filter(|request| request.segment == segment) {
            request.queued = None;
            out.journal.segment_active(out.now, request.status);
        }
        self.active = Some(Active { fetcher, decoding: false, _held: hold!("fetcher", node = out.node) });
        out.post(Event::FetchTurn(id));
    }

    /// Ends the fetch under way, whatever it has come to. Requests for its segment that are still there
    /// wait for another.
    fn clear_active(&mut self, out: &mut Outbox) {
        let Some(mut active) = self.active.take() else { return };
        active.fetcher.stop(&mut self.shares);
        self.finder.sated(out);
        let segment = active.fetcher.segment;
        for request in self.requests.iter_mut().filter(|request| request.segment == segment) {
            request.queued = Some(wait!("fetcher", node = out.node));
        }
    }

    /// Hands a result to all requests for the segment: eventually.
    fn settle(&mut self, segment: u64, result: &Result<Segment, ReadError>, out: &mut Outbox) {
        match result {
            Ok(_) => debug!(target: "client", node = out.node, segment, "segment finished"),
            Err(error) => debug!(target: "client", node = out.node, segment, %error, "segment failed"),
        }
        let (settled, others) =
            std::mem::take(&mut self.requests).into_iter().partition(|request| request.segment == segment);
        self.requests = others;
        let settled: VecDeque<Request> = settled;
        for request in settled {
            out.post(Event::Deliver { request, result: result.clone() });
        }
    }

    fn deliver(&mut self, request: Request, result: Result<Segment, ReadError>, out: &mut Outbox) {
        if !self.open.remove(&request.id) {
            reached!("node: a result for a request that was cancelled meanwhile");
            return;
        }
        let range = result.as_ref().ok().map(|segment| (segment.offset, segment.ciphertext.len() as u64));
        out.journal.segment_finished(out.now, request.status, range);
        // The reader may be gone; its cancel is then in the queue.
        let _ = request.reply.send(result);
    }
}

/// The fetch under way.
impl Machine {
    /// The active fetcher if it is this one and still gathers blocks.
    fn fetching(&mut self, fetch: FetchId) -> Option<&mut Fetcher> {
        let active = self.active.as_mut()?;
        (active.fetcher.id == fetch && !active.decoding).then_some(&mut active.fetcher)
    }

    fn notice(&mut self, fetch: FetchId, share: ShareIndex, notice: Notice, out: &mut Outbox) {
        if let Some(fetcher) = self.fetching(fetch) {
            fetcher.notice(share, notice);
            out.post(Event::FetchTurn(fetcher.id));
        }
    }

    fn fetch_turn(&mut self, out: &mut Outbox) {
        let Some(active) = self.active.as_mut().filter(|active| !active.decoding) else { return };
        let progress = active.fetcher.turn(&self.file, &mut self.shares, &mut self.finder, out);
        let segment = active.fetcher.segment;
        match progress {
            Progress::Waiting => {}
            Progress::Blocks(blocks) => {
                active.decoding = true;
                active.fetcher.stop(&mut self.shares);
                let fetch = active.fetcher.id;
                self.finder.sated(out);
                out.start(Action::Decode(Decode {
                    fetch,
                    segment,
                    codec: self.file.codec.clone(),
                    blocks,
                    sizes: *self.file.best_sizes(),
                    expected: self.file.crypttext_tree.leaf(segment),
                    status: out.journal.decode_started(out.now, segment),
                }));
            }
            Progress::Failed(error) => {
                self.settle(segment, &Err(error), out);
                self.clear_active(out);
                if !(relapse!("tahoe-B1") || relapse!("tahoe-B2")) {
                    self.start_next(out);
                }
            }
        }
    }

    /// A decoding has ended. Its fetch may have been cancelled, and another begun, since it was started.
    fn decoded(&mut self, fetch: FetchId, segment: u64, result: Result<Bytes, ReadError>, out: &mut Outbox) {
        if relapse!("tahoe-B15") {
            if self.active.as_ref().is_none_or(|active| active.fetcher.segment != segment) {
                let error = "assertion failed: the segment decoded is the active one".to_owned();
                return self.settle(segment, &Err(ReadError::Internal(error)), out);
            }
        } else if self.active.as_ref().is_none_or(|active| active.fetcher.id != fetch) {
            reached!("node: a stale decoding");
            return;
        }
        let offset = self.file.best_sizes().segment_range(segment).map_or(0, |range| range.start);
        let result = result.map(|ciphertext| Segment { offset, ciphertext });
        self.settle(segment, &result, out);
        if !(relapse!("tahoe-B14") && result.is_err()) {
            self.clear_active(out);
        }
        self.start_next(out);
    }
}

/// The search.
impl Machine {
    fn query_answered(
        &mut self,
        server: ServerIndex,
        answer: Option<QueryAnswer>,
        rtt: Duration,
        out: &mut Outbox,
    ) {
        let found = self.finder.answered(server, answer, self.file.cap.n, out);
        let mut indexes = Vec::with_capacity(found.len());
        if let Some(holder) = self.finder.server(server) {
            let overrun = holder.handle.version().tolerates_immutable_read_overrun;
            for (number, reader) in found {
                if self.file.add_share(number).is_ok() {
                    let index = self.shares.len();
                    let source = Source { reader, server: holder.name.clone(), number };
                    self.shares.push(Share::new(index, server, source, rtt, overrun));
                    indexes.push(index);
                }
            }
        }
        if !indexes.is_empty() {
            out.post(Event::SharesFound(indexes));
        }
        out.post(Event::FinderTurn);
    }

    fn shares_found(&mut self, found: Vec<ShareIndex>, out: &mut Outbox) {
        self.delivered.extend(&found);
        if let Some(active) = &mut self.active {
            active.fetcher.add_shares(&found, &self.shares);
            self.fetch_turn(out);
        }
    }

    fn no_more_shares(&mut self, out: &mut Outbox) {
        if let Some(active) = &mut self.active {
            active.fetcher.no_more_shares();
            self.fetch_turn(out);
        }
    }

    fn publish_sizes(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = self.file.sizes;
        }
    }
}
