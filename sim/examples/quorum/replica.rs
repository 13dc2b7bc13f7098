//! A replica as an actor. A message to it is a plain call, carried out as a task of its own; faults hit messages by their
//! number.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::BoxFuture;
use seedgrid::world::{Actor, World};

use super::client::{Gone, Replica, Stored};

/// What can become of a message.
pub const TROUBLES: &[&str] = &["lose-request", "lose-answer", "late-answer", "crash"];

/// How late a late answer is, and how long a crashed replica is down: longer than a client is patient.
const TROUBLE: Duration = Duration::from_millis(30);

/// A replica of the store.
pub struct SimReplica {
    world: World,
    number: u64,
    /// How long it takes for a read, and for a write.
    read: Duration,
    write: Duration,
    actor: Actor,
    /// Starts it again after a crash.
    injector: Actor,
    /// What it keeps, as if on a disk: it survives crashes.
    kept: Arc<Mutex<BTreeMap<u64, Stored>>>,
}

impl SimReplica {
    /// A replica that takes so long for a `read`, and so long for a `write`.
    pub fn new(world: World, number: u64, read: Duration, write: Duration) -> SimReplica {
        let actor = world.actor(format!("replica.{number}"));
        let injector = world.actor("injector");
        SimReplica { world, number, read, write, actor, injector, kept: Arc::default() }
    }

    /// Delivers a message, which is worked on by `work` in so much time.
    fn deliver<T: Send + 'static>(
        &self,
        kind: &'static str,
        time: Duration,
        work: impl FnOnce(&mut BTreeMap<u64, Stored>) -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Gone>> {
        let effect = self.world.fault("replica", self.number, TROUBLES);
        match effect {
            Some("lose-request") => return Box::pin(pending()),
            Some("crash") => self.crash(),
            _ => {}
        }
        let (actor, kept) = (self.actor.clone(), self.kept.clone());
        let runtime = actor.runtime();
        let answer = async move {
            runtime.sleep(time).await;
            let answer = work(&mut lock(&kept));
            match effect {
                Some("lose-answer") => pending().await,
                Some("late-answer") => runtime.sleep(TROUBLE).await,
                _ => {}
            }
            answer
        };
        let number = self.number;
        Box::pin(async move { actor.ask(kind, number, answer).await.map_err(|_| Gone) })
    }

    /// Crashes, and comes up again after a while.
    fn crash(&self) {
        self.actor.crash();
        let (runtime, actor) = (self.injector.runtime(), self.actor.clone());
        self.injector.spawn("restart", self.number, async move {
            runtime.sleep(TROUBLE).await;
            actor.restart();
        });
    }
}

impl Replica for SimReplica {
    fn read(&self, key: u64) -> BoxFuture<'static, Result<Option<Stored>, Gone>> {
        self.deliver("read", self.read, move |kept| kept.get(&key).copied())
    }

    fn write(&self, key: u64, stored: Stored) -> BoxFuture<'static, Result<(), Gone>> {
        let number = self.number;
        self.deliver("write", self.write, move |kept| {
            let newest = kept.get(&key).map_or(stored, |old| stored.max(*old));
            kept.insert(key, newest);
            tracing::debug!(target: "replica", number, key, version = newest.version, "keeps");
        })
    }
}

fn lock(kept: &Mutex<BTreeMap<u64, Stored>>) -> MutexGuard<'_, BTreeMap<u64, Stored>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
