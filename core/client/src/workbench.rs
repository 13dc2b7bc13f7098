//! A workbench for unit tests: the machine's parts without a node around them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::encode::{Encoded, KeySource, Params, Secret, encode};
use protocol::server::{ServerError, ShareNumber, ShareReader};
use runtime::{BoxFuture, Instant};

use crate::broker::Broker;
use crate::event::{Action, CallId, Event, Outbox, ServerIndex, ShareIndex, Source};
use crate::file::File;
use crate::finder::Finder;
use crate::share::Share;
use crate::status::Journal;

/// A file, its shares and what the parts of the machine leave to be done.
pub(crate) struct Workbench {
    pub encoded: Encoded,
    pub file: File,
    pub finder: Finder,
    pub shares: Vec<Share>,
    pub out: Outbox,
}

impl Workbench {
    /// A file of `size` bytes, 3 of 10, in segments of at most `max_segment_size` bytes.
    pub fn new(size: usize, max_segment_size: u64) -> Self {
        let params = Params { k: 3, n: 10, max_segment_size };
        let key = KeySource::Convergent(Secret(b""));
        let encoded = encode(&vec![b'x'; size], params, key, None).unwrap();
        let verify = encoded.cap.verify_cap();
        let finder = Finder::new(Arc::new(Broker::default()), verify.storage_index, 10);
        let out = Outbox {
            node: 0,
            now: Instant::default(),
            journal: Arc::new(Journal::new(100)),
            events: Vec::new(),
            actions: Vec::new(),
        };
        let file = File::new(verify, 1 << 20, 1 << 20).unwrap();
        Workbench { encoded, file, finder, shares: Vec::new(), out }
    }

    /// A share on a server, as if found.
    pub fn add_share(&mut self, number: ShareNumber, server: ServerIndex) -> ShareIndex {
        let index = self.shares.len();
        let source = Source { reader: Arc::new(NoReader), server: format!("s{server}").into(), number };
        self.file.add_share(number).unwrap();
        let rtt = Duration::from_millis(index as u64);
        self.shares.push(Share::new(index, server, source, rtt, true));
        index
    }

    /// Handles the turns of shares until nothing is left; gives all other events. `read` answers reads.
    pub fn run_shares(&mut self, read: impl Fn(ShareNumber, Range<u64>) -> Bytes) -> Vec<Event> {
        let mut others = Vec::new();
        let mut queue: VecDeque<Event> = self.out.events.drain(..).collect();
        while let Some(event) = queue.pop_front() {
            match event {
                Event::ShareTurn(index) => self.shares[index].turn(&mut self.file, &mut self.out),
                other => others.push(other),
            }
            for (index, call, number, range) in self.reads() {
                self.shares[index].answered(call, Some(Ok(read(number, range))), &mut self.out);
            }
            queue.extend(self.out.events.drain(..));
        }
        others
    }

    /// The reads that were started since the last call.
    pub fn reads(&mut self) -> Vec<(ShareIndex, CallId, ShareNumber, Range<u64>)> {
        let read = |action| match action {
            Action::Read { share, call, source, range } => Some((share, call, source.number, range)),
            _ => None,
        };
        self.out.actions.drain(..).filter_map(read).collect()
    }
}

/// The bench answers reads itself.
struct NoReader;

impl ShareReader for NoReader {
    fn read<'a, 'b>(&'a self, _: u64, _: u64) -> BoxFuture<'b, Result<Bytes, ServerError>>
    where
        'a: 'b,
        Self: 'b,
    {
        unreachable!("the bench answers reads itself")
    }

    fn advise_corrupt_share<'a, 'b, 'c>(&'a self, _: &'b str) -> BoxFuture<'c, Result<(), ServerError>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        unreachable!("the bench takes no advice")
    }
}
