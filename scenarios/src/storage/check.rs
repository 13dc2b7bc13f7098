//! The scenario of the file check: a client asks the servers of a simulated grid for shares and adds its lease to them, while
//! lease calls fail in every way (lease-bugs L1).
//!
//! **check**: the shares that are found are those that servers have, whatever becomes of the leases; and it is over when the
//! client's own limits are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Check, Client, Config};
use futures::future::BoxFuture;
use protocol::lease_secret::LeaseSecrets;
use protocol::server::ServerId;
use seedgrid::case::{Case, Dice, Draft, Scenario, Workload};
use seedgrid::fault::{CallKind, Effect, Fault, Refusal};
use seedgrid::grid::{Server, Setup};
use seedgrid::world::{Knobs, World};
use serde::{Deserialize, Serialize};

use crate::fixtures::FileSpec;
use crate::table;
use crate::workload::ServerPlan;

/// What a case does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckWorkload {
    /// The servers, by number.
    #[serde(rename = "server")]
    servers: Vec<ServerPlan>,
    /// The checks, one after the other: whether each adds a lease.
    leases: Vec<bool>,
}

/// The scenario.
pub struct CheckScenario;

/// What may become of a call.
const KINDS: &[&str] = &["hang", "slow", "refuse", "disconnect", "duplicate"];

impl Scenario for CheckScenario {
    fn name(&self) -> &'static str {
        "lease-check"
    }

    fn about(&self) -> &'static str {
        "a client checks a file and leases its shares; the two must not get into each other's way"
    }

    fn troubles(&self) -> Vec<&'static str> {
        KINDS.to_vec()
    }

    fn draw(&self, dice: &mut Dice) -> Draft {
        let count = dice.between(1, 6) as usize;
        let servers = crate::chaos::servers(dice, count, 10);
        let faults = (0..dice.below(2 * count as u64 + 1)).map(|_| fault(dice, count)).collect();
        let leases = (0..dice.between(1, 3)).map(|_| dice.chance(3, 4)).collect();
        Draft { workload: Arc::new(CheckWorkload { servers, leases }), faults, knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        table::load(workload, |workload: &CheckWorkload| {
            match workload.servers.len() > 1000 || workload.leases.len() > 1000 {
                true => Err("more than 1000 servers or checks".into()),
                false => Ok(()),
            }
        })
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(play(case, world))
    }
}

fn fault(dice: &mut Dice, servers: usize) -> Fault {
    let server = dice.below(servers as u64) as usize;
    let call = if dice.chance(3, 4) { CallKind::Write } else { CallKind::Dyhb };
    let refusals =
        [Refusal::Failed, Refusal::BadAnswer, Refusal::NoSuchShare, Refusal::Disk, Refusal::Disconnected];
    let effect = match *dice.pick(KINDS) {
        "hang" => Effect::Hang,
        "slow" => Effect::Slow { us: *dice.pick(&[1_000, 5_000_000, 29_000_000, 60_000_000]) },
        "refuse" => Effect::Refuse { with: *dice.pick(&refusals) },
        "disconnect" => Effect::Disconnect,
        _ => Effect::Duplicate,
    };
    Fault::Call { server, call, nth: 1 + dice.below(2) as u32, effect }
}

async fn play(case: Arc<Case>, world: World) {
    let workload = case.workload.of::<CheckWorkload>();
    let config = Config::default();
    let patience = config.dyhb_overdue + config.abandon.unwrap_or_default();
    let limit = patience.max(config.lease_limit) + Duration::from_secs(1);
    let Ok(file) = FileSpec::fixture("standard").load() else {
        return world.violated("harness", "the file does not exist");
    };
    let script = world.actor("script");
    let server = |(number, plan): (usize, &ServerPlan)| {
        let id = ServerId::new(format!("S{number}"), [number as u8; 20]);
        let setup = Setup {
            number,
            id,
            spec: plan.spec(),
            seed: case.seed,
            file,
            other: file,
            shares: &plan.shares,
            faults: &case.faults,
            injector: script.clone(),
            patience,
        };
        Server::new(world, setup)
    };
    let servers: Vec<_> = workload.servers.iter().enumerate().map(server).collect();
    let client = Client::new(world.actor("client").runtime(), config);
    servers.iter().for_each(|server| client.add_server(server.handle()));
    world.must_end_within(limit * (workload.leases.len() as u32 + 1));
    let secrets = LeaseSecrets::of_client(&[9; 32]).of_file(&file.cap.storage_index());
    for (number, lease) in workload.leases.iter().copied().enumerate() {
        let (client, secrets, index) = (client.clone(), secrets.clone(), file.cap.storage_index());
        let begun = world.now();
        let check = async move {
            let of_server = |_: &ServerId| secrets.of_bucket(&[1; 20]);
            client.check(index, lease.then_some(&of_server)).await
        };
        let Ok(check) = world.operation("check", number as u64, check).await else { continue };
        let took = world.now() - begun;
        if took > limit {
            world.violated("check", format!("a check took {took:?}, and its limits come to {limit:?}"));
        }
        for (number, server) in servers.iter().enumerate() {
            if let Err(detail) = judge(&check, number, server, &case.faults) {
                world.violated("check", detail);
            }
        }
    }
    servers.iter().for_each(Server::heal);
}

/// Checks what was found on one server. One whose own answer about shares goes wrong in some check, or that loses its
/// connection, may fail to tell.
fn judge(check: &Check, number: usize, server: &Server, faults: &[Fault]) -> Result<(), String> {
    let name = format!("S{number}");
    let excused = |fault: &Fault| {
        matches!(fault, Fault::Call { server, call, effect, .. } if *server == number
            && (*call == CallKind::Dyhb || *effect == Effect::Disconnect))
    };
    let held: BTreeSet<_> = server.all_shares();
    match check.found.get(&*name) {
        Some(found) if *found == held => Ok(()),
        Some(found) => Err(format!("{name} has {held:?}, and {found:?} were found")),
        None if faults.iter().any(excused) => Ok(()),
        None => {
            let why = check.failed.get(&*name);
            Err(format!("{name} has {held:?}, and a check found nothing: {why:?}"))
        }
    }
}
