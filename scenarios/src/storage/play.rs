//! Plays a case: clients and operator, then quiet, then every oracle on what is left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::StorageIndex;
use protocol::server::{Allocate, LeaseSecret, ShareNumber, StorageServer};
use runtime::Instant;
use seedgrid::case::Case;
use seedgrid::world::World;
use storage::config::ExpireMode;
use storage::share::{Kind, ShareId};

use super::client::{StorageClient, renew_secret, write_enabler};
use super::look::{Kept, Seen};
use super::model::files;
use super::operator::{drop_database, operate};
use super::oracle;
use super::stage::{CRAWLING, Stage};
use super::workload::{FILES, Finale, SLOTS, StorageWorkload, index_of};

/// How many crawls there are before everything must be in order: what makes no share is watched for one.
const CRAWLS: u32 = 4;
/// So many cycles after a step of the clock, leases end again for certain.
const SUSPENDED: u32 = 3;
/// What one step of a client may take at the most, its own waits aside.
const STEP: Duration = Duration::from_secs(6 * 3600);
/// The longest that the time after all steps may take, crawls aside.
const QUIET: Duration = Duration::from_secs(10 * 86_400);
/// How long an upload without progress is kept.
const IDLE: Duration = Duration::from_secs(1800 + 120);

/// Plays a case from beginning to end.
pub async fn play(case: Arc<Case>, world: World) {
    let workload = case.workload.of::<StorageWorkload>();
    let stage = Arc::new(Stage::set(&case, world, secrets(workload)));
    world.must_end_within(bound(workload) + stage.last_step + stage.config.crawl.cycle * SUSPENDED);
    stage.keep_up();
    stage.begin().await;
    let people = stage.script.scope();
    for (number, plan) in workload.clients.iter().enumerate() {
        let client = StorageClient::new(stage.clone(), number as u64, plan.clone());
        people.spawn("client", number as u64, client.live());
    }
    people.spawn("operator", 0, operate(stage.clone(), workload.operator.clone()));
    people.drain().await;
    come_to_rest(&stage).await;
    let Some(seen) = check_at_rest(&stage).await else { return };
    match workload.finale {
        Finale::Plain => {}
        Finale::Again => start_again(&stage, &seen).await,
        Finale::Rebuild => rebuild(&stage, &seen).await,
    }
    probe(&stage).await;
    stage.stop().await;
}

/// Every secret that the server is ever told.
pub fn secrets(workload: &StorageWorkload) -> Vec<LeaseSecret> {
    let clients = (0..workload.clients.len() as u64).map(renew_secret);
    clients.chain((0..FILES).flat_map(|file| [false, true].map(|own| write_enabler(file, own)))).collect()
}

/// How long a case may take.
fn bound(workload: &StorageWorkload) -> Duration {
    let cycle = Duration::from_secs(workload.server.crawl_after_s + workload.server.crawl_every_s);
    let wait = |after_ms: u64, crawl_ms: Option<i64>| {
        let for_crawl =
            crawl_ms.map_or(Duration::ZERO, |ms| cycle + Duration::from_millis(ms.unsigned_abs()));
        Duration::from_millis(after_ms) + for_crawl
    };
    let steps = workload.clients.iter().flat_map(|client| &client.steps);
    let steps: Duration = steps
        .map(|step| {
            let writing =
                Duration::from_millis(step.gap_ms) * (step.pieces * step.shares.len() as u64) as u32;
            wait(step.after_ms, step.crawl_ms) + writing * 3 + STEP
        })
        .sum();
    let deeds: Duration =
        workload.operator.iter().map(|deed| wait(deed.after_ms, deed.crawl_ms) + STEP).sum();
    let crawls = cycle * 6 * CRAWLS;
    steps + deeds + crawls + QUIET
}

/// Waits until all trouble, all uploads and some crawls are over.
async fn come_to_rest(stage: &Arc<Stage>) {
    stage.heal();
    stage.server.stage(CRAWLING);
    stage.up().await;
    stage.script.sleep(IDLE).await;
    // After a step of the clock no lease ends for a while.
    if !stage.last_step.is_zero() {
        let steady = Instant::default() + stage.last_step + stage.config.crawl.cycle * SUSPENDED;
        stage.script.sleep_until(steady).await;
    }
    wait_for_crawls(stage, CRAWLS).await;
    let mut model = stage.model();
    model.slots.values_mut().for_each(|slots| slots.cut_off());
}

async fn wait_for_crawls(stage: &Stage, crawls: u32) {
    let (delay, cycle) = (stage.config.crawl.delay, stage.config.crawl.cycle);
    stage.script.sleep(delay + cycle * crawls + Duration::from_secs(3600)).await;
    stage.clock();
}

/// Checks everything when nothing is under way.
async fn check_at_rest(stage: &Arc<Stage>) -> Option<Seen> {
    let life = stage.life()?;
    let promises = stage.model().leases.clone();
    let seen = stage.look(&life).await?;
    let clock = stage.clock();
    let crawled = clock.saturating_sub(stage.config.crawl.cycle.as_secs() * 2 + 3600);
    {
        let mut model = stage.model();
        for id in std::mem::take(&mut model.unnoticed) {
            // A copy that is there has been found by now; objects that make no share are none.
            let there = seen.kept.get(&id).is_some_and(|(kept, _)| *kept != Kept::Bad);
            if there && !model.is_wild(id) && !SLOTS.contains(&file_of(id)) {
                model.shares.was_seen(id);
            }
        }
    }
    stage.judge("rows", oracle::rows::check_rows(&seen));
    stage.judge("settled", oracle::settled::check_settled(&seen, false));
    stage.judge("agreed", oracle::agreed::check_agreed(&seen));
    stage.judge("leased", oracle::leased::check_leased(&seen, &stage.config.expire, crawled));
    stage.judge("kept", oracle::kept::check_there(&stage.model(), &seen));
    stage.judge(
        "promised",
        oracle::promised::check_promised(&promises, &stage.model(), seen.rows.keys().copied(), &seen),
    );
    stage.judge("reserved", oracle::reserved::check_none_reserved(&life.server.uploads()));
    stage.check_crawling(&life);
    Some(seen)
}

/// Another start, and another crawl.
async fn start_again(stage: &Arc<Stage>, before: &Seen) {
    stage.stop().await;
    stage.go_on();
    stage.up().await;
    wait_for_crawls(stage, 1).await;
    let Some(after) = look(stage).await else { return };
    stage.judge("unchanged", oracle::unchanged::check_again(before, &after, may_be_over(stage)));
}

/// The lease database is lost.
async fn rebuild(stage: &Arc<Stage>, before: &Seen) {
    drop_database(stage).await;
    stage.up().await;
    wait_for_crawls(stage, 1).await;
    let Some(after) = look(stage).await else { return };
    // A lease that begins before the day up to which leases have ended is over at once.
    let over = matches!(stage.config.expire.mode, ExpireMode::CutOff(moment) if stage.clock() < moment);
    let over = over && stage.config.expire.enabled;
    stage.judge("unchanged", oracle::unchanged::check_rebuilt(before, &after, |_| over));
    stage.judge("agreed", oracle::agreed::check_agreed(&after));
}

async fn look(stage: &Stage) -> Option<Seen> {
    let life = stage.life()?;
    stage.look(&life).await
}

fn may_be_over(stage: &Stage) -> impl Fn(&ShareId) -> bool {
    let model = stage.model().clone();
    move |id| model.leases.may_be_over(*id)
}

/// Every share must be either there or free to be uploaded: no number is lost for ever.
async fn probe(stage: &Arc<Stage>) {
    if stage.plan.read_only || stage.plan.reserved > 0 {
        return;
    }
    let Some(seen) = look(stage).await else { return };
    let mixed = stage.model().mixed.clone();
    let immutable = |index: &StorageIndex| !SLOTS.map(index_of).contains(index) && !mixed.contains(index);
    for index in files().filter(immutable) {
        let known = |share: &ShareNumber| ShareId { index, share: *share };
        let shares: BTreeSet<_> = stage.model().numbers();
        let (secret, wanted) = (renew_secret(0), shares.clone());
        let request = Allocate { index, shares: wanted, size: 1, renew: secret, cancel: secret };
        let answer = stage.call(0, "probe", None, move |life| {
            Box::pin(async move {
                let granted = life.server.allocate_buckets(request).await?;
                let offered: BTreeSet<_> = granted.writers.keys().copied().collect();
                for writer in granted.writers.into_values() {
                    writer.abort().await?;
                }
                Ok::<_, protocol::server::ServerError>((granted.already, offered))
            })
        });
        match answer.await {
            Ok(Ok((already, offered))) => {
                let corrupted = |share: &ShareNumber| {
                    seen.rows.get(&known(share)).is_some_and(|row| row.kind == Kind::Corrupted)
                };
                let neither = |share: &&ShareNumber| {
                    !already.contains(share) && !offered.contains(share) && !corrupted(share)
                };
                if let Some(share) = shares.iter().find(neither) {
                    stage.judge("idle", Err(format!("share {} can be uploaded by nobody", known(share))));
                }
            }
            Ok(Err(error)) => stage.judge("answers", Err(format!("all is quiet, and a call fails: {error}"))),
            Err(lost) => stage.judge("answers", Err(format!("all is quiet, and nobody answers: {lost:?}"))),
        }
    }
}

fn file_of(id: ShareId) -> u64 {
    (0..FILES).find(|file| index_of(*file) == id.index).unwrap_or(FILES)
}
