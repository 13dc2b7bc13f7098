//! The lives of actors: how one ends in a crash, and how the next begins.
//!
//! A crash that falls into the middle of a poll (a job is one poll, with many operations on a disk in it) severs the
//! actor there and then: its door is shut, and nothing that the rest of the poll does reaches anybody. When the poll has
//! returned, the actor's tasks are dropped.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Actor, World, context, executor, took_effect};
use crate::fault::CrashKind;

#[derive(Default)]
struct Lives {
    /// Told at the end of each life, and at the start of the next.
    turned: BTreeMap<u32, Arc<Notify>>,
    /// Called at each restart.
    hooks: BTreeMap<u32, Vec<Hook>>,
    /// Who went down in the poll that is running, and after how long each is up again.
    fallen: Vec<(Actor, Option<u64>)>,
    /// Sees to the restarts.
    power: Option<Actor>,
}

type Hook = Arc<dyn Fn(&Actor) + Send + Sync>;

thread_local! {
    static LIVES: RefCell<Lives> = RefCell::default();
    /// Whether anybody went down in the poll that is running, which is rare.
    static ANY_FALLEN: Cell<bool> = const { Cell::new(false) };
    /// How many crashes the case has brought about.
    static CRASHES: Cell<u64> = const { Cell::new(0) };
}

/// Forgets the lives of an earlier run on this thread.
pub(crate) fn reset() {
    LIVES.take();
    ANY_FALLEN.set(false);
    CRASHES.set(0);
}

/// How many crashes the case has brought about so far.
pub(crate) fn count_crashes() -> u64 {
    CRASHES.get()
}

impl Actor {
    /// Which life of the actor this is: 0 until its first crash, one more after each.
    pub fn life(&self) -> u32 {
        executor::with(|executor| executor.actors[self.id as usize].life)
    }

    /// Takes the actor down as [`Actor::crash`] does, and with it what its disk has not made durable: for a power loss,
    /// `survivors` says what of that survives (0 nothing, 1 everything, any other number is a seed).
    pub fn crash_with(&self, how: CrashKind, survivors: u64) {
        took_effect(how.name());
        executor::sever(self.id);
        self.disk.went_down(how, survivors);
        bury(self);
    }

    /// Takes the actor down: severed first, then its tasks are dropped, so that no destructor can still act. All that it
    /// wrote stays on its disk.
    pub fn crash(&self) {
        executor::sever(self.id);
        bury(self);
    }

    /// Brings the actor up again, with its disk and nothing running but what [`Actor::on_restart`] starts.
    pub fn restart(&self) {
        // Whoever restarts it in the very poll in which it went down does not wait for the end of that.
        let fallen = LIVES.with_borrow_mut(|lives| {
            let before = lives.fallen.len();
            lives.fallen.retain(|(fallen, _)| fallen.id != self.id);
            lives.fallen.len() < before
        });
        if fallen {
            bury(self);
        }
        executor::restart(self.id);
        let hooks = LIVES.with_borrow(|lives| lives.hooks.get(&self.id).cloned().unwrap_or_default());
        hooks.iter().for_each(|hook| hook(self));
        turned(self.id);
    }

    /// Has `begin` called at each restart, at once: there a scenario starts the actor's server anew.
    ///
    /// ```
    /// # fn example(world: seedgrid::world::World) {
    /// let server = world.actor("S0");
    /// let serve = |server: &seedgrid::world::Actor| {
    ///     let runtime = server.runtime();
    ///     server.spawn("serve", server.life().into(), async move { drop(runtime) });
    /// };
    /// serve(&server);
    /// server.on_restart(serve);
    /// # }
    /// ```
    pub fn on_restart(&self, begin: impl Fn(&Actor) + Send + Sync + 'static) {
        let begin: Hook = Arc::new(begin);
        LIVES.with_borrow_mut(|lives| lives.hooks.entry(self.id).or_default().push(begin));
    }

    /// Waits until the life numbered `life` is over.
    pub async fn down(&self, life: u32) {
        self.until(|actor| actor.life() > life).await;
    }

    /// Waits until the actor is up in a life after the one numbered `life`, and gives that one's number.
    pub async fn restarted(&self, life: u32) -> u32 {
        self.until(|actor| actor.is_up() && actor.life() > life).await;
        self.life()
    }

    async fn until(&self, reached: impl Fn(&Actor) -> bool) {
        let turned = LIVES.with_borrow_mut(|lives| lives.turned.entry(self.id).or_default().clone());
        loop {
            let next = turned.notified();
            if reached(self) {
                return;
            }
            next.await;
        }
    }
}

/// The actor goes down in the middle of a poll. What it must not do any more it cannot do from here on.
pub(super) fn fell(actor: Actor, restart_us: Option<u64>) {
    executor::sever(actor.id);
    ANY_FALLEN.set(true);
    CRASHES.set(CRASHES.get() + 1);
    LIVES.with_borrow_mut(|lives| lives.fallen.push((actor, restart_us)));
}

/// Drops the tasks of those who went down in the poll that has just ended, and sees to their restart.
pub(crate) fn after_step() {
    if !ANY_FALLEN.replace(false) {
        return;
    }
    context::refuel();
    let fallen = LIVES.with_borrow_mut(|lives| std::mem::take(&mut lives.fallen));
    for (actor, restart_us) in fallen {
        bury(&actor);
        if let Some(us) = restart_us {
            restart_later(actor, us);
        }
    }
}

/// Whether the actor of a task went down in the poll that has just ended: a panic in it is nobody's.
pub(crate) fn has_fallen(task: u32) -> bool {
    let actor = executor::with(|executor| executor.actor_of(task));
    LIVES.with_borrow(|lives| lives.fallen.iter().any(|(fallen, _)| Some(fallen.id) == actor))
}

/// Brings the actor up again after a while, unless somebody else has done so by then.
fn restart_later(actor: Actor, us: u64) {
    let power = LIVES.with_borrow(|lives| lives.power.clone()).unwrap_or_else(|| World(()).actor("power"));
    LIVES.with_borrow_mut(|lives| lives.power = Some(power.clone()));
    let (runtime, life) = (power.runtime(), actor.life());
    power.spawn("restart", actor.id.into(), async move {
        runtime.sleep(Duration::from_micros(us)).await;
        if !actor.is_up() && actor.life() == life {
            actor.restart();
        }
    });
}

fn bury(actor: &Actor) {
    executor::bury(actor.id);
    turned(actor.id);
}

fn turned(actor: u32) {
    LIVES.with_borrow(|lives| {
        if let Some(turned) = lives.turned.get(&actor) {
            turned.notify_waiters();
        }
    });
}
