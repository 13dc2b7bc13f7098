//! The simulated world: actors, their tasks, one virtual clock, one executor.
//!
//! A run has one world, on one thread. [`World`] and [`Actor`] are handles to it that are only good on
//! that thread and during that run.

mod clock;
pub(crate) mod context;
mod disk;
mod door;
mod effects;
pub(crate) mod executor;
mod knobs;
mod labels;
pub(crate) mod lives;
mod message;
mod net;
pub(crate) mod operation;
mod own_faults;
mod points;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use runtime::{Instant, Runtime};

pub(crate) use context::as_harness;
pub use disk::Disk;
pub(crate) use effects::{take as take_effects, took_effect};
pub(crate) use executor::{could_fail, did};
pub use knobs::Knobs;
pub(crate) use labels::hash_of_text as label_hash;
pub use message::NoAnswer;
pub use operation::Cancelled;
pub use points::{CrashPoint, Point, Points};

use crate::case::{Case, Detail, Verdict};
use crate::schedule::Schedule;
use door::Door;

thread_local! {
    static DEADLINE: Cell<u64> = const { Cell::new(u64::MAX) };
    static FINDING: RefCell<Option<Verdict>> = const { RefCell::new(None) };
}

/// How many polls one run may take. No scenario comes near it; a livelock does.
pub(crate) const STEP_LIMIT: u64 = 1_000_000;

/// A handle to the run's world.
#[derive(Clone, Copy, Debug)]
pub struct World(());

/// Somebody with tasks, a disk and a door of their own: a client, a server, an injector.
#[derive(Clone)]
pub struct Actor {
    id: u32,
    disk: Disk,
}

impl World {
    /// Prepares this thread for a run.
    pub(crate) fn start(case: &Case, detail: Detail, schedule: Box<dyn Schedule>) -> World {
        context::reset();
        net::reset();
        knobs::set(case.knobs, case.seed);
        own_faults::start(&case.faults);
        clock::start(&case.faults);
        disk::start(&case.faults);
        lives::reset();
        operation::start(&case.cancels);
        DEADLINE.set(u64::MAX);
        FINDING.take();
        executor::install(schedule, detail == Detail::Full);
        if detail == Detail::Points {
            executor::with(|executor| executor.note_points(case.standing()));
        }
        World(())
    }

    /// A new actor.
    pub fn actor(&self, name: impl Into<String>) -> Actor {
        let name = name.into();
        let disk = Disk::new(&name);
        Actor { id: executor::with(|executor| executor.add_actor(name)), disk }
    }

    /// Simulated time since the run began.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(context::now())
    }

    /// Says that the driver must be done with what comes next within `bound` of simulated time.
    /// When that has passed, the run ends as hung.
    pub fn must_end_within(&self, bound: Duration) {
        DEADLINE.set((self.now() + bound).as_nanos());
    }

    /// Ends the run: an oracle has found what must not be. The first word counts.
    pub fn violated(&self, oracle: &str, detail: impl Into<String>) {
        report(Verdict::Violated { oracle: oracle.into(), detail: detail.into() });
    }

    /// Ends the run: something is left that should be gone.
    pub fn leaked(&self, detail: impl Into<String>) {
        report(Verdict::Leaked { detail: detail.into() });
    }

    /// The most runtime calls and trace events that one poll has made so far.
    pub fn most_fuel_burnt(&self) -> u64 {
        context::most_burnt()
    }

    /// Runs `driver` to its end, or to the first finding. Says how the run ended.
    pub(crate) fn run(self, driver: impl Future<Output = ()> + Send + 'static) -> Verdict {
        let harness = self.actor("harness");
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = done.clone();
        harness.spawn("driver", 0, async move {
            driver.await;
            flag.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        loop {
            match executor::step() {
                executor::Step::Ran { task } => {
                    lives::after_step();
                    executor::with(|executor| executor.note_step(task));
                    if let Err((task, panic)) = operation::after_step() {
                        return verdict_of_panic(task, panic);
                    }
                }
                // Whose power went in this very poll does not panic.
                executor::Step::Panicked { task, .. } if lives::has_fallen(task) => lives::after_step(),
                executor::Step::Panicked { task, panic } => return verdict_of_panic(task, panic),
                executor::Step::Idle { next_timer: None } => {
                    return Verdict::Hung { detail: "nothing is ready and no timer is set".into() };
                }
                executor::Step::Idle { next_timer: Some(due) } if due > DEADLINE.get() => {
                    let bound = Duration::from_nanos(DEADLINE.get());
                    return Verdict::Hung { detail: format!("not done at {bound:?}, the bound for it") };
                }
                executor::Step::Idle { next_timer: Some(due) } => {
                    let ahead = Duration::from_nanos(due - context::now());
                    madsim::time::advance(ahead);
                    executor::advance_to(due);
                }
            }
            if let Some(verdict) = FINDING.take() {
                return verdict;
            }
            if done.load(std::sync::atomic::Ordering::Relaxed) {
                return Verdict::Pass;
            }
            if context::step() > STEP_LIMIT {
                return Verdict::Stuck { detail: format!("more than {STEP_LIMIT} polls: a livelock") };
            }
        }
    }
}

impl Actor {
    /// The actor's door, for its present life. After a crash it opens to nothing any more.
    pub fn runtime(&self) -> Runtime {
        Runtime::new(Arc::new(Door { actor: self.clone(), life: self.life() }))
    }

    /// The actor's number in this run.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The actor's disk, which survives its crashes.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Says that the disk may go wrong in these ways ([`DiskEffect::KINDS`](crate::fault::DiskEffect::KINDS)): exhaustive
    /// searches try them at each operation from here on, and `crash` takes every crash point.
    pub fn expose_disk(&self, kinds: &'static [&'static str]) {
        self.disk.expose(kinds);
    }

    /// Says what is going on ("A: create, on disk"): counts of crash points are told by it from here on.
    pub fn stage(&self, name: impl Into<String>) {
        self.disk.set_stage(name.into());
    }

    /// Says that the actor has recovered from its last crash: `crash --twice` has it crash again until then.
    pub fn recovered(&self) {
        self.disk.recovered(self.life());
    }

    /// A point at which the actor may go down though its disk does nothing: where it has answered, where it works on
    /// something else than its disk. Counted as an operation that changes the disk. Nothing when the actor is down.
    pub fn may_crash_here(&self) {
        disk::DoorFiles::new(self.clone(), self.life()).may_crash_here();
    }

    /// Starts a task of this actor that belongs to no scope; nothing happens while the actor is down.
    pub fn spawn(&self, kind: &'static str, index: u64, task: impl Future<Output = ()> + Send + 'static) {
        executor::spawn(self.id, kind, index, Box::pin(task));
    }

    /// True unless the actor has crashed and not been restarted.
    pub fn is_up(&self) -> bool {
        executor::with(|executor| executor.actors[self.id as usize].up)
    }

    /// Stops the actor's tasks until it is resumed: a process that is not scheduled.
    pub fn pause(&self) {
        executor::pause(self.id);
    }

    /// Lets a paused actor go on.
    pub fn resume(&self) {
        executor::resume(self.id);
    }

    /// The labels of the actor's tasks that have not ended.
    pub fn live_tasks(&self) -> Vec<String> {
        executor::with(|executor| {
            executor.live_tasks(self.id).map(|task| executor.labels().text(task)).collect()
        })
    }

    /// How many timers the actor's tasks have set.
    pub fn live_timers(&self) -> usize {
        executor::with(|executor| executor.live_timers(self.id))
    }
}

fn report(verdict: Verdict) {
    FINDING.with_borrow_mut(|finding| {
        finding.get_or_insert(verdict);
    });
}

fn verdict_of_panic(task: u32, panic: Box<dyn std::any::Any + Send>) -> Verdict {
    let who = executor::label(task);
    match crate::panics::message_of(panic) {
        Some(message) => Verdict::Panicked { detail: format!("{who}: {message}") },
        None => Verdict::Stuck { detail: format!("{who} used up the fuel of one poll: a hot loop") },
    }
}
