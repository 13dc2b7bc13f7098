//! A node: one open file, and the task that runs its state machine.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::cap::{Cap, Literal};
use protocol::hash;
use protocol::segmentation::Segmentation;
use protocol::{Key, StorageIndex};
use runtime::{Instant, Scope, hold, reached};
use tokio::sync::oneshot;

use crate::client::Shared;
use crate::errors::{OpenError, ReadError};
use crate::event::{Action, Decode, Event, Outbox, QueryAnswer, Request, RequestId};
use crate::file::File;
use crate::finder::Finder;
use crate::inbox::{CloseOnDrop, Inbox};
use crate::machine::{KnownSizes, Machine};
use crate::patience::Patience;
use crate::read::{Read, Ticket};
use crate::status::{Journal, Status};

/// An open file. Cheap to clone; the clones are one node and share what it has learnt.
///
/// It keeps the sizes, hashes and shares it has found; neither blocks nor segments nor failures. Servers
/// are looked up once, at the first read. When the last clone and the last [`Read`] are dropped, all that
/// it has under way is dropped with them.
#[derive(Clone)]
pub struct Node {
    size: u64,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// The whole file.
    Here(Bytes),
    Grid {
        grid: Arc<Grid>,
        key: Option<Key>,
    },
}

/// What the handles of a node whose file is on the grid share with each other.
pub(crate) struct Grid {
    pub id: u64,
    pub journal: Arc<Journal>,
    shared: Arc<Shared>,
    inbox: Inbox<Event>,
    next_request: AtomicU64,
    guess: Segmentation,
    known: KnownSizes,
    /// The node's task; `None` when it was stopped.
    scope: Mutex<Option<Scope>>,
}

impl Node {
    pub(crate) fn open(shared: &Arc<Shared>, cap: &Cap) -> Result<Self, OpenError> {
        let size = cap.size();
        let kind = match (cap, cap.verify_cap()) {
            (Cap::Literal(Literal(data)), _) => Kind::Here(data.clone()),
            (_, Some(verify)) if size > 0 => {
                let key = match cap {
                    Cap::Read(cap) => Some(cap.key),
                    _ => None,
                };
                let config = &shared.config;
                let file = File::new(verify, config.guessed_max_segment_size, config.max_segment_size)?;
                Kind::Grid { grid: Grid::start(shared, file, verify.storage_index)?, key }
            }
            _ => Kind::Here(Bytes::new()),
        };
        Ok(Node { size, kind })
    }

    /// The file's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the bytes from `offset` on, `length` of them or all. Clipped at the end of the file; an
    /// empty range asks nobody. With a verify capability the bytes are ciphertext.
    pub fn read(&self, offset: u64, length: Option<u64>) -> Read {
        let rest = self.size.saturating_sub(offset);
        let length = length.unwrap_or(rest).min(rest);
        match &self.kind {
            _ if length == 0 => Read::here(Bytes::new()),
            // Within the bytes, which are in memory: it fits.
            Kind::Here(bytes) => Read::here(bytes.slice(offset as usize..(offset + length) as usize)),
            Kind::Grid { grid, key } => Read::grid(grid.clone(), *key, offset, length),
        }
    }

    /// How the file is cut into segments. Fetches the first segment, and discards it, if that is not known
    /// yet. `None` for a file that is not on the grid.
    ///
    /// Errors: those of a read.
    pub async fn segmentation(&self) -> Result<Option<Segmentation>, ReadError> {
        let Kind::Grid { grid, .. } = &self.kind else { return Ok(None) };
        if grid.known_sizes().is_none() {
            grid.ticket_at(0).wait().await?;
        }
        Ok(grid.known_sizes())
    }

    /// What the node has done and is doing. Empty for a file that is not on the grid.
    pub fn status(&self) -> Status {
        match &self.kind {
            Kind::Here(_) => Status::default(),
            Kind::Grid { grid, .. } => grid.journal.read_out(),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Here(_) => write!(f, "Node({} bytes, here)", self.size),
            Kind::Grid { grid, .. } => write!(f, "Node({} bytes, number {})", self.size, grid.id),
        }
    }
}

impl Grid {
    fn start(shared: &Arc<Shared>, file: File, index: StorageIndex) -> Result<Arc<Self>, OpenError> {
        let id = shared.next_node();
        let inbox = Inbox::new();
        let known = KnownSizes::default();
        let journal = Arc::new(Journal::new(shared.config.status_events));
        let scope = shared.runtime.scope();
        let guess = file.guess;
        let finder = Finder::new(shared.broker.clone(), index, shared.config.max_outstanding_dyhbs);
        let driver = Driver {
            shared: shared.clone(),
            inbox: inbox.clone(),
            index,
            scope: shared.runtime.scope(),
            out: Outbox {
                node: id,
                now: shared.runtime.now(),
                journal: journal.clone(),
                events: Vec::new(),
                actions: Vec::new(),
            },
        };
        scope.spawn("node", id, driver.run(Machine::new(file, finder, known.clone())));
        let next_request = AtomicU64::new(0);
        let scope = Mutex::new(Some(scope));
        let shared = shared.clone();
        let grid = Arc::new(Grid { id, journal, shared, inbox, next_request, guess, known, scope });
        grid.shared.enlist(&grid)?;
        Ok(grid)
    }

    /// Ends everything that the node does. Its reads end with [`ReadError::Closed`].
    pub fn stop(&self) {
        self.inbox.close();
        let scope = self.lock_scope().take();
        drop(scope);
    }

    pub fn now(&self) -> Instant {
        self.shared.runtime.now()
    }

    pub fn post(&self, event: Event) {
        self.inbox.put([event]);
    }

    /// Whether it is known by now that the byte at `offset` is not in `segment`.
    pub fn lies_elsewhere(&self, offset: u64, segment: u64) -> bool {
        self.known_sizes().is_some_and(|sizes| sizes.segment_at(offset) != Some(segment))
    }

    fn known_sizes(&self) -> Option<Segmentation> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the segment that holds the byte at `offset`, by the best knowledge.
    pub fn ticket_at(self: &Arc<Self>, offset: u64) -> Ticket {
        let known = self.known_sizes();
        let segment = offset / known.unwrap_or(self.guess).segment_size;
        self.ticket(segment, known.is_none())
    }

    /// Requests a segment.
    pub fn ticket(self: &Arc<Self>, segment: u64, guessed: bool) -> Ticket {
        let id: RequestId = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let status = self.journal.segment_requested(self.now(), segment);
        self.post(Event::Request(Request { id, segment, reply, held: None, queued: None, status }));
        Ticket::new(self.clone(), id, segment, guessed, answer)
    }

    fn lock_scope(&self) -> MutexGuard<'_, Option<Scope>> {
        // Nothing is done under the lock but taking the scope out.
        self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Grid {
    fn drop(&mut self) {
        self.shared.delist(self.id);
    }
}

/// The node's task: feeds the machine from the inbox and starts the calls that it asks for.
struct Driver {
    shared: Arc<Shared>,
    inbox: Inbox<Event>,
    index: StorageIndex,
    /// The calls under way. They end with the task.
    scope: Scope,
    out: Outbox,
}

impl Driver {
    async fn run(mut self, mut machine: Machine) {
        let _close = CloseOnDrop(self.inbox.clone());
        loop {
            let event = self.inbox.take().await;
            self.out.now = self.shared.runtime.now();
            machine.handle(event, &mut self.out);
            self.inbox.put(self.out.events.drain(..));
            for action in std::mem::take(&mut self.out.actions) {
                self.start(action);
            }
        }
    }

    fn start(&self, action: Action) {
        let (runtime, inbox, node) = (self.shared.runtime.clone(), self.inbox.clone(), self.out.node);
        let config = &self.shared.config;
        match action {
            Action::Query { server, handle } => {
                let (index, sent) = (self.index, self.out.now);
                let patience = Patience { overdue: config.dyhb_overdue, abandon: config.abandon };
                self.scope.spawn("dyhb", server as u64, async move {
                    let _held = hold!("dyhb", node, server = &*handle.id().name);
                    let overdue = || inbox.put([Event::QueryOverdue(server)]);
                    let call = handle.get_buckets(index);
                    let answer: Option<QueryAnswer> = patience.wait_for(&runtime, call, overdue).await;
                    let rtt = runtime.now() - sent;
                    inbox.put([Event::QueryAnswered { server, answer, rtt }]);
                });
            }
            Action::Read { share, call, source, range } => {
                let patience = Patience { overdue: config.block_overdue, abandon: config.abandon };
                self.scope.spawn("read", share as u64, async move {
                    let _held = hold!("block", node, server = &*source.server, share = source.number);
                    let overdue = || inbox.put([Event::ReadOverdue { share, call }]);
                    let reading = source.reader.read(range.start, range.end - range.start);
                    let answer = patience.wait_for(&runtime, reading, overdue).await;
                    inbox.put([Event::ReadAnswered { share, call, answer }]);
                });
            }
            Action::Advise { source, reason } => self.shared.janitor.advise(source, reason),
            Action::Decode(decode) => {
                let (fetch, segment, status) = (decode.fetch, decode.segment, decode.status);
                self.scope.spawn("decode", segment, async move {
                    let result = runtime.blocking("decode", move || decode.run()).await;
                    let result = result.unwrap_or_else(|lost| Err(ReadError::Internal(lost.to_string())));
                    inbox.put([Event::Decoded { fetch, segment, result, status }]);
                });
            }
        }
    }
}

impl Decode {
    /// The segment's ciphertext, if it has the hash that the crypttext tree vouches for.
    fn run(self) -> Result<Bytes, ReadError> {
        let segment = self.segment;
        let decoded =
            self.codec.decode(&self.blocks).map_err(|error| ReadError::Internal(error.to_string()))?;
        let range = self.sizes.segment_range(segment).unwrap_or_default();
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut ciphertext = Bytes::from(decoded);
        ciphertext.truncate(length);
        if self.expected != Some(hash::crypttext_segment(&ciphertext)) {
            reached!("decode: the ciphertext has the wrong hash");
            return Err(ReadError::BadCiphertextHash { segment });
        }
        Ok(ciphertext)
    }
}
