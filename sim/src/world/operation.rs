//! Operations: work that a case may cancel at any step of its life.
//!
//! A scenario wraps what a user of its client would give up: a read, a write, the closing. Then every step of the world
//! at whose end the operation is alive, is a cancel point of it: also while it is parked, and only its children progress.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use super::labels::hash_of_text;
use super::{World, context, executor};
use crate::case::{Cancel, Manner};
use crate::trace::{self, What};

/// What is noted of a task whose operation was cancelled.
const GIVEN_UP: u64 = 0xCA9C_E11E_D000;

/// The operation was cancelled: its future is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Panic = Box<dyn std::any::Any + Send>;
/// A step of the world: who ran (the hash of its label), for the how-manieth time.
type Step = (u64, u32);

#[derive(Default)]
struct Operations {
    /// What is to be cancelled after which step, by the hash of the operation's label.
    after: BTreeMap<Step, Vec<(u64, Manner)>>,
    /// What is to be cancelled before it is polled.
    at_birth: BTreeMap<u64, Manner>,
    alive: Vec<Arc<dyn Alive>>,
}

thread_local! {
    static OPERATIONS: RefCell<Operations> = RefCell::default();
    /// Whether anything is to be cancelled after some step.
    static ARMED: Cell<bool> = const { Cell::new(false) };
    /// How many operations have been cancelled.
    static CANCELLED: Cell<u64> = const { Cell::new(0) };
}

/// Prepares this thread for a run with these cancellations.
pub(crate) fn start(cancels: &[Cancel]) {
    let mut operations = Operations::default();
    for cancel in cancels {
        let operation = hash_of_text(&cancel.operation);
        match &cancel.after {
            None => _ = operations.at_birth.insert(operation, cancel.by),
            Some(step) => {
                let Some((label, polls)) = step.rsplit_once('#') else { continue };
                let Ok(polls) = polls.parse() else { continue };
                let step = (hash_of_text(label), polls);
                operations.after.entry(step).or_default().push((operation, cancel.by));
            }
        }
    }
    CANCELLED.set(0);
    ARMED.set(!operations.after.is_empty());
    OPERATIONS.set(operations);
}

/// How many operations of this run the case has cancelled so far.
pub(crate) fn count_cancelled() -> u64 {
    CANCELLED.get()
}

/// Carries out what is to be cancelled after the step that has just ended.
pub(crate) fn after_step() -> Result<(), (u32, Panic)> {
    if !ARMED.get() {
        return Ok(());
    }
    let step = executor::with(|executor| executor.last_step());
    let victims: Vec<(Arc<dyn Alive>, Manner)> = OPERATIONS.with_borrow_mut(|operations| {
        let due = operations.after.remove(&step).unwrap_or_default();
        let alive = |hash| operations.alive.iter().find(|operation| operation.hash() == hash).cloned();
        due.into_iter().filter_map(|(hash, manner)| Some((alive(hash)?, manner))).collect()
    });
    victims.into_iter().try_for_each(|(victim, manner)| victim.cancel(manner))
}

impl World {
    /// Does `work` as an operation of the running task, which the case may cancel at any step. Its label is that of the
    /// task, a slash, kind and index; of two with the same, the second is `~1`.
    ///
    /// # Errors
    /// [`Cancelled`], when the case says so. The caller then does what a user would: go on without the result.
    pub fn operation<T: Send + 'static, W: Future<Output = T> + Send + 'static>(
        &self,
        kind: &'static str,
        index: u64,
        work: W,
    ) -> impl Future<Output = Result<T, Cancelled>> + Send + use<T, W> {
        Operation { named: Some((kind, index)), slot: None, work: Some(Box::pin(work)) }
    }
}

/// What can be done to an operation from outside.
trait Alive: Send + Sync {
    fn hash(&self) -> u64;
    fn cancel(&self, manner: Manner) -> Result<(), (u32, Panic)>;
}

struct Slot<T> {
    hash: u64,
    /// The operation's number in the log of points.
    number: usize,
    task: u32,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Nothing while it is being polled, and when it is over.
    work: Option<Work<T>>,
    cancelled: Option<Manner>,
}

impl<T> Slot<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Alive for Slot<T> {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn cancel(&self, manner: Manner) -> Result<(), (u32, Panic)> {
        let doomed = {
            let mut state = self.lock();
            state.cancelled = Some(manner);
            if manner == Manner::Drop { state.work.take() } else { None }
        };
        CANCELLED.set(CANCELLED.get() + 1);
        if manner != Manner::Drop {
            executor::with(|executor| executor.doom_operation(self.number, manner as u64));
        }
        let outer = context::set_task(self.task);
        context::refuel();
        executor::did(|| GIVEN_UP ^ self.hash ^ manner as u64);
        tracing::debug!(target: "cancel", operation = executor::operation_label(self.number), "{}", manner.name());
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(doomed)));
        executor::wake(self.task);
        context::set_task(outer);
        dropped.map_err(|panic| (self.task, panic))
    }
}

/// The future of an operation.
struct Operation<T: Send + 'static> {
    named: Option<(&'static str, u64)>,
    slot: Option<Arc<Slot<T>>>,
    work: Option<Work<T>>,
}

impl<T: Send + 'static> Operation<T> {
    /// The operation's life begins.
    fn begin(&mut self, kind: &'static str, index: u64) {
        let (number, hash) = executor::with(|executor| executor.begin_operation(kind, index));
        let label = || executor::operation_label(number);
        trace::with_recording(|recording| {
            let began = || What::Begin { operation: number as u64, text: label() };
            recording.note(context::task(), began);
        });
        let at_birth = OPERATIONS.with_borrow_mut(|operations| operations.at_birth.remove(&hash));
        let state = State { work: self.work.take(), cancelled: at_birth };
        let slot = Arc::new(Slot { hash, number, task: context::task(), state: Mutex::new(state) });
        if let Some(manner) = at_birth {
            CANCELLED.set(CANCELLED.get() + 1);
            executor::did(|| GIVEN_UP ^ hash ^ manner as u64);
            tracing::debug!(target: "cancel", operation = label(), "{} at once", manner.name());
        }
        OPERATIONS.with_borrow_mut(|operations| operations.alive.push(slot.clone()));
        self.slot = Some(slot);
    }

    /// The operation's life ends.
    fn end(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        executor::try_with(|executor| executor.end_operation(slot.number));
        trace::with_recording(|recording| {
            recording.note(slot.task, || What::End { operation: slot.number as u64 });
        });
        OPERATIONS.with_borrow_mut(|operations| operations.alive.retain(|it| it.hash() != slot.hash));
    }
}

impl<T: Send + 'static> Future for Operation<T> {
    type Output = Result<T, Cancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((kind, index)) = self.named.take() {
            self.begin(kind, index);
        }
        let Some(slot) = self.slot.clone() else { return Poll::Ready(Err(Cancelled)) };
        let (work, cancelled) = {
            let mut state = slot.lock();
            (state.work.take(), state.cancelled)
        };
        let may_be_polled = matches!(cancelled, None | Some(Manner::Timeout));
        let Some(mut work) = work.filter(|_| may_be_polled) else {
            self.end();
            return Poll::Ready(Err(Cancelled));
        };
        match work.as_mut().poll(cx) {
            Poll::Ready(value) => {
                drop(work);
                self.end();
                Poll::Ready(Ok(value))
            }
            Poll::Pending if cancelled.is_some() => {
                drop(work);
                self.end();
                Poll::Ready(Err(Cancelled))
            }
            Poll::Pending => {
                slot.lock().work = Some(work);
                Poll::Pending
            }
        }
    }
}

impl<T: Send + 'static> Drop for Operation<T> {
    fn drop(&mut self) {
        let work = self.slot.as_ref().and_then(|slot| slot.lock().work.take());
        drop(work);
        self.end();
    }
}
