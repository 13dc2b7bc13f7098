//! A program of one scenario that fails when several things come together, for the tests of `shrink`.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use seedgrid::case::{Case, Dice, Draft, Scenario, Scenarios, Workload};
use seedgrid::world::{Knobs, World};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    seedgrid::cli::main(Scenarios(&[&Knot]), &[])
}

/// Fails when the faults 3 and 7 happen and a reader comes before an earlier one. A lonely reader takes the process along.
struct Knot;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    #[serde(rename = "reader")]
    readers: Vec<Reader>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reader {
    ms: u64,
}

impl Scenario for Knot {
    fn name(&self) -> &'static str {
        "knot"
    }

    fn about(&self) -> &'static str {
        "two faults and two readers in the wrong order"
    }

    fn draw(&self, _dice: &mut Dice) -> Draft {
        let work = Work { readers: vec![Reader::default(); 2] };
        Draft { workload: Arc::new(work), faults: Vec::new(), knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        let work: Work = workload.try_into().map_err(|error: toml::de::Error| error.message().to_string())?;
        Ok(Arc::new(work))
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let runtime = world.actor("readers").runtime();
            let scope = runtime.scope();
            let came = Arc::new(Mutex::new(Vec::new()));
            let readers = &case.workload.of::<Work>().readers;
            if readers.len() == 1 {
                std::process::abort();
            }
            for (index, reader) in readers.iter().enumerate() {
                let (runtime, came, pause) =
                    (runtime.clone(), came.clone(), Duration::from_millis(reader.ms));
                scope.spawn("reader", index as u64, async move {
                    came.lock().unwrap_or_else(PoisonError::into_inner).push(index);
                    runtime.sleep(pause).await;
                });
            }
            scope.drain().await;
            let tied = |number| world.fault("knot", number, &["tie"]).is_some();
            let ties: Vec<bool> = (0..20).map(tied).collect();
            let in_order = came.lock().unwrap_or_else(PoisonError::into_inner).is_sorted();
            if ties[3] && ties[7] && !in_order {
                world.violated("planted", "a knot");
            }
        })
    }
}
