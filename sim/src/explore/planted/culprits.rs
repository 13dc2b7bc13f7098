//! The culprits themselves: each takes something into a run that is no part of its case, and tells what it got.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "planted: what the lints forbid is what they are"
)]

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::case::Case;
use crate::world::World;

type Play = BoxFuture<'static, ()>;

/// How often a culprit that may agree with itself by chance is asked.
const ROUNDS: u64 = 16;

/// Time that is not the run's: it goes on while nothing happens, and differs from run to run.
pub(super) fn wall_clock(_case: Arc<Case>, world: World) -> Play {
    Box::pin(async move {
        let runtime = world.actor("victim").runtime();
        let (instant, system) = (std::time::Instant::now(), std::time::SystemTime::now());
        runtime.sleep(Duration::from_secs(3600)).await;
        let since_1970 = system.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let slept = instant.elapsed();
        tracing::debug!(target: "planted", ?slept, ?since_1970, "read the wall clock");
        if slept != Duration::from_secs(3600) {
            world.violated("planted", format!("the real clock: {slept:?} for an hour"));
        }
    })
}

/// Time that is not the run's, from the kernel without libc in between.
pub(super) fn raw_clock(_case: Arc<Case>, _world: World) -> Play {
    Box::pin(async move {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        tracing::debug!(target: "planted", seconds = time.tv_sec, nanos = time.tv_nsec, "read a raw clock");
    })
}

/// A map that is walked in the order of its hashes, whose keys std draws from the system's entropy.
pub(super) fn hash_map(_case: Arc<Case>, _world: World) -> Play {
    Box::pin(async move {
        let map: HashMap<u64, ()> = (0..ROUNDS).map(|key| (key, ())).collect();
        let order: Vec<u64> = map.into_keys().collect();
        tracing::debug!(target: "planted", ?order, "walked a hash map");
    })
}

/// A choice between two futures that are both ready, which tokio makes by its own dice.
pub(super) fn unbiased_select(_case: Arc<Case>, _world: World) -> Play {
    Box::pin(async move {
        for round in 0..ROUNDS {
            let branch = tokio::select! {
                () = ready(()) => "first",
                () = ready(()) => "second",
            };
            tracing::debug!(target: "planted", round, branch, "selected");
        }
    })
}

/// Several tasks that wait for one watch channel, which wakes them in an order of its own dice.
pub(super) fn watch_channel(_case: Arc<Case>, world: World) -> Play {
    Box::pin(async move {
        let runtime = world.actor("victim").runtime();
        let (sender, receiver) = tokio::sync::watch::channel(0);
        let scope = runtime.scope();
        for index in 0..ROUNDS {
            let mut receiver = receiver.clone();
            scope.spawn("waiter", index, async move {
                let changed = receiver.changed().await.is_ok();
                tracing::debug!(target: "planted", index, changed, "woken by the watch channel");
            });
        }
        runtime.sleep(Duration::from_millis(1)).await;
        sender.send_replace(1);
        scope.drain().await;
    })
}

/// A static that remembers earlier runs of the process.
pub(super) fn static_counter(_case: Arc<Case>, _world: World) -> Play {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    Box::pin(async move {
        let count = RUNS.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: "planted", count, "counted in a static");
    })
}

/// Random numbers from the system, which asks the kernel itself and so goes round the simulator.
pub(super) fn rand_entropy(_case: Arc<Case>, _world: World) -> Play {
    Box::pin(async move {
        let thread_rng: u64 = rand::random();
        let os_rng = rand::RngCore::next_u64(&mut rand::rngs::OsRng);
        tracing::debug!(target: "planted", thread_rng, os_rng, "drew from rand 0.8");
    })
}

/// A thread, which the system schedules and not the run.
pub(super) fn thread(_case: Arc<Case>, _world: World) -> Play {
    Box::pin(async move {
        let joined = std::thread::spawn(|| 7).join().is_ok();
        tracing::debug!(target: "planted", joined, "ran a thread");
    })
}

/// A task of tokio's own, that no schedule of the run knows of.
pub(super) fn stray_spawn(_case: Arc<Case>, _world: World) -> Play {
    Box::pin(async move {
        let joined = tokio::spawn(async { 7 }).await.is_ok();
        tracing::debug!(target: "planted", joined, "ran a task of tokio's");
    })
}

/// A run that is over before its time, in a process that has run it before: all that it did was right.
pub(super) fn early_end(_case: Arc<Case>, world: World) -> Play {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    Box::pin(async move {
        let runtime = world.actor("victim").runtime();
        let rounds = if RUNS.fetch_add(1, Ordering::Relaxed) == 0 { ROUNDS } else { ROUNDS / 2 };
        for round in 0..rounds {
            runtime.sleep(Duration::from_millis(1)).await;
            tracing::debug!(target: "planted", round, "went on");
        }
    })
}
