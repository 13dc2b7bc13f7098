//! A storage server as an actor: it answers calls about its shares, and does with each call what the faults say.
//!
//! Calls belong to a connection; when that is lost, so are they, and every reader got over it. `call.rs` says how a call
//! is carried out, `reader.rs` what it does, `answer.rs` how its answer is falsified.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use protocol::StorageIndex;
use protocol::server::{ServerId, ShareNumber, StorageServer};
use runtime::Scope;
use tokio::sync::Notify;

use super::file::StoredFile;
use super::ledger::Ledger;
use super::share::ShareData;
use crate::fault::{CallKind, Damage, Effect, Fault};
use crate::world::{Actor, World, could_fail};

/// What a server is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerSpec {
    /// Each call takes at least so many microseconds.
    pub latency_us: u64,
    /// And up to so many more.
    pub jitter_us: u64,
    /// It answers a read past the end of a share with an error.
    pub rejects_overrun: bool,
}

/// A server of the grid. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

pub(super) struct Inner {
    pub(super) me: Weak<Inner>,
    pub(super) world: World,
    pub(super) number: usize,
    pub(super) id: ServerId,
    pub(super) spec: ServerSpec,
    pub(super) seed: u64,
    pub(super) index: StorageIndex,
    /// Runs the server's calls.
    pub(super) actor: Actor,
    /// Ends its pauses and outages.
    pub(super) injector: Actor,
    pub(super) healed: Notify,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) shares: BTreeMap<ShareNumber, ShareData>,
    pub(super) pristine: BTreeMap<ShareNumber, ShareData>,
    pub(super) good: BTreeSet<ShareNumber>,
    pub(super) faults: BTreeMap<(CallKind, u32), Effect>,
    pub(super) ledger: Ledger,
    /// Kinds of damage that show in what the server says it has, until they have been counted.
    pub(super) misplaced: Vec<&'static str>,
    /// The calls of the present connection; none while the server is down.
    pub(super) connection: Option<Arc<Scope>>,
    /// Counts connections.
    pub(super) epoch: u64,
    pub(super) healed: bool,
    /// What is left of a client's patience with delays.
    pub(super) patience: Duration,
}

/// What a server is made of.
pub struct Setup<'a> {
    /// Its number in the grid.
    pub number: usize,
    /// Its name and its place in the ring.
    pub id: ServerId,
    /// What it is like.
    pub spec: ServerSpec,
    /// Where its dice start.
    pub seed: u64,
    /// The file that it has shares of.
    pub file: &'a StoredFile,
    /// The file that [`Damage::OtherFile`](crate::fault::Damage::OtherFile) takes bytes from.
    pub other: &'a StoredFile,
    /// The numbers of its shares.
    pub shares: &'a [ShareNumber],
    /// All faults of the case.
    pub faults: &'a [Fault],
    /// Who ends its pauses and outages.
    pub injector: Actor,
    /// Delays that add up to so much may rightly cost a client this server.
    pub patience: Duration,
}

impl Server {
    /// A server that is up and connected. Damage to its shares is done at once.
    pub fn new(world: World, setup: Setup<'_>) -> Server {
        let Setup { number, id, spec, seed, file, other, injector, patience, .. } = setup;
        let pristine: BTreeMap<_, _> = setup
            .shares
            .iter()
            .filter_map(|share| Some((*share, ShareData::new(file.share(*share)?.clone()))))
            .collect();
        let mut shares = pristine.clone();
        let mut good: BTreeSet<_> = pristine.keys().copied().collect();
        let mut faults = BTreeMap::new();
        let mut misplaced = Vec::new();
        for share in setup.shares {
            could_fail(|| {
                let fault = |damage| Fault::Share { server: number, share: *share, damage };
                Damage::SAMPLES.iter().cloned().map(fault).collect()
            });
        }
        for fault in setup.faults {
            match fault {
                Fault::Share { server, share, damage } if *server == number => {
                    if let Some(data) = shares.remove(share) {
                        good.remove(share);
                        if matches!(damage, Damage::Missing | Damage::WrongNumber { .. }) {
                            misplaced.push(damage.name());
                        }
                        if let Some((number, data)) = data.damaged(*share, damage, file, other) {
                            // A share that claims the number of a good one hides it.
                            good.remove(&number);
                            shares.insert(number, data);
                        }
                    }
                }
                Fault::Call { server, call, nth, effect } if *server == number => {
                    faults.insert((*call, *nth), effect.clone());
                }
                _ => {}
            }
        }
        let actor = world.actor(id.to_string());
        let connection = Some(Arc::new(actor.runtime().scope()));
        let state = State {
            shares,
            pristine,
            good,
            faults,
            ledger: Ledger::default(),
            misplaced,
            connection,
            epoch: 1,
            healed: false,
            patience,
        };
        Server(Arc::new_cyclic(|me| Inner {
            me: me.clone(),
            world,
            number,
            id,
            spec,
            seed,
            index: file.cap.storage_index(),
            actor,
            injector,
            healed: Notify::new(),
            state: Mutex::new(state),
        }))
    }

    /// The server as a client gets it.
    pub fn handle(&self) -> Arc<dyn StorageServer> {
        self.0.clone()
    }

    /// What the server was asked and did so far.
    pub fn ledger(&self) -> Ledger {
        self.0.lock().ledger.clone()
    }

    /// Works on the ledger.
    pub fn with_ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        work(&mut self.0.lock().ledger)
    }

    /// The shares that the server has and that nothing damaged.
    pub fn good_shares(&self) -> BTreeSet<ShareNumber> {
        self.0.lock().good.clone()
    }

    /// The shares that the server has when it is healed.
    pub fn all_shares(&self) -> BTreeSet<ShareNumber> {
        self.0.lock().pristine.keys().copied().collect()
    }

    /// Loses the connection: open calls fail, readers got over it are dead, and a new one is made at once.
    pub fn reconnect(&self) {
        self.0.lose_connection(true);
        self.0.lock().ledger.harmed = true;
    }

    /// Ends all faults: the server is up, connected and truthful, its shares are whole, and calls that hung are
    /// really executed.
    pub fn heal(&self) {
        let inner = &self.0;
        if !inner.actor.is_up() {
            inner.restart();
        }
        inner.actor.resume();
        let mut state = inner.lock();
        state.faults.clear();
        state.misplaced.clear();
        state.healed = true;
        let whole = state.pristine.clone();
        state.shares = whole;
        drop(state);
        inner.healed.notify_waiters();
    }
}

impl Inner {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lose_connection(&self, reconnect: bool) {
        let fresh = reconnect.then(|| Arc::new(self.actor.runtime().scope()));
        let mut state = self.lock();
        state.epoch += 1;
        let lost = std::mem::replace(&mut state.connection, fresh);
        drop(state);
        // Dropping it aborts its calls: outside the lock, since they use the server.
        drop(lost);
    }

    pub(super) fn restart(&self) {
        self.actor.restart();
        self.lose_connection(true);
    }

    /// Runs `task` on the injector after a while.
    pub(super) fn later(&self, us: u64, task: impl FnOnce(&Inner) + Send + 'static) {
        let (runtime, me) = (self.injector.runtime(), self.me.clone());
        self.injector.spawn("heal", self.number as u64, async move {
            runtime.sleep(Duration::from_micros(us)).await;
            if let Some(server) = me.upgrade() {
                task(&server);
            }
        });
    }
}

impl State {
    /// Notes what the effect may cost a client.
    pub(super) fn suffer(&mut self, effect: &Effect) {
        match effect {
            Effect::Slow { us } | Effect::Pause { us } => {
                self.patience = self.patience.saturating_sub(Duration::from_micros(*us));
                self.ledger.harmed |= self.patience.is_zero();
            }
            // An answer is an answer, however often it was made.
            Effect::Duplicate => {}
            // A client may rightly have given up on this server, or on one of its shares.
            _ => self.ledger.harmed = true,
        }
    }
}
