//! Plays a case: clients and deeds, then quiet, then the oracles on what is left.

use std::sync::Arc;
use std::time::Duration;

use seedgrid::case::Case;
use seedgrid::fault::CrashKind;
use seedgrid::world::World;

use super::client::{Client, PATIENCE};
use super::stage::Stage;
use super::workload::{AnnexWorkload, ClientPlan, Deed, OBJECTS, Step, What};

/// Long enough for everything that was under way to come to its end, and for all locks.
const QUIET: Duration = Duration::from_secs(1200);
/// How long clients wait for the nodes at first.
const COMING_UP: Duration = Duration::from_secs(5);
/// The seeds of what survives a power loss are none of the numbers with a meaning.
const SURVIVORS: u64 = 1 << 20;
/// The number of the client who comes last.
const LAST: u64 = 1000;

/// Plays a case from beginning to end.
pub async fn play(case: Arc<Case>, world: World) {
    let workload = case.workload.of::<AnnexWorkload>();
    let stage = Stage::set(&case, world);
    world.must_end_within(bound(&case, workload));
    stage.pass_on().await;
    stage.keep_up();
    let people = stage.script.scope();
    for (number, plan) in workload.clients.iter().enumerate() {
        let client = Client::new(stage.clone(), number as u64, plan.clone(), workload.idle);
        let stage = stage.clone();
        people.spawn("client", number as u64, async move {
            // Some may not come up at all before all is healed.
            let _ = stage.script.timeout(COMING_UP, stage.up()).await;
            client.live().await;
        });
    }
    people.spawn("deeds", 0, befall(stage.clone(), workload.deeds.clone()));
    people.drain().await;
    stage.heal();
    stage.script.sleep(QUIET).await;
    stage.up().await;
    stage.model().settle();
    stage.check_disks();
    stage.check_log();
    stage.check_quiet(workload.idle);
    let http = workload.clients.iter().any(|client| client.http);
    probe(&stage, workload.idle, http).await;
    stage.script.sleep(Duration::from_secs(1)).await;
    stage.check_disks();
    stage.check_log();
    stage.check_quiet(workload.idle);
    stage.close().await;
}

/// How long a case may take.
fn bound(case: &Case, workload: &AnnexWorkload) -> Duration {
    let steps = workload.clients.iter().flat_map(ClientPlan::all_steps);
    let steps = steps.map(|step| Duration::from_millis(step.after_ms + step.hold_ms) + PATIENCE);
    let deeds = workload.deeds.iter().map(|deed| Duration::from_millis(deed.after_ms));
    let down = Duration::from_secs(workload.down_s) * (workload.deeds.len() + case.faults.len()) as u32;
    steps.chain(deeds).sum::<Duration>() + down + 4 * QUIET
}

/// Takes nodes down, one after the other.
async fn befall(stage: Arc<Stage>, deeds: Vec<Deed>) {
    for (nth, deed) in deeds.into_iter().enumerate() {
        stage.script.sleep(Duration::from_millis(deed.after_ms)).await;
        let how = if deed.power { CrashKind::Power } else { CrashKind::Process };
        stage.nodes[deed.node].actor.crash_with(how, SURVIVORS + nth as u64);
    }
}

/// All is well: whoever comes now must be served.
async fn probe(stage: &Arc<Stage>, limit: usize, http: bool) {
    let mut client =
        Client::new(stage.clone(), LAST, ClientPlan { version: 4, http, ..ClientPlan::default() }, limit);
    let requests = [What::Put, What::Get, What::Check, What::Remove, What::Put, What::Get];
    let steps = (0..OBJECTS).flat_map(|object| requests.map(|what| Step { what, object, ..Step::default() }));
    for (nth, step) in steps.enumerate() {
        client.take(nth as u64, &step).await;
    }
}
