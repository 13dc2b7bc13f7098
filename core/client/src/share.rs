//! One share on one server: asks for the bytes that a wanted block needs, and checks them (spec §12.6).
//!
//! A share knows three sets of bytes: asked for and unanswered, received, and unavailable (asked for,
//! and past the end of what the server has). At each [turn](Share::turn) it uses what it has received,
//! works out what it needs next, and asks for what is in none of the three sets. A needed byte that is
//! unavailable is the end of the share; so every turn either asks for new bytes, waits for some, or ends.
//!
//! Deep hash trees are read in a hundred small pieces. A share remembers which bytes its next step
//! [lacks](Share::lacks), so that a turn before the last of them came costs nothing.

mod ask;
mod satisfy;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use protocol::layout::Layout;
use protocol::server::ServerError;
use protocol::spans::{DataSpans, Spans};
use runtime::reached;
use tracing::debug;

use crate::errors::ShareFailure;
use crate::event::{CallId, Event, FetchId, Notice, Outbox, ServerIndex, ShareIndex, Source};
use crate::file::File;
use crate::status::EventId;

/// What a node knows of one share.
pub(crate) struct Share {
    pub server: ServerIndex,
    pub source: Source,
    /// How long the server took to say that it has the share.
    pub rtt: Duration,
    index: ShareIndex,
    /// The server answers reads past the end of the share with what there is.
    overrun: bool,
    dead: bool,
    layout: Option<Layout>,
    calls: BTreeMap<CallId, Call>,
    next_call: CallId,
    pending: Spans,
    received: DataSpans,
    unavailable: Spans,
    wanted: VecDeque<Wanted>,
    /// What of the bytes that the next step needs has not come since the last turn. Until it is empty a
    /// turn would change nothing, unless something else has changed: see [`Share::is_waiting`].
    lacks: Spans,
    /// How many of the file's hashes were known at the last turn.
    known_hashes: usize,
    /// A turn is queued already.
    scheduled: bool,
}

/// A read that has not been answered.
struct Call {
    range: Range<u64>,
    overdue: bool,
    status: EventId,
}

/// A block that fetches wait for.
struct Wanted {
    segment: u64,
    fetches: Vec<FetchId>,
}

impl Share {
    pub fn new(index: ShareIndex, server: ServerIndex, source: Source, rtt: Duration, overrun: bool) -> Self {
        Share {
            server,
            source,
            rtt,
            index,
            overrun,
            dead: false,
            layout: None,
            calls: BTreeMap::new(),
            next_call: 0,
            pending: Spans::new(),
            received: DataSpans::new(),
            unavailable: Spans::new(),
            wanted: VecDeque::new(),
            lacks: Spans::new(),
            known_hashes: 0,
            scheduled: false,
        }
    }

    pub fn is_alive(&self) -> bool {
        !self.dead
    }

    /// Whether a read of this share is overdue and unanswered.
    pub fn is_overdue(&self) -> bool {
        self.calls.values().any(|call| call.overdue)
    }

    /// Asks for the block of `segment`. What becomes of it comes as a [`Notice`] to `fetch`.
    pub fn get_block(&mut self, segment: u64, fetch: FetchId, out: &mut Outbox) {
        match self.wanted.iter_mut().find(|wanted| wanted.segment == segment) {
            Some(wanted) => wanted.fetches.push(fetch),
            None => self.wanted.push_back(Wanted { segment, fetches: vec![fetch] }),
        }
        self.lacks.clear();
        if self.is_overdue() {
            // No fresh time limit for a server that is known to be silent.
            reached!("share: asked for a block while an older read is overdue");
            self.notify(fetch, Notice::Overdue, out);
        }
        self.schedule(out);
    }

    /// Forgets that `fetch` wants anything. Reads already sent are not recalled.
    pub fn forget(&mut self, fetch: FetchId) {
        for wanted in &mut self.wanted {
            wanted.fetches.retain(|&other| other != fetch);
        }
        self.wanted.retain(|wanted| !wanted.fetches.is_empty());
        self.lacks.clear();
        if self.wanted.is_empty() {
            self.received.clear();
        }
    }

    /// A read is overdue.
    pub fn overdue(&mut self, call: CallId, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&call) else { return };
        call.overdue = true;
        debug!(target: "client", node = out.node, server = &*self.source.server, share = self.source.number, "block read overdue");
        for fetch in self.wanted.iter().flat_map(|wanted| &wanted.fetches) {
            self.notify(*fetch, Notice::Overdue, out);
        }
    }

    /// A read has ended; `None`: it was given up.
    pub fn answered(&mut self, call: CallId, answer: Option<Result<Bytes, ServerError>>, out: &mut Outbox) {
        let Some(Call { range, overdue, status }) = self.calls.remove(&call) else { return };
        let length = match &answer {
            Some(Ok(data)) => Some(data.len() as u64),
            _ => None,
        };
        out.journal.block_finished(out.now, status, length);
        debug!(target: "client", node = out.node, server = &*self.source.server, share = self.source.number, length, "block read answered");
        self.pending.remove(range.clone());
        if self.dead {
            return;
        }
        match answer {
            Some(Ok(data)) => {
                if overdue {
                    reached!("share: a late answer arrived");
                    // Nothing was asked for while it was overdue.
                    self.lacks.clear();
                }
                self.receive(range, data, out);
            }
            Some(Err(error)) => self.die(error.into(), out),
            None => {
                reached!("share: a read was given up");
                self.die(ShareFailure::Abandoned, out);
            }
        }
    }

    /// Uses what was received, and asks for what is missing.
    pub fn turn(&mut self, file: &mut File, out: &mut Outbox) {
        self.scheduled = false;
        if self.dead || self.is_waiting(file) {
            return;
        }
        self.lacks.clear();
        if let Err(failure) = self.satisfy(file, out).and_then(|()| self.ask(file, out)) {
            self.die(failure, out);
        }
        self.known_hashes = file.known_hashes(self.source.number);
    }

    /// Whether the bytes that the next step needs are still to come, they have all been asked for, and no
    /// other share has made them superfluous.
    fn is_waiting(&self, file: &File) -> bool {
        !self.wanted.is_empty()
            && !self.lacks.is_empty()
            && self.known_hashes == file.known_hashes(self.source.number)
    }

    fn receive(&mut self, range: Range<u64>, data: Bytes, out: &mut Outbox) {
        let (asked, got) = (range.end - range.start, data.len() as u64);
        if got > asked {
            let words = format!("{got} bytes for a read of {asked}");
            return self.die(ServerError::BadAnswer(words).into(), out);
        }
        self.received.add(range.start, data);
        self.lacks.remove(range.start..range.start + got);
        if got < asked {
            self.unavailable.add(range.start + got..range.end);
            // It may be something that is needed.
            self.lacks.clear();
        }
        self.schedule(out);
    }

    /// The share is of no use any more: the last thing that it says.
    fn die(&mut self, failure: ShareFailure, out: &mut Outbox) {
        debug!(target: "client", node = out.node, server = &*self.source.server, share = self.source.number, reason = %failure, "share dead");
        self.dead = true;
        self.received.clear();
        for wanted in std::mem::take(&mut self.wanted) {
            for fetch in wanted.fetches {
                self.notify(fetch, Notice::Dead(failure.clone()), out);
            }
        }
    }

    fn notify(&self, fetch: FetchId, notice: Notice, out: &mut Outbox) {
        out.post(Event::Notice { fetch, share: self.index, notice });
    }

    fn schedule(&mut self, out: &mut Outbox) {
        if !self.scheduled {
            self.scheduled = true;
            out.post(Event::ShareTurn(self.index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::Workbench;

    #[test]
    fn each_who_asked_gets_the_block_and_who_forgot_it_does_not() {
        let mut bench = Workbench::new(310, 1 << 20);
        let share = bench.add_share(0, 0);
        for (segment, fetch) in [(0, 1), (0, 2), (0, 3), (1, 4)] {
            bench.shares[share].get_block(segment, fetch, &mut bench.out);
        }
        bench.shares[share].forget(1);
        let bytes = bench.encoded.shares[0].clone();
        let events = bench.run_shares(|_, range| {
            let end = range.end.min(bytes.len() as u64);
            bytes.slice(range.start as usize..end as usize)
        });
        let told: Vec<_> = events
            .into_iter()
            .map(|event| match event {
                Event::Notice { fetch, notice: Notice::Complete(block), .. } => (fetch, block.len()),
                Event::Notice { fetch, notice: Notice::BadSegmentNumber, .. } => (fetch, 0),
                _ => panic!("another event"),
            })
            .collect();
        assert_eq!(told, [(2, 104), (3, 104), (4, 0)]);
        assert!(bench.shares[share].received.is_empty(), "nothing is kept");
    }

    #[test]
    fn a_turn_is_for_nothing_until_the_last_lacking_byte_or_what_others_learn() {
        let mut bench = Workbench::new(310, 60);
        let (share, other) = (bench.add_share(0, 0), bench.add_share(1, 1));
        let bytes = bench.encoded.shares.clone();
        let cut = |number: u32, range: Range<u64>| {
            let share = &bytes[number as usize];
            share.slice(range.start as usize..share.len().min(range.end as usize))
        };
        [share, other].iter().for_each(|&share| bench.shares[share].get_block(0, 0, &mut bench.out));
        bench.run_shares(cut);

        bench.shares[share].get_block(3, 1, &mut bench.out);
        bench.out.events.clear();
        bench.shares[share].turn(&mut bench.file, &mut bench.out);
        let calls: [_; 3] = bench.reads().try_into().expect("a block and a pair of hashes of either tree");
        let [block, crypttext_hashes, block_hashes] = calls;
        let layout = bench.shares[share].layout.unwrap();
        assert!((layout.crypttext_hash_tree..layout.block_hashes).contains(&crypttext_hashes.3.start));
        let answer = |bench: &mut Workbench, (_, call, number, range): (_, _, _, Range<u64>)| {
            bench.shares[share].answered(call, Some(Ok(cut(number, range))), &mut bench.out);
            assert!(matches!(bench.out.events.pop(), Some(Event::ShareTurn(_))));
            let waiting = bench.shares[share].is_waiting(&bench.file);
            bench.shares[share].turn(&mut bench.file, &mut bench.out);
            waiting
        };
        assert!(!answer(&mut bench, block_hashes), "the next step has all that it needs");
        bench.shares[other].get_block(3, 2, &mut bench.out);
        bench.run_shares(cut);
        assert!(!answer(&mut bench, block), "the other share has read the hashes that lack");
        let told = bench.out.events.pop();
        assert!(matches!(told, Some(Event::Notice { fetch: 1, notice: Notice::Complete(_), .. })));

        // Alone, it waits for them.
        bench.shares[share].get_block(4, 1, &mut bench.out);
        bench.out.events.clear();
        bench.shares[share].turn(&mut bench.file, &mut bench.out);
        let mut calls = bench.reads();
        let last = calls.pop().expect("of the block tree, which it uses first");
        assert!(calls.into_iter().all(|call| answer(&mut bench, call)));
        assert!(bench.out.events.is_empty());
        assert!(!answer(&mut bench, last));
        let told = bench.out.events.pop();
        assert!(matches!(told, Some(Event::Notice { fetch: 1, notice: Notice::Complete(_), .. })));
    }

    #[test]
    fn no_bytes_are_kept_for_nobody() {
        let mut bench = Workbench::new(310, 60);
        let share = bench.add_share(0, 0);
        bench.shares[share].get_block(0, 1, &mut bench.out);
        bench.out.events.clear();
        bench.shares[share].turn(&mut bench.file, &mut bench.out);
        bench.out.actions.clear();
        bench.shares[share].forget(1);
        let answer = Some(Ok(bench.encoded.shares[0].slice(..1000)));
        bench.shares[share].answered(0, answer, &mut bench.out);
        bench.run_shares(|_, _| unreachable!("nobody wants anything"));
        assert!(bench.shares[share].received.is_empty());
        assert!(bench.shares[share].layout.is_some(), "what was learnt is kept");
    }

    #[test]
    fn a_silent_share_is_not_asked_again_and_says_so_at_once() {
        let mut bench = Workbench::new(310, 60);
        let (share, other) = (bench.add_share(0, 0), bench.add_share(1, 1));
        let bytes = bench.encoded.shares.clone();
        let cut = |number: u32, range: Range<u64>| {
            let share = &bytes[number as usize];
            share.slice(range.start as usize..share.len().min(range.end as usize))
        };
        // The sizes are known, so that what another segment needs is other bytes.
        bench.shares[other].get_block(0, 0, &mut bench.out);
        bench.run_shares(cut);
        bench.shares[share].get_block(0, 1, &mut bench.out);
        bench.shares[share].turn(&mut bench.file, &mut bench.out);
        let calls = bench.reads();
        calls.iter().for_each(|(_, call, ..)| bench.shares[share].overdue(*call, &mut bench.out));
        bench.shares[share].forget(1);
        bench.out.events.clear();

        bench.shares[share].get_block(3, 2, &mut bench.out);
        assert!(matches!(bench.out.events[0], Event::Notice { fetch: 2, notice: Notice::Overdue, .. }));
        bench.shares[share].turn(&mut bench.file, &mut bench.out);
        assert!(bench.reads().is_empty());
        for (_, call, number, range) in calls {
            bench.shares[share].answered(call, Some(Ok(cut(number, range))), &mut bench.out);
        }
        bench.shares[share].turn(&mut bench.file, &mut bench.out);
        assert!(!bench.reads().is_empty(), "the late answers set it going again");
    }
}
