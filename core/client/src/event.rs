//! What goes into a node's state machine and what comes out: plain data.
//!
//! Nothing in the machine waits. An [`Event`] goes in, changes some state, and leaves more events (for
//! the end of the same queue) and [`Action`]s (calls for the node's task to start) in the [`Outbox`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::codec::Codec;
use protocol::hash::Hash;
use protocol::segmentation::Segmentation;
use protocol::server::{ServerError, ShareNumber, ShareReader, StorageServer};
use runtime::Instant;
use tokio::sync::oneshot;
use tracing::Span;

use crate::errors::{ReadError, ShareFailure};
use crate::status::{EventId, Journal};

/// A request's number, unique in its node.
pub(crate) type RequestId = u64;
/// The number of one fetch of one segment, unique in its node: results carry it home.
pub(crate) type FetchId = u64;
/// A server's place in the node's ring.
pub(crate) type ServerIndex = usize;
/// A share's place in the node's list.
pub(crate) type ShareIndex = usize;
/// The number of one read of one share, unique in that share.
pub(crate) type CallId = u64;

/// The ciphertext of one segment, checked.
#[derive(Clone)]
pub(crate) struct Segment {
    /// Where in the file it starts.
    pub offset: u64,
    pub ciphertext: Bytes,
}

/// A reader's request for a segment.
pub(crate) struct Request {
    pub id: RequestId,
    pub segment: u64,
    pub reply: oneshot::Sender<Result<Segment, ReadError>>,
    /// Open from when the request is queued until it is delivered or cancelled: whoever waits for the
    /// segment waits for that.
    pub held: Option<Span>,
    /// Open while the request waits for its turn.
    pub queued: Option<Span>,
    pub status: EventId,
}

/// What a node's queue holds.
pub(crate) enum Event {
    /// A reader wants a segment.
    Request(Request),
    /// A reader does not want it any more, whether or not it has got it.
    Cancel(RequestId),
    /// A query is overdue.
    QueryOverdue(ServerIndex),
    /// A query has ended; `None`: it was given up.
    QueryAnswered { server: ServerIndex, answer: Option<QueryAnswer>, rtt: Duration },
    /// A read of a share is overdue.
    ReadOverdue { share: ShareIndex, call: CallId },
    /// A read of a share has ended; `None`: it was given up.
    ReadAnswered { share: ShareIndex, call: CallId, answer: Option<Result<Bytes, ServerError>> },
    /// A segment is decoded and checked, or not.
    Decoded { fetch: FetchId, segment: u64, result: Result<Bytes, ReadError>, status: EventId },

    /// The finder's turn.
    FinderTurn,
    /// The finder has found these.
    SharesFound(Vec<ShareIndex>),
    /// The finder will find no more.
    NoMoreShares,
    /// A share's turn.
    ShareTurn(ShareIndex),
    /// What became of a block that a fetch had asked a share for.
    Notice { fetch: FetchId, share: ShareIndex, notice: Notice },
    /// The fetch's turn, if it is still active.
    FetchTurn(FetchId),
    /// A request's result goes to its reader.
    Deliver { request: Request, result: Result<Segment, ReadError> },
}

/// What a server says that it has.
pub(crate) type QueryAnswer = Result<BTreeMap<ShareNumber, Arc<dyn ShareReader>>, ServerError>;

/// What a share tells the fetch that asked it for a block. All but `Overdue` are the last word.
pub(crate) enum Notice {
    Complete(Bytes),
    /// The block has the wrong hash; the share may be good for others.
    Corrupt,
    /// The share is of no use any more.
    Dead(ShareFailure),
    BadSegmentNumber,
    /// It takes long. The block may still come.
    Overdue,
}

/// A call for the node's task to start.
pub(crate) enum Action {
    Query { server: ServerIndex, handle: Arc<dyn StorageServer> },
    Read { share: ShareIndex, call: CallId, source: Source, range: Range<u64> },
    Advise { source: Source, reason: String },
    Decode(Decode),
}

/// Where a share is read.
#[derive(Clone)]
pub(crate) struct Source {
    pub reader: Arc<dyn ShareReader>,
    pub server: Arc<str>,
    pub number: ShareNumber,
}

/// Blocks to be made into a segment.
pub(crate) struct Decode {
    pub fetch: FetchId,
    pub segment: u64,
    pub codec: Arc<Codec>,
    pub blocks: Vec<(ShareNumber, Bytes)>,
    pub sizes: Segmentation,
    /// The hash of the segment's ciphertext.
    pub expected: Option<Hash>,
    pub status: EventId,
}

/// Where the parts of the machine leave what they want done.
pub(crate) struct Outbox {
    /// The node's number, for the trace.
    pub node: u64,
    /// When the event being handled came up.
    pub now: Instant,
    pub journal: Arc<Journal>,
    /// To be queued behind everything that is queued already.
    pub events: Vec<Event>,
    /// To be started.
    pub actions: Vec<Action>,
}

impl Outbox {
    /// Queues an event: "eventually".
    pub fn post(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Starts a call.
    pub fn start(&mut self, action: Action) {
        self.actions.push(action);
    }
}
