//! The crash matrix (leasedb-and-storage §17): one client goes through protocols A to I, one after the other, on a disk or an
//! object store, and tries again after a crash or goes away for good. `crash` takes every crash point of it.

use std::sync::Arc;

use futures::future::BoxFuture;
use protocol::server::ShareNumber;
use seedgrid::case::{Case, Dice, Draft, Scenario, Workload};
use seedgrid::fault::Fault;
use seedgrid::world::{Knobs, World};

use super::draw::CRASHES;
use super::play;
use super::workload::{
    ClientPlan, DAY, Deed, End, Expiry, Finale, Happening, ServerPlan, Step, StorageWorkload, Test, What,
};

/// A row of the matrix: all protocols, on one backend, with one kind of client.
pub struct MatrixScenario {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// On an object store.
    pub cloud: bool,
    /// The client tries again.
    pub retries: bool,
}

/// Chunks of the object store, in bytes: an upload is three of them.
const CHUNK: u64 = 500;
/// Bytes of a share.
const SIZE: u64 = 1200;
/// Bytes of a share that is in memory, on a disk, until it is published.
const SMALL: u64 = 300;
/// Milliseconds of a day.
const DAY_MS: u64 = DAY * 1000;
/// How many operations a run has, roughly: where a sweep crashes one.
const OPERATIONS: u64 = 360;

impl MatrixScenario {
    fn workload(&self) -> StorageWorkload {
        let step = |what| Step { after_ms: 1_000, what, ..Step::default() };
        let upload = |share: ShareNumber, end| Step {
            shares: vec![share],
            length: SIZE,
            pieces: 3,
            end,
            ..step(What::Upload)
        };
        let write =
            |text, length, test| Step { file: 2, shares: vec![0], text, length, test, ..step(What::Write) };
        let steps = vec![
            upload(0, End::Close),
            Step { length: SMALL, pieces: 2, ..upload(6, End::Close) },
            Step { shares: vec![1, 10], ..upload(1, End::Close) },
            upload(2, End::Abort),
            upload(3, End::LateAbort),
            upload(4, End::Silence),
            write(1, 900, Test::Absent),
            write(2, 1100, Test::Nothing),
            Step { cut: Some(300), ..write(3, 200, Test::Nothing) },
            step(What::Renew),
            // What has been copied in meanwhile is adopted.
            Step { file: 1, after_ms: 60_000, ..step(What::List) },
            Step { file: 1, shares: vec![5], length: SIZE, ..step(What::Read) },
            Step { cut: Some(0), ..write(4, 0, Test::Nothing) },
            // The client's leases end, and the starter lease does not.
            Step { after_ms: 40 * DAY_MS, ..step(What::List) },
            upload(0, End::Close),
        ];
        let copied = Deed { after_ms: 30_000, what: Happening::CopyIn, file: 1, share: 5, ..Deed::default() };
        StorageWorkload {
            server: ServerPlan {
                cloud: self.cloud.then_some(CHUNK),
                in_memory: if self.cloud { 0 } else { CHUNK },
                expiry: Expiry::Age,
                crawl_after_s: DAY,
                crawl_every_s: 20 * DAY,
                ..ServerPlan::default()
            },
            clients: vec![ClientPlan { retries: self.retries, steps }],
            operator: vec![copied],
            finale: Finale::Again,
        }
    }
}

impl Scenario for MatrixScenario {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn troubles(&self) -> Vec<&'static str> {
        CRASHES.to_vec()
    }

    /// The same work for every seed, and one crash somewhere.
    fn draw(&self, dice: &mut Dice) -> Draft {
        let kind = *dice.pick(CRASHES);
        let crash = Fault::draw_disk(dice, "server", kind, OPERATIONS);
        Draft { workload: Arc::new(self.workload()), faults: vec![crash], knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        super::load(workload)
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(play::play(case, world))
    }
}
