//! The annex scenarios: a gateway with a cluster of nodes, each a repository on a machine and a disk of its own, and clients
//! that meet on the same few objects, while links are cut and stand still, bodies are too short or too long, and machines
//! go down at any operation on their disks (annex-p2p §16).
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`workload`] | what a case does: nodes, clients, deeds |
//! | [`draw`] | how a seed draws that, and what goes wrong |
//! | [`play`] | plays a case: everybody, then quiet, then the oracles |
//! | [`stage`] | the gateway and its nodes, through their lives |
//! | [`mounted`] | special remotes, which the gateway speaks for |
//! | [`traffic`], [`watched`] | what goes on, in numbers; what a node does |
//! | [`ancient`] | a node that is older than versions are |
//! | [`link`], [`near`] | byte streams between them, and what becomes of bytes |
//! | [`client`], [`mod@line`], [`web`] | who asks for something, and how that is said |
//! | [`model`] | what must be there, given what clients were told |
//! | [`met`] | what a request finds, and what must therefore come of it |
//! | [`oracle`] | the checkers, one per file |
//! | [`mod@idle`] | a scenario of its own: idle connections alone, many of them |

pub mod ancient;
pub mod client;
pub mod draw;
pub mod idle;
pub mod line;
pub mod link;
pub mod met;
pub mod model;
pub mod mounted;
pub mod near;
pub mod oracle;
pub mod play;
pub mod stage;
pub mod traffic;
pub mod watched;
pub mod web;
pub mod workload;

use std::sync::Arc;

use draw::Menu;
use futures::future::BoxFuture;
use seedgrid::case::{Case, Dice, Draft, Scenario, Workload};
use seedgrid::world::World;
use workload::AnnexWorkload;

use crate::table;

/// A scenario with a gateway.
pub struct AnnexScenario {
    name: &'static str,
    about: &'static str,
    menu: Menu,
}

/// Every annex scenario.
pub static SCENARIOS: [&dyn Scenario; 5] = [
    &AnnexScenario {
        name: "annex-cluster",
        about: "clients of a cluster, and of its nodes: all requests, links and nodes that fail, crashes",
        menu: Menu::ALL,
    },
    &AnnexScenario {
        name: "annex-http",
        about: "the same over HTTP: few workers, slow clients, locks that outlast their requests",
        menu: Menu::HTTP,
    },
    &AnnexScenario {
        name: "annex-crowd",
        about: "four times as many clients as are served at a time, and one more: nothing that is lent is lost",
        menu: Menu::CROWD,
    },
    &AnnexScenario {
        name: "annex-bytes",
        about: "objects that come and go byte by byte: a request can be given up at each",
        menu: Menu::BYTES,
    },
    &idle::IDLE,
];

impl Scenario for AnnexScenario {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn troubles(&self) -> Vec<&'static str> {
        self.menu.kinds()
    }

    fn draw(&self, dice: &mut Dice) -> Draft {
        let (workload, faults, knobs) = self.menu.draw(dice);
        Draft { workload: Arc::new(workload), faults, knobs }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        table::load(workload, AnnexWorkload::check)
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(play::play(case, world))
    }
}
