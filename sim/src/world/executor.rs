//! The executor: tasks, who is ready, timers and the virtual clock.
//!
//! One thread, one run, one executor, in a thread-local. Nothing is polled or dropped while the
//! executor is borrowed, so futures, wakers and destructors may call back into it freely.
//!
//! Timers are exact and are removed when dropped: a stale timer would wake a task for no reason, and so
//! silently repair a lost wake-up.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::context::{self, HARNESS};
use super::labels::Labels;
use super::points::{CrashPoint, Point, PointLog, Points};
use crate::schedule::{Candidate, Departure, Schedule};
use crate::trace::{self, Departed, Moment, Names, TaskName, mix};

pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
type Panic = Box<dyn Any + Send>;
/// A deadline in nanoseconds, and a number that keeps equal deadlines in the order of their setting.
pub(crate) type TimerKey = (u64, u64);

/// Everything that runs in one run.
pub(crate) struct Executor {
    tasks: Vec<Task>,
    labels: Labels,
    ready: Vec<Candidate>,
    timers: BTreeMap<TimerKey, (u32, Waker)>,
    next_timer: u64,
    schedule: Box<dyn Schedule>,
    steps: u64,
    /// Kept only when somebody will read them.
    departures: Option<Vec<(Candidate, u32, Moment)>>,
    /// Kept only when somebody looks for other runs.
    points: Option<Box<PointLog>>,
    /// The step that was taken last: a label and a number of polls.
    last_step: (u64, u32),
    pub(crate) actors: Vec<ActorState>,
}

/// What the executor knows of an actor.
pub(crate) struct ActorState {
    pub(crate) name: String,
    /// Counts restarts. A task of an earlier life is gone.
    pub(crate) life: u32,
    pub(crate) up: bool,
    pub(crate) paused: bool,
    /// Tasks that became ready while the actor was paused.
    held: Vec<u32>,
}

struct Task {
    actor: u32,
    label: u64,
    polls: u32,
    state: State,
    /// Woken while it was being polled.
    again: bool,
    /// To be dropped instead of polled.
    aborted: bool,
    future: Option<TaskFuture>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    Running,
    Done,
}

/// What one step of the world was.
pub(crate) enum Step {
    /// A task was polled or dropped.
    Ran { task: u32 },
    /// A task panicked.
    Panicked { task: u32, panic: Panic },
    /// Nobody is ready; the next timer is due at this time.
    Idle { next_timer: Option<u64> },
}

/// The first task of a run: the scenario itself.
const DRIVER: u32 = 0;
/// What is noted of a task that was aborted, or woken.
const ABORTED: u64 = 0xAB02;
const WOKEN: u64 = 0x30CE;

thread_local! {
    static EXECUTOR: RefCell<Option<Executor>> = const { RefCell::new(None) };
}

/// Works on this thread's executor.
///
/// # Panics
/// Outside a run, which is how a call that strays out of the simulation shows itself.
pub(crate) fn with<T>(work: impl FnOnce(&mut Executor) -> T) -> T {
    try_with(work).expect("a call to the simulated world from outside its run")
}

/// Works on this thread's executor, if a run is on.
pub(crate) fn try_with<T>(work: impl FnOnce(&mut Executor) -> T) -> Option<T> {
    EXECUTOR.with_borrow_mut(|executor| executor.as_mut().map(work))
}

/// Puts an executor in place for a run on this thread.
pub(crate) fn install(schedule: Box<dyn Schedule>, keep_departures: bool) {
    EXECUTOR.set(Some(Executor {
        tasks: Vec::with_capacity(256),
        labels: Labels::default(),
        ready: Vec::with_capacity(64),
        timers: BTreeMap::new(),
        next_timer: 0,
        schedule,
        steps: 0,
        departures: keep_departures.then(Vec::new),
        points: None,
        last_step: (0, 0),
        actors: Vec::new(),
    }));
}

/// Ends the run: drops what is left of its tasks, oldest first, and takes the executor away.
pub(crate) fn uninstall() -> Option<Executor> {
    let mut task = 0;
    while let Some(Some(future)) = try_with(|executor| {
        let slot = executor.tasks.get_mut(task)?;
        slot.state = State::Done;
        task += 1;
        Some(slot.future.take())
    }) {
        // A destructor that panics at the very end has nobody left to harm.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
    }
    EXECUTOR.take()
}

/// Starts a task of `actor`. It is ready at once.
pub(crate) fn spawn(actor: u32, kind: &'static str, index: u64, future: TaskFuture) -> Option<u32> {
    let refused = try_with(|executor| {
        if !executor.actors[actor as usize].up {
            return Err(future);
        }
        let task = executor.tasks.len() as u32;
        // What the driver starts is where the story starts: its own name would only make labels longer.
        let parent = if context::task() == DRIVER { HARNESS } else { context::task() };
        let label = executor.labels.add(parent, kind, index);
        executor.tasks.push(Task {
            actor,
            label,
            polls: 0,
            state: State::Idle,
            again: false,
            aborted: false,
            future: Some(future),
        });
        executor.schedule.spawned(Candidate { task, label, polls: 0 }, running_task());
        executor.did(context::task(), label);
        trace::with_recording(|recording| recording.effect("spawn a task, whose label has the hash", label));
        executor.make_ready(task);
        Ok(task)
    });
    // With its actor down, what was to run is dropped: here, outside the borrow.
    refused?.ok()
}

/// Asks for a task to be dropped when its turn comes.
pub(crate) fn abort(task: u32) {
    try_with(|executor| {
        executor.tasks[task as usize].aborted = true;
        executor.did(task, ABORTED);
        executor.wake(task);
    });
}

/// The task in whose step this happens, if it is in anybody's.
fn running_task() -> Option<u32> {
    Some(context::task()).filter(|task| *task != HARNESS)
}

/// Wakes a task.
pub(crate) fn wake(task: u32) {
    wake_by_number(task as usize);
}

/// Notes what the running task did, if somebody looks for other runs.
pub(crate) fn did(what: impl FnOnce() -> u64) {
    try_with(|executor| {
        if executor.points.is_some() {
            executor.did(context::task(), what());
        }
    });
}

/// Notes a point at which faults could hit, if somebody looks for other runs.
pub(crate) fn could_fail(faults: impl FnOnce() -> Vec<crate::fault::Fault>) {
    with(|executor| {
        if let Some(points) = &mut executor.points {
            points.log.push(Point::Fault(faults()));
        }
    });
}

/// Notes a point at which an actor could go down, if somebody looks for other runs.
pub(crate) fn could_crash(point: impl FnOnce() -> CrashPoint) {
    with(|executor| {
        if let Some(points) = &mut executor.points {
            points.crashes.push(point());
        }
    });
}

/// The label of an operation.
pub(crate) fn operation_label(operation: usize) -> String {
    with(|executor| executor.labels.operation_text(operation))
}

/// Runs one step: picks a ready task and polls it once.
pub(crate) fn step() -> Step {
    let picked = with(|executor| {
        if executor.ready.is_empty() {
            let next_timer = executor.timers.keys().next().map(|(deadline, _)| *deadline);
            return Err(Step::Idle { next_timer });
        }
        Ok(executor.pick())
    });
    let (task, aborted, future) = match picked {
        Ok(picked) => picked,
        Err(idle) => return idle,
    };
    let Some(future) = future else { return Step::Ran { task } };
    let outer = context::set_task(task);
    context::refuel();
    let result = match aborted {
        true => catch_unwind(AssertUnwindSafe(|| drop(future))).map(|()| None),
        false => poll(task, future),
    };
    context::set_task(outer);
    match result {
        Ok(unfinished) => {
            // A crash of its actor during this very poll leaves a future that must be dropped here.
            let leftover = with(|executor| executor.put_back(task, unfinished));
            if let Some(future) = leftover {
                let outer = context::set_task(task);
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
                context::set_task(outer);
                if let Err(panic) = dropped {
                    return Step::Panicked { task, panic };
                }
            }
            Step::Ran { task }
        }
        Err(panic) => {
            with(|executor| executor.put_back(task, None));
            Step::Panicked { task, panic }
        }
    }
}

fn poll(task: u32, mut future: TaskFuture) -> Result<Option<TaskFuture>, Panic> {
    let waker = waker(task);
    catch_unwind(AssertUnwindSafe(move || match future.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Pending => Some(future),
        Poll::Ready(()) => None,
    }))
}

/// Moves the clock to `time` and wakes whose timers are due.
pub(crate) fn advance_to(time: u64) {
    context::set_now(time);
    while let Some(waker) = with(|executor| {
        let entry = executor.timers.first_entry()?;
        (entry.key().0 <= time).then(|| entry.remove().1)
    }) {
        waker.wake();
    }
}

/// Sets a timer on behalf of the running task.
pub(crate) fn set_timer(deadline: u64, waker: Waker) -> TimerKey {
    with(|executor| {
        let key = (deadline, executor.next_timer);
        executor.next_timer += 1;
        executor.did(context::task(), deadline);
        trace::with_recording(|recording| recording.effect("set a timer, due at nanosecond", deadline));
        executor.timers.insert(key, (context::task(), waker));
        key
    })
}

/// Changes whom a timer wakes, if it has not fired.
pub(crate) fn rewake_timer(key: TimerKey, waker: &Waker) {
    with(|executor| {
        if let Some((_, held)) = executor.timers.get_mut(&key) {
            held.clone_from(waker);
        }
    });
}

/// Forgets a timer, whether or not it has fired.
pub(crate) fn forget_timer(key: TimerKey) {
    // Dropping a waker may drop more: outside the borrow.
    let removed = try_with(|executor| executor.timers.remove(&key));
    drop(removed);
}

/// Ends an actor's life: from here on its tasks can do nothing any more.
pub(crate) fn sever(actor: u32) {
    with(|executor| {
        let state = &mut executor.actors[actor as usize];
        state.up = false;
        state.paused = false;
        state.life += 1;
    });
}

/// Drops the tasks of an actor that was severed, oldest first.
pub(crate) fn bury(actor: u32) {
    let doomed = with(|executor| {
        executor.actors[actor as usize].held.clear();
        let tasks = &executor.tasks;
        executor.ready.retain(|candidate| tasks[candidate.task as usize].actor != actor);
        let mut doomed = Vec::new();
        for (number, task) in executor.tasks.iter_mut().enumerate() {
            if task.actor != actor {
                continue;
            }
            match task.state {
                State::Idle | State::Ready => {
                    task.state = State::Done;
                    doomed.push((number as u32, task.future.take()));
                }
                // The task that crashes its own actor: dropped when its poll returns.
                State::Running => task.aborted = true,
                State::Done => {}
            }
        }
        doomed
    });
    for (task, future) in doomed {
        let outer = context::set_task(task);
        // A process that has ended runs no destructors: what panics in one here is nobody's.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        context::set_task(outer);
    }
}

/// Whether the actor is up, and still in that life.
pub(crate) fn is_alive(actor: u32, life: u32) -> bool {
    with(|executor| {
        let actor = &executor.actors[actor as usize];
        actor.up && actor.life == life
    })
}

/// Brings an actor up again, with nothing running.
pub(crate) fn restart(actor: u32) {
    with(|executor| executor.actors[actor as usize].up = true);
}

/// Stops an actor's tasks from being picked, until it is resumed.
pub(crate) fn pause(actor: u32) {
    with(|executor| {
        executor.actors[actor as usize].paused = true;
        let (held, ready) = std::mem::take(&mut executor.ready)
            .into_iter()
            .partition(|candidate| executor.tasks[candidate.task as usize].actor == actor);
        executor.ready = ready;
        let held: Vec<Candidate> = held;
        executor.actors[actor as usize].held.extend(held.iter().map(|candidate| candidate.task));
    });
}

/// Lets a paused actor go on.
pub(crate) fn resume(actor: u32) {
    with(|executor| {
        let state = &mut executor.actors[actor as usize];
        state.paused = false;
        for task in std::mem::take(&mut state.held) {
            executor.tasks[task as usize].state = State::Idle;
            executor.make_ready(task);
        }
    });
}

impl Executor {
    /// Tasks of `actor` that have not ended.
    pub(crate) fn live_tasks(&self, actor: u32) -> impl Iterator<Item = u32> {
        let of_actor = move |(number, task): (usize, &Task)| {
            (task.actor == actor && task.state != State::Done).then_some(number as u32)
        };
        self.tasks.iter().enumerate().filter_map(of_actor)
    }

    /// Timers set by tasks of `actor`.
    pub(crate) fn live_timers(&self, actor: u32) -> usize {
        self.timers.values().filter(|(task, _)| self.actor_of(*task) == Some(actor)).count()
    }

    /// The actor that a task belongs to; none for the harness.
    pub(crate) fn actor_of(&self, task: u32) -> Option<u32> {
        self.tasks.get(task as usize).map(|task| task.actor)
    }

    /// Notes the points at which other runs could part from this one, which `standing` tells from others at its start.
    pub(crate) fn note_points(&mut self, standing: u64) {
        self.points = Some(Box::new(PointLog::new(standing)));
    }

    /// The points that were noted.
    pub(crate) fn points(&mut self) -> Option<Points> {
        let noted = self.points.take()?;
        let (tasks, operations) = (self.labels.texts(), self.labels.operation_texts());
        Some(Points { tasks, operations, log: noted.log, crashes: noted.crashes })
    }

    /// The step that was taken last: a label and a number of polls.
    pub(crate) fn last_step(&self) -> (u64, u32) {
        self.last_step
    }

    /// The running task begins an operation. Gives its number, and the hash of its label.
    pub(crate) fn begin_operation(&mut self, kind: &'static str, index: u64) -> (usize, u64) {
        let task = if context::task() == DRIVER { HARNESS } else { context::task() };
        let (number, hash) = self.labels.add_operation(task, kind, index);
        if let Some(points) = &mut self.points {
            points.log.push(Point::Birth(number));
            points.alive.push(number);
        }
        (number, hash)
    }

    /// An operation will be cancelled when its turn comes.
    pub(crate) fn doom_operation(&mut self, number: usize, manner: u64) {
        if let Some(points) = &mut self.points {
            points.doomed.insert(number, manner);
        }
    }

    /// An operation is over.
    pub(crate) fn end_operation(&mut self, number: usize) {
        if let Some(points) = &mut self.points {
            points.alive.retain(|alive| *alive != number);
            points.doomed.remove(&number);
        }
    }

    /// Notes the step that was taken last, and the state that it left.
    pub(crate) fn note_step(&mut self, task: u32) {
        let Some(points) = &mut self.points else { return };
        let tasks = &self.tasks;
        let label = |task: u32| tasks.get(task as usize).map_or(0, |task| task.label);
        let ready = self.ready.iter().map(|candidate| candidate.label);
        let timers = self.timers.iter().flat_map(|((deadline, _), (task, _))| [*deadline, label(*task)]);
        let state = points.fingerprint(ready.chain(timers).chain([context::now()]));
        let polls = self.last_step.1;
        points.log.push(Point::Step { task, polls, alive: points.alive.clone(), state });
    }

    /// Notes what `task` did, or what was done to it.
    fn did(&mut self, task: u32, what: u64) {
        if let Some(points) = &mut self.points {
            let label = self.tasks.get(task as usize).map_or(0, |task| task.label);
            points.did(task, label, what);
        }
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Who there is, and whom the schedule passed over.
    pub(crate) fn names(&self) -> Names {
        let labels = self.labels.texts().into_iter().zip(&self.tasks);
        let departed = |(passed, ran, at): &(Candidate, u32, Moment)| Departed {
            at: *at,
            passed: passed.task,
            ran: *ran,
        };
        Names {
            actors: self.actors.iter().map(|actor| actor.name.clone()).collect(),
            tasks: labels.map(|(label, task)| TaskName { label, actor: task.actor }).collect(),
            departures: self.departures.iter().flatten().map(departed).collect(),
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn add_actor(&mut self, name: String) -> u32 {
        self.actors.push(ActorState { name, life: 0, up: true, paused: false, held: Vec::new() });
        self.actors.len() as u32 - 1
    }

    /// The steps at which not the first ready task ran, in words.
    pub(crate) fn departures(&self) -> Vec<Departure> {
        let in_words = |(passed, run, _): &(Candidate, u32, Moment)| Departure {
            instead_of: format!("{}#{}", self.labels.text(passed.task), passed.polls),
            run: self.labels.text(*run),
        };
        self.departures.iter().flatten().map(in_words).collect()
    }

    fn pick(&mut self) -> (u32, bool, Option<TaskFuture>) {
        if let Some(points) = &mut self.points
            && self.ready.len() > 1
        {
            let ready = self.ready.iter().map(|candidate| candidate.task).collect();
            points.log.push(Point::Choice { polls: self.ready[0].polls, ready });
        }
        let index = match self.ready.len() {
            1 => 0,
            count => self.schedule.pick(&self.ready).min(count - 1),
        };
        let head = self.ready[0];
        let picked = self.ready.remove(index);
        if index > 0
            && let Some(departures) = &mut self.departures
        {
            let at = Moment { step: self.steps + 1, ns: context::now() };
            departures.push((head, picked.task, at));
        }
        self.steps += 1;
        context::set_step(self.steps);
        trace::with_recording(|recording| recording.step(picked, context::now()));
        self.last_step = (picked.label, picked.polls);
        self.did(picked.task, context::now());
        let task = &mut self.tasks[picked.task as usize];
        task.state = State::Running;
        task.polls += 1;
        (picked.task, task.aborted, task.future.take())
    }

    /// Takes a polled task back; gives back a future that is to be dropped after all.
    fn put_back(&mut self, number: u32, future: Option<TaskFuture>) -> Option<TaskFuture> {
        let task = &mut self.tasks[number as usize];
        let actor_is_up = self.actors[task.actor as usize].up;
        match future {
            None => {
                task.state = State::Done;
                None
            }
            Some(future) if task.aborted && !actor_is_up => {
                task.state = State::Done;
                Some(future)
            }
            Some(future) => {
                task.future = Some(future);
                task.state = State::Idle;
                if std::mem::take(&mut task.again) || task.aborted {
                    self.make_ready(number);
                }
                None
            }
        }
    }

    fn wake(&mut self, number: u32) {
        if self.points.is_some() {
            let by = self.tasks.get(context::task() as usize).map_or(0, |task| task.label);
            self.did(number, mix(by, WOKEN));
        }
        let Some(task) = self.tasks.get_mut(number as usize) else { return };
        match task.state {
            State::Idle => self.make_ready(number),
            State::Running => task.again = true,
            State::Ready | State::Done => {}
        }
    }

    fn make_ready(&mut self, number: u32) {
        let task = &mut self.tasks[number as usize];
        task.state = State::Ready;
        let candidate = Candidate { task: number, label: task.label, polls: task.polls };
        self.schedule.woken(candidate, running_task());
        let actor = &mut self.actors[task.actor as usize];
        match actor.paused {
            true => actor.held.push(number),
            false => self.ready.push(candidate),
        }
    }
}

/// A waker that is nothing but its task's number: waking looks the task up in this thread's executor.
fn waker(task: u32) -> Waker {
    // SAFETY: the data pointer is a number in disguise that is never read through, and every function
    // of the table accepts any such number from any thread.
    unsafe { Waker::new(std::ptr::without_provenance(task as usize), &WAKER) }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(data, &WAKER),
    |data| wake_by_number(data.addr()),
    |data| wake_by_number(data.addr()),
    |_| {},
);

/// A wake from another thread, or after the run, finds no executor and is nobody's.
fn wake_by_number(task: usize) {
    try_with(|executor| executor.wake(task as u32));
}

/// The label of a task, for people.
pub(crate) fn label(task: u32) -> String {
    match task {
        HARNESS => "harness".into(),
        task => try_with(|executor| executor.labels.text(task)).unwrap_or_default(),
    }
}
