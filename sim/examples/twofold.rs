//! A program with one scenario that two things together break, and neither alone: for the tests of the commands that search.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use seedgrid::case::{Case, Dice, Draft, Scenario, Scenarios, Workload};
use seedgrid::world::{Knobs, World};

fn main() -> ExitCode {
    seedgrid::cli::main(Scenarios(&[&Twofold]), &[])
}

/// Two users want the one token, in turn. A user that is cancelled gives it back by sending a message, and messages
/// can be lost.
struct Twofold;

impl Scenario for Twofold {
    fn name(&self) -> &'static str {
        "twofold"
    }

    fn about(&self) -> &'static str {
        "a cancellation and a lost message together lose a token"
    }

    fn draw(&self, _dice: &mut Dice) -> Draft {
        Draft { workload: Arc::new(toml::Table::new()), faults: Vec::new(), knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        Ok(Arc::new(workload))
    }

    fn play(&self, _case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let runtime = world.actor("office").runtime();
            let scope = runtime.scope();
            let taken = Arc::new(AtomicBool::new(false));
            for user in 0..2u64 {
                let (runtime, taken) = (runtime.clone(), taken.clone());
                scope.spawn("user", user, async move {
                    runtime.sleep(Duration::from_millis(10 * user)).await;
                    if taken.swap(true, Ordering::Relaxed) {
                        return world.violated("token", "the token was never given back");
                    }
                    let work = async move { runtime.sleep(Duration::from_millis(5)).await };
                    let lost = match world.operation("work", 0, work).await {
                        Ok(()) => false,
                        Err(_) => world.fault("message", user, &["lose"]).is_some(),
                    };
                    // Asked in vain when the work was done: a point at which nothing depends on the answer.
                    world.fault("greeting", user, &["lose", "double"]);
                    taken.store(lost, Ordering::Relaxed);
                });
            }
            scope.drain().await;
        })
    }
}
