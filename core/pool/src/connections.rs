//! Connections to peers elsewhere, kept when they are idle (annex-p2p §11, §15.2).
//!
//! A [`Pooled`] peer connects when it is first asked something, with an idle connection if there is a sound one. When it is
//! dropped its connection becomes idle, but only one that stands between two requests; any other is closed. Whatever
//! becomes of a request, its connection is given back exactly once. Closing waits for others: that is done by tasks of
//! the pool's own, which [`Connections::close`] waits for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use runtime::{Runtime, Scope, reached, relapse};
use tokio::sync::oneshot;

use crate::cluster::clocks;
use crate::idle::Idle;
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError};
use crate::session::client::{Answer, Remote};
use crate::uuid::Uuid;
use crate::version::Version;

/// How long a connection may take to close before it is left to itself.
const CLOSING: Duration = Duration::from_secs(10);

/// How a peer elsewhere is reached.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Who is reached.
    fn uuid(&self) -> &Uuid;

    /// Connects, and agrees on a version: `newest` or an older one.
    async fn dial(&self, newest: Version, bypass: &BTreeSet<Uuid>) -> Result<Remote, PeerError>;
}

/// Which connections are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    server: Uuid,
    client: Uuid,
    bypass: BTreeSet<Uuid>,
    newest: Version,
}

/// A pool of connections.
pub struct Connections {
    runtime: Runtime,
    state: Mutex<State>,
    janitor: Scope,
}

struct State {
    idle: Idle<Kind, Remote>,
    /// Connections that were made, and that have been closed.
    opened: u64,
    closed: u64,
    shut: bool,
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

    /// The peer that `dial` reaches, for the requests of one client.
    pub fn peer(self: &Arc<Self>, dial: Arc<dyn Dial>, client: Uuid) -> Pooled {
        let kind = Kind { server: dial.uuid().clone(), client, bypass: BTreeSet::new(), newest: Version::V0 };
        Pooled { pool: self.clone(), dial, kind, remote: None, fresh: true }
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
            let Some(remote) = next else { break };
            self.discard(remote);
        }
        self.janitor.drain().await;
    }

    /// Takes an idle connection that is still sound.
    async fn take(self: &Arc<Self>, kind: &Kind) -> Option<Remote> {
        if relapse!("annex-L6") {
            // Whoever gives connections out closes them as well, and does one thing after the other.
            self.janitor.drain().await;
        }
        loop {
            let remote = self.state().idle.take(kind)?;
            if let Some(sound) = self.sound(remote).await {
                return Some(sound);
            }
            reached!("connections: an idle connection was stale");
        }
    }

    /// The connection, if it can be used for another request. Otherwise it is closed.
    async fn sound(self: &Arc<Self>, remote: Remote) -> Option<Remote> {
        let mut returned = Returned { pool: self, remote: Some(remote) };
        match returned.is_stale().await {
            false => returned.remote.take(),
            true => None,
        }
    }

    /// Gives a connection back: it becomes idle, or is closed.
    fn give_back(self: &Arc<Self>, kind: &Kind, remote: Remote) {
        let over = {
            let mut state = self.state();
            if state.shut || !remote.is_reusable() {
                Some(remote)
            } else {
                state.idle.put(kind.clone(), remote)
            }
        };
        if let Some(over) = over {
            self.discard(over);
        }
    }

    /// Closes a connection, in a task of the pool. Whoever wants to can wait for that.
    fn discard(self: &Arc<Self>, mut remote: Remote) -> oneshot::Receiver<()> {
        let (closed, closing) = oneshot::channel();
        if relapse!("annex-L2") && !self.janitor.is_empty() {
            std::mem::forget(remote);
            return closing;
        }
        let pool = Arc::downgrade(self);
        let runtime = self.runtime.clone();
        self.janitor.spawn("close connection", 0, async move {
            if relapse!("annex-L6") {
                remote.close().await;
            } else if runtime.timeout(CLOSING, remote.close()).await.is_err() {
                tracing::warn!(peer = %remote.uuid(), "a connection does not close");
            }
            drop(remote);
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

/// A connection out of the pool that is being looked at. Dropped, it is closed.
struct Returned<'a> {
    pool: &'a Arc<Connections>,
    remote: Option<Remote>,
}

impl Returned<'_> {
    async fn is_stale(&mut self) -> bool {
        match &mut self.remote {
            Some(remote) if relapse!("annex-B24") => !remote.is_reusable(),
            Some(remote) => remote.is_stale().await,
            None => true,
        }
    }
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        if let Some(remote) = self.remote.take() {
            self.pool.discard(remote);
        }
    }
}

/// A peer elsewhere, as one client's requests see it.
pub struct Pooled {
    pool: Arc<Connections>,
    dial: Arc<dyn Dial>,
    kind: Kind,
    remote: Option<Remote>,
    /// The connection was made for this request: that it fails is the peer's doing, not age's.
    fresh: bool,
}

impl Pooled {
    /// The connection to ask on. One that is in the middle of something, or that has gone since the last request, is not
    /// asked: it is given up, and another is made.
    async fn connected(&mut self) -> Result<&mut Remote, PeerError> {
        self.fresh = false;
        match self.remote.take() {
            // Closed after each step of a request.
            Some(remote) if relapse!("annex-B7") => _ = self.pool.discard(remote),
            Some(remote) => self.remote = self.pool.sound(remote).await,
            None => {}
        }
        if self.remote.is_none() {
            self.remote = self.pool.take(&self.kind).await;
        }
        match self.remote {
            None => self.anew().await,
            Some(_) => self.present(),
        }
    }

    /// A new connection.
    async fn anew(&mut self) -> Result<&mut Remote, PeerError> {
        self.fresh = true;
        self.let_go();
        self.remote = Some(self.dial.dial(self.kind.newest, &self.kind.bypass).await?);
        self.pool.state().opened += 1;
        self.present()
    }

    /// The connection that there is.
    fn present(&mut self) -> Result<&mut Remote, PeerError> {
        let unreachable =
            || PeerError::Unreachable { uuid: self.kind.server.clone(), why: "not connected".into() };
        self.remote.as_mut().ok_or_else(unreachable)
    }

    /// Gives the connection back.
    fn let_go(&mut self) {
        if let Some(remote) = self.remote.take() {
            self.pool.give_back(&self.kind, remote);
        }
    }

    /// Whether a request that failed can be made again: its connection was an old one, and has gone. Nothing was answered.
    fn may_repeat(&self, error: &PeerError) -> bool {
        let again = !self.fresh && matches!(error, PeerError::Lost { .. }) && !relapse!("annex-B24");
        if again {
            reached!("connections: a request is made again on a new connection");
        }
        again
    }
}

#[async_trait]
impl Peer for Pooled {
    fn uuid(&self) -> &Uuid {
        &self.kind.server
    }

    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        if (self.kind.newest, &self.kind.bypass) != (version, bypass) {
            self.let_go();
            self.kind.newest = version;
            self.kind.bypass = bypass.clone();
        }
        Ok(self.connected().await?.version().min(version))
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        match self.connected().await?.check_present(key).await {
            Err(error) if self.may_repeat(&error) => self.anew().await?.check_present(key).await,
            answer => answer,
        }
    }

    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        let held = match self.connected().await?.ask_lock(key).await {
            Err(error) if self.may_repeat(&error) => self.anew().await?.ask_lock(key).await,
            answer => answer,
        };
        Ok(match held? {
            true if relapse!("annex-B19") => {
                self.let_go();
                Some(Box::new(LockSomewhere(self)))
            }
            true => Some(self.present()?.locked()),
            false => None,
        })
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        let now = clocks::now(&self.pool.runtime);
        let remote = self.connected().await?;
        if !remote.version().has_timestamps() && before.is_some_and(|limit| now >= limit) {
            return Ok(Outcome::of(false));
        }
        // Never again: whether it was done the first time would be lost.
        remote.remove(key, before).await
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        if !self.connected().await?.version().has_timestamps() {
            return Ok(clocks::now(&self.pool.runtime));
        }
        match self.connected().await?.timestamp().await {
            Err(error) if self.may_repeat(&error) => self.anew().await?.timestamp().await,
            answer => answer,
        }
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let length = match self.connected().await?.ask_get(offset, file, key).await {
            Err(error) if self.may_repeat(&error) => self.anew().await?.ask_get(offset, file, key).await,
            answer => answer,
        }?;
        Ok(self.present()?.downloading(offset, key, length))
    }

    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        let answer = match self.connected().await?.ask_put(file, key).await {
            Err(error) if self.may_repeat(&error) => self.anew().await?.ask_put(file, key).await,
            answer => answer,
        };
        Ok(match answer? {
            Answer::AlreadyHave(also) => Offer::AlreadyHave(also),
            Answer::From(offset) => Offer::From(offset, self.present()?.uploading(key)),
        })
    }

    fn is_reusable(&self) -> bool {
        self.remote.as_ref().is_none_or(Remote::is_reusable)
    }

    async fn close(&mut self) {
        if let Some(remote) = self.remote.take() {
            let _ = self.pool.discard(remote).await;
        }
    }
}

/// A lock whose connection has been given back: the unlock goes to whichever is taken then.
struct LockSomewhere<'a>(&'a mut Pooled);

#[async_trait]
impl Lock for LockSomewhere<'_> {
    async fn unlock(self: Box<Self>) -> Result<(), PeerError> {
        self.0.connected().await?.locked().unlock().await
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.let_go();
    }
}
