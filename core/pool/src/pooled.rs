//! [`Pooled`]: the peer at the other end of a connection that is kept when it is idle (annex-p2p §15.2).
//!
//! It connects when it is first asked something, with an idle connection if there is a sound one. A request that fails since
//! its connection had gone while it was idle is made again, once, on a new one, if nothing was answered yet and nothing can
//! have been changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use runtime::{reached, relapse};

use crate::cluster::clocks;
use crate::connections::{Connections, Kind, Lease};
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError};
use crate::session::client::{Answer, Remote};
use crate::uuid::Uuid;
use crate::version::Version;

/// How a peer elsewhere is reached.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Who is reached.
    fn uuid(&self) -> &Uuid;

    /// Connects, and agrees on a version: `newest` or an older one.
    async fn dial(&self, newest: Version, bypass: &BTreeSet<Uuid>) -> Result<Remote, PeerError>;
}

/// A peer elsewhere, as one client's requests see it.
pub struct Pooled {
    pool: Arc<Connections>,
    dial: Arc<dyn Dial>,
    client: Uuid,
    newest: Version,
    bypass: BTreeSet<Uuid>,
    lease: Option<Lease>,
    /// The connection was made for this request: that it fails is the peer's doing, not age's.
    fresh: bool,
}

impl Pooled {
    /// The peer that `dial` reaches, for the requests of one client.
    pub fn new(pool: Arc<Connections>, dial: Arc<dyn Dial>, client: Uuid) -> Pooled {
        let (newest, bypass) = (Version::V0, BTreeSet::new());
        Pooled { pool, dial, client, newest, bypass, lease: None, fresh: true }
    }

    /// The connections that are like the one that is needed.
    fn kind(&self) -> Kind {
        Kind::Session {
            server: self.dial.uuid().clone(),
            client: self.client.clone(),
            bypass: self.bypass.clone(),
            newest: self.newest,
        }
    }

    /// The connection to ask on. One that is in the middle of something, or that has gone since the last request, is not
    /// asked: it is given up, and another is made.
    async fn connected(&mut self) -> Result<&mut Remote, PeerError> {
        self.fresh = false;
        match self.lease.take() {
            // Closed after each step of a request.
            Some(lease) if relapse!("annex-B7") => _ = lease.give_up(),
            Some(lease) => self.lease = lease.sound().await,
            None => {}
        }
        if self.lease.is_none() {
            self.lease = self.pool.take(&self.kind()).await;
        }
        match self.lease {
            None => self.anew().await,
            Some(_) => self.present(),
        }
    }

    /// A new connection.
    async fn anew(&mut self) -> Result<&mut Remote, PeerError> {
        self.fresh = true;
        self.lease = None;
        let remote = self.dial.dial(self.newest, &self.bypass).await?;
        self.lease = Some(self.pool.opened(self.kind(), remote));
        self.present()
    }

    /// The connection that there is.
    fn present(&mut self) -> Result<&mut Remote, PeerError> {
        let unreachable =
            || PeerError::Unreachable { uuid: self.dial.uuid().clone(), why: "not connected".into() };
        self.lease.as_mut().and_then(Lease::session).ok_or_else(unreachable)
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
        self.dial.uuid()
    }

    async fn begin(&mut self, version: Version, bypass: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        if (self.newest, &self.bypass) != (version, bypass) {
            self.lease = None;
            self.newest = version;
            self.bypass = bypass.clone();
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
                self.lease = None;
                Some(Box::new(LockSomewhere(self)))
            }
            true => Some(self.present()?.locked()),
            false => None,
        })
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        let pool = self.pool.clone();
        let remote = self.connected().await?;
        // By the clock of when it is asked: to connect may have taken long.
        let is_over = |limit| clocks::now(pool.runtime()) >= limit;
        if !remote.version().has_timestamps() && before.is_some_and(is_over) {
            return Ok(Outcome::of(false));
        }
        // Never again: whether it was done the first time would be lost.
        remote.remove(key, before).await
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        if !self.connected().await?.version().has_timestamps() {
            return Ok(clocks::now(self.pool.runtime()));
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
        self.lease.as_ref().is_none_or(Lease::is_reusable)
    }

    async fn close(&mut self) {
        if let Some(lease) = self.lease.take() {
            let _ = lease.give_up().await;
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
