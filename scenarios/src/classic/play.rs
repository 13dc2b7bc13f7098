//! Plays a case: clients and deeds, then quiet, then the oracles on what is left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::server::{Allocate, ServerError, StorageServer};
use seedgrid::case::Case;
use seedgrid::world::World;

use super::client::Client;
use super::container::secret;
use super::deeds::{befall, node_starts};
use super::model::PATIENCE;
use super::stage::Stage;
use super::workload::{ClassicWorkload, FILES, Policy, SHARES, prefixes};
use crate::storage::workload::{DAY, index_of};

/// How long the time after all steps may take.
const QUIET: Duration = Duration::from_secs(600 * DAY);

/// Plays a case from beginning to end.
pub async fn play(case: Arc<Case>, world: World) {
    let workload = case.workload.of::<ClassicWorkload>();
    let stage = Arc::new(Stage::set(&case, world));
    world.must_end_within(bound(workload));
    stage.check_all();
    stage.keep_up();
    let people = stage.script.scope();
    for (number, plan) in workload.clients.iter().enumerate() {
        let client = Client::new(stage.clone(), number as u64, plan.clone());
        let stage = stage.clone();
        people.spawn("client", number as u64, async move {
            stage.up().await;
            client.live().await;
        });
    }
    people.spawn("deeds", 0, befall(stage.clone(), workload.deeds.clone()));
    people.drain().await;
    stage.heal();
    stage.up().await;
    stage.check_all();
    node_starts(&stage).await;
    stage.script.sleep(Duration::from_secs(10)).await;
    stage.up().await;
    probe(&stage).await;
    if workload.finale {
        end_all(&stage).await;
    }
    stage.check_all();
}

/// How long a case may take.
fn bound(workload: &ClassicWorkload) -> Duration {
    let steps = workload.clients.iter().flat_map(|client| &client.steps).map(|step| step.after_ms);
    let waits = steps.chain(workload.deeds.iter().map(|deed| deed.after_ms));
    waits.map(|wait| Duration::from_millis(wait) + PATIENCE).sum::<Duration>() + QUIET
}

/// Every share must be either there or free to be uploaded: no number is lost for ever.
async fn probe(stage: &Stage) {
    for index in (0..FILES).map(index_of) {
        let request = Allocate { index, shares: SHARES.into(), size: 1, renew: secret(0), cancel: secret(0) };
        stage.model().adds(index);
        let answer = stage.call("probe", 0, move |guest| {
            Box::pin(async move {
                let granted = guest.allocate_buckets(request).await?;
                let offered: BTreeSet<_> = granted.writers.keys().copied().collect();
                for writer in granted.writers.into_values() {
                    writer.abort().await?;
                }
                Ok::<_, ServerError>(&granted.already | &offered)
            })
        });
        let answer = answer.await;
        stage.model().added(index, true);
        match answer {
            Some(Ok(known)) => {
                let neither = |share: &u32| {
                    let id = storage::share::ShareId { index, share: *share };
                    !known.contains(share) && !stage.model().spoilt.contains(&id)
                };
                if let Some(share) = SHARES.into_iter().find(neither) {
                    let detail = format!("share {share} of {index} is not there, and nobody can upload it");
                    stage.judge("idle", Err(detail));
                }
            }
            Some(Err(error)) => stage.judge_error(&error, false),
            None => stage.judge("answers", Err("all is quiet, and nobody answers".into())),
        }
    }
}

/// Leaves all leases to end: those of clients first, and then those that shares without any were given meanwhile.
async fn end_all(stage: &Stage) {
    for wait in [400, 100] {
        stage.script.sleep(Duration::from_secs(wait * DAY)).await;
        for prefix in prefixes() {
            let policy = Policy::Age.expire(stage.epoch);
            let expiry = stage.model().expires(prefix, policy.clone());
            let answer = stage
                .call("expire", 0, move |guest| Box::pin(async move { guest.expire(prefix, policy).await }));
            let answer = answer.await;
            let (now, clock) = (stage.script.now(), stage.clock());
            stage.model().expired(expiry, now, clock, true);
            if !matches!(answer, Some(Ok(_))) {
                stage.judge("answers", Err("all is quiet, and leases cannot end".into()));
            }
        }
    }
    let left = stage.ids().find(|id| !stage.model().untouched.contains_key(id) && stage.read(*id).is_some());
    if let Some(id) = left {
        stage.judge("ended", Err(format!("all leases are over, and share {id} stays for ever")));
    }
}
