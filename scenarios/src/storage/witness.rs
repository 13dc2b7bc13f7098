//! A witness between the server and its backend: sees every call, has the oracles judge it, and is where backends are slow
//! or fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::{Instant, Runtime};
use seedgrid::world::{Actor, World};
use storage::backend::{Backend, BackendError, Body, Incoming, Progress, SlotChange, Survey, WriteEnabler};
use storage::database::{AccountId, Database, Lease, Row};
use storage::share::{Kind, Prefix, ShareId};

use super::look::parse_key;
use super::oracle;
use super::stage::lock;
use super::workload::ServerPlan;

/// What can become of a call to the backend.
pub const TROUBLES: &[&str] = &["backend-slow", "backend-late", "backend-fails"];

/// Deletions are counted apart from the other calls.
pub const DELETIONS: &str = "backend-delete";

/// How long a slow call takes.
const SLOW: Duration = Duration::from_secs(12);

/// Shares whose deletion a client asked for, or whose upload it gave up, in this life of the server or an earlier one: what
/// could not be deleted then is deleted now.
pub type Wishes = Arc<Mutex<BTreeSet<ShareId>>>;

/// What is known of a server's dealings with its backend, in one life of it.
pub struct Watch {
    world: World,
    machine: Actor,
    runtime: Runtime,
    /// Each call takes up to so long.
    longest: Duration,
    /// An upload may replace a corrupted share.
    replaces: bool,
    wished: Wishes,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The database, when the server has started.
    database: Option<Database>,
    /// Trouble is over.
    healed: bool,
    calls: u64,
    /// Uploads that have a place in the backend and are not published.
    live: BTreeMap<ShareId, u32>,
    /// Writes under way.
    writes: BTreeMap<ShareId, u32>,
    /// What the server is about.
    about: BTreeMap<ShareId, u32>,
    /// Something failed since this was last asked.
    failed: bool,
    /// Nothing reaches the backend until then.
    out_until: Option<Instant>,
}

impl Watch {
    /// A watch for one life of a server.
    pub fn new(world: World, machine: Actor, plan: &ServerPlan, wished: Wishes) -> Arc<Watch> {
        let (longest, replaces) = (Duration::from_micros(plan.backend_us), plan.replaces_corrupt);
        let runtime = machine.runtime();
        Arc::new(Watch { world, machine, runtime, longest, replaces, wished, state: Mutex::default() })
    }

    /// The server has started.
    pub fn knows(&self, database: Database) {
        self.lock().database = Some(database);
    }

    /// Ends all trouble.
    pub fn heal(&self) {
        self.lock().healed = true;
    }

    /// No call reaches the backend before `until`.
    pub fn goes_out(&self, until: Instant) {
        self.lock().out_until = Some(until);
    }

    /// A client asks for the deletion of a share, or gives its upload up.
    pub fn wishes_away(&self, id: ShareId) {
        lock(&self.wished).insert(id);
    }

    /// Whether the backend has failed since this was last asked.
    pub fn take_failed(&self) -> bool {
        std::mem::take(&mut self.lock().failed)
    }

    /// An object is about to be written or removed.
    pub fn touches(&self, key: &str) {
        self.machine.may_crash_here();
        if let Some((id, _)) = parse_key(key) {
            let state = self.lock();
            if state.database.is_some() {
                self.judge("siblings", oracle::siblings::check_touched(id, &state.about));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, oracle: &str, found: Result<(), String>) {
        if let Err(detail) = found {
            self.world.violated(oracle, detail);
        }
    }

    fn is_out(&self) -> bool {
        let state = self.lock();
        !state.healed && state.out_until.is_some_and(|until| self.runtime.now() < until)
    }

    /// What the database says of a share; nothing while the server starts, or when the database fails.
    async fn row(&self, id: ShareId) -> Option<(Option<Row>, BTreeMap<AccountId, Lease>)> {
        let database = self.lock().database.clone()?;
        database.view("watch", move |read| Ok((read.row(id)?, read.leases(id)?))).await.ok()
    }

    /// Carries a call out: late, slowly, or not at all.
    async fn carry_out<T>(
        &self,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        self.carry_out_of_kind("backend", work).await
    }

    /// Carries out a call of a kind that is counted.
    async fn carry_out_of_kind<T>(
        &self,
        kind: &'static str,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let (healed, nth) = {
            let mut state = self.lock();
            state.calls += 1;
            (state.healed, state.calls)
        };
        // In few steps, so that calls often end in the same instant: some before the work, some after it.
        let part = |shift: u32| (nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift & 7) as u32;
        let (before, after) = (self.longest * part(61) / 14, self.longest * part(58) / 14);
        if !before.is_zero() {
            self.runtime.sleep(before).await;
        }
        let trouble = if healed { None } else { self.world.fault(kind, 0, TROUBLES) };
        if trouble == Some("backend-slow") {
            self.runtime.sleep(SLOW).await;
        }
        if trouble == Some("backend-fails") || self.is_out() {
            self.lock().failed = true;
            return Err(BackendError::Failed("injected".into()));
        }
        let result = work.await;
        let after = if trouble == Some("backend-late") { after + SLOW } else { after };
        if !after.is_zero() {
            self.runtime.sleep(after).await;
        }
        if matches!(result, Err(BackendError::Failed(_))) {
            self.lock().failed = true;
        }
        result
    }
}

/// One more in a count, until it is dropped.
struct Counted {
    watch: Arc<Watch>,
    id: ShareId,
    of: fn(&mut State) -> &mut BTreeMap<ShareId, u32>,
}

impl Counted {
    fn new(watch: &Arc<Watch>, id: ShareId, of: fn(&mut State) -> &mut BTreeMap<ShareId, u32>) -> Counted {
        *of(&mut watch.lock()).entry(id).or_default() += 1;
        Counted { watch: watch.clone(), id, of }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.watch.lock();
        let counts = (self.of)(&mut state);
        let count = counts.entry(self.id).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&self.id);
        }
    }
}

/// A backend that is watched.
pub struct Watched {
    backend: Arc<dyn Backend>,
    watch: Arc<Watch>,
}

impl Watched {
    /// Watches a backend.
    pub fn new(backend: Arc<dyn Backend>, watch: Arc<Watch>) -> Watched {
        Watched { backend, watch }
    }

    fn about(&self, id: ShareId) -> Counted {
        Counted::new(&self.watch, id, |state| &mut state.about)
    }

    async fn check_write(&self, id: ShareId, epoch: u64) {
        if let Some((row, _)) = self.watch.row(id).await {
            self.watch.judge("writes", oracle::writes::check_write(id, row.as_ref(), epoch));
        }
    }

    async fn check_delete(&self, id: ShareId) {
        let Some((row, leases)) = self.watch.row(id).await else { return };
        let replaced = self.watch.replaces && row.is_some_and(|row| row.kind == Kind::Corrupted);
        let wished = replaced || lock(&self.watch.wished).contains(&id);
        self.watch.judge("deletes", oracle::deletes::check_delete(id, row.as_ref(), &leases, wished));
    }
}

#[async_trait]
impl Backend for Watched {
    async fn prefixes(&self) -> Result<BTreeSet<Prefix>, BackendError> {
        self.watch.carry_out(self.backend.prefixes()).await
    }

    async fn files(&self, prefix: Prefix) -> Result<BTreeSet<StorageIndex>, BackendError> {
        self.watch.carry_out(self.backend.files(prefix)).await
    }

    async fn list(&self, index: StorageIndex) -> Result<BTreeMap<ShareNumber, Body>, BackendError> {
        self.watch.carry_out(self.backend.list(index)).await
    }

    /// The backend's own, and then one call more for each file: any of them may be slow, or fail.
    async fn survey(
        &self,
        prefix: Prefix,
        known: BTreeSet<StorageIndex>,
    ) -> Result<(Survey, BTreeSet<StorageIndex>), BackendError> {
        let (surveyed, others) = self.watch.carry_out(self.backend.survey(prefix, known)).await?;
        let mut survey = Survey::new();
        for (index, bodies) in surveyed {
            survey.insert(index, self.watch.carry_out(std::future::ready(bodies)).await);
        }
        Ok((survey, others))
    }

    async fn read(&self, id: ShareId, offset: u64, length: u64) -> Result<Bytes, BackendError> {
        self.watch.carry_out(self.backend.read(id, offset, length)).await
    }

    async fn create(&self, id: ShareId, size: u64, epoch: u64) -> Result<Box<dyn Incoming>, BackendError> {
        let about = self.about(id);
        let live = self.watch.lock().live.get(&id).copied().unwrap_or(0);
        self.watch.judge("handles", oracle::handles::check_creation(id, live));
        self.check_write(id, epoch).await;
        let incoming = self.watch.carry_out(self.backend.create(id, size, epoch)).await?;
        let live = Mutex::new(Some(Counted::new(&self.watch, id, |state| &mut state.live)));
        Ok(Box::new(WatchedIncoming { incoming, watch: self.watch.clone(), id, live, _about: about }))
    }

    async fn incoming(&self) -> Result<BTreeSet<ShareId>, BackendError> {
        self.watch.carry_out(self.backend.incoming()).await
    }

    async fn delete(&self, id: ShareId, epoch: u64) -> Result<(), BackendError> {
        let _about = self.about(id);
        let (live, writes) = {
            let state = self.watch.lock();
            (state.live.get(&id).copied().unwrap_or(0), state.writes.get(&id).copied().unwrap_or(0))
        };
        self.watch.judge("handles", oracle::handles::check_deletion(id, live, writes));
        self.check_delete(id).await;
        let result = self.watch.carry_out_of_kind(DELETIONS, self.backend.delete(id, epoch)).await;
        // A lease that came meanwhile came to a share that is no more.
        self.check_delete(id).await;
        result
    }

    async fn make_durable(&self, index: StorageIndex) -> Result<(), BackendError> {
        self.watch.carry_out(self.backend.make_durable(index)).await
    }

    async fn discard(&self, id: ShareId) -> Result<(), BackendError> {
        let _about = self.about(id);
        self.watch.carry_out(self.backend.discard(id)).await
    }

    async fn write_enabler(&self, id: ShareId) -> Result<WriteEnabler, BackendError> {
        self.watch.carry_out(self.backend.write_enabler(id)).await
    }

    async fn change(&self, id: ShareId, change: SlotChange, epoch: u64) -> Result<u64, BackendError> {
        let _about = self.about(id);
        let _writing = Counted::new(&self.watch, id, |state| &mut state.writes);
        self.check_write(id, epoch).await;
        self.watch.carry_out(self.backend.change(id, change, epoch)).await
    }

    fn largest_slot(&self) -> u64 {
        self.backend.largest_slot()
    }

    async fn available_space(&self) -> Result<Option<u64>, BackendError> {
        self.watch.carry_out(self.backend.available_space()).await
    }
}

struct WatchedIncoming {
    incoming: Box<dyn Incoming>,
    watch: Arc<Watch>,
    id: ShareId,
    /// Until it is published or settled.
    live: Mutex<Option<Counted>>,
    _about: Counted,
}

impl WatchedIncoming {
    fn is_over(&self) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(live);
    }
}

#[async_trait]
impl Incoming for WatchedIncoming {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<Progress, BackendError> {
        let _writing = Counted::new(&self.watch, self.id, |state| &mut state.writes);
        self.watch.carry_out(self.incoming.write(offset, bytes)).await
    }

    async fn publish(&self) -> Result<u64, BackendError> {
        let _writing = Counted::new(&self.watch, self.id, |state| &mut state.writes);
        let result = self.watch.carry_out(self.incoming.publish()).await;
        if result.is_ok() {
            self.is_over();
        }
        result
    }

    async fn settle(&self) {
        self.incoming.settle().await;
        self.is_over();
    }
}
