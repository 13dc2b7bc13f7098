//! How a seed draws a gateway, nodes, clients, and what goes wrong, from a scenario's menu.

use seedgrid::case::Dice;
use seedgrid::fault::{CLOCK_KINDS, DiskEffect, Fault};
use seedgrid::world::Knobs;

use super::link::TROUBLES;
use super::workload::{AnnexWorkload, Body, ClientPlan, Deed, NodePlan, OBJECTS, Step, What};

/// What a scenario's cases draw from.
pub struct Menu {
    /// What clients do, each with a weight.
    pub steps: &'static [(u64, What)],
    /// What becomes of bytes on their way.
    pub links: &'static [&'static str],
    /// What becomes of operations on disks, by the name of the kind.
    pub disk: &'static [&'static str],
    /// In how many cases of eight nodes go down.
    pub deeds: u64,
    /// How many clients there are at the most.
    pub clients: u64,
    /// How many clients of eight speak HTTP.
    pub http: u64,
    /// There are four times as many clients as are served at a time, and one more.
    pub crowd: bool,
    /// Links carry one byte at a time, and objects are small.
    pub bytes: bool,
}

/// Bytes of objects: of one piece, and of several.
const SIZES: [(u64, u64); 6] = [(3, 1), (4, 11), (3, 300), (2, 2048), (2, 5000), (1, 40_000)];
const SMALL: [(u64, u64); 6] = [(2, 1), (4, 11), (1, 2), (1, 3), (1, 12), (1, 20)];
/// An object that is read and written in several jobs.
const HUGE: u64 = 300_000;
/// For how many seconds machines have been up.
const UPTIMES: [(u64, u64); 4] = [(2, 0), (1, 7), (1, 1000), (1, 100_000)];
/// How many pieces pass a link in a run, and how many operations change a disk, roughly.
const PIECES: u64 = 40;
const OPERATIONS: u64 = 60;

impl Menu {
    /// The names of all that can go wrong.
    pub fn kinds(&self) -> Vec<&'static str> {
        let deeds: &[&str] = if self.deeds > 0 { &["process-crash", "power-loss"] } else { &[] };
        let deeds = deeds.iter().filter(|kind| !self.disk.contains(kind));
        let clocks: &[&str] = if self.disk.is_empty() { &[] } else { &CLOCK_KINDS };
        self.links.iter().chain(self.disk).chain(deeds).chain(clocks).copied().collect()
    }

    /// Draws a case.
    pub fn draw(&self, dice: &mut Dice) -> (AnnexWorkload, Vec<Fault>, Knobs) {
        let old = dice.chance(1, 2);
        let nodes: Vec<_> =
            (0..*dice.weighted(&[(2, 1), (5, 2), (2, 3)])).map(|_| node(dice, old, self.http)).collect();
        let sizes = std::array::from_fn(|_| *dice.weighted(if self.bytes { &SMALL } else { &SIZES }));
        let scene = Scene::draw(dice, self, nodes.len(), &sizes);
        let at_a_time = if self.crowd { dice.between(1, 8) } else { dice.between(1, 3) };
        let count = if self.crowd { 4 * at_a_time + 1 } else { dice.between(1, self.clients) };
        let clients = (0..count).map(|_| scene.client(dice, old, self.http)).collect();
        let deeds = match dice.chance(self.deeds, 8) {
            true => (0..dice.between(1, 3)).map(|_| scene.deed(dice)).collect(),
            false => Vec::new(),
        };
        let mut workload = AnnexWorkload {
            sizes,
            idle: *dice.weighted(&[(1, 0), (2, 1), (3, 2), (3, 10)]),
            jobs: at_a_time as usize,
            bytes: self.bytes,
            uptime_s: *dice.weighted(&UPTIMES),
            nodes,
            clients,
            down_s: 1,
            deeds,
            // Where nobody speaks HTTP nothing is drawn for it.
            workers: if self.http > 0 { at_a_time as usize } else { 1 },
            locks: if self.http > 0 { dice.between(1, 3) as usize } else { 1 },
        };
        let knobs = Knobs { job_us: *dice.weighted(&[(3, 0), (1, 100), (1, 5_000)]) };
        let faults = self.faults(dice, workload.nodes.len() as u64, workload.clients.len() as u64);
        if !self.bytes && !self.crowd && dice.chance(1, 8) {
            let object = dice.below(OBJECTS as u64) as usize;
            // With more clients such a case would take too long to be given up at each step.
            if workload.clients.len() <= 2 {
                workload.sizes[object] = HUGE;
            }
        }
        for node in workload.nodes.iter_mut().filter(|node| node.version == 0 && !node.http) {
            node.ancient = dice.chance(1, 2);
        }
        workload.down_s = *dice.weighted(&[(3, 1), (2, 60), (1, 1_000)]);
        for node in workload.nodes.iter_mut().filter(|node| !node.http && !node.special) {
            node.processes = dice.chance(1, 3);
        }
        (workload, faults, knobs)
    }

    fn faults(&self, dice: &mut Dice, nodes: u64, clients: u64) -> Vec<Fault> {
        let links: Vec<_> = self.links.iter().filter(|_| dice.chance(1, 2)).copied().collect();
        let disk: Vec<_> = self.disk.iter().filter(|_| dice.chance(1, 2)).copied().collect();
        // Often all trouble is with one node: the others must not be affected.
        let victim = dice.chance(1, 2).then(|| dice.below(nodes));
        let mut faults = Vec::new();
        for _ in 0..if links.is_empty() { 0 } else { dice.below(4) } {
            let (ways, number) = match victim {
                Some(node) => (["node-out", "node-back"], node),
                None if dice.chance(1, 2) => (["node-out", "node-back"], dice.below(nodes)),
                None => (["client-out", "client-back"], dice.below(clients)),
            };
            // Often at the very beginning: whoever it befalls is not to be reached.
            let among = *dice.pick(&[4, PIECES]);
            let nth = 1 + dice.below(among) as u32;
            faults.push(Fault::at(ways[dice.below(2) as usize], number, nth, dice.pick::<&str>(&links)));
        }
        for _ in 0..if disk.is_empty() { 0 } else { dice.below(3) } {
            let node = victim.unwrap_or_else(|| dice.below(nodes));
            let kind = *dice.pick(&disk);
            faults.push(Fault::draw_disk(dice, &format!("node{node}"), kind, OPERATIONS));
        }
        if !disk.is_empty() && dice.chance(1, 6) {
            let (node, kind) = (dice.below(nodes), *dice.pick(&CLOCK_KINDS));
            faults.push(Fault::draw_clock(dice, &format!("node{node}"), kind, 60_000_000));
        }
        faults
    }
}

impl Menu {
    /// Everything.
    pub const ALL: Menu = Menu {
        steps: &[
            (3, What::Check),
            (4, What::Get),
            (7, What::Put),
            (2, What::Remove),
            (3, What::RemoveBefore),
            (3, What::Lock),
        ],
        links: TROUBLES,
        disk: &DiskEffect::KINDS,
        deeds: 3,
        clients: 4,
        http: 0,
        crowd: false,
        bytes: false,
    };

    /// Clients that speak HTTP, and some that do not.
    pub const HTTP: Menu = Menu { clients: 6, http: 7, ..Menu::ALL };

    /// As many clients as make whoever loses a worker, a lock or a connection lose the last one.
    pub const CROWD: Menu = Menu { http: 4, crowd: true, ..Menu::ALL };

    /// Objects that come and go byte by byte, and nothing goes wrong by itself.
    pub const BYTES: Menu = Menu {
        steps: &[(1, What::Get), (1, What::Put)],
        links: &[],
        disk: &[],
        deeds: 0,
        clients: 2,
        http: 3,
        crowd: false,
        bytes: true,
    };
}

/// What the people of a case have in common.
struct Scene {
    nodes: u64,
    sizes: Vec<u64>,
    objects: u64,
    steps: Vec<(u64, What)>,
    bodies: Vec<(u64, Body)>,
    pauses: Vec<(u64, u64)>,
    /// How many steps a client has at the most.
    steps_each: u64,
    /// How many of eight steps are for one node alone.
    alone: u64,
    /// How many of eight steps are a connection's last.
    leaves: u64,
}

impl Scene {
    fn draw(dice: &mut Dice, menu: &Menu, nodes: usize, sizes: &[u64; OBJECTS]) -> Scene {
        let mut bodies = vec![(5, Body::Whole)];
        let odd = [
            (2, Body::Short),
            (1, Body::Wrong),
            (2, Body::Excess),
            (1, Body::Nothing),
            (1, Body::Mute),
            (1, Body::Present),
        ];
        bodies.extend(odd.into_iter().filter(|_| dice.chance(1, 2)));
        let mut pauses = vec![(4, 0), (3, 1), (2, 100), (2, 5_000)];
        if dice.chance(1, 2) {
            pauses.extend([(2, 60_000), (1, 400_000)]);
        }
        Scene {
            nodes: nodes as u64,
            sizes: sizes.to_vec(),
            objects: dice.between(1, OBJECTS as u64),
            steps: menu.steps.iter().filter(|_| dice.chance(4, 5)).copied().chain([(1, What::Put)]).collect(),
            bodies,
            pauses,
            steps_each: if menu.crowd || menu.bytes { 2 } else { 6 },
            alone: *dice.pick(&[0, 2, 4, 8]),
            leaves: *dice.pick(&[1, 4, 8]),
        }
    }

    fn client(&self, dice: &mut Dice, old: bool, http: u64) -> ClientPlan {
        let version = version(dice, old);
        let http = http > 0 && dice.chance(http, 8);
        let steps = dice.between(1, self.steps_each);
        let steps = (0..steps).map(|_| self.step(dice, http)).collect();
        ClientPlan { version, http, rounds: 0, steps }
    }

    fn step(&self, dice: &mut Dice, http: bool) -> Step {
        let what = *dice.weighted(&self.steps);
        let alone = what == What::Lock && dice.chance(7, 8) || dice.chance(self.alone, 8);
        let mut step = Step {
            after_ms: *dice.weighted(&self.pauses),
            what,
            node: alone.then(|| dice.below(self.nodes) as usize),
            object: dice.below(self.objects) as usize,
            leaves: dice.chance(self.leaves, 8),
            ..Step::default()
        };
        match what {
            What::Get => {
                let size = self.sizes[step.object];
                step.offset = *dice.weighted(&[(4, 0), (1, 1), (1, size / 2), (1, size), (1, size + 5)]);
            }
            What::Put => {
                step.body = *dice.weighted(&self.bodies);
                step.pieces = dice.between(1, 3);
            }
            What::RemoveBefore => {
                step.limit_s = *dice.weighted(&[(3, 60), (1, 1), (1, 0), (3, -60)]);
                step.hold_ms = *dice.weighted(&[(4, 0), (1, 1_500), (1, 90_000)]);
            }
            What::Lock => {
                // Who speaks HTTP here says but once that it keeps a lock, which is good for 1200 s.
                let longest = if http { 700_000 } else { 1_500_000 };
                let lengths = [(4, 0), (4, 10), (4, 2_000), (2, 300_000), (1, 700_000), (1, longest)];
                step.hold_ms = *dice.weighted(&lengths);
            }
            What::Check | What::Remove => {}
        }
        step
    }

    fn deed(&self, dice: &mut Dice) -> Deed {
        Deed {
            after_ms: *dice.weighted(&self.pauses),
            node: dice.below(self.nodes) as usize,
            power: dice.chance(1, 2),
        }
    }
}

fn node(dice: &mut Dice, old: bool, http: u64) -> NodePlan {
    let special = dice.chance(1, 6);
    NodePlan {
        version: version(dice, old),
        http: !special && http > 0 && dice.chance(1, 4),
        special,
        ancient: false,
        processes: false,
        uptime_s: *dice.weighted(&UPTIMES),
        has: (0..OBJECTS).filter(|_| dice.chance(1, 5)).collect(),
    }
}

fn version(dice: &mut Dice, old: bool) -> u64 {
    if old { dice.below(5) } else { 4 }
}
