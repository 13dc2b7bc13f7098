//! The scenarios. Each is a way of drawing a workload and its faults; all are played the same way.

use std::sync::Arc;

use futures::future::BoxFuture;
use seedgrid::case::{Case, Dice, Draft, Scenario, Workload};
use seedgrid::fault::{CallKind, Damage, Effect, Fault};
use seedgrid::world::{Knobs, World};

use crate::chaos;
use crate::fixtures::FileSpec;
use crate::play::play;
use crate::workload::{GridWorkload, ReadPlan, ReaderPlan};

/// A scenario on the storage grid.
pub struct GridScenario {
    name: &'static str,
    about: &'static str,
    draw: fn(&mut Dice) -> Drawn,
}

type Drawn = (GridWorkload, Vec<Fault>, Knobs);

/// Every scenario.
pub static SCENARIOS: [&dyn Scenario; 10] = [
    &GridScenario {
        name: "real-shares",
        about: "every file that Tahoe-LAFS made, read in any way, some faults",
        draw: real_shares,
    },
    &GridScenario {
        name: "concurrent-reads",
        about: "the standard scenario: 3-of-10, 10 servers, 5 segments, 2 concurrent readers, all faults",
        draw: concurrent_reads,
    },
    &GridScenario {
        name: "lost-server",
        about: "servers crash, disconnect and come back in the middle of reads",
        draw: lost_server,
    },
    &GridScenario {
        name: "hung-server",
        about: "servers accept calls and never answer them",
        draw: hung_server,
    },
    &GridScenario {
        name: "corrupt-share",
        about: "damage to every region of shares, up to all of them",
        draw: corrupt_share,
    },
    &GridScenario {
        name: "truncated-share",
        about: "shares cut to any length, down to nothing",
        draw: truncated_share,
    },
    &GridScenario {
        name: "late-shares",
        about: "servers that answer late, some later than anybody waits",
        draw: late_shares,
    },
    &GridScenario {
        name: "reconnect",
        about: "connections are lost and made anew; open nodes must not use the old ones",
        draw: reconnect,
    },
    &GridScenario {
        name: "range-reads",
        about: "every kind of range, on real files and beyond 2^53 on a sparse one",
        draw: range_reads,
    },
    &GridScenario {
        name: "paused-reader",
        about: "readers that stop asking for a while, or for good",
        draw: paused_reader,
    },
];

impl Scenario for GridScenario {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn draw(&self, dice: &mut Dice) -> Draft {
        let (workload, faults, knobs) = (self.draw)(dice);
        Draft { workload: Arc::new(workload), faults, knobs }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        let workload: GridWorkload =
            workload.try_into().map_err(|error: toml::de::Error| error.message().to_string())?;
        workload.check()?;
        Ok(Arc::new(workload))
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        Box::pin(play(case, world))
    }
}

/// The standard file, as fixture or (now and then) with an inconsistent segment.
fn standard_file(dice: &mut Dice) -> FileSpec {
    match dice.below(12) {
        0 => FileSpec::Poisoned { segment: dice.below(5) },
        1 => FileSpec::fixture("standard_v2"),
        _ => FileSpec::fixture("standard"),
    }
}

fn concurrent_reads(dice: &mut Dice) -> Drawn {
    let file = standard_file(dice);
    let knobs = chaos::knobs(dice);
    let (mut workload, stored) = workload(dice, file, 10);
    chaos::scarce(dice, &mut workload.servers, stored);
    chaos::crowd(dice, &mut workload.servers, stored.cap.n);
    chaos::latecomers(dice, &mut workload.servers);
    workload.guess = chaos::guess(dice, stored);
    let spread = chaos::spread_us(&workload.servers, &knobs);
    workload.readers = chaos::readers(dice, stored, 2, spread);
    let faults = chaos::faults(dice, stored, &workload.servers);
    (workload, faults, knobs)
}

fn real_shares(dice: &mut Dice) -> Drawn {
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
    let knobs = chaos::knobs(dice);
    let servers = dice.between(1, 12) as usize;
    let (mut workload, stored) = workload(dice, FileSpec::fixture(name), servers);
    workload.guess = chaos::guess(dice, stored);
    if dice.chance(1, 6) {
        workload.servers.iter_mut().for_each(|server| server.rejects_overrun = true);
    }
    let spread = chaos::spread_us(&workload.servers, &knobs);
    let readers = dice.between(1, 3);
    workload.readers = chaos::readers(dice, stored, readers, spread);
    let faults = if dice.chance(1, 2) { chaos::faults(dice, stored, &workload.servers) } else { Vec::new() };
    (workload, faults, knobs)
}

fn lost_server(dice: &mut Dice) -> Drawn {
    let (workload, knobs) = two_readers(dice);
    let faults = some_calls(dice, |dice| match dice.below(3) {
        0 => Effect::Crash { restart_us: None },
        1 => Effect::Crash { restart_us: Some(dice.skewed(24)) },
        _ => Effect::Disconnect,
    });
    (workload, faults, knobs)
}

fn hung_server(dice: &mut Dice) -> Drawn {
    let (workload, knobs) = two_readers(dice);
    let faults = some_calls(dice, |_| Effect::Hang);
    (workload, faults, knobs)
}

fn corrupt_share(dice: &mut Dice) -> Drawn {
    let (workload, knobs) = two_readers(dice);
    let Ok(stored) = workload.file.load() else { return (workload, Vec::new(), knobs) };
    let most = *dice.pick(&[1, 3, 7, 8, 10]);
    let faults = chaos::damage_shares(dice, stored, &workload.servers, most);
    (workload, faults, knobs)
}

fn truncated_share(dice: &mut Dice) -> Drawn {
    let (workload, knobs) = two_readers(dice);
    let Ok(stored) = workload.file.load() else { return (workload, Vec::new(), knobs) };
    let mut victims: Vec<_> = (0..10).collect();
    dice.shuffle(&mut victims);
    victims.truncate(dice.between(1, 8) as usize);
    let cut = |server: usize| Fault::Share {
        server,
        share: server as u32,
        damage: Damage::Truncate { length: chaos::truncated(dice, stored) },
    };
    let faults = victims.into_iter().map(cut).collect();
    (workload, faults, knobs)
}

fn late_shares(dice: &mut Dice) -> Drawn {
    let (workload, knobs) = two_readers(dice);
    let faults = some_calls(dice, |dice| match dice.below(4) {
        0 => Effect::Pause { us: dice.skewed(26) },
        _ => chaos::slow(dice),
    });
    (workload, faults, knobs)
}

/// Two nodes: the second is opened while the first one's connections are lost.
fn reconnect(dice: &mut Dice) -> Drawn {
    let (mut workload, knobs) = two_readers(dice);
    let spread = chaos::spread_us(&workload.servers, &knobs);
    for (number, reader) in workload.readers.iter_mut().enumerate() {
        reader.node = number as u32;
        reader.starts_us = number as u64 * dice.below(spread + 1);
    }
    let victims = dice.between(1, 10) as usize;
    let nth = 1 + dice.below(3) as u32;
    let lose = |server| Fault::Call { server, call: CallKind::Read, nth, effect: Effect::Disconnect };
    (workload, (0..victims).map(lose).collect(), knobs)
}

fn range_reads(dice: &mut Dice) -> Drawn {
    let knobs = chaos::knobs(dice);
    let file = match dice.below(3) {
        0 => FileSpec::Sparse,
        1 => FileSpec::fixture("padded"),
        _ => FileSpec::fixture(dice.pick::<&str>(&["standard", "odd_tail", "ten_segments", "many_segments"])),
    };
    let sparse = file == FileSpec::Sparse;
    let (mut workload, stored) = workload(dice, file, 10);
    if sparse || dice.chance(1, 2) {
        workload.guess = Some(stored.sizes.segment_size * dice.between(1, 3));
    }
    let mut reads = |_| {
        let reads = dice.between(1, 4);
        let plans = (0..reads)
            .map(|_| if sparse { far_range(dice, stored.cap.size) } else { chaos::range(dice, stored) });
        ReaderPlan { node: 0, starts_us: 0, reads: plans.collect() }
    };
    workload.readers = (0..2).map(&mut reads).collect();
    let faults = if dice.chance(1, 3) { chaos::disturb_calls(dice, 10, 2) } else { Vec::new() };
    (workload, faults, knobs)
}

/// A short range around the places where offsets outgrow an integer type, or anywhere.
fn far_range(dice: &mut Dice, size: u64) -> ReadPlan {
    let anywhere = dice.below(size);
    let landmark = *dice.pick(&[1 << 31, 1 << 32, 1 << 53, 3 << 53, size, anywhere]);
    let offset = landmark.saturating_sub(dice.below(200));
    ReadPlan { offset, length: Some(dice.below(400)), ..ReadPlan::default() }
}

fn paused_reader(dice: &mut Dice) -> Drawn {
    let (mut workload, knobs) = two_readers(dice);
    let spread = chaos::spread_us(&workload.servers, &knobs);
    for reader in &mut workload.readers {
        for read in &mut reader.reads {
            read.pause_after_pieces = Some(dice.below(4));
            read.pause_us = *dice.pick(&[spread / 4, spread, 15_000_000, 3_600_000_000]);
            if dice.chance(1, 3) {
                chaos::drop_half_way(dice, read, spread);
            }
        }
    }
    let faults = if dice.chance(1, 2) { some_calls(dice, chaos::effect) } else { Vec::new() };
    (workload, faults, knobs)
}

/// A file on servers, nobody reading it yet.
fn workload(
    dice: &mut Dice,
    file: FileSpec,
    servers: usize,
) -> (GridWorkload, &'static seedgrid::grid::StoredFile) {
    let stored = file.load().expect("the catalogue names files that exist");
    let servers = chaos::servers(dice, servers, stored.cap.n);
    (GridWorkload { guess: None, file, servers, readers: Vec::new() }, stored)
}

/// The standard file on ten servers, two readers on one node.
fn two_readers(dice: &mut Dice) -> (GridWorkload, Knobs) {
    let knobs = chaos::knobs(dice);
    let (mut workload, stored) = workload(dice, FileSpec::fixture("standard"), 10);
    chaos::scarce(dice, &mut workload.servers, stored);
    workload.guess = chaos::guess(dice, stored);
    let spread = chaos::spread_us(&workload.servers, &knobs);
    workload.readers = chaos::readers(dice, stored, 2, spread);
    (workload, knobs)
}

/// One kind of effect on calls to some servers.
fn some_calls(dice: &mut Dice, mut effect: impl FnMut(&mut Dice) -> Effect) -> Vec<Fault> {
    let mut victims: Vec<_> = (0..10).collect();
    dice.shuffle(&mut victims);
    victims.truncate(dice.between(1, 9) as usize);
    let mut fault = |server| {
        let (call, nth) = chaos::call(dice);
        Fault::Call { server, call, nth, effect: effect(dice) }
    };
    victims.into_iter().map(&mut fault).collect()
}
