//! The storage scenarios: the real storage server, on a simulated disk or object store, with clients that meet on the same
//! few shares, through crashes, clocks that jump, and an operator who meddles.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`workload`] | what a case does: a server, clients, an operator |
//! | [`draw`] | how a seed draws that, and what goes wrong |
//! | [`play`] | plays a case: clients and operator, then quiet, then the oracles |
//! | [`stage`] | the server as an actor, through its lives |
//! | [`wire`], [`witness`], [`store`] | messages, backend calls and objects, and what becomes of them |
//! | [`client`], [`operator`] | the people |
//! | [`look`] | what is on the server, seen from outside |
//! | [`model`] | what must be there, given what clients were told |
//! | [`oracle`] | the checkers, one per file |
//! | [`matrix`] | every protocol of the server in turn, for taking every crash point |
//! | [`check`] | a scenario of its own: a client checks a file and leases its shares |

pub mod check;
pub mod client;
pub mod draw;
pub mod look;
pub mod matrix;
pub mod model;
pub mod operator;
pub mod oracle;
pub mod play;
pub mod stage;
pub mod store;
pub mod wire;
pub mod witness;
pub mod workload;

use std::sync::Arc;

use draw::{ALL_FILES, CRASHES, Menu};
use futures::future::BoxFuture;
use matrix::MatrixScenario;
use seedgrid::case::{Case, Dice, Draft, Scenario, Workload};
use seedgrid::world::World;
use workload::{End, Happening, StorageWorkload, What};

use crate::table;

/// A scenario with a storage server.
pub struct StorageScenario {
    name: &'static str,
    about: &'static str,
    menu: Menu,
}

/// Every storage scenario.
pub static SCENARIOS: [&dyn Scenario; 17] = [
    &StorageScenario {
        name: "lease-mixed",
        about: "the standard storage scenario: clients, crawls, crashes, faults of everything",
        menu: Menu::ALL,
    },
    &StorageScenario {
        name: "lease-uploads",
        about: "clients upload the same shares, abort, fall silent, and come back",
        menu: Menu {
            steps: &[(8, What::Upload), (2, What::List), (2, What::Read), (2, What::Renew)],
            ends: &[(2, End::Abort), (1, End::LateAbort), (3, End::Silence), (3, End::Dawdle)],
            wire: wire::TROUBLES,
            backend: witness::TROUBLES,
            ..Menu::CALM
        },
    },
    &StorageScenario {
        name: "lease-slots",
        about: "clients change the same mutable shares, and delete them",
        menu: Menu {
            steps: &[(8, What::Write), (4, What::ReadSlot), (1, What::Slots), (2, What::Renew)],
            wire: wire::TROUBLES,
            backend: witness::TROUBLES,
            ..Menu::CALM
        },
    },
    &StorageScenario {
        name: "lease-crawl",
        about: "the crawler meets clients and an operator: shares are adopted, collected, leased at the last moment",
        menu: Menu {
            deeds: &[
                (4, Happening::CopyIn),
                (1, Happening::Restart),
                (1, Happening::Remove),
                (1, Happening::SpoilHeader),
                (1, Happening::Truncate),
            ],
            backend: witness::TROUBLES,
            store: store::TROUBLES,
            expiry: 7,
            patience: 6,
            ..Menu::CALM
        },
    },
    &StorageScenario {
        name: "lease-races",
        about: "clients, outages and copies come in the very midst of a crawl that takes its time",
        menu: Menu {
            steps: &[
                (8, What::Upload),
                (2, What::Renew),
                (1, What::Touch),
                (1, What::List),
                (1, What::Read),
                (6, What::Write),
            ],
            deeds: &[(5, Happening::Outage), (2, Happening::CopyIn), (1, Happening::Restart)],
            backend: witness::TROUBLES,
            expiry: 3,
            patience: 2,
            files: (&[0, 1, 2], 3),
            crawls: 6,
            ..Menu::CALM
        },
    },
    &StorageScenario {
        name: "lease-last-moment",
        about: "clients renew their leases when the crawler has just found them over, and deletions fail",
        menu: Menu {
            steps: &[
                (4, What::Upload),
                (8, What::Renew),
                (3, What::Touch),
                (1, What::List),
                (1, What::Read),
                (3, What::Write),
            ],
            deeds: &[(2, Happening::Outage), (2, Happening::CopyIn)],
            backend: witness::TROUBLES,
            expiry: 8,
            patience: 8,
            files: (&[0, 1, 2], 3),
            crawls: 6,
            ..Menu::CALM
        },
    },
    &StorageScenario {
        name: "lease-cloud",
        about: "shares in an object store that is out, slow, or does later what it said had failed",
        menu: Menu { store: store::TROUBLES, cloud: 8, haste: 2, ..Menu::CALM },
    },
    &StorageScenario {
        name: "lease-late",
        about: "an object store does later what it said had failed, and clients do not wait for it",
        menu: Menu {
            steps: &[(4, What::Upload), (8, What::Write), (2, What::Read), (3, What::ReadSlot)],
            ends: &[(4, End::Abort), (6, End::LateAbort)],
            store: &["applied-late"],
            files: (&[0, 2, 4], 1),
            shares: 2,
            haste: 8,
            cloud: 8,
            expiry: 2,
            ..Menu::CALM
        },
    },
    &StorageScenario {
        name: "lease-crash",
        about: "processes die and power fails, at any operation on the disk",
        menu: Menu {
            deeds: &[(1, Happening::Crash), (3, Happening::PowerLoss), (1, Happening::Restart)],
            disk: CRASHES,
            files: (ALL_FILES, 2),
            haste: 5,
            ..Menu::CALM
        },
    },
    &StorageScenario {
        name: "lease-clock",
        about: "the server's clock is wrong, and is set while leases run",
        menu: Menu {
            steps: &[
                (8, What::Upload),
                (8, What::Renew),
                (2, What::Touch),
                (6, What::Write),
                (1, What::Read),
                (1, What::ReadSlot),
            ],
            files: (ALL_FILES, 1),
            clocks: 8,
            expiry: 7,
            patience: 4,
            deeds: &[(1, Happening::Restart)],
            ..Menu::CALM
        },
    },
    &StorageScenario {
        name: "lease-damage",
        about: "shares are damaged where they lie, beside others that are sound",
        menu: Menu {
            steps: &[
                (6, What::Upload),
                (4, What::List),
                (4, What::Read),
                (3, What::Renew),
                (2, What::Touch),
                (2, What::Advise),
                (2, What::Write),
                (2, What::ReadSlot),
            ],
            deeds: &[
                (2, Happening::CopyIn),
                (3, Happening::SpoilHeader),
                (3, Happening::Truncate),
                (2, Happening::RemoveSome),
                (1, Happening::Remove),
                (1, Happening::Restart),
            ],
            files: (ALL_FILES, 2),
            ..Menu::CALM
        },
    },
    &check::CheckScenario,
    &crate::classic::ClassicScenario,
    &MatrixScenario {
        name: "lease-matrix-disk-retries",
        about: "every protocol in turn, on a disk, one crash; the client tries again",
        cloud: false,
        retries: true,
    },
    &MatrixScenario {
        name: "lease-matrix-disk-gives-up",
        about: "every protocol in turn, on a disk, one crash; the client goes away",
        cloud: false,
        retries: false,
    },
    &MatrixScenario {
        name: "lease-matrix-cloud-retries",
        about: "every protocol in turn, in an object store, one crash; the client tries again",
        cloud: true,
        retries: true,
    },
    &MatrixScenario {
        name: "lease-matrix-cloud-gives-up",
        about: "every protocol in turn, in an object store, one crash; the client goes away",
        cloud: true,
        retries: false,
    },
];

impl Scenario for StorageScenario {
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
        load(workload)
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(play::play(case, world))
    }
}

fn load(workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
    table::load(workload, StorageWorkload::check)
}
