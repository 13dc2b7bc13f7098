//! A program of scenarios that are broken on purpose, for the tests of the command line.
//!
//! It is also the smallest example of a harness binary of one's own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use seedgrid::case::{Case, Dice, Draft, Scenario, Scenarios, Workload};
use seedgrid::explore::{KnownBug, Sign};
use seedgrid::world::{Knobs, World};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    seedgrid::cli::main(Scenarios(SCENARIOS), BUGS)
}

static SCENARIOS: &[&dyn Scenario] = &[
    &Planted { name: "steady", about: "workers that sleep; passes", play: steady },
    &Planted { name: "mistaken", about: "an oracle finds one seed in three; passes else", play: mistaken },
    &Planted { name: "sleepy", about: "waits for a bell that nobody rings", play: sleepy },
    &Planted { name: "careless", about: "panics in a task", play: careless },
    &Planted { name: "endless", about: "seed 3 loops without a runtime call", play: endless },
    &Planted { name: "bottomless", about: "seed 3 overflows its stack", play: bottomless },
    &Planted { name: "abrupt", about: "seed 3 aborts the process", play: abrupt },
    &Planted { name: "moody", about: "differs from run to run", play: moody },
    &Planted { name: "talkative", about: "prints to stdout and stderr; passes", play: talkative },
];

static BUGS: &[KnownBug] = &[
    KnownBug {
        name: "planted-B1",
        about: "every fourth seed of steady is wrong",
        signs: &[Sign::Violated { oracle: "planted" }],
    },
    KnownBug { name: "planted-B2", about: "steady is never wrong: cannot be found", signs: &[] },
    KnownBug {
        name: "planted-B3",
        about: "steady is wrong, or waits for a bell; its entry knows of the bell only",
        signs: &[Sign::Hung { resource: "the bell", held_by: "nobody" }],
    },
];

/// A scenario that is one function.
struct Planted {
    name: &'static str,
    about: &'static str,
    play: fn(Arc<Case>, World) -> BoxFuture<'static, ()>,
}

/// What a planted scenario does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    workers: u64,
    rounds: u64,
}

impl Scenario for Planted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn troubles(&self) -> Vec<&'static str> {
        vec!["third-round", "nobody-comes"]
    }

    fn draw(&self, dice: &mut Dice) -> Draft {
        let work = Work { workers: dice.between(1, 4), rounds: dice.between(1, 4) };
        Draft { workload: Arc::new(work), faults: Vec::new(), knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        let work: Work = workload.try_into().map_err(|error: toml::de::Error| error.message().to_string())?;
        Ok(Arc::new(work))
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        (self.play)(case, world)
    }
}

fn steady(case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let runtime = world.actor("workshop").runtime();
        let scope = runtime.scope();
        let work = case.workload.of::<Work>();
        for index in 0..work.workers {
            let (runtime, rounds) = (runtime.clone(), work.rounds);
            scope.spawn("worker", index, async move {
                for round in 0..rounds {
                    runtime.sleep(Duration::from_millis(round)).await;
                    if round == 2 {
                        world.took_effect("third-round");
                    }
                    tracing::debug!(target: "workshop", index, round, "tick");
                }
            });
        }
        scope.drain().await;
        runtime::reached!("planted: steady came to its end");
        if runtime::relapse!("planted-B1") && case.seed % 4 == 3 {
            world.violated("planted", "every fourth seed");
        }
        if runtime::relapse!("planted-B3") {
            match case.seed % 8 {
                3 => ring(1).await,
                7 => world.violated("planted", "every eighth seed"),
                _ => {}
            }
        }
        if runtime::relapse!("planted-B2") {
            tracing::debug!(target: "workshop", "as ever");
        }
    })
}

fn mistaken(case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        if case.seed.is_multiple_of(3) {
            return world.violated("planted", "three divides the seed");
        }
        steady(case, world).await;
    })
}

fn sleepy(_case: Arc<Case>, _world: World) -> BoxFuture<'static, ()> {
    Box::pin(ring(1))
}

async fn ring(tower: u64) {
    let bell = tokio::sync::Notify::new();
    let _waiting = runtime::wait!("the bell", tower);
    bell.notified().await;
    runtime::reached!("planted: the bell rang");
}

fn careless(_case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let scope = world.actor("workshop").runtime().scope();
        scope.spawn("careless", 7, async { panic!("planted panic") });
        scope.drain().await;
    })
}

fn endless(case: Arc<Case>, _world: World) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        if case.seed == 3 {
            loop {
                std::hint::spin_loop();
            }
        }
    })
}

fn bottomless(case: Arc<Case>, _world: World) -> BoxFuture<'static, ()> {
    fn deeper(depth: u64) -> u64 {
        let here = std::hint::black_box([depth; 64]);
        match std::hint::black_box(depth) {
            0 => 0,
            depth => deeper(depth + 1) + here[7],
        }
    }
    Box::pin(async move {
        if case.seed == 3 {
            std::hint::black_box(deeper(1));
        }
    })
}

fn abrupt(case: Arc<Case>, _world: World) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        if case.seed == 3 {
            std::process::abort();
        }
    })
}

/// Asks the address of its memory, which depends on everything before it in the process.
fn moody(_case: Arc<Case>, _world: World) -> BoxFuture<'static, ()> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static RUNS: AtomicU64 = AtomicU64::new(0);
    Box::pin(async move {
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: "workshop", run, "not again");
    })
}

fn talkative(case: Arc<Case>, _world: World) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        println!("on stdout: seed {}", case.seed);
        eprintln!("on stderr: seed {}", case.seed);
    })
}
