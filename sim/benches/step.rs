//! What one step of the world costs: 64 tasks that yield to each other, on our executor under each schedule, and, as
//! the baseline, the same tasks on madsim's own. Items are polls; compare items per second within one run.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failure here is a failure")]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use divan::Bencher;
use divan::counter::ItemsCount;
use futures::future::BoxFuture;
use seedgrid::case::{Case, Detail, Dice, Draft, Scenario, Workload, run};
use seedgrid::schedule::ScheduleSpec;
use seedgrid::world::{Knobs, World};

const TASKS: u64 = 64;
const YIELDS: u64 = 2000;

fn main() {
    divan::main();
}

#[divan::bench]
fn madsim_executor_baseline(bencher: Bencher) {
    bencher.counter(ItemsCount::new(TASKS * YIELDS)).bench(|| {
        std::thread::spawn(|| {
            madsim::runtime::Runtime::with_seed_and_config(1, madsim::Config::default()).block_on(async {
                let tasks: Vec<_> = (0..TASKS).map(|_| madsim::task::spawn(yielder())).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        })
        .join()
        .unwrap();
    });
}

#[divan::bench]
fn world_fifo(bencher: Bencher) {
    bench_world(bencher, ScheduleSpec::Fifo);
}

#[divan::bench]
fn world_uniform(bencher: Bencher) {
    bench_world(bencher, ScheduleSpec::Uniform);
}

#[divan::bench]
fn world_bounded(bencher: Bencher) {
    bench_world(bencher, ScheduleSpec::Bounded { departures: 8, steps: 1000 });
}

#[divan::bench]
fn world_pct(bencher: Bencher) {
    bench_world(bencher, ScheduleSpec::Pct { depth: 4, steps: 1000 });
}

#[divan::bench]
fn world_pctcp(bencher: Bencher) {
    bench_world(bencher, ScheduleSpec::Pctcp { depth: 4, steps: 1000 });
}

/// Plays everything twice: once to count.
#[divan::bench]
fn world_urw(bencher: Bencher) {
    bench_world(bencher, ScheduleSpec::Urw);
}

/// A whole run in which nothing happens: thread, runtime, recording, report.
#[divan::bench]
fn empty_run(bencher: Bencher) {
    let case = Case::draw(&EMPTY, 1);
    bencher.counter(ItemsCount::new(1u64)).bench(|| run(&case, Detail::Digest));
}

fn bench_world(bencher: Bencher, schedule: ScheduleSpec) {
    let mut case = Case::draw(&YIELDERS, 1);
    case.schedule = schedule;
    bencher.counter(ItemsCount::new(TASKS * YIELDS)).bench(|| {
        let report = run(&case, Detail::Digest);
        assert!(report.verdict.is_pass() && report.steps >= TASKS * YIELDS);
    });
}

async fn yielder() {
    for _ in 0..YIELDS {
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

struct Toy(fn(World) -> BoxFuture<'static, ()>);

static EMPTY: Toy = Toy(|_| Box::pin(async {}));
static YIELDERS: Toy = Toy(|world| {
    Box::pin(async move {
        let scope = world.actor("toy").runtime().scope();
        (0..TASKS).for_each(|number| scope.spawn("yielder", number, yielder()));
        scope.drain().await;
    })
});

impl Scenario for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn about(&self) -> &'static str {
        "a benchmark"
    }

    fn draw(&self, _dice: &mut Dice) -> Draft {
        Draft { workload: Arc::new(toml::Table::new()), faults: Vec::new(), knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        Ok(Arc::new(workload))
    }

    fn play(&self, _case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        self.0(world)
    }
}
