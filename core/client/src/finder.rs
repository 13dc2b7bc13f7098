//! The share finder: asks servers, in ring order, whether they have shares of the file (spec §12.5).
//!
//! It works while it is hungry: until shares are found, or there is nobody left to ask. It takes its list
//! of servers once, when it is first hungry.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::server::{ShareNumber, ShareReader, StorageServer};
use runtime::{hold, reached, wait};
use tracing::{Span, debug};

use crate::broker::Broker;
use crate::event::{Action, Event, Outbox, QueryAnswer, ServerIndex};
use crate::status::EventId;

/// The search for shares of one file.
pub(crate) struct Finder {
    broker: Arc<Broker>,
    storage_index: protocol::StorageIndex,
    max_outstanding: usize,
    servers: Option<Vec<Server>>,
    /// The first server that has not been asked.
    next: ServerIndex,
    hungry: bool,
    pending: BTreeMap<ServerIndex, Query>,
    /// Open while this search may still bring shares to whoever waits for some.
    held: Option<Span>,
}

/// A server as the node knows it.
pub(crate) struct Server {
    pub handle: Arc<dyn StorageServer>,
    pub name: Arc<str>,
    /// Its last sign was that a read of a share became overdue: to be tried after all others.
    pub silent: bool,
}

/// A query that has not been answered.
struct Query {
    overdue: bool,
    status: EventId,
    _waiting: Span,
}

/// What a server has of the file.
pub(crate) type Found = Vec<(ShareNumber, Arc<dyn ShareReader>)>;

impl Finder {
    pub fn new(broker: Arc<Broker>, storage_index: protocol::StorageIndex, max_outstanding: usize) -> Self {
        Finder {
            broker,
            storage_index,
            max_outstanding: max_outstanding.max(1),
            servers: None,
            next: 0,
            hungry: false,
            pending: BTreeMap::new(),
            held: None,
        }
    }

    /// Someone is short of shares.
    pub fn hungry(&mut self, out: &mut Outbox) {
        if self.servers.is_none() {
            let server = |handle: Arc<dyn StorageServer>| {
                let name = handle.id().name.clone();
                Server { handle, name, silent: false }
            };
            let ring = self.broker.ring(&self.storage_index);
            self.servers = Some(ring.into_iter().map(server).collect());
        }
        if !self.hungry {
            self.hungry = true;
            out.post(Event::FinderTurn);
        }
        self.update_hold(out);
    }

    /// Nobody is short of shares any more.
    pub fn sated(&mut self, out: &Outbox) {
        self.hungry = false;
        self.update_hold(out);
    }

    /// Asks one more server, if that is allowed and there is one. True when nobody is left to ask or to
    /// wait for: no more shares will be found.
    #[must_use]
    pub fn turn(&mut self, out: &mut Outbox) -> bool {
        let in_time = self.pending.values().filter(|query| !query.overdue).count();
        if !self.hungry || in_time >= self.max_outstanding {
            return false;
        }
        let server = self.servers.as_deref().unwrap_or_default().get(self.next);
        if let Some(Server { handle, name, .. }) = server {
            let (index, node) = (self.next, out.node);
            debug!(target: "client", node, server = &**name, "dyhb sent");
            let status = out.journal.dyhb_sent(out.now, name.clone());
            let waiting = wait!("dyhb", node, server = &**name);
            self.pending.insert(index, Query { overdue: false, status, _waiting: waiting });
            out.start(Action::Query { server: index, handle: handle.clone() });
            out.post(Event::FinderTurn);
            self.next += 1;
            return false;
        }
        let exhausted = self.pending.is_empty();
        if exhausted {
            reached!("finder: nobody is left to ask");
            self.sated(out);
        }
        exhausted
    }

    /// A query is overdue: its slot is free, its answer is still welcome.
    pub fn overdue(&mut self, server: ServerIndex, out: &mut Outbox) {
        if let Some(query) = self.pending.get_mut(&server) {
            reached!("finder: a query is overdue");
            query.overdue = true;
            let name = self.servers.as_deref().unwrap_or_default().get(server).map(|server| &*server.name);
            debug!(target: "client", node = out.node, server = name, "dyhb overdue");
            out.post(Event::FinderTurn);
        }
    }

    /// A query has ended; `None`: it was given up. The shares are those that a file of `total` can have.
    pub fn answered(
        &mut self,
        server: ServerIndex,
        answer: Option<QueryAnswer>,
        total: u32,
        out: &mut Outbox,
    ) -> Found {
        let Some(query) = self.pending.remove(&server) else { return Vec::new() };
        let found = match answer {
            Some(Ok(shares)) => {
                if query.overdue && !shares.is_empty() {
                    reached!("finder: a late answer brings shares");
                }
                Some(shares.into_iter().filter(|(number, _)| *number < total).collect::<Vec<_>>())
            }
            Some(Err(_)) => None,
            None => {
                reached!("finder: a query was given up");
                None
            }
        };
        let numbers = found.as_ref().map(|found| found.iter().map(|(number, _)| *number).collect::<Vec<_>>());
        let name = self.servers.as_deref().unwrap_or_default().get(server).map(|server| &*server.name);
        let count = numbers.as_ref().map(|numbers| numbers.len() as u64);
        debug!(target: "client", node = out.node, server = name, shares = count, "dyhb answered");
        out.journal.dyhb_finished(out.now, query.status, numbers);

        let found = found.unwrap_or_default();
        if !found.is_empty() {
            self.hungry = false;
        }
        self.update_hold(out);
        found
    }

    pub fn server(&self, index: ServerIndex) -> Option<&Server> {
        self.servers.as_ref()?.get(index)
    }

    /// Notes whether the server was heard of, or has let a read of a share become overdue.
    pub fn note(&mut self, index: ServerIndex, silent: bool) {
        if let Some(server) = self.servers.as_mut().and_then(|servers| servers.get_mut(index)) {
            server.silent = silent;
        }
    }

    fn update_hold(&mut self, out: &Outbox) {
        let asking = self.next < self.servers.as_deref().unwrap_or_default().len();
        let busy = self.hungry && (asking || !self.pending.is_empty());
        match (busy, &self.held) {
            (true, None) => self.held = Some(hold!("shares", node = out.node)),
            (false, Some(_)) => self.held = None,
            _ => {}
        }
    }
}
