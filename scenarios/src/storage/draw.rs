//! How a seed draws a server, its clients and its operator, and what goes wrong, from a scenario's menu.

use protocol::server::ShareNumber;
use seedgrid::case::Dice;
use seedgrid::fault::{DiskEffect, DiskError, DiskOp, Fault};
use seedgrid::world::Knobs;
use storage::config::LEASE;

use super::workload::{
    ClientPlan, DAY, Deed, End, Expiry, Finale, Happening, Order, SLOTS, ServerPlan, Step, StorageWorkload,
    Test, What,
};
use super::{operator, store, wire, witness};

/// What a scenario's cases draw from.
pub struct Menu {
    /// What clients do, each with a weight.
    pub steps: &'static [(u64, What)],
    /// What operator and machine do, each with a weight; nothing, when empty.
    pub deeds: &'static [(u64, Happening)],
    /// What becomes of messages.
    pub wire: &'static [&'static str],
    /// What becomes of calls to the backend.
    pub backend: &'static [&'static str],
    /// What becomes of calls to the store.
    pub store: &'static [&'static str],
    /// What becomes of operations on the disk, by the name of the kind.
    pub disk: &'static [&'static str],
    /// How uploads end that are not closed, each with a weight.
    pub ends: &'static [(u64, End)],
    /// The files that clients meet on: some of them, no more than so many.
    pub files: (&'static [u64], u64),
    /// No more than so many shares of each.
    pub shares: u64,
    /// In how many cases of eight nobody waits for more than a moment.
    pub haste: u64,
    /// In how many cases of eight clocks are wrong.
    pub clocks: u64,
    /// How many cases of eight keep shares in an object store.
    pub cloud: u64,
    /// How many cases of eight have leases that end.
    pub expiry: u64,
    /// How many cases of eight wait for days.
    pub patience: u64,
    /// How many steps and deeds of eight wait for the crawler. With any, the backend is slow, all files are under one
    /// prefix, and who waits for days waits until a lease is over: everybody meets in a crawl.
    pub crawls: u64,
}

/// Every kind of step, in a mix of which each kind comes to something.
pub const ALL_STEPS: &[(u64, What)] = &[
    (8, What::Upload),
    (3, What::List),
    (4, What::Read),
    (4, What::Renew),
    (1, What::Touch),
    (7, What::Write),
    (1, What::Slots),
    (4, What::ReadSlot),
    (1, What::Advise),
];

/// Every file.
pub const ALL_FILES: &[u64] = &[0, 1, 2, 3, 4];

/// Everything that can happen to a server.
pub const ALL_DEEDS: &[(u64, Happening)] = &[
    (3, Happening::Restart),
    (3, Happening::Crash),
    (3, Happening::PowerLoss),
    (3, Happening::CopyIn),
    (1, Happening::Remove),
    (1, Happening::RemoveSome),
    (1, Happening::Truncate),
    (2, Happening::SpoilHeader),
    (1, Happening::DropDatabase),
];

/// The crashes of a machine.
pub const CRASHES: &[&str] = &["process-crash", "power-loss"];
/// Bytes of the shares that are copied in.
const COPIES: &[i64] = &[1, 500, 1300];
/// Everything that can become of an operation on a disk, but what spoils the medium.
pub const ALL_DISK: &[&str] =
    &["process-crash", "power-loss", "disk-error", "no-space", "full-disk", "slow-disk"];

impl Menu {
    /// Everything there is.
    pub const ALL: Menu = Menu {
        steps: ALL_STEPS,
        deeds: ALL_DEEDS,
        wire: wire::TROUBLES,
        backend: witness::TROUBLES,
        store: store::TROUBLES,
        disk: ALL_DISK,
        ends: &[(2, End::Abort), (1, End::LateAbort), (1, End::Silence), (1, End::Dawdle)],
        files: (ALL_FILES, 3),
        shares: 4,
        haste: 0,
        clocks: 4,
        cloud: 3,
        expiry: 5,
        patience: 3,
        crawls: 0,
    };

    /// Clients, and nothing that goes wrong.
    pub const CALM: Menu =
        Menu { deeds: &[], wire: &[], backend: &[], store: &[], disk: &[], clocks: 0, ..Menu::ALL };

    /// The names of all kinds of trouble that a case may have.
    pub fn kinds(&self) -> Vec<&'static str> {
        let lists = [self.wire, self.backend, self.store, self.disk];
        let deeds = self.deeds.iter().map(|(_, what)| operator::name(*what));
        lists.iter().flat_map(|list| list.iter().copied()).chain(deeds).collect()
    }

    /// Draws a case.
    pub fn draw(&self, dice: &mut Dice) -> (StorageWorkload, Vec<Fault>, Knobs) {
        let patient = dice.chance(self.patience, 8);
        let mut server = self.server(dice, patient);
        let mut scene = Scene::draw(dice, self, &server, patient);
        let clients: Vec<_> =
            (0..dice.weighted(&[(3, 1), (4, 2), (2, 3)]).to_owned()).map(|_| scene.client(dice)).collect();
        let operator = self.operator(dice, &scene, &clients);
        let finale = *dice.weighted(&[(6, Finale::Plain), (2, Finale::Again), (1, Finale::Rebuild)]);
        let faults = self.faults(dice, &clients, server.cloud.is_some(), server.lazy_sync);
        let job_us = *dice.weighted(&[(3, 0), (1, 100), (1, 5_000)]);
        if server.cloud.is_none() {
            server.in_memory = *dice.pick(&[0, 400, 1 << 16]);
        }
        (StorageWorkload { server, clients, operator, finale }, faults, Knobs { job_us })
    }

    fn server(&self, dice: &mut Dice, patient: bool) -> ServerPlan {
        // Who waits for days must not sit through thousands of crawls.
        let cycles = match (patient, self.crawls) {
            (false, _) => [600, 3600, 43_200],
            (true, 0) => [5 * DAY, 5 * DAY, 20 * DAY],
            // The leases of the last that came are not over when all is quiet.
            (true, _) => [2 * DAY, 5 * DAY, 5 * DAY],
        };
        let cloud = dice.chance(self.cloud, 8).then(|| *dice.pick(&[200, 500, 500, 1000]));
        let ages =
            [(4, Expiry::Age), (1, Expiry::Days(10)), (1, Expiry::Days(40)), (1, Expiry::CutOffDay(20))];
        let expiry = *dice.weighted(&ages);
        // The slower its calls, the longer a crawl is at it.
        let slowness: &[u64] = if self.crawls > 0 {
            &[1_000, 50_000, 1_000_000, 1_000_000]
        } else {
            &[0, 0, 1_000, 50_000, 1_000_000]
        };
        ServerPlan {
            cloud,
            in_memory: 0,
            lazy_sync: dice.chance(1, 6),
            expiry: if dice.chance(self.expiry, 8) { expiry } else { Expiry::Never },
            crawl_after_s: *dice.pick(if self.crawls > 0 { &[30, 60, 600] } else { &[1, 10, 600] }),
            crawl_every_s: *dice.pick(&cycles),
            small_slices: dice.chance(1, 2),
            reserved: if dice.chance(1, 20) { 1 << 40 } else { 0 },
            read_only: dice.chance(1, 20),
            replaces_corrupt: dice.chance(1, 4),
            latency_us: *dice.pick(&[0, 0, 500, 20_000]),
            backend_us: *dice.pick(slowness),
        }
    }

    fn operator(&self, dice: &mut Dice, scene: &Scene, clients: &[ClientPlan]) -> Vec<Deed> {
        if self.deeds.is_empty() || dice.chance(1, if self.crawls > 0 { 6 } else { 3 }) {
            return Vec::new();
        }
        let kinds: Vec<_> = self.deeds.iter().filter(|_| dice.chance(1, 2)).copied().collect();
        let kinds = if kinds.is_empty() { self.deeds } else { &kinds };
        let mut deeds = Vec::new();
        for _ in 0..=scene.few {
            let what = *dice.weighted(kinds);
            let (file, share) = (scene.file(dice), u64::from(scene.share(dice)));
            if what.damages() && dice.chance(1, 2) {
                // Only what is there can be damaged.
                let by = *dice.pick(COPIES);
                deeds.push(Deed {
                    after_ms: scene.pause(dice),
                    what: Happening::CopyIn,
                    file,
                    share,
                    by,
                    ..Deed::default()
                });
            }
            let by = match what {
                Happening::Truncate => *dice.pick(&[0, 2, 11, 12, 50, 99]),
                Happening::CopyIn => *dice.pick(COPIES),
                Happening::Outage => *dice.pick(&[1, 5, 40, 600]),
                _ => 0,
            };
            let (mut after_ms, crawl_ms) = (scene.pause(dice), scene.crawl(dice, IN_ITS_MIDST));
            if what.takes_down() && dice.chance(2, 3) {
                // While clients are at it, or when they have just been told that all is well.
                let moment = dice.pick(&begins(clients)) / 1000 + dice.skewed(12);
                after_ms = moment.saturating_sub(deeds.iter().map(|deed: &Deed| deed.after_ms).sum());
            }
            deeds.push(Deed { after_ms, crawl_ms, what, file, share, by });
        }
        deeds
    }

    fn faults(&self, dice: &mut Dice, clients: &[ClientPlan], cloud: bool, lazy_sync: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        if dice.chance(1, 5) {
            return faults;
        }
        let some = |dice: &mut Dice, all: &[&'static str]| -> Vec<&'static str> {
            let some: Vec<_> = all.iter().filter(|_| dice.chance(1, 2)).copied().collect();
            if some.is_empty() { all.to_vec() } else { some }
        };
        let wire = some(dice, self.wire);
        for _ in 0..if wire.is_empty() { 0 } else { dice.below(4) } {
            faults.push(Fault::at(
                "wire",
                dice.below(clients.len() as u64),
                1 + dice.skewed(5) as u32,
                dice.pick::<&str>(&wire),
            ));
        }
        let backend = some(dice, self.backend);
        for _ in 0..if backend.is_empty() { 0 } else { dice.below(4) } {
            faults.push(Fault::at("backend", 0, 1 + dice.skewed(7) as u32, dice.pick::<&str>(&backend)));
        }
        for _ in 0..if backend.is_empty() { 0 } else { dice.below(4) + self.crawls.min(1) } {
            // Often the next attempts fail as well.
            let (nth, times) = (1 + dice.skewed(2) as u32, *dice.weighted(&[(3, 1), (1, 2), (1, 4)]));
            let fails = backend.contains(&"backend-fails") && dice.chance(1, 2);
            let effect = if fails { "backend-fails" } else { *dice.pick::<&str>(&backend) };
            faults.extend((nth..nth + times).map(|nth| Fault::at(witness::DELETIONS, 0, nth, effect)));
        }
        let store = some(dice, self.store);
        for _ in 0..if store.is_empty() || !cloud { 0 } else { dice.between(1, 6) } {
            // What is reported as failed, and happens later, needs an attempt that is not the last.
            let late = store.contains(&"applied-late") && dice.chance(1, 3);
            let effect = if late { "applied-late" } else { *dice.pick(&store) };
            let (kind, nth) =
                (*dice.pick(store::calls(effect)), 1 + dice.skewed(if late { 5 } else { 6 }) as u32);
            // Often all retries fail; but what is done late matters most when the next attempt succeeds.
            let times = *dice.weighted(&[(if late { 15 } else { 3 }, 1), (1, 2), (3, 4)]);
            faults.extend((nth..nth + times).map(|nth| Fault::at(kind, 0, nth, effect)));
        }
        let mut disk = some(dice, self.disk);
        if lazy_sync {
            // A database that fails falls back to what was durable, and that may be a while ago (§13).
            disk.retain(|kind| !matches!(*kind, "disk-error" | "no-space" | "full-disk"));
        }
        for _ in 0..if disk.is_empty() { 0 } else { 1 + dice.below(3) } {
            let kind = *dice.pick(&disk);
            let op = if dice.chance(3, 4) { DiskOp::Change } else { DiskOp::Read };
            let effect = disk_effect(dice, kind);
            // While the server starts, or any time later.
            let nth = if dice.chance(1, 2) { dice.skewed(10) } else { dice.below(400) };
            faults.push(Fault::Disk { disk: "server".into(), op, nth: 1 + nth as u32, effect });
        }
        for _ in 0..if dice.chance(self.clocks, 8) { dice.between(1, 3) } else { 0 } {
            let days = *dice.pick(&[-40, -8, -1, 1, 8, 40]);
            // From the first, at any time, or while clients are at it.
            let at_us = match dice.below(4) {
                0 => 0,
                1 => dice.skewed(42),
                _ => dice.pick(&begins(clients)) + dice.below(3_000_000),
            };
            faults.push(Fault::Clock { of: "server".into(), at_us, step_s: days * DAY as i64 });
        }
        faults
    }
}

/// Whoever comes then has done most of a longer work when the crawler looks.
const NEARLY_DONE: &[(u64, (i64, i64))] = &[(2, (0, 0)), (8, (-5, 0)), (3, (0, 4))];
/// Whoever comes then waits for the crawler, or finds what it has done and what failed in that.
const BEHIND_IT: &[(u64, (i64, i64))] = &[(2, (0, 0)), (1, (-4, 2)), (6, (0, 4)), (4, (2, 14))];
/// Between two calls of the crawler.
const IN_ITS_MIDST: &[(u64, (i64, i64))] = &[(1, (0, 0)), (1, (-4, 2)), (8, (0, 4))];

/// How long a lease is good for, in seconds.
fn life(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::Never | Expiry::Age => LEASE,
        Expiry::Days(days) | Expiry::CutOffDay(days) => days * DAY,
    }
}

/// When each step of a client would begin if none took any time, in microseconds.
fn begins(clients: &[ClientPlan]) -> Vec<u64> {
    let mut begins = Vec::new();
    for client in clients {
        let mut at = 0;
        for step in &client.steps {
            at += step.after_ms * 1000;
            begins.push(at);
        }
    }
    begins
}

fn disk_effect(dice: &mut Dice, kind: &str) -> DiskEffect {
    use seedgrid::fault::CrashKind;
    let survivors = *dice.weighted(&[(1, 0), (1, 1), (4, 2)]);
    let survivors = if survivors == 2 { 2 + dice.below(1 << 20) } else { survivors };
    match kind {
        "process-crash" => DiskEffect::crash(CrashKind::Process, survivors),
        "power-loss" => DiskEffect::crash(CrashKind::Power, survivors),
        "disk-error" => DiskEffect::Fail { with: DiskError::Io, times: 1 + dice.skewed(4) as u32 },
        "no-space" => DiskEffect::Fail { with: DiskError::NoSpace, times: 1 + dice.skewed(4) as u32 },
        // Not for ever: who waits for months would watch a server that tries to start all that time.
        "full-disk" => DiskEffect::Full { us: Some(dice.skewed(36)) },
        _ => DiskEffect::Slow { us: dice.skewed(24), jobs: 1 + dice.skewed(5) as u32 },
    }
}

/// What the clients of a case have in common: where and when they meet.
struct Scene {
    steps: Vec<(u64, What)>,
    files: Vec<u64>,
    shares: Vec<ShareNumber>,
    /// Waits between steps, in milliseconds.
    pauses: Vec<(u64, u64)>,
    /// How many of eight wait for the crawler then, and how much of a crawl is worth meeting, in milliseconds.
    crawls: (u64, u64),
    sizes: Vec<u64>,
    ends: Vec<(u64, End)>,
    order: Vec<(u64, Order)>,
    /// Nobody waits for more than a moment, and so they do more.
    hasty: bool,
    retries: bool,
    few: u64,
}

impl Scene {
    fn draw(dice: &mut Dice, menu: &Menu, server: &ServerPlan, patient: bool) -> Scene {
        let mut steps: Vec<_> = menu.steps.iter().filter(|_| dice.chance(2, 3)).copied().collect();
        if steps.is_empty() {
            steps = menu.steps.to_vec();
        }
        let (mut files, most) = (menu.files.0.to_vec(), menu.files.1);
        dice.shuffle(&mut files);
        files.truncate(dice.between(if menu.crawls > 0 { 2 } else { 1 }, most) as usize);
        let mut shares = vec![0, 1, 2, 10, 11, 100];
        dice.shuffle(&mut shares);
        let least = if menu.crawls > 0 { 3 } else { 1 };
        shares.truncate(dice.between(least, menu.shares) as usize);
        // A crawl, an idle upload and a client often come in the same instant.
        let (crawl, cycle) = (server.crawl_after_s * 1000, server.crawl_every_s * 1000);
        // Or everybody comes at the last moment: when the crawler does.
        let mut pauses = match (dice.chance(1, 3), patient) {
            (true, true) => vec![(6, 0), (2, 20), (2, 1000), (2, crawl), (4, 7 * cycle)],
            (true, false) => vec![(6, 0), (2, 20), (2, 1000), (3, crawl), (3, cycle)],
            _ => vec![(8, 0), (2, 20), (2, 1000), (2, crawl), (1, cycle), (1, 1_800_000), (3, 2_100_000)],
        };
        if patient && pauses.len() > 5 {
            let days = [(1, DAY), (1, 11 * DAY), (3, 32 * DAY), (1, 61 * DAY), (1, 100 * DAY)];
            pauses.extend(days.map(|(weight, seconds)| (weight, seconds * 1000)));
        }
        if menu.crawls > 0 {
            pauses = vec![(6, 0), (1, 1000), (1, cycle)];
            if patient {
                // A crawl later the crawler has seen that the lease is over.
                pauses.extend([(6, life(server.expiry) * 1000), (1, 61 * DAY * 1000)]);
            }
        }
        let hasty = dice.chance(menu.haste, 8);
        if hasty {
            pauses = vec![(8, 0), (2, 20), (2, 1000), (1, 5000)];
        }
        let mut ends = vec![(8, End::Close)];
        ends.extend(menu.ends.iter().filter(|_| dice.chance(1, 3)));
        let mut order = vec![(6, Order::Forward)];
        order.extend(
            [(2, Order::Backward), (2, Order::Overlapping), (1, Order::Conflicting)]
                .iter()
                .filter(|_| dice.chance(1, 3)),
        );
        let sizes = vec![*dice.pick(&[1, 5, 499, 500, 501]), *dice.pick(&[0, 1200, 1500, 3000])];
        Scene {
            steps,
            files,
            shares,
            pauses,
            crawls: (menu.crawls, server.backend_us / 1000),
            sizes,
            ends,
            order,
            hasty,
            retries: dice.chance(2, 3),
            few: dice.below(4) + if menu.crawls > 0 { 2 } else { 0 },
        }
    }

    fn file(&self, dice: &mut Dice) -> u64 {
        *dice.pick(&self.files)
    }

    fn share(&self, dice: &mut Dice) -> ShareNumber {
        *dice.pick(&self.shares)
    }

    fn pause(&self, dice: &mut Dice) -> u64 {
        *dice.weighted(&self.pauses)
    }

    /// When to come, seen from the moment at which the crawler sets to work, in milliseconds: at a time out of one of these
    /// ranges, in calls of the backend, each with a weight.
    fn crawl(&self, dice: &mut Dice, ranges: &[(u64, (i64, i64))]) -> Option<i64> {
        let (chances, call) = self.crawls;
        if !dice.chance(chances, 8) {
            return None;
        }
        let (low, high) = *dice.weighted(ranges);
        let quarters = dice.between(0, 4 * (high - low) as u64) as i64;
        Some((low * 4 + quarters) * call as i64 / 4)
    }

    fn client(&mut self, dice: &mut Dice) -> ClientPlan {
        let (least, most) = match (self.crawls.0 > 0, self.hasty) {
            (true, _) => (3, 8),
            (false, true) => (3, 9),
            (false, false) => (1, 6),
        };
        let mut steps: Vec<_> = (0..dice.between(least, most)).map(|_| self.step(dice)).collect();
        if self.crawls.0 > 0 {
            // Whoever meets the crawler has something there.
            steps.insert(0, self.first(dice));
        }
        ClientPlan { retries: self.retries, steps }
    }

    /// A plain upload, or a plain write to slots.
    fn first(&self, dice: &mut Dice) -> Step {
        let file = self.file(dice);
        let what = if SLOTS.contains(&file) { What::Write } else { What::Upload };
        // The other shares can still come when the crawler does.
        Step {
            what,
            file,
            shares: vec![self.share(dice)],
            length: *dice.pick(&self.sizes),
            ..Step::default()
        }
    }

    fn step(&self, dice: &mut Dice) -> Step {
        let file = self.file(dice);
        let slot = SLOTS.contains(&file);
        let drawn = *dice.weighted(&self.steps);
        // What suits the file, but for now and then.
        let what = match (drawn, slot) {
            (_, false) if dice.chance(1, 24) => What::Write,
            (What::Upload | What::Touch, true) => What::Write,
            (What::List | What::Advise, true) => What::Slots,
            (What::Read, true) => What::ReadSlot,
            (What::Write, false) => What::Upload,
            (What::Slots, false) => What::List,
            (What::ReadSlot, false) => What::Read,
            (other, _) => other,
        };
        let mut shares: Vec<_> = self.shares.iter().filter(|_| dice.chance(1, 2)).copied().collect();
        if shares.is_empty() {
            shares.push(self.share(dice));
        }
        let mut step = Step { after_ms: self.pause(dice), what, file, ..Step::default() };
        let ranges = if matches!(what, What::Upload | What::Write) { NEARLY_DONE } else { BEHIND_IT };
        step.crawl_ms = self.crawl(dice, ranges);
        match what {
            What::Upload => {
                step.shares = shares;
                step.length = *dice.pick(&self.sizes);
                step.text = dice.below(2);
                step.pieces = dice.between(1, 4);
                step.gap_ms = *dice.weighted(&[(5, 0), (2, 10), (1, 1000), (1, 1_000_000)]);
                step.order = *dice.weighted(&self.order);
                step.end = *dice.weighted(&self.ends);
            }
            What::Write => {
                step.shares = shares;
                let size = *dice.pick(&self.sizes);
                step.offset = *dice.weighted(&[(4, 0), (1, 3), (1, size)]);
                step.length = if dice.chance(1, 12) { 0 } else { size };
                step.text = dice.below(4);
                step.test = *dice.weighted(&[
                    (5, Test::Nothing),
                    (2, Test::Absent),
                    (2, Test::Same),
                    (1, Test::Wrong),
                ]);
                step.cut = *dice.weighted(&[(6, None), (2, Some(0)), (1, Some(2)), (1, Some(700))]);
                step.stranger = dice.chance(1, 16);
                step.too_far = step.cut.is_none() && dice.chance(1, 10);
            }
            What::Read | What::ReadSlot => {
                step.shares = if what == What::Read { shares } else { vec![shares[0]] };
                step.offset = *dice.weighted(&[(4, 0), (1, 1), (1, 499)]);
                step.length = *dice.pick(&[1, 64, 10_000]);
            }
            _ => {}
        }
        step
    }
}
