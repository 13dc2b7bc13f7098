//! The simulated side of core's one door: what [`runtime::Runtime`] does in a run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use runtime::files::Files;
use runtime::net::Network;
use runtime::{BoxFuture, Instant, TaskHandle, World};

use super::Actor;
use super::clock;
use super::context;
use super::disk::DoorFiles;
use super::executor::{self, TaskFuture, TimerKey};
use super::knobs;
use super::net::SimNetwork;
use crate::trace;

/// One actor's door, for one life of it. After a crash nothing gets through any more.
pub(crate) struct Door {
    pub(crate) actor: Actor,
    pub(crate) life: u32,
}

impl Door {
    fn is_open(&self) -> bool {
        executor::is_alive(self.actor.id, self.life)
    }
}

impl World for Door {
    fn spawn(&self, kind: &'static str, index: u64, future: TaskFuture) -> Box<dyn TaskHandle> {
        context::burn();
        let task = if self.is_open() { executor::spawn(self.actor.id, kind, index, future) } else { None };
        Box::new(SimTask(task))
    }

    fn now(&self) -> Instant {
        context::burn();
        Instant::from_nanos(context::now())
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        context::burn();
        Box::pin(Alarm { deadline: deadline.as_nanos(), timer: None })
    }

    fn unix_time(&self) -> Duration {
        context::burn();
        clock::unix_time(self.actor.id)
    }

    fn boot_time(&self) -> Duration {
        context::burn();
        clock::boot_time(self.actor.id)
    }

    fn fill_entropy(&self, bytes: &mut [u8]) {
        context::burn();
        knobs::fill_entropy(bytes);
        let hash = xxhash_rust::xxh3::xxh3_64(bytes);
        executor::did(|| hash);
        trace::with_recording(|recording| recording.effect("draw entropy, whose bytes have the hash", hash));
    }

    /// A task of its own, that runs to its end even when nobody waits for it.
    fn run_job(&self, kind: &'static str, job: Box<dyn FnOnce() + Send>) {
        context::burn();
        if !self.is_open() {
            return;
        }
        let delay = knobs::job_delay() + self.actor.disk.job_delay();
        let started = Instant::from_nanos(context::now() + delay);
        let alarm = (delay > 0).then(|| Alarm { deadline: started.as_nanos(), timer: None });
        let task = async move {
            if let Some(alarm) = alarm {
                alarm.await;
            }
            job();
        };
        executor::spawn(self.actor.id, kind, 0, Box::pin(task));
    }

    fn files(&self) -> Arc<dyn Files> {
        context::burn();
        Arc::new(DoorFiles::new(self.actor.clone(), self.life))
    }

    fn network(&self) -> Arc<dyn Network> {
        context::burn();
        Arc::new(SimNetwork::of(self.actor.id))
    }
}

/// A task that its scope can abort; nothing when its actor was down.
struct SimTask(Option<u32>);

impl TaskHandle for SimTask {
    fn abort(&self) {
        context::burn();
        if let Some(task) = self.0 {
            executor::abort(task);
        }
    }
}

/// A timer that is in the executor's heap from its first poll until it fires or is dropped.
struct Alarm {
    deadline: u64,
    timer: Option<TimerKey>,
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if context::now() >= self.deadline {
            return Poll::Ready(());
        }
        match self.timer {
            None => self.timer = Some(executor::set_timer(self.deadline, cx.waker().clone())),
            Some(timer) => executor::rewake_timer(timer, cx.waker()),
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            executor::forget_timer(timer);
        }
    }
}
