//! The client of a small key-value store: a write goes to a majority of the replicas, a read asks a majority and takes the
//! newest version. It has a number of turns, so that only so many operations are on their way at once; each may be dropped
//! at any time.
//!
//! This is the code under test. It knows `runtime` and nothing of simulation.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::{BoxFuture, Runtime};
use tokio::sync::{mpsc, oneshot};

/// How long a replica may take to answer before it is asked again.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a replica stores under a key. The greater version is the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Counts the client's writes.
    pub version: u64,
    /// What was written.
    pub value: u64,
}

/// A replica does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// A replica, as the client sees it.
pub trait Replica: Send + Sync {
    /// What it has under `key`.
    fn read(&self, key: u64) -> BoxFuture<'static, Result<Option<Stored>, Gone>>;

    /// Has it keep `stored` under `key`, unless it has something newer.
    fn write(&self, key: u64, stored: Stored) -> BoxFuture<'static, Result<(), Gone>>;
}

/// The client. Clones are the same client.
#[derive(Clone)]
pub struct Client {
    runtime: Runtime,
    replicas: Vec<Arc<dyn Replica>>,
    turns: Arc<Turns>,
    writes: Arc<AtomicU64>,
}

impl Client {
    /// A client with so many `turns`.
    pub fn new(runtime: Runtime, replicas: Vec<Arc<dyn Replica>>, turns: usize) -> Client {
        Client { runtime, replicas, turns: Turns::new(turns), writes: Arc::default() }
    }

    /// Writes `value` under `key`. When this resolves, a majority has it. Gives its version.
    pub async fn write(&self, key: u64, value: u64) -> u64 {
        let _turn = self.turns.take().await;
        let version = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        self.ask_majority(move |replica| replica.write(key, Stored { version, value })).await;
        version
    }

    /// The newest that a majority has under `key`.
    pub async fn read(&self, key: u64) -> Option<Stored> {
        let _turn = self.turns.take().await;
        let answers = self.ask_majority(move |replica| replica.read(key)).await;
        answers.into_iter().flatten().max()
    }

    /// Asks all replicas, each again and again, until a majority has answered.
    async fn ask_majority<T: Send + 'static>(
        &self,
        ask: impl Fn(&dyn Replica) -> BoxFuture<'static, Result<T, Gone>> + Clone + Send + 'static,
    ) -> Vec<T> {
        let majority = match runtime::relapse!("quorum-B2") {
            // Of four, two and two have nobody in common.
            true => self.replicas.len().div_ceil(2),
            false => self.replicas.len() / 2 + 1,
        };
        // When this future is dropped, so is the scope, and with it whatever still asks.
        let scope = self.runtime.scope();
        let (answers, mut inbox) = mpsc::unbounded_channel();
        for (index, replica) in self.replicas.iter().cloned().enumerate() {
            let (runtime, ask, answers) = (self.runtime.clone(), ask.clone(), answers.clone());
            scope.spawn("ask", index as u64, async move {
                loop {
                    match runtime.timeout(PATIENCE, ask(&*replica)).await {
                        Ok(Ok(answer)) => {
                            // Nobody may be waiting any more.
                            let _ = answers.send(answer);
                            return;
                        }
                        Ok(Err(Gone)) => runtime.sleep(PATIENCE).await,
                        Err(_) => runtime::reached!("quorum: a replica was asked again"),
                    }
                }
            });
        }
        let mut answered = Vec::new();
        while answered.len() < majority
            && let Some(answer) = inbox.recv().await
        {
            answered.push(answer);
        }
        answered
    }
}

/// Turns, handed out in the order in which they were asked for.
struct Turns(Mutex<Waiting>);

struct Waiting {
    free: usize,
    queue: VecDeque<oneshot::Sender<()>>,
}

/// A turn. Whoever drops it passes it on.
struct Turn {
    turns: Arc<Turns>,
    _holding: tracing::Span,
}

/// A place in the queue. It is called when a turn is its own.
struct Place {
    turns: Arc<Turns>,
    called: oneshot::Receiver<()>,
}

impl Turns {
    fn new(free: usize) -> Arc<Turns> {
        Arc::new(Turns(Mutex::new(Waiting { free, queue: VecDeque::new() })))
    }

    async fn take(self: &Arc<Self>) -> Turn {
        if let Some(mut place) = self.queue_up() {
            let _waiting = runtime::wait!("turn");
            // The queue drops nobody whom it has not called.
            let _ = (&mut place.called).await;
        }
        Turn { turns: self.clone(), _holding: runtime::hold!("turn") }
    }

    /// A place in the queue, unless there is a free turn: that is then taken.
    fn queue_up(self: &Arc<Self>) -> Option<Place> {
        let mut waiting = self.lock();
        if waiting.free > 0 {
            waiting.free -= 1;
            return None;
        }
        let (call, called) = oneshot::channel();
        waiting.queue.push_back(call);
        Some(Place { turns: self.clone(), called })
    }

    fn pass_on(&self) {
        let mut waiting = self.lock();
        while let Some(next) = waiting.queue.pop_front() {
            if next.send(()).is_ok() {
                return;
            }
            runtime::reached!("quorum: somebody in the queue had given up");
        }
        waiting.free += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing here can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.pass_on();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.called.close();
        // Called, and given up before it could answer: the turn is for the next.
        if self.called.try_recv().is_ok() {
            runtime::reached!("quorum: called, and gone");
            if !runtime::relapse!("quorum-B1") {
                self.turns.pass_on();
            }
        }
    }
}
