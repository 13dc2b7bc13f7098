//! How a seed draws a directory, clients, deeds, and what goes wrong with the disk.

use seedgrid::case::Dice;
use seedgrid::fault::Fault;
use seedgrid::world::Knobs;

use super::workload::{
    ClassicWorkload, ClientPlan, Condition, Deed, End, FILES, Happening, Inherited, Policy, SHARES, Step,
    What,
};
use crate::storage::workload::DAY;

/// What can become of an operation on the disk.
pub const DISK: [&str; 6] =
    ["process-crash", "power-loss", "disk-error", "no-space", "full-disk", "slow-disk"];

/// What can happen besides.
pub const DEEDS: [(u64, Happening); 6] = [
    (2, Happening::Crash),
    (3, Happening::PowerLoss),
    (2, Happening::NodeStarts),
    (2, Happening::NodeLeases),
    (2, Happening::NodeTears),
    (1, Happening::Spoil),
];

/// Bytes of shares. Behind some of them a field of a lease lies on two sectors.
const SIZES: [(u64, u64); 10] =
    [(2, 1), (3, 5), (1, 72), (2, 141), (2, 300), (1, 358), (3, 429), (2, 430), (2, 431), (2, 1300)];

/// How many operations that change the disk a run has, roughly.
const OPERATIONS: u64 = 80;

/// Draws a case.
pub fn draw(dice: &mut Dice) -> (ClassicWorkload, Vec<Fault>, Knobs) {
    let scene = Scene::draw(dice);
    let sizes = std::array::from_fn(|_| *dice.weighted(&SIZES));
    let containers = (0..dice.below(5)).map(|_| scene.container(dice)).collect();
    let clients = (0..*dice.weighted(&[(2, 1), (4, 2), (2, 3)])).map(|_| scene.client(dice)).collect();
    let deeds = match dice.chance(1, 2) {
        true => (0..dice.between(1, 3)).map(|_| scene.deed(dice)).collect(),
        false => Vec::new(),
    };
    let finale = dice.chance(1, 3);
    let knobs = Knobs { job_us: *dice.weighted(&[(3, 0), (1, 100), (1, 5_000)]) };
    (ClassicWorkload { sizes, finale, containers, clients, deeds }, faults(dice), knobs)
}

fn faults(dice: &mut Dice) -> Vec<Fault> {
    let kinds: Vec<&str> = DISK.into_iter().filter(|_| dice.chance(1, 2)).collect();
    let many = if kinds.is_empty() { 0 } else { dice.below(4) };
    let fault = |_| {
        let kind = *dice.pick(&kinds);
        Fault::draw_disk(dice, "server", kind, OPERATIONS)
    };
    (0..many).map(fault).collect()
}

/// What the people of a case have in common: where and when they meet.
struct Scene {
    files: Vec<u64>,
    shares: Vec<u32>,
    steps: Vec<(u64, What)>,
    pauses: Vec<(u64, u64)>,
    states: Vec<(u64, Condition)>,
    ends: Vec<(u64, End)>,
    policies: Vec<(u64, Policy)>,
}

impl Scene {
    fn draw(dice: &mut Dice) -> Scene {
        let mut files: Vec<u64> = (0..FILES).collect();
        dice.shuffle(&mut files);
        files.truncate(dice.between(1, 2) as usize);
        let mut shares = SHARES.to_vec();
        dice.shuffle(&mut shares);
        shares.truncate(dice.between(1, 3) as usize);
        let mut steps = vec![(4, What::Read), (4, What::Renew)];
        let others = [(4, What::Upload), (1, What::List), (4, What::Expire)];
        steps.extend(others.into_iter().filter(|_| dice.chance(2, 3)));
        let mut pauses = vec![(6, 0), (2, 20), (2, 1000)];
        if dice.chance(1, 2) {
            pauses
                .extend([(1, DAY), (2, 11 * DAY), (2, 32 * DAY), (1, 61 * DAY)].map(|(w, s)| (w, s * 1000)));
        }
        let mut states = vec![(6, Condition::Sound)];
        let odd = [
            (3, Condition::Torn),
            (2, Condition::TornBlank),
            (2, Condition::TornHalf),
            (3, Condition::TornThenLeased),
            (1, Condition::Foreign),
            (1, Condition::Short),
            (1, Condition::Boastful),
            (1, Condition::Crowded),
        ];
        states.extend(odd.into_iter().filter(|_| dice.chance(1, 3)));
        let mut ends = vec![(6, End::Close)];
        ends.extend([(1, End::Abort), (2, End::HangUp)].into_iter().filter(|_| dice.chance(1, 2)));
        let policies = vec![
            (4, Policy::Age),
            (1, Policy::Days(*dice.pick(&[10, 40]))),
            (1, Policy::CutOffDay(*dice.pick(&[5, 20]))),
            (1, Policy::Off),
        ];
        Scene { files, shares, steps, pauses, states, ends, policies }
    }

    fn file(&self, dice: &mut Dice) -> u64 {
        *dice.pick(&self.files)
    }

    fn container(&self, dice: &mut Dice) -> Inherited {
        Inherited {
            file: self.file(dice),
            share: *dice.pick(&self.shares),
            old: dice.chance(1, 3),
            leases: (0..dice.below(5)).map(|_| *dice.pick(&[-40, -1, 5, 20, 31])).collect(),
            state: *dice.weighted(&self.states),
        }
    }

    fn client(&self, dice: &mut Dice) -> ClientPlan {
        ClientPlan { steps: (0..dice.between(1, 6)).map(|_| self.step(dice)).collect() }
    }

    fn step(&self, dice: &mut Dice) -> Step {
        let what = *dice.weighted(&self.steps);
        let mut step =
            Step { after_ms: *dice.weighted(&self.pauses), what, file: self.file(dice), ..Step::default() };
        match what {
            What::Upload => {
                step.shares = self.some_shares(dice);
                step.pieces = dice.between(1, 3);
                step.end = *dice.weighted(&self.ends);
            }
            What::Read => {
                step.shares = self.some_shares(dice);
                // To the end, past it, and behind it.
                step.offset = *dice.weighted(&[(4, 0), (1, 4), (1, 100), (1, 429), (1, 1300)]);
                step.length = *dice.weighted(&[(2, 1), (2, 64), (2, 429), (4, 10_000)]);
            }
            What::Expire => step.policy = *dice.weighted(&self.policies),
            What::Renew | What::List => {}
        }
        step
    }

    fn some_shares(&self, dice: &mut Dice) -> Vec<u32> {
        let mut some: Vec<_> = self.shares.iter().filter(|_| dice.chance(2, 3)).copied().collect();
        if some.is_empty() {
            some.push(*dice.pick(&self.shares));
        }
        some
    }

    fn deed(&self, dice: &mut Dice) -> Deed {
        Deed {
            after_ms: *dice.weighted(&self.pauses),
            what: *dice.weighted(&DEEDS),
            file: self.file(dice),
            share: *dice.pick(&self.shares),
        }
    }
}
