//! How a seed draws a gateway, nodes, clients, and what goes wrong, from a scenario's menu.

use seedgrid::case::Dice;
use seedgrid::fault::Fault;
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
}

/// Bytes of objects: of one piece, and of several.
const SIZES: [(u64, u64); 6] = [(3, 1), (4, 11), (3, 300), (2, 2048), (2, 5000), (1, 40_000)];
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
        self.links.iter().chain(self.disk).chain(deeds).copied().collect()
    }

    /// Draws a case.
    pub fn draw(&self, dice: &mut Dice) -> (AnnexWorkload, Vec<Fault>, Knobs) {
        let old = dice.chance(1, 2);
        let nodes: Vec<_> =
            (0..*dice.weighted(&[(2, 1), (5, 2), (2, 3)])).map(|_| node(dice, old, self.http)).collect();
        let sizes = std::array::from_fn(|_| *dice.weighted(&SIZES));
        let scene = Scene::draw(dice, self, nodes.len(), &sizes);
        let clients =
            (0..dice.between(1, self.clients)).map(|_| scene.client(dice, old, self.http)).collect();
        let deeds = match dice.chance(self.deeds, 8) {
            true => (0..dice.between(1, 3)).map(|_| scene.deed(dice)).collect(),
            false => Vec::new(),
        };
        let workload = AnnexWorkload {
            sizes,
            idle: *dice.weighted(&[(1, 0), (2, 1), (3, 2), (3, 10)]),
            jobs: dice.between(1, 3) as usize,
            uptime_s: *dice.weighted(&UPTIMES),
            nodes,
            clients,
            deeds,
            // Where nobody speaks HTTP nothing is drawn for it.
            workers: if self.http > 0 { dice.between(1, 3) as usize } else { 1 },
            locks: if self.http > 0 { dice.between(1, 3) as usize } else { 1 },
        };
        let knobs = Knobs { job_us: *dice.weighted(&[(3, 0), (1, 100), (1, 5_000)]) };
        let faults = self.faults(dice, workload.nodes.len() as u64, workload.clients.len() as u64);
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
            let nth = 1 + dice.below(PIECES) as u32;
            faults.push(Fault::at(ways[dice.below(2) as usize], number, nth, dice.pick::<&str>(&links)));
        }
        for _ in 0..if disk.is_empty() { 0 } else { dice.below(3) } {
            let node = victim.unwrap_or_else(|| dice.below(nodes));
            let kind = *dice.pick(&disk);
            faults.push(Fault::draw_disk(dice, &format!("node{node}"), kind, OPERATIONS));
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
        disk: &["process-crash", "power-loss", "slow-disk"],
        deeds: 3,
        clients: 4,
        http: 0,
    };

    /// Clients that speak HTTP, and some that do not.
    pub const HTTP: Menu = Menu { clients: 6, http: 7, ..Menu::ALL };
}

/// What the people of a case have in common.
struct Scene {
    nodes: u64,
    sizes: Vec<u64>,
    objects: u64,
    steps: Vec<(u64, What)>,
    bodies: Vec<(u64, Body)>,
    pauses: Vec<(u64, u64)>,
    /// How many of eight steps are for one node alone.
    alone: u64,
    /// How many of eight steps are a connection's last.
    leaves: u64,
}

impl Scene {
    fn draw(dice: &mut Dice, menu: &Menu, nodes: usize, sizes: &[u64; OBJECTS]) -> Scene {
        let mut bodies = vec![(5, Body::Whole)];
        let odd = [(2, Body::Short), (1, Body::Wrong), (1, Body::Excess), (1, Body::Nothing)];
        bodies.extend(odd.into_iter().filter(|_| dice.chance(1, 3)));
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
            alone: *dice.pick(&[0, 2, 4, 8]),
            leaves: *dice.pick(&[1, 4, 8]),
        }
    }

    fn client(&self, dice: &mut Dice, old: bool, http: u64) -> ClientPlan {
        let version = version(dice, old);
        let http = http > 0 && dice.chance(http, 8);
        ClientPlan { version, http, steps: (0..dice.between(1, 6)).map(|_| self.step(dice)).collect() }
    }

    fn step(&self, dice: &mut Dice) -> Step {
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
            What::Lock => step.hold_ms = *dice.weighted(&[(2, 0), (2, 10), (2, 2_000), (1, 300_000)]),
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
    NodePlan {
        version: version(dice, old),
        http: http > 0 && dice.chance(1, 4),
        uptime_s: *dice.weighted(&UPTIMES),
        has: (0..OBJECTS).filter(|_| dice.chance(1, 8)).collect(),
    }
}

fn version(dice: &mut Dice, old: bool) -> u64 {
    if old { dice.below(5) } else { 4 }
}
