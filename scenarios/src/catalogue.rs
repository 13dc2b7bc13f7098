//! The scenarios. Each is a menu of trouble and a way of drawing a workload and its faults from what a case's swarm has of
//! it; all are played the same way.

use std::sync::Arc;

use futures::future::BoxFuture;
use seedgrid::case::{Case, Dice, Draft, Scenario, Workload};
use seedgrid::fault::{CallKind, Damage, Effect, Fault};
use seedgrid::grid::StoredFile;
use seedgrid::world::{Knobs, World};

use crate::chaos;
use crate::fixtures::FileSpec;
use crate::play::play;
use crate::swarm::{Circumstance, Menu, Swarm};
use crate::table;
use crate::workload::{GridWorkload, ReadPlan};

/// A scenario on the storage grid.
pub struct GridScenario {
    name: &'static str,
    about: &'static str,
    menu: Menu,
    draw: fn(&mut Dice, &Swarm) -> Drawn,
}

type Drawn = (GridWorkload, Vec<Fault>, Knobs);

/// Circumstances that only the standard file can have.
const NO_POISON: &[Circumstance] = &[Circumstance::Poison];

/// Every scenario.
pub static SCENARIOS: [&dyn Scenario; 10] = [
    &GridScenario {
        name: "real-shares",
        about: "every file that Tahoe-LAFS made, read in any way, some faults",
        menu: Menu { never: NO_POISON, ..Menu::ALL },
        draw: real_shares,
    },
    &GridScenario {
        name: "concurrent-reads",
        about: "the standard scenario: 3-of-10, 10 servers, 5 segments, concurrent readers, all faults",
        menu: Menu::ALL,
        draw: concurrent_reads,
    },
    &GridScenario {
        name: "lost-server",
        about: "servers crash, disconnect and come back in the middle of reads",
        menu: Menu { effects: &["crash", "disconnect"], ..Menu::CALM },
        draw: disturbed,
    },
    &GridScenario {
        name: "hung-server",
        about: "servers accept calls and never answer them",
        menu: Menu { effects: &["hang"], ..Menu::CALM },
        draw: disturbed,
    },
    &GridScenario {
        name: "corrupt-share",
        about: "damage to every region of shares, up to all of them",
        menu: Menu { damage: &Damage::KINDS, ..Menu::CALM },
        draw: damaged,
    },
    &GridScenario {
        name: "truncated-share",
        about: "shares cut to any length, down to nothing",
        menu: Menu { damage: &["truncate"], ..Menu::CALM },
        draw: damaged,
    },
    &GridScenario {
        name: "late-shares",
        about: "servers that answer late, some later than anybody waits",
        menu: Menu { effects: &["slow", "pause"], ..Menu::CALM },
        draw: disturbed,
    },
    &GridScenario {
        name: "reconnect",
        about: "connections are lost and made anew; open nodes must not use the old ones",
        menu: Menu { effects: &["disconnect"], always: &[Circumstance::SeveralNodes], ..Menu::CALM },
        draw: reconnect,
    },
    &GridScenario {
        name: "range-reads",
        about: "every kind of range, on real files and beyond 2^53 on a sparse one",
        menu: Menu { damage: &[], never: NO_POISON, ..Menu::ALL },
        draw: range_reads,
    },
    &GridScenario {
        name: "paused-reader",
        about: "readers that stop asking for a while, or for good",
        menu: Menu { damage: &[], always: &[Circumstance::Pauses], ..Menu::ALL },
        draw: disturbed_now_and_then,
    },
];

impl Scenario for GridScenario {
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
        let swarm = Swarm::draw(dice, &self.menu);
        let (workload, faults, knobs) = (self.draw)(dice, &swarm);
        Draft { workload: Arc::new(workload), faults, knobs }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        table::load(workload, GridWorkload::check)
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(play(case, world))
    }
}

fn concurrent_reads(dice: &mut Dice, swarm: &Swarm) -> Drawn {
    let (workload, file, knobs) = standard(dice, swarm);
    let faults = chaos::faults(dice, swarm, file, &workload.servers);
    (workload, faults, knobs)
}

/// Calls to some servers go wrong.
fn disturbed(dice: &mut Dice, swarm: &Swarm) -> Drawn {
    let (workload, _, knobs) = standard(dice, swarm);
    let faults = chaos::disturb_calls(dice, swarm, workload.servers.len());
    (workload, faults, knobs)
}

fn disturbed_now_and_then(dice: &mut Dice, swarm: &Swarm) -> Drawn {
    let (workload, faults, knobs) = disturbed(dice, swarm);
    (workload, if dice.chance(1, 2) { faults } else { Vec::new() }, knobs)
}

/// Some shares are damaged.
fn damaged(dice: &mut Dice, swarm: &Swarm) -> Drawn {
    let (workload, file, knobs) = standard(dice, swarm);
    let faults = chaos::damage_shares(dice, swarm, file, &workload.servers);
    (workload, faults, knobs)
}

/// Later nodes are opened while the first one's connections are lost.
fn reconnect(dice: &mut Dice, swarm: &Swarm) -> Drawn {
    let (mut workload, _, knobs) = standard(dice, swarm);
    let span = chaos::span_us(&workload.servers, &knobs);
    for (number, reader) in workload.readers.iter_mut().enumerate() {
        reader.starts_us = number as u64 * dice.below(span + 1);
    }
    let victims = dice.between(1, 10) as usize;
    let nth = 1 + dice.below(3) as u32;
    let lose = |server| Fault::Call { server, call: CallKind::Read, nth, effect: Effect::Disconnect };
    (workload, (0..victims).map(lose).collect(), knobs)
}

fn real_shares(dice: &mut Dice, swarm: &Swarm) -> Drawn {
    let name = *dice.weighted(&[
        (2, "smallest"),
        (2, "tiny"),
        (2, "standard"),
        (2, "standard_v2"),
        (4, "padded"),
        (4, "defaults"),
        (4, "ten_segments"),
        (4, "odd_tail"),
        (4, "all_needed"),
        (4, "replicated"),
        (1, "wide"),
        (1, "widest"),
        (1, "many_segments"),
        (1, "large"),
    ]);
    let servers = dice.between(1, 12) as usize;
    let (workload, file, knobs) = grid(dice, swarm, FileSpec::fixture(name), servers);
    let faults =
        if dice.chance(1, 2) { chaos::faults(dice, swarm, file, &workload.servers) } else { Vec::new() };
    (workload, faults, knobs)
}

fn range_reads(dice: &mut Dice, swarm: &Swarm) -> Drawn {
    let name = *dice.weighted(&[
        (4, "padded"),
        (3, "standard"),
        (3, "odd_tail"),
        (3, "ten_segments"),
        (1, "many_segments"),
    ]);
    // Trees of fifty levels are dear: one such case costs as much as many others.
    let (workload, knobs) = match dice.chance(1, 10) {
        true => far_reads(dice, swarm),
        false => {
            let (workload, _, knobs) = grid(dice, swarm, FileSpec::fixture(name), 10);
            (workload, knobs)
        }
    };
    let faults = if dice.chance(1, 3) { chaos::disturb_calls(dice, swarm, 10) } else { Vec::new() };
    (workload, faults, knobs)
}

/// Short reads of the sparse file, around the places where offsets outgrow an integer type, or anywhere.
fn far_reads(dice: &mut Dice, swarm: &Swarm) -> (GridWorkload, Knobs) {
    let (mut workload, file, knobs) = grid(dice, swarm, FileSpec::Sparse, 10);
    workload.guess = Some(file.sizes.segment_size * dice.between(1, 3));
    for reader in &mut workload.readers {
        reader.reads.truncate(1);
        for read in &mut reader.reads {
            let far = far_range(dice, file.cap.size);
            (read.offset, read.length) = (far.offset, far.length);
        }
    }
    workload.readers.truncate(2);
    (workload, knobs)
}

fn far_range(dice: &mut Dice, size: u64) -> ReadPlan {
    let anywhere = dice.below(size);
    let landmark = *dice.pick(&[1 << 31, 1 << 32, 1 << 53, 3 << 53, size, anywhere]);
    let offset = landmark.saturating_sub(dice.below(200));
    ReadPlan { offset, length: Some(dice.below(400)), ..ReadPlan::default() }
}

/// The standard file on ten servers: as fixture, or with an inconsistent segment.
fn standard(dice: &mut Dice, swarm: &Swarm) -> (GridWorkload, &'static StoredFile, Knobs) {
    let segment = dice.below(5);
    let fixture = *dice.weighted(&[(10, "standard"), (1, "standard_v2")]);
    let file = match swarm.has(Circumstance::Poison) {
        true => FileSpec::Poisoned { segment },
        false => FileSpec::fixture(fixture),
    };
    grid(dice, swarm, file, 10)
}

/// A file on servers, and its readers.
fn grid(
    dice: &mut Dice,
    swarm: &Swarm,
    file: FileSpec,
    servers: usize,
) -> (GridWorkload, &'static StoredFile, Knobs) {
    let stored = file.load().expect("the catalogue names files that exist");
    let knobs = chaos::knobs(dice, swarm);
    let servers = chaos::servers(dice, servers, stored.cap.n);
    let mut workload = GridWorkload {
        guess: None,
        most_queries: None,
        most_advice: None,
        file,
        servers,
        readers: Vec::new(),
    };
    chaos::circumstances(dice, swarm, &mut workload, stored);
    let span = chaos::span_us(&workload.servers, &knobs);
    workload.readers = chaos::readers(dice, swarm, stored, span);
    (workload, stored, knobs)
}
