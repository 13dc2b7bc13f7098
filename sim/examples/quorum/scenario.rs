//! The scenario: users who share a client, write, read, and give up; how a seed draws them, and how a case is played.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::Runtime;
use seedgrid::case::{Dice, Draft, Script};
use seedgrid::fault::Fault;
use seedgrid::oracle::check_closed;
use seedgrid::world::World;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::client::{Client, Replica};
use super::oracle::History;
use super::replica::{SimReplica, TROUBLES};

/// The scenario.
pub static QUORUM: Script<Work> = Script {
    name: "quorum",
    about: "users of one client write, read and give up; messages are lost, replicas crash",
    troubles: TROUBLES,
    draw,
    check,
    play: |work, world| Box::pin(play(work, world)),
};

/// What a case does: all that it needs beyond faults, schedule and cancellations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// How many operations the client has on their way at once.
    turns: usize,
    replicas: Vec<ReplicaPlan>,
    users: Vec<UserPlan>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplicaPlan {
    /// How long it takes for a read.
    read_ms: u64,
    /// How long it takes for a write.
    write_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserPlan {
    operations: Vec<OperationPlan>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationPlan {
    #[serde(rename = "do")]
    what: What,
    key: u64,
    /// The user gives up after so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patience_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Read,
    Write,
}

/// Times are drawn in few steps, so that things often happen in the same instant.
fn draw(dice: &mut Dice) -> Draft<Work> {
    let time = |dice: &mut Dice| *dice.pick(&[1, 2, 6]);
    let replica = |dice: &mut Dice| ReplicaPlan { read_ms: time(dice), write_ms: time(dice) };
    let replicas = (0..dice.between(3, 5)).map(|_| replica(dice)).collect();
    let mut users = Vec::new();
    for _ in 0..dice.between(1, 4) {
        let operations = (0..dice.between(1, 4)).map(|_| draw_operation(dice)).collect();
        users.push(UserPlan { operations });
    }
    let work = Work { turns: dice.between(1, 2) as usize, replicas, users };
    let faults = (0..dice.skewed(3)).map(|_| draw_fault(dice, &work)).collect();
    Draft { faults, ..Draft::of(work) }
}

fn draw_operation(dice: &mut Dice) -> OperationPlan {
    OperationPlan {
        what: *dice.pick(&[What::Read, What::Write]),
        key: dice.below(2),
        patience_ms: dice.chance(1, 2).then(|| dice.between(0, 6)),
    }
}

fn draw_fault(dice: &mut Dice, work: &Work) -> Fault {
    let replica = dice.below(work.replicas.len() as u64);
    Fault::at("replica", replica, 1 + dice.skewed(4) as u32, dice.pick::<&str>(TROUBLES))
}

/// What anybody may have written into a case file, and what a run can be asked to do.
fn check(work: &Work) -> Result<(), String> {
    let operations = || work.users.iter().flat_map(|user| &user.operations);
    match () {
        () if work.turns == 0 => Err("`turns` is 0: nothing could ever be done".into()),
        () if !(1..=9).contains(&work.replicas.len()) => Err("there must be 1 to 9 replicas".into()),
        () if operations().count() > 1000 => Err("more than 1000 operations".into()),
        () if work.replicas.iter().any(|replica| replica.read_ms.max(replica.write_ms) > 10) => {
            Err("a replica takes longer than 10 ms: the client would never be patient enough".into())
        }
        () => Ok(()),
    }
}

async fn play(work: Work, world: World) {
    world.must_end_within(Duration::from_secs(60));
    let replica = |(number, plan): (usize, &ReplicaPlan)| -> Arc<dyn Replica> {
        let [read, write] = [plan.read_ms, plan.write_ms].map(Duration::from_millis);
        Arc::new(SimReplica::new(world, number as u64, read, write))
    };
    let replicas = work.replicas.iter().enumerate().map(replica).collect();
    let actor = world.actor("client");
    let runtime = actor.runtime();
    let client = Client::new(runtime.clone(), replicas, work.turns);
    let history = Arc::new(Mutex::new(History::default()));
    let users = runtime.scope();
    for (number, plan) in work.users.into_iter().enumerate() {
        let user = User { world, runtime: runtime.clone(), client: client.clone(), history: history.clone() };
        users.spawn("user", number as u64, user.live(number as u64, plan));
    }
    users.drain().await;
    drop(client);
    // Tasks that were aborted in this instant are gone at the end of it.
    runtime.sleep(Duration::from_millis(1)).await;
    if let Err(left) = check_closed(&actor) {
        world.leaked(left);
    }
}

#[derive(Clone)]
struct User {
    world: World,
    runtime: Runtime,
    client: Client,
    history: Arc<Mutex<History>>,
}

impl User {
    async fn live(self, number: u64, plan: UserPlan) {
        for (nth, plan) in plan.operations.into_iter().enumerate() {
            // No two writes have the same value, or the oracle could not tell them apart.
            let value = number * 1000 + nth as u64;
            let patience = plan.patience_ms.map(Duration::from_millis);
            match plan.what {
                What::Write => {
                    self.lock().begin(plan.key, value);
                    let client = self.client.clone();
                    let write = async move { client.write(plan.key, value).await };
                    if let Some(version) = self.try_to("write", nth as u64, patience, write).await {
                        self.lock().acknowledge(plan.key, version);
                    }
                }
                What::Read => {
                    let floor = self.lock().floor(plan.key);
                    let client = self.client.clone();
                    let read = async move { client.read(plan.key).await };
                    if let Some(read) = self.try_to("read", nth as u64, patience, read).await
                        && let Err(wrong) = self.lock().check_read(plan.key, floor, read)
                    {
                        self.world.violated("regular", wrong);
                    }
                }
            }
        }
    }

    /// Does something as a task of its own, until the user gives it up, or the case does.
    async fn try_to<T: Send + 'static>(
        &self,
        kind: &'static str,
        nth: u64,
        patience: Option<Duration>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let scope = self.runtime.scope();
        let (done, result) = oneshot::channel();
        let work = self.world.operation(kind, nth, work);
        scope.spawn("try", nth, async move { _ = done.send(work.await) });
        match patience {
            Some(patience) => self.runtime.timeout(patience, result).await.ok()?.ok()?.ok(),
            None => result.await.ok()?.ok(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
