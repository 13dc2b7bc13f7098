//! Connections to peers elsewhere, lent to requests and kept when they are idle (annex-p2p §11, §15.2).
//!
//! Whoever has a `Lease` has its connection alone. When the lease is dropped the connection becomes idle, but only one
//! that stands between two requests; any other is closed. So, whatever becomes of a request, its connection is given back
//! exactly once. Closing waits for others: that is done by tasks of the pool's own, which [`Connections::close`] waits for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::{Runtime, Scope, reached, relapse};
use tokio::sync::oneshot;

use crate::http::conversation::Conversation;
use crate::idle::Idle;
use crate::peer::Peer;
use crate::session::client::Remote;
use crate::uuid::Uuid;
use crate::version::Version;

/// How long a connection may take to close before it is left to itself.
const CLOSING: Duration = Duration::from_secs(10);

/// Which connections are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A session belongs to a client: what was agreed on at its beginning holds for all its requests.
    Session { server: Uuid, client: Uuid, bypass: BTreeSet<Uuid>, newest: Version },
    /// Each request over HTTP says all that there is to say about it.
    Http { host: String, port: u16 },
}

/// A connection, by what is spoken on it.
pub(crate) enum Line {
    Session(Remote),
    Http(Conversation),
}

/// A pool of connections, of which those that are idle are no more than so many, whatever is spoken on them.
pub struct Connections {
    runtime: Runtime,
    state: Mutex<State>,
    janitor: Scope,
}

struct State {
    idle: Idle<Kind, Line>,
    /// Connections that were made, and that have been closed.
    opened: u64,
    closed: u64,
    shut: bool,
}

/// A connection that is in use. Dropped, it is given back.
pub(crate) struct Lease {
    pool: Arc<Connections>,
    kind: Kind,
    /// None when it is given up.
    line: Option<Line>,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That were made, ever.
    pub opened: u64,
    /// That were closed, ever.
    pub closed: u64,
    /// That are idle.
    pub idle: u64,
}

impl Connections {
    /// A pool that keeps at most `limit` idle connections, of all peers together.
    pub fn new(runtime: Runtime, limit: usize) -> Arc<Connections> {
        let state = State { idle: Idle::new(limit), opened: 0, closed: 0, shut: false };
        Arc::new(Connections { janitor: runtime.scope(), state: Mutex::new(state), runtime })
    }

    /// How many connections there are. Those that are neither closed nor idle are in use, or being closed.
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts { opened: state.opened, closed: state.closed, idle: state.idle.len() as u64 }
    }

    /// Closes all idle connections, and keeps none from now on. Waits until what is being closed is closed.
    pub async fn close(self: &Arc<Self>) {
        self.state().shut = true;
        loop {
            let next = self.state().idle.take_oldest();
            let Some(line) = next else { break };
            self.discard(line);
        }
        self.janitor.drain().await;
    }

    /// The world that the connections are in.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Takes an idle connection that is still sound.
    pub(crate) async fn take(self: &Arc<Self>, kind: &Kind) -> Option<Lease> {
        if relapse!("annex-L6") {
            // Whoever gives connections out closes them as well, and does one thing after the other.
            self.janitor.drain().await;
        }
        loop {
            let line = Some(self.state().idle.take(kind)?);
            let lease = Lease { pool: self.clone(), kind: kind.clone(), line };
            if let Some(sound) = lease.sound().await {
                return Some(sound);
            }
            reached!("connections: an idle connection was stale");
        }
    }

    /// Lends a connection that was just made.
    pub(crate) fn opened(self: &Arc<Self>, kind: Kind, line: impl Into<Line>) -> Lease {
        self.state().opened += 1;
        Lease { pool: self.clone(), kind, line: Some(line.into()) }
    }

    /// A connection that is lent no more becomes idle, or is closed.
    fn give_back(self: &Arc<Self>, kind: &Kind, line: Line) {
        let over = {
            let mut state = self.state();
            if state.shut || !line.is_reusable() { Some(line) } else { state.idle.put(kind.clone(), line) }
        };
        if let Some(over) = over {
            self.discard(over);
        }
    }

    /// Closes a connection, in a task of the pool. Whoever wants to can wait for that.
    fn discard(self: &Arc<Self>, mut line: Line) -> oneshot::Receiver<()> {
        let (closed, closing) = oneshot::channel();
        if relapse!("annex-L2") && !self.janitor.is_empty() {
            std::mem::forget(line);
            return closing;
        }
        let pool = Arc::downgrade(self);
        let runtime = self.runtime.clone();
        self.janitor.spawn("close connection", 0, async move {
            if relapse!("annex-L6") {
                line.close().await;
            } else if runtime.timeout(CLOSING, line.close()).await.is_err() {
                tracing::warn!(peer = line.name(), "a connection does not close");
            }
            drop(line);
            if let Some(pool) = pool.upgrade() {
                pool.state().closed += 1;
            }
            let _ = closed.send(());
        });
        closing
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The session on it, if that is what it is for.
    pub fn session(&mut self) -> Option<&mut Remote> {
        match &mut self.line {
            Some(Line::Session(remote)) => Some(remote),
            _ => None,
        }
    }

    /// The HTTP spoken on it, if that is what it is for.
    pub fn http(&mut self) -> Option<&mut Conversation> {
        match &mut self.line {
            Some(Line::Http(conversation)) => Some(conversation),
            _ => None,
        }
    }

    /// Whether it stands between two requests.
    pub fn is_reusable(&self) -> bool {
        self.line.as_ref().is_some_and(Line::is_reusable)
    }

    /// Itself, if it can be used for another request. Otherwise it is closed.
    pub async fn sound(mut self) -> Option<Lease> {
        let stale = match &mut self.line {
            Some(line) if relapse!("annex-B24") => !line.is_reusable(),
            Some(line) => line.is_stale().await,
            None => true,
        };
        if stale {
            self.give_up();
            return None;
        }
        Some(self)
    }

    /// Has it closed, whatever it is in the middle of. Whoever wants to can wait for that.
    pub fn give_up(mut self) -> oneshot::Receiver<()> {
        match self.line.take() {
            Some(line) => self.pool.discard(line),
            None => oneshot::channel().1,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.pool.give_back(&self.kind, line);
        }
    }
}

impl Line {
    fn is_reusable(&self) -> bool {
        match self {
            Line::Session(remote) => remote.is_reusable(),
            Line::Http(conversation) => conversation.is_reusable(),
        }
    }

    async fn is_stale(&mut self) -> bool {
        match self {
            Line::Session(remote) => remote.is_stale().await,
            Line::Http(conversation) => conversation.is_stale().await,
        }
    }

    async fn close(&mut self) {
        match self {
            Line::Session(remote) => remote.close().await,
            // There is no word of farewell: it ends when it is dropped.
            Line::Http(_) => {}
        }
    }

    fn name(&self) -> &str {
        match self {
            Line::Session(remote) => remote.uuid().as_str(),
            Line::Http(_) => "an HTTP server",
        }
    }
}

impl From<Remote> for Line {
    fn from(remote: Remote) -> Line {
        Line::Session(remote)
    }
}

impl From<Conversation> for Line {
    fn from(conversation: Conversation) -> Line {
        Line::Http(conversation)
    }
}
