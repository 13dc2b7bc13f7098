//! The stage: a storage server as an actor with a disk of its own, perhaps an object store beside it, and what the harness
//! keeps of them. A server has lives; between two of them its process is not there, and its disk is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::StorageIndex;
use protocol::server::{LeaseSecret, ServerId, ShareNumber, ShareWriter};
use runtime::files::Files;
use runtime::{Instant, Runtime, Scope};
use seedgrid::case::Case;
use seedgrid::fault::{DiskEffect, Fault};
use seedgrid::world::{Actor, World};
use storage::backend::Backend;
use storage::backend::cloud::Cloud;
use storage::backend::disk::Disk;
use storage::config::Config;
use storage::crawler::Pulse;
use storage::server::{Server, Setup};
use storage::share::ShareId;

use super::look::{STATE, Seen, look_at_database, look_at_disk, look_at_store, look_up};
use super::model::Model;
use super::model::leases::Asked;
use super::oracle::{self, renewed::LeasesSeen};
use super::store::SimStore;
use super::witness::{Watch, Watched, Wishes};
use super::workload::{Happening, ServerPlan, StorageWorkload};

/// How long a server is down after a crash, when the case does not say.
const DOWN: Duration = Duration::from_secs(1);
/// How long a start may take, when nothing goes wrong with it.
const START: Duration = Duration::from_secs(600);
/// So long a start waits for what a crash has left to be finished; then that goes on while clients are served.
const RECOVERY: Duration = Duration::from_secs(30);
/// The seed of a power failure's survivors must be none of the numbers with a meaning.
const SURVIVORS: u64 = 1 << 20;

/// What is going on while nobody asks for anything.
pub const CRAWLING: &str = "F: crawl and collect";

/// The server, its surroundings, and what is known of them.
pub struct Stage {
    /// The world.
    pub world: World,
    /// What the server is like.
    pub plan: ServerPlan,
    /// How it is configured.
    pub config: Config,
    /// The harness's own door.
    pub script: Runtime,
    /// Tasks of the script.
    pub scope: Scope,
    /// The server's machine.
    pub server: Actor,
    /// The object store, if it has one.
    pub store: Option<SimStore>,
    /// Every secret of every client.
    pub secrets: Vec<LeaseSecret>,
    seed: u64,
    /// A crash may lose what was committed last.
    forgetful: bool,
    /// The disk fails now and then, until it is healed.
    sick: bool,
    /// The disk does anything but what it should, short of a crash, until it is healed.
    hampered: bool,
    /// When the clock is set.
    peaks: Vec<Set>,
    /// When the clock is set last.
    pub last_step: Duration,
    healed: AtomicBool,
    /// Somebody starts the server, or stops it.
    starting: tokio::sync::Mutex<()>,
    /// The operator has stopped the server: nobody else starts it.
    stopped: AtomicBool,
    lives: AtomicU64,
    life: Mutex<Option<Arc<Life>>>,
    model: Mutex<Model>,
    leases: Mutex<LeasesSeen>,
    wishes: Wishes,
}

/// A server from its start to its stop or crash.
pub struct Life {
    /// Counts lives.
    pub number: u64,
    /// When it began.
    pub since: Instant,
    /// The server.
    pub server: Server,
    /// Sees what it does to its backend.
    pub watch: Arc<Watch>,
    /// The uploads that clients have open, by a number of their own.
    pub writers: Mutex<BTreeMap<u64, Arc<dyn ShareWriter>>>,
}

impl Stage {
    /// Sets the stage; the server is not started yet.
    pub fn set(case: &Case, world: World, secrets: Vec<LeaseSecret>) -> Stage {
        let workload = case.workload.of::<StorageWorkload>();
        let plan = workload.server.clone();
        let script = world.actor("script").runtime();
        let server = world.actor("server");
        // A directory that cannot be made is found out at the start.
        let _ = server.disk().create_dir_all(Path::new(STATE));
        server.disk().sync_all();
        server.expose_disk(&DiskEffect::CRASHES);
        let epoch = script.unix_time().as_secs();
        let latency = Duration::from_micros(plan.latency_us);
        let power = |fault: &Fault| matches!(fault, Fault::Disk { .. });
        let back = |fault: &Fault| matches!(fault, Fault::Clock { step_s, .. } if *step_s < 0);
        let steady = !case.faults.iter().any(back);
        let fails = |fault: &Fault| {
            matches!(fault, Fault::Disk { effect: DiskEffect::Fail { .. } | DiskEffect::Full { .. }, .. })
        };
        let hampers = |fault: &Fault| matches!(fault, Fault::Disk { effect, .. } if !matches!(effect, DiskEffect::Crash { .. }));
        let step = |fault: &Fault| match fault {
            Fault::Clock { at_us, .. } => Some(Duration::from_micros(*at_us)),
            _ => None,
        };
        if workload.operator.iter().any(|deed| deed.what == Happening::PowerLoss) {
            server.disk().track();
        }
        Stage {
            world,
            config: plan.config(epoch),
            scope: script.scope(),
            server,
            store: plan.cloud.map(|_| SimStore::new(world, latency)),
            secrets,
            seed: case.seed,
            forgetful: plan.lazy_sync && (case.faults.iter().any(power) || !workload.operator.is_empty()),
            sick: case.faults.iter().any(fails),
            peaks: peaks(&case.faults, epoch),
            hampered: case.faults.iter().any(hampers),
            last_step: case.faults.iter().filter_map(step).max().unwrap_or_default(),
            healed: AtomicBool::new(false),
            starting: tokio::sync::Mutex::default(),
            stopped: AtomicBool::new(false),
            lives: AtomicU64::new(0),
            life: Mutex::new(None),
            model: Mutex::new(Model::new(workload, epoch, steady)),
            leases: Mutex::default(),
            wishes: Wishes::default(),
            plan,
            script,
        }
    }

    /// The model. Keep it no longer than for a moment.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// The present life of the server, if it has one.
    pub fn life(&self) -> Option<Arc<Life>> {
        lock(&self.life).clone()
    }

    /// What the server's wall clock shows, in seconds. The model learns of it.
    pub fn clock(&self) -> u64 {
        let clock = self.server.runtime().unix_time().as_secs();
        let now = self.script.now() - Instant::default();
        let mut model = self.model();
        // What it showed before it was set back counts, though nobody looked.
        self.peaks.iter().filter(|set| set.at <= now).for_each(|set| model.tick(set.before));
        model.tick(clock);
        clock
    }

    /// A client asks for something that comes with a lease.
    pub fn asks(&self) -> Asked {
        let clock = self.clock();
        let leases = &self.model().leases;
        Asked { clock, losses: leases.losses(), deletions: leases.deletions(), at: self.script.now() }
    }

    /// The same, with the least that the clock has shown since.
    pub fn since(&self, asked: Asked) -> Asked {
        let now = self.script.now();
        let set = self.peaks.iter().filter(|set| (asked.at..=now).contains(&(Instant::default() + set.at)));
        let least = set.map(|set| set.after).chain([self.clock(), asked.clock]).min();
        Asked { clock: least.unwrap_or(asked.clock), ..asked }
    }

    /// Judges what an oracle found.
    pub fn judge(&self, oracle: &str, found: Result<(), String>) {
        if let Err(detail) = found {
            self.world.violated(oracle, detail);
        }
    }

    /// Something went wrong that excuses a failure.
    pub fn trouble(&self) {
        self.model().trouble = Some(self.script.now());
    }

    /// Notes what the backend has suffered, and whether that excuses failures.
    pub fn note_failures(&self) {
        let failed = self.life().is_some_and(|life| life.watch.take_failed());
        let sick = self.sick && !self.is_healed();
        if failed || sick {
            self.trouble();
        }
        if sick && self.plan.lazy_sync {
            // A database that failed is opened again, as it was on the disk.
            self.model().may_forget();
            lock(&self.leases).forget_all();
        }
    }

    /// Ends all trouble that may come.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
        self.server.disk().heal();
        self.server.expose_disk(&[]);
        if let Some(store) = &self.store {
            store.heal();
        }
        if let Some(life) = self.life() {
            life.watch.heal();
        }
    }

    /// Whether trouble is over.
    pub fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// Keeps the server up: whenever it has gone down, it is started again.
    pub fn keep_up(self: &Arc<Self>) {
        let stage = self.clone();
        self.scope.spawn("keeper", 0, async move {
            loop {
                if !stage.server.is_up() {
                    stage.fell();
                    stage.script.sleep(DOWN).await;
                    if !stage.server.is_up() {
                        stage.server.restart();
                    }
                }
                if stage.life().is_none() && !stage.stopped.load(Ordering::Relaxed) {
                    stage.start().await;
                } else {
                    stage.server.down(stage.server.life()).await;
                    stage.fell();
                }
            }
        });
    }

    /// The server is down, and all that was under way with it.
    fn fell(&self) {
        lock(&self.life).take();
        let now = self.script.now();
        self.model().went_down(now, self.forgetful);
        lock(&self.leases).forget_all();
    }

    /// Waits so many milliseconds, and then, if that is asked for, for the crawler to set to work: until so much later, or
    /// earlier.
    pub async fn wait(&self, after_ms: u64, crawl_ms: Option<i64>) {
        self.script.sleep(Duration::from_millis(after_ms)).await;
        let Some(offset) = crawl_ms else { return };
        let pulse = self.life().and_then(|life| life.server.crawler());
        // One that works already is met at once.
        let begins = match pulse {
            Some(Pulse::SleepsUntil(until)) => until,
            Some(Pulse::WorksSince(_)) | None => self.script.now(),
        };
        let distance = Duration::from_millis(offset.unsigned_abs());
        let moment = if offset < 0 {
            Instant::default() + (begins - Instant::default()).saturating_sub(distance)
        } else {
            begins + distance
        };
        self.script.sleep_until(moment).await;
    }

    /// Nobody reaches the backend for so long, unless the server starts anew.
    pub fn outage(&self, length: Duration) {
        if let Some(life) = self.life().filter(|_| !self.is_healed()) {
            life.watch.goes_out(self.script.now() + length);
        }
    }

    /// Takes the server's machine down, as a crash of its process or as a loss of power.
    pub fn crash(&self, power: bool) {
        use seedgrid::fault::CrashKind;
        let survivors = SURVIVORS + (self.seed ^ self.lives.load(Ordering::Relaxed)) % SURVIVORS;
        let how = if power { CrashKind::Power } else { CrashKind::Process };
        self.server.crash_with(how, survivors);
    }

    /// Starts the server for the first time. When its disk fails from the first, clients do not wait for ever.
    pub async fn begin(self: &Arc<Self>) {
        let (started, begun) = tokio::sync::oneshot::channel();
        let stage = self.clone();
        self.scope.spawn("begin", 0, async move {
            stage.start().await;
            let _ = started.send(());
        });
        let _ = self.script.timeout(START, begun).await;
    }

    /// Waits until the server is up and has started.
    pub async fn up(&self) {
        while self.life().is_none() {
            self.script.sleep(Duration::from_secs(10)).await;
        }
    }

    /// Starts the server, again and again if its disk or its backend fails.
    pub async fn start(self: &Arc<Self>) {
        let _alone = self.starting.lock().await;
        if self.life().is_some() {
            return;
        }
        let mut tries = 0_u32;
        loop {
            if self.stopped.load(Ordering::Relaxed) || !self.server.is_up() {
                return;
            }
            let life = self.server.life();
            let (begun, calm) = (self.script.now(), self.is_healed() || !self.sick);
            match self.try_to_start().await {
                Some(Ok(())) => return,
                // It went down again: whoever keeps it up sees to that.
                None if self.server.life() != life => return self.fell(),
                None => {}
                Some(Err(error)) => {
                    tracing::debug!(target: "stage", "the server does not start: {error}");
                    self.note_failures();
                    let trouble = self.model().trouble;
                    let excused = trouble.is_some_and(|moment| moment + START >= begun) && !self.is_healed();
                    let ever = tries > 100 && !self.sick;
                    if (!excused || ever) && calm {
                        return self.world.violated("answers", format!("the server does not start: {error}"));
                    }
                }
            }
            tries += 1;
            self.script.sleep(Duration::from_secs(5 << tries.min(14))).await;
        }
    }

    async fn try_to_start(self: &Arc<Self>) -> Option<Result<(), String>> {
        let number = self.lives.fetch_add(1, Ordering::Relaxed);
        let runtime = self.server.runtime();
        self.server.stage("I: start and recovery");
        let watch = Watch::new(self.world, self.server.clone(), &self.plan, self.wishes.clone());
        if self.is_healed() {
            watch.heal();
        }
        let (config, store, plan, seen) =
            (self.config.clone(), self.store.clone(), self.plan.clone(), watch.clone());
        let begun = self.script.now();
        let started = self.server.ask("start", number, async move {
            let backend: Arc<dyn Backend> = match (store, plan.cloud) {
                (Some(store), Some(chunk)) => {
                    Arc::new(Cloud::new(runtime.clone(), Arc::new(store.watched(seen.clone())), chunk))
                }
                _ => Arc::new(
                    Disk::open(runtime.clone(), Path::new(STATE))
                        .await
                        .map_err(|error| error.to_string())?
                        .with_small(plan.in_memory),
                ),
            };
            let setup = Setup {
                id: ServerId::new("server", [7; 20]),
                node: [7; 20],
                state: STATE.into(),
                backend: Arc::new(Watched::new(backend, seen)),
                config,
            };
            Server::start(runtime, setup).await.map_err(|error| error.to_string())
        });
        let server = match started.await.ok()? {
            Ok(server) => server,
            Err(error) => return Some(Err(error)),
        };
        watch.knows(server.database().clone());
        if self.is_healed() {
            watch.heal();
        }
        let life =
            Arc::new(Life { number, since: self.script.now(), server, watch, writers: Mutex::default() });
        self.server.recovered();
        self.check_started(&life, begun).await;
        self.model().leases.settle();
        *lock(&self.life) = Some(life);
        Some(Ok(()))
    }

    /// Looks at a server that has just started, before any client calls.
    async fn check_started(&self, life: &Arc<Life>, begun: Instant) {
        let Some(seen) = self.look(life).await else { return };
        self.clock();
        self.judge("rows", oracle::rows::check_rows(&seen));
        let troubled = life.watch.take_failed();
        if troubled {
            self.trouble();
        }
        // What failed while it started, or took too long, is finished later.
        let finished = life.since - begun < RECOVERY;
        if finished && !troubled && (!self.hampered || self.is_healed()) {
            self.judge("settled", oracle::settled::check_settled(&seen, self.store.is_some()));
        }
        self.judge("kept", oracle::kept::check_there(&self.model(), &seen));
    }

    /// Stops the server as an operator would.
    pub async fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _alone = self.starting.lock().await;
        let Some(life) = lock(&self.life).take() else { return };
        self.trouble();
        let server = life.server.clone();
        let closed = self.server.ask("close", life.number, async move { server.close().await }).await;
        drop(life);
        let now = self.script.now();
        let mut model = self.model();
        model.slots.values_mut().for_each(|slots| slots.cut_off());
        if closed.is_ok() {
            model.leases.settle();
        }
        model.trouble = Some(now);
    }

    /// Has it started after that. Does not wait: with a disk that is full it may take until that is healed.
    pub fn go_on(self: &Arc<Self>) {
        self.stopped.store(false, Ordering::Relaxed);
        let stage = self.clone();
        self.scope.spawn("starter", 0, async move {
            if stage.server.is_up() {
                stage.start().await;
            }
        });
    }

    /// Everything that is on the server: database, disk, store. Nothing when the database does not say.
    pub async fn look(&self, life: &Arc<Life>) -> Option<Seen> {
        let numbers = self.model().numbers();
        let database = life.server.database().clone();
        let seen =
            self.server.ask("look", 0, async move { look_at_database(&database, numbers).await }).await;
        let mut seen = seen.ok()?.ok()?;
        self.look_at_shares(&mut seen);
        Some(seen)
    }

    /// The shares on the server's disk or in its store, whether it runs or not.
    pub fn look_outside(&self) -> Seen {
        let mut seen = Seen::default();
        self.look_at_shares(&mut seen);
        seen
    }

    fn look_at_shares(&self, seen: &mut Seen) {
        match &self.store {
            Some(store) => look_at_store(&store.objects(), seen),
            None => look_at_disk(self.server.disk(), seen),
        }
    }

    /// The rows and leases of a file. Nothing when the server is down, or its database does not say.
    pub async fn look_up(&self, index: StorageIndex) -> Option<Seen> {
        let life = self.life()?;
        let ids = self.model().ids();
        let shares: BTreeSet<ShareNumber> =
            ids.iter().filter(|id| id.index == index).map(|id| id.share).collect();
        let database = life.server.database().clone();
        self.server.ask("look", 1, async move { look_up(&database, index, shares).await }).await.ok()?.ok()
    }

    /// Looks at a file after something was acknowledged.
    pub async fn check_file(&self, index: StorageIndex) {
        self.note_failures();
        let Some(life) = self.life() else { return };
        let (uploads, shares) = (life.server.uploads(), self.model().numbers());
        let promises = self.model().leases.clone();
        let begun = lock(&self.leases).times();
        let Some(seen) = self.look_up(index).await else { return };
        self.clock();
        self.judge("rows", oracle::rows::check_rows(&seen));
        let of_file = |uploads: BTreeMap<ShareId, u64>| {
            uploads.into_iter().filter(|(id, _)| id.index == index).collect::<BTreeMap<_, _>>()
        };
        let after = of_file(life.server.uploads());
        self.judge("reserved", oracle::reserved::check_reserved(&of_file(uploads), &seen.rows, &after));
        let ids = || shares.iter().map(|share| ShareId { index, share: *share });
        let renewed = {
            let model = self.model();
            // One that may have been deleted may be another by now, with a lease of its own.
            let another = |id: &ShareId| {
                model.is_wild(*id) || model.leases.may_be_over(*id) || model.leases.is_being_deleted(*id)
            };
            let same = ids().filter(|id| !another(id));
            lock(&self.leases).check(same, &seen, begun)
        };
        self.judge("renewed", renewed);
        self.judge("promised", oracle::promised::check_promised(&promises, &self.model(), ids(), &seen));
        self.check_uploads();
        self.check_crawling(&life);
    }

    /// Checks that no upload is kept that does not get on.
    pub fn check_uploads(&self) {
        self.note_failures();
        let Some(life) = self.life() else { return };
        let (now, model) = (self.script.now(), self.model());
        let troubled = model.trouble.is_some_and(|moment| moment + oracle::idle::IDLE * 2 >= now);
        if !troubled {
            // What a client is being granted just now, it does not know of yet.
            let granted = |id: &ShareId| model.allocating.get(id).is_some_and(|count| *count > 0);
            let uploads = life.server.uploads().into_keys().filter(|id| !granted(id));
            self.judge("idle", oracle::idle::check_open(uploads, &model.progress, now));
        }
    }

    /// Checks that the crawler of a running server is alive.
    pub fn check_crawling(&self, life: &Life) {
        let (now, timers) = (self.script.now(), self.server.live_timers());
        let lives = self.life().is_some_and(|present| present.number == life.number) && self.server.is_up();
        // In its first instant the crawler may not have had its turn yet.
        if lives && life.since < now {
            self.judge("crawling", oracle::crawling::check_crawling(life.server.crawler(), now, timers));
        }
    }

    /// Somebody is about to delete a share: what is seen of its leases from now on may be of another one.
    pub fn begin_deletion(&self, id: ShareId) {
        self.model().leases.begin_deletion(id);
        lock(&self.leases).forget(id);
    }

    /// A deletion is over, whatever it came to.
    pub fn end_deletion(&self, id: ShareId) {
        self.model().leases.end_deletion(id);
        lock(&self.leases).forget(id);
    }

    /// Everything that was seen of leases is void: the database was deleted.
    pub fn forget_all_leases(&self) {
        lock(&self.leases).forget_all();
    }
}

/// A step of the server's clock.
#[derive(Clone, Copy)]
struct Set {
    /// When.
    at: Duration,
    /// What it shows just before, in seconds since the Unix epoch.
    before: u64,
    /// What it shows then.
    after: u64,
}

/// When the server's clock is set, and what it shows. `epoch` is what it shows at the start.
fn peaks(faults: &[Fault], epoch: u64) -> Vec<Set> {
    let mut steps: Vec<(u64, i64)> = faults
        .iter()
        .filter_map(|fault| match fault {
            Fault::Clock { at_us, step_s, .. } => Some((*at_us, *step_s)),
            _ => None,
        })
        .collect();
    steps.sort();
    let mut set = 0;
    let step = |(at_us, step_s): (u64, i64)| {
        let at = Duration::from_micros(at_us);
        let shown = |set| (epoch + at.as_secs()).saturating_add_signed(set);
        let before = shown(set);
        set += step_s;
        Set { at, before, after: shown(set) }
    };
    steps.into_iter().map(step).collect()
}

/// Locks what no panic can leave half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
