//! What a broken program looks like to the harness: each planted bug must get the verdict that names it.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use seedgrid::case::{Case, Detail, Dice, Draft, Report, Scenario, Verdict, Workload, run};
use seedgrid::schedule::ScheduleSpec;
use seedgrid::world::{Knobs, World};
use tokio::sync::Notify;

/// A scenario that is one planted bug.
struct Planted(&'static str, fn(World) -> BoxFuture<'static, ()>);

impl Scenario for Planted {
    fn name(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        "a planted bug"
    }

    fn draw(&self, _dice: &mut Dice) -> Draft {
        Draft { workload: Arc::new(toml::Table::new()), faults: Vec::new(), knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        Ok(Arc::new(workload))
    }

    fn play(&self, _case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        self.1(world)
    }
}

fn play(scenario: &'static Planted, seed: u64, detail: Detail) -> Report {
    run(&Case::draw(scenario, seed), detail)
}

static LOST_WAKE_UP: Planted = Planted("lost-wake-up", |world| {
    Box::pin(async move {
        let runtime = world.actor("victim").runtime();
        // An earlier, finished timeout. If its timer stayed behind, it would wake the waiter below.
        let _ = runtime.timeout(Duration::from_secs(1), async {}).await;
        let notify = Arc::new(Notify::new());
        notify.notify_waiters();
        let _waiting = runtime::wait!("the bell", tower = 1u64);
        notify.notified().await;
    })
});

static HOT_LOOP: Planted = Planted("hot-loop", |world| {
    Box::pin(async move {
        let runtime = world.actor("victim").runtime();
        let victim = runtime.scope();
        victim.spawn("spinner", 0, async move {
            loop {
                runtime.now();
            }
        });
        victim.drain().await;
    })
});

static PANIC: Planted = Planted("panic", |world| {
    Box::pin(async move {
        let scope = world.actor("victim").runtime().scope();
        scope.spawn("careless", 7, async { panic!("planted: {}", 1 + 1) });
        pending::<()>().await;
    })
});

static LIVELOCK: Planted = Planted("livelock", |_| {
    Box::pin(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Pending
    }))
});

static SLOW: Planted = Planted("slow", |world| {
    Box::pin(async move {
        let runtime = world.actor("victim").runtime();
        world.must_end_within(Duration::from_secs(5));
        runtime.sleep(Duration::from_secs(6)).await;
    })
});

#[test]
fn a_lost_wake_up_is_hung_and_held_by_nobody() {
    let report = play(&LOST_WAKE_UP, 1, Detail::Full);
    assert_eq!(report.verdict.word(), "hung", "{}", report.verdict);
    let waits = report.waits.unwrap();
    assert_eq!(waits.waits.len(), 1);
    assert_eq!(waits.waits[0].resource, "the bell tower=1");
    assert!(waits.waits[0].holders.is_empty());
    assert!(waits.to_string().contains("held by nobody"), "{waits}");
}

#[test]
fn a_hot_loop_is_stuck() {
    let report = play(&HOT_LOOP, 1, Detail::Digest);
    assert!(matches!(report.verdict, Verdict::Stuck { .. }), "{}", report.verdict);
    assert!(report.verdict.detail().contains("spinner.0"), "{}", report.verdict);
}

#[test]
fn a_livelock_is_stuck() {
    let report = play(&LIVELOCK, 1, Detail::Digest);
    assert!(matches!(report.verdict, Verdict::Stuck { .. }), "{}", report.verdict);
}

#[test]
fn a_panic_is_a_verdict_with_its_place() {
    let report = play(&PANIC, 1, Detail::Digest);
    assert!(matches!(report.verdict, Verdict::Panicked { .. }), "{}", report.verdict);
    let detail = report.verdict.detail();
    assert!(detail.contains("careless.7") && detail.contains("planted: 2") && detail.contains("planted.rs:"));
}

#[test]
fn what_ends_after_its_bound_is_hung() {
    assert_eq!(play(&SLOW, 1, Detail::Digest).verdict.word(), "hung");
}

static PAIRS: Planted = Planted("pairs", |world| {
    Box::pin(async move {
        let runtime = world.actor("pairs").runtime();
        let scope = runtime.scope();
        for index in 0..6 {
            let runtime = runtime.clone();
            scope.spawn("worker", index, async move {
                for round in 0..4u64 {
                    runtime.sleep(Duration::from_millis(round % 2)).await;
                    tracing::debug!(target: "test", index, round, "tick");
                }
            });
        }
        scope.drain().await;
    })
});

#[test]
fn a_run_is_its_case_and_a_replay_of_its_departures_is_the_same_run() {
    let digests: std::collections::BTreeSet<u64> = (0..20)
        .map(|seed| {
            let mut case = Case::draw(&PAIRS, seed);
            case.schedule = ScheduleSpec::Uniform;
            let report = run(&case, Detail::Full);
            assert!(report.verdict.is_pass(), "{}", report.verdict);
            assert_eq!(run(&case, Detail::Digest).digest, report.digest);
            assert!(!report.departures.is_empty());
            case.schedule = ScheduleSpec::Replay { departures: report.departures };
            assert_eq!(run(&case, Detail::Digest).digest, report.digest);
            report.digest
        })
        .collect();
    assert_eq!(digests.len(), 20, "different schedules are different runs");
}

/// Does something to the world that no event and no later step tells.
static SILENT: [(&str, Planted, Planted); 5] = [
    ("entropy", Planted("silent", draws::<8>), Planted("silent", draws::<9>)),
    ("timers", Planted("silent", |world| waits(world, 5)), Planted("silent", |world| waits(world, 6))),
    ("spawns", Planted("silent", |world| spawns(world, 1)), Planted("silent", |world| spawns(world, 2))),
    ("files", Planted("silent", |world| writes(world, b"a")), Planted("silent", |world| writes(world, b"b"))),
    (
        "datagrams",
        Planted("silent", |world| sends(world, b"a")),
        Planted("silent", |world| sends(world, b"b")),
    ),
];

fn draws<const BYTES: usize>(world: World) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        world.actor("victim").runtime().entropy::<BYTES>();
    })
}

fn waits(world: World, seconds: u64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let runtime = world.actor("victim").runtime();
        let mut sleep = Box::pin(runtime.sleep(Duration::from_secs(seconds)));
        poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_ready())).await;
    })
}

fn spawns(world: World, index: u64) -> BoxFuture<'static, ()> {
    Box::pin(async move { world.actor("victim").spawn("never polled", index, async {}) })
}

fn writes(world: World, bytes: &'static [u8]) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let files = world.actor("victim").runtime().files();
        let file = files.open(std::path::Path::new("/file"), runtime::files::OpenMode::CreateNew).unwrap();
        file.write_all_at(0, bytes).unwrap();
    })
}

fn sends(world: World, bytes: &'static [u8]) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let network = world.actor("victim").runtime().network();
        let socket = network.bind(([0, 0, 0, 0], 7).into()).await.unwrap();
        socket.send_to(bytes, ([10, 0, 0, 99], 7).into()).await.unwrap();
    })
}

#[test]
fn what_nobody_sees_is_in_the_digest_too() {
    for (what, one, other) in &SILENT {
        let digest = |scenario| {
            let report = play(scenario, 1, Detail::Digest);
            assert!(report.verdict.is_pass(), "{what}: {}", report.verdict);
            report.digest
        };
        assert_eq!(digest(one), digest(one), "{what}");
        assert_ne!(digest(one), digest(other), "{what}");
    }
}
