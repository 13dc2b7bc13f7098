//! The scenario of the classic directory: our server as a guest in the storage directory of a real node, where leases live in
//! the containers and there is no database (leasedb-and-storage §2, §4, §19). Clients upload, read past the end, renew, list
//! and have leases end, while processes die, power fails, the disk errs, and the node itself adds leases and tears them.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`workload`] | what a case does: containers, clients, deeds |
//! | [`draw`] | how a seed draws that, and what goes wrong |
//! | [`play`] | plays a case: everybody, then quiet, then the oracles |
//! | [`stage`] | the directory and its guest, through its lives |
//! | [`client`], [`deeds`] | who does what |
//! | [`container`] | containers as the node makes and reads them |
//! | [`model`] | what must be there, given what clients were told |
//! | [`oracle`] | the checkers, one per file |

pub mod client;
pub mod container;
pub mod deeds;
pub mod draw;
pub mod model;
pub mod oracle;
pub mod play;
pub mod stage;
pub mod workload;

use std::sync::Arc;

use futures::future::BoxFuture;
use seedgrid::case::{Case, Dice, Draft, Scenario, Workload};
use seedgrid::world::World;
use workload::ClassicWorkload;

use crate::table;

/// The scenario.
pub struct ClassicScenario;

impl Scenario for ClassicScenario {
    fn name(&self) -> &'static str {
        "lease-classic"
    }

    fn about(&self) -> &'static str {
        "a guest in a node's directory, with leases in the containers: reads, leases and crashes"
    }

    fn troubles(&self) -> Vec<&'static str> {
        let deeds = draw::DEEDS.iter().map(|(_, what)| deeds::name(*what));
        draw::DISK.into_iter().chain(deeds.filter(|name| !draw::DISK.contains(name))).collect()
    }

    fn draw(&self, dice: &mut Dice) -> Draft {
        let (workload, faults, knobs) = draw::draw(dice);
        Draft { workload: Arc::new(workload), faults, knobs }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        table::load(workload, ClassicWorkload::check)
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(play::play(case, world))
    }
}
