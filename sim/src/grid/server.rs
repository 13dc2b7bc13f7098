//! A storage server as an actor: it answers calls about its shares, and does with each call what the faults say.
//!
//! A call is a task of the server's actor, so that the schedule decides when it runs, a crash ends it, and a pause
//! holds it up. Calls belong to a connection; when that is lost, so are they, and every reader got over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{
    Allocate, Allocated, LeaseSecret, ServerError, ServerId, ServerVersion, ShareNumber, ShareReader,
    StorageServer,
};
use runtime::{Runtime, Scope};
use tokio::sync::{Notify, oneshot};

use super::file::StoredFile;
use super::ledger::Ledger;
use super::share::ShareData;
use crate::fault::{CallKind, Effect, Fault, Refusal};
use crate::trace::mix;
use crate::world::{Actor, World, as_harness};

/// The largest read that a server answers, in bytes.
const MAX_READ: u64 = 1 << 26;

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

struct Inner {
    me: Weak<Inner>,
    world: World,
    number: usize,
    id: ServerId,
    spec: ServerSpec,
    seed: u64,
    index: StorageIndex,
    /// Runs the server's calls.
    actor: Actor,
    /// Ends its pauses and outages.
    injector: Actor,
    healed: Notify,
    state: Mutex<State>,
}

struct State {
    shares: BTreeMap<ShareNumber, ShareData>,
    pristine: BTreeMap<ShareNumber, ShareData>,
    good: BTreeSet<ShareNumber>,
    faults: BTreeMap<(CallKind, u32), Effect>,
    ledger: Ledger,
    /// The calls of the present connection; none while the server is down.
    connection: Option<Arc<Scope>>,
    /// Counts connections.
    epoch: u64,
    healed: bool,
    /// What is left of a client's patience with delays.
    patience: Duration,
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
        let mut ledger = Ledger::default();
        for fault in setup.faults {
            match fault {
                Fault::Share { server, share, damage } if *server == number => {
                    if let Some(data) = shares.remove(share) {
                        good.remove(share);
                        *ledger.effects.entry(damage.name()).or_default() += 1;
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
                Fault::Share { .. } | Fault::Call { .. } => {}
            }
        }
        let actor = world.actor(id.to_string());
        let connection = Some(Arc::new(actor.runtime().scope()));
        let state =
            State { shares, pristine, good, faults, ledger, connection, epoch: 1, healed: false, patience };
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
        state.healed = true;
        let whole = state.pristine.clone();
        state.shares = whole;
        drop(state);
        inner.healed.notify_waiters();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose_connection(&self, reconnect: bool) {
        let fresh = reconnect.then(|| Arc::new(self.actor.runtime().scope()));
        let mut state = self.lock();
        state.epoch += 1;
        let lost = std::mem::replace(&mut state.connection, fresh);
        drop(state);
        // Dropping it aborts its calls: outside the lock, since they use the server.
        drop(lost);
    }

    fn restart(&self) {
        self.actor.restart();
        self.lose_connection(true);
    }

    /// Runs `task` on the injector after a while.
    fn later(&self, us: u64, task: impl FnOnce(&Inner) + Send + 'static) {
        let (runtime, me) = (self.injector.runtime(), self.me.clone());
        self.injector.spawn("heal", self.number as u64, async move {
            runtime.sleep(Duration::from_micros(us)).await;
            if let Some(server) = me.upgrade() {
                task(&server);
            }
        });
    }

    /// How long the `nth` call of a kind takes: drawn from its own coordinates, so that nothing shifts it.
    fn latency(&self, kind: CallKind, nth: u32) -> Duration {
        let place = (self.number as u64) << 40 | (kind as u64) << 32 | u64::from(nth);
        // In few steps, so that answers of different servers often come in the same instant.
        let jitter = mix(mix(self.seed, place), 0x1A7E_4C11) % 8 * self.spec.jitter_us / 7;
        Duration::from_micros(self.spec.latency_us + jitter)
    }

    /// Carries one call out. `epoch` is that of the reader that calls; none for a call to the server itself.
    async fn call<T: Answer>(
        &self,
        kind: CallKind,
        epoch: Option<u64>,
        perform: impl Fn(&mut State) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let server = self.number as u64;
        let (nth, effect, connection) = {
            let mut state = self.lock();
            let count = state.ledger.counts.calls.entry(kind).or_default();
            *count += 1;
            let nth = *count;
            let stale = epoch.is_some_and(|epoch| epoch != state.epoch);
            let connection = if stale { None } else { state.connection.clone() };
            let effect = match connection {
                Some(_) => state.faults.get(&(kind, nth)).cloned(),
                None => None,
            };
            if let Some(effect) = &effect {
                state.took_effect(effect);
            }
            (nth, effect, connection)
        };
        let Some(connection) = connection else { return Err(ServerError::Disconnected) };
        if let Some(effect) = &effect {
            tracing::debug!(target: "fault", server, call = kind.name(), nth, "{}", effect.name());
        }
        match effect {
            Some(Effect::Crash { restart_us }) => {
                self.actor.crash();
                self.lose_connection(false);
                if let Some(us) = restart_us {
                    self.later(us, |server| {
                        if !server.actor.is_up() {
                            server.restart()
                        }
                    });
                }
                return Err(ServerError::Disconnected);
            }
            Some(Effect::Pause { us }) => {
                self.actor.pause();
                self.later(us, |server| server.actor.resume());
            }
            _ => {}
        }
        let (reply, answer) = oneshot::channel();
        let me = self.me.clone();
        let latency = self.latency(kind, nth);
        let runtime = self.actor.runtime();
        self.lock().ledger.counts.outstanding += 1;
        let outstanding = Outstanding(self.me.clone());
        let waiting = runtime::wait!("answer", server, call = kind.name(), nth);
        connection.spawn(kind.name(), u64::from(nth), async move {
            let _outstanding = outstanding;
            let _holding = runtime::hold!("answer", server, call = kind.name(), nth);
            let answer = serve(runtime, me, latency, effect, (server, nth), perform).await;
            let _ = reply.send(answer);
        });
        drop(connection);
        let answer = answer.await.unwrap_or(Err(ServerError::Disconnected));
        drop(waiting);
        answer
    }
}

/// A call that has not been answered.
struct Outstanding(Weak<Inner>);

impl Drop for Outstanding {
    fn drop(&mut self) {
        if let Some(server) = self.0.upgrade() {
            server.lock().ledger.counts.outstanding -= 1;
        }
    }
}

/// The server's side of a call.
async fn serve<T: Answer>(
    runtime: Runtime,
    me: Weak<Inner>,
    latency: Duration,
    effect: Option<Effect>,
    (server, call): (u64, u32),
    perform: impl Fn(&mut State) -> Result<T, ServerError>,
) -> Result<T, ServerError> {
    let slow = match effect {
        Some(Effect::Slow { us }) => Duration::from_micros(us),
        _ => Duration::ZERO,
    };
    if !(latency + slow).is_zero() {
        runtime.sleep(latency + slow).await;
    }
    let inner = me.upgrade().ok_or(ServerError::Disconnected)?;
    if effect == Some(Effect::Hang) {
        let _held = as_harness(|| runtime::hold!("the fault `hang`", server, call));
        let _waiting = runtime::wait!("the fault `hang`", server, call);
        wait_for_healing(&inner).await;
    }
    if effect == Some(Effect::Duplicate) {
        let _ = perform(&mut inner.lock());
    }
    let answer = perform(&mut inner.lock());
    match effect {
        Some(Effect::Refuse { with }) => Err(refusal(with)),
        Some(Effect::Disconnect) => {
            inner.lose_connection(true);
            Err(ServerError::Disconnected)
        }
        Some(Effect::Short { keep }) => answer.map(|answer| answer.shorter(keep)),
        Some(Effect::Long { extra }) => answer.map(|answer| answer.longer(extra, &inner)),
        Some(Effect::Garbage) => answer.map(|answer| answer.garbage(&inner)),
        _ => answer,
    }
}

async fn wait_for_healing(inner: &Inner) {
    loop {
        let healed = inner.healed.notified();
        if inner.lock().healed {
            return;
        }
        healed.await;
    }
}

fn refusal(with: Refusal) -> ServerError {
    match with {
        Refusal::Failed => ServerError::Refused("injected failure".into()),
        Refusal::BadAnswer => ServerError::BadAnswer("injected nonsense".into()),
        Refusal::NoSuchShare => ServerError::NoSuchShare,
        Refusal::Disk => ServerError::Disk("injected disk failure".into()),
        Refusal::Disconnected => ServerError::Disconnected,
    }
}

impl State {
    fn took_effect(&mut self, effect: &Effect) {
        *self.ledger.effects.entry(effect.name()).or_default() += 1;
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

/// An answer that can be falsified.
trait Answer: Send + Sized + 'static {
    fn shorter(self, keep: u64) -> Self;
    fn longer(self, extra: u64, server: &Inner) -> Self;
    fn garbage(self, server: &Inner) -> Self;
}

impl Answer for () {
    fn shorter(self, _keep: u64) {}
    fn longer(self, _extra: u64, _server: &Inner) {}
    fn garbage(self, _server: &Inner) {}
}

impl Answer for Bytes {
    fn shorter(self, keep: u64) -> Bytes {
        self.slice(..(keep as usize).min(self.len()))
    }

    fn longer(self, extra: u64, _server: &Inner) -> Bytes {
        let mut bytes = self.to_vec();
        bytes.resize(bytes.len() + extra as usize, 0xEE);
        bytes.into()
    }

    fn garbage(self, server: &Inner) -> Bytes {
        self.iter()
            .enumerate()
            .map(|(place, byte)| byte ^ (mix(server.seed, place as u64) as u8 | 1))
            .collect()
    }
}

type Buckets = BTreeMap<ShareNumber, Arc<dyn ShareReader>>;

impl Answer for Buckets {
    fn shorter(self, keep: u64) -> Buckets {
        self.into_iter().take(keep as usize).collect()
    }

    fn longer(mut self, extra: u64, server: &Inner) -> Buckets {
        for number in 0..extra.min(8) {
            let share = (mix(server.seed, number) % 300) as ShareNumber;
            self.entry(share).or_insert_with(|| server.reader(server.lock().epoch, share));
        }
        self
    }

    fn garbage(self, server: &Inner) -> Buckets {
        Buckets::new().longer(self.len() as u64, server)
    }
}

#[async_trait]
impl StorageServer for Inner {
    fn id(&self) -> &ServerId {
        &self.id
    }

    fn version(&self) -> ServerVersion {
        ServerVersion {
            tolerates_immutable_read_overrun: !self.spec.rejects_overrun,
            ..ServerVersion::default()
        }
    }

    async fn get_buckets(&self, index: StorageIndex) -> Result<Buckets, ServerError> {
        let (me, ours) = (self.me.clone(), index == self.index);
        self.call(CallKind::Dyhb, None, move |state| {
            let inner = me.upgrade().ok_or(ServerError::Disconnected)?;
            let shares = state.shares.keys().filter(|_| ours);
            Ok(shares.map(|share| (*share, inner.reader(state.epoch, *share))).collect())
        })
        .await
    }

    async fn allocate_buckets(&self, _request: Allocate) -> Result<Allocated, ServerError> {
        self.call(CallKind::Write, None, |_| Ok(())).await?;
        // This grid is read only: it has room for nothing.
        Ok(Allocated { already: self.lock().shares.keys().copied().collect(), writers: BTreeMap::new() })
    }

    async fn add_lease(
        &self,
        _index: StorageIndex,
        _renew: LeaseSecret,
        _cancel: LeaseSecret,
    ) -> Result<(), ServerError> {
        self.call(CallKind::Write, None, |_| Ok(())).await
    }
}

impl Inner {
    fn reader(&self, epoch: u64, share: ShareNumber) -> Arc<dyn ShareReader> {
        Arc::new(Reader { server: self.me.clone(), epoch, share, empty: Mutex::default() })
    }
}

/// Reads one share over one connection.
struct Reader {
    server: Weak<Inner>,
    epoch: u64,
    share: ShareNumber,
    /// The reads that were answered with nothing at all: asking again is a livelock.
    empty: Mutex<Vec<(u64, u64)>>,
}

impl Reader {
    fn empty(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.empty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ShareReader for Reader {
    async fn read(&self, offset: u64, length: u64) -> Result<Bytes, ServerError> {
        let server = self.server.upgrade().ok_or(ServerError::Disconnected)?;
        let (share, strict) = (self.share, server.spec.rejects_overrun);
        let asked_before = self.empty().contains(&(offset, length));
        *server.lock().ledger.reads.entry(share).or_default() += 1;
        if asked_before {
            // At once: a livelock never comes to the end, where budgets are checked.
            let place = format!("[{offset}, +{length}) of share {share} on server {}", server.number);
            server.world.violated(
                "budget",
                format!("{place} was asked for again, after the answer that nothing is there"),
            );
        }
        let answer = server
            .call(CallKind::Read, Some(self.epoch), move |state| {
                let data = state.shares.get(&share).ok_or(ServerError::NoSuchShare)?;
                if length > MAX_READ {
                    return Err(ServerError::Refused("more than this server reads at once".into()));
                }
                if strict && offset.saturating_add(length) > data.length() {
                    return Err(ServerError::Refused("the read ends past the end of the share".into()));
                }
                let bytes = data.read(offset, length);
                state.ledger.read_answered(bytes.len() as u64);
                let buffered = state.ledger.buffered.clone();
                Ok(Bytes::from_owner(Buffered { bytes, buffered }))
            })
            .await;
        if answer.as_ref().is_ok_and(Bytes::is_empty) {
            self.empty().push((offset, length));
        }
        answer
    }

    async fn advise_corrupt_share(&self, _reason: &str) -> Result<(), ServerError> {
        let server = self.server.upgrade().ok_or(ServerError::Disconnected)?;
        let share = self.share;
        server
            .call(CallKind::Advise, Some(self.epoch), move |state| {
                *state.ledger.advised.entry(share).or_default() += 1;
                Ok(())
            })
            .await
    }
}

/// Bytes of an answer, counted for as long as some client has them.
struct Buffered {
    bytes: Bytes,
    buffered: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Buffered {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.buffered.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}
