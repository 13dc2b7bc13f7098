//! Chaos: how a seed draws servers, reads and faults. Scenarios put these pieces together.
//!
//! Every case first draws which kinds of faults it has at all, and how many: a run in which everything fails is as
//! blind as one in which nothing does.

use seedgrid::case::Dice;
use seedgrid::fault::{CallKind, Damage, Effect, Fault, OffsetField, Refusal, Region};
use seedgrid::grid::StoredFile;
use seedgrid::world::Knobs;

use crate::workload::{ReadPlan, ReaderPlan, ServerPlan};

/// Servers, as many as asked for, with the file's shares dealt round-robin; all of one temper: instant, quick or far.
pub fn servers(dice: &mut Dice, count: usize, shares: u32) -> Vec<ServerPlan> {
    let temper =
        *dice.weighted(&[(2, (0, 0)), (3, (200, 800)), (3, (1_000, 30_000)), (1, (20_000, 200_000))]);
    let mut servers: Vec<_> = (0..count)
        .map(|_| ServerPlan { latency_us: temper.0, jitter_us: temper.1, ..ServerPlan::default() })
        .collect();
    for share in 0..shares {
        servers[share as usize % count].shares.push(share);
    }
    servers
}

/// Sometimes puts further copies of shares on servers, or piles shares up on one.
pub fn crowd(dice: &mut Dice, servers: &mut [ServerPlan], shares: u32) {
    if dice.chance(1, 4) {
        for _ in 0..dice.between(1, 6) {
            let server = dice.below(servers.len() as u64) as usize;
            let share = dice.below(u64::from(shares)) as u32;
            if !servers[server].shares.contains(&share) {
                servers[server].shares.push(share);
                servers[server].shares.sort_unstable();
            }
        }
    }
}

/// Sometimes stores hardly more shares than are needed, so that each one counts.
pub fn scarce(dice: &mut Dice, servers: &mut [ServerPlan], file: &StoredFile) {
    if dice.chance(1, 4) {
        let mut numbers: Vec<_> = (0..file.cap.n).collect();
        dice.shuffle(&mut numbers);
        numbers.truncate((u64::from(file.cap.k) + dice.below(3)) as usize);
        servers.iter_mut().for_each(|server| server.shares.retain(|share| numbers.contains(share)));
    }
}

/// Sometimes lets some servers join the grid after the first readers have begun.
pub fn latecomers(dice: &mut Dice, servers: &mut [ServerPlan]) {
    if dice.chance(1, 8) {
        for _ in 0..dice.between(1, 4) {
            let server = dice.below(servers.len() as u64) as usize;
            servers[server].joins_us = 1 + dice.skewed(20);
        }
    }
}

/// Sometimes lets a background job take its time.
pub fn knobs(dice: &mut Dice) -> Knobs {
    Knobs { job_us: *dice.weighted(&[(2, 0), (1, 1_000), (2, 50_000)]) }
}

/// Sometimes makes nodes guess another segment size than the client's own guess: right, too low, or too high.
pub fn guess(dice: &mut Dice, file: &StoredFile) -> Option<u64> {
    let right = file.sizes.segment_size;
    *dice.weighted(&[(4, None), (2, Some(right)), (3, Some((right / 3).max(1))), (1, Some(right * 3))])
}

/// A range of the file of one of the kinds that matter: all, a segment, an edge, anything, past the end.
pub fn range(dice: &mut Dice, file: &StoredFile) -> ReadPlan {
    let (size, segment) = (file.cap.size, file.sizes.segment_size);
    let number = dice.below(file.sizes.segments);
    let start = number * segment;
    let (offset, length) = match dice.below(8) {
        0 | 1 => (0, None),
        2 => (start, Some(segment)),
        3 => (start + segment / 2, Some(segment)),
        4 => (start.saturating_sub(1), Some(2)),
        5 => (dice.below(size), Some(dice.skewed(12))),
        6 => (start, Some(1 + dice.below(20))),
        _ => (size.saturating_sub(dice.below(3)), Some(dice.below(100))),
    };
    ReadPlan { offset, length, ..ReadPlan::default() }
}

/// Some readers, each with some reads, on one node for the most part; some of the reads are dropped half-way.
pub fn readers(dice: &mut Dice, file: &StoredFile, count: u64, spread_us: u64) -> Vec<ReaderPlan> {
    let one_node = dice.chance(5, 6);
    let at_once = dice.chance(1, 2);
    let may_drop = dice.chance(1, 2);
    let mut reader = |number: u64| ReaderPlan {
        node: if one_node { 0 } else { number as u32 },
        starts_us: if at_once { 0 } else { dice.below(spread_us + 1) },
        reads: {
            let mut reads = Vec::new();
            for _ in 0..dice.between(1, 3) {
                let read = range(dice, file);
                if may_drop && dice.chance(1, 2) {
                    // Half-way somebody loses patience, and then perhaps tries again.
                    let mut dropped = read.clone();
                    drop_half_way(dice, &mut dropped, spread_us);
                    reads.push(dropped);
                    if dice.chance(1, 2) {
                        continue;
                    }
                }
                reads.push(read);
            }
            reads
        },
    };
    (0..count).map(&mut reader).collect()
}

/// Has the read dropped, after a while or after some pieces.
pub fn drop_half_way(dice: &mut Dice, read: &mut ReadPlan, spread_us: u64) {
    match dice.chance(2, 3) {
        true => read.drop_after_us = Some(dice.below(spread_us + 1)),
        false => read.drop_after_pieces = Some(dice.below(3)),
    }
}

/// How long reads on such servers take, more or less: the scale for starts and drops.
pub fn spread_us(servers: &[ServerPlan], knobs: &Knobs) -> u64 {
    let slowest = servers.iter().map(|server| server.latency_us + server.jitter_us).max();
    8 * (slowest.unwrap_or(0) + knobs.job_us / 2) + 50
}

/// Damage of any kind to some share.
pub fn damage(dice: &mut Dice, file: &StoredFile) -> Damage {
    match dice.below(12) {
        0..=4 => flip(dice),
        5 | 6 => Damage::Truncate { length: truncated(dice, file) },
        7 => Damage::Missing,
        8 => Damage::WrongNumber { claims: dice.below(u64::from(file.cap.n) + 3) as u32 },
        9 => Damage::OtherFile,
        _ => Damage::StaleOffset {
            field: *dice.pick(&OffsetField::ALL),
            by: *dice.pick(&[1, 2, 32, 34, -32, -1, 1 << 20, i64::MAX]),
        },
    }
}

/// A flipped bit in any region; block data for preference.
pub fn flip(dice: &mut Dice) -> Damage {
    let region = if dice.chance(1, 2) { Region::Data } else { *dice.pick(&Region::ALL) };
    let at = if dice.chance(1, 2) { dice.below(20) } else { dice.below(4096) };
    Damage::Flip { region, at, bit: dice.below(8) as u8 }
}

/// A length to which a share is cut: often shorter than its header.
pub fn truncated(dice: &mut Dice, file: &StoredFile) -> u64 {
    match dice.below(4) {
        0 => 0,
        1 => dice.below(70),
        2 => dice.below(file.share_len()),
        _ => file.share_len() - 1 - dice.below(file.share_len().min(400)),
    }
}

/// Damages some shares: each in its own way, or all in the same.
pub fn damage_shares(dice: &mut Dice, file: &StoredFile, servers: &[ServerPlan], most: u64) -> Vec<Fault> {
    let mut stored: Vec<_> = servers
        .iter()
        .enumerate()
        .flat_map(|(server, plan)| plan.shares.iter().map(move |share| (server, *share)))
        .collect();
    dice.shuffle(&mut stored);
    let count = dice.between(1, most.max(1)) as usize;
    let same = dice.chance(1, 3).then(|| damage(dice, file));
    stored.truncate(count);
    let faults = stored.into_iter().map(|(server, share)| {
        let damage = same.clone().unwrap_or_else(|| damage(dice, file));
        Fault::Share { server, share, damage }
    });
    faults.collect()
}

/// An effect of any kind on some call.
pub fn effect(dice: &mut Dice) -> Effect {
    match dice.below(12) {
        0 | 1 => Effect::Hang,
        2 => slow(dice),
        3 => refuse(dice),
        4 => Effect::Disconnect,
        5 => Effect::Short { keep: dice.skewed(8) },
        6 => Effect::Long { extra: 1 + dice.skewed(8) },
        7 => Effect::Garbage,
        8 => Effect::Duplicate,
        9 => Effect::Pause { us: dice.skewed(24) },
        _ => Effect::Crash { restart_us: dice.chance(1, 2).then(|| dice.skewed(24)) },
    }
}

/// An answer that comes late: a little, or so late that it is overdue, or later than anybody waits.
pub fn slow(dice: &mut Dice) -> Effect {
    let seconds = *dice.pick(&[1, 5, 11, 25, 60]);
    Effect::Slow { us: seconds * 1_000_000 + dice.below(1_000_000) }
}

/// An error of any kind.
pub fn refuse(dice: &mut Dice) -> Effect {
    let refusals =
        [Refusal::Failed, Refusal::BadAnswer, Refusal::NoSuchShare, Refusal::Disk, Refusal::Disconnected];
    Effect::Refuse { with: *dice.pick(&refusals) }
}

/// A call at which something may go wrong: queries and early reads for the most part.
pub fn call(dice: &mut Dice) -> (CallKind, u32) {
    match dice.below(8) {
        0 | 1 => (CallKind::Dyhb, 1),
        7 => (CallKind::Advise, 1),
        _ => (CallKind::Read, 1 + dice.skewed(3) as u32),
    }
}

/// Makes calls to some servers go wrong: each in its own way, or all in the same.
pub fn disturb_calls(dice: &mut Dice, servers: usize, most: u64) -> Vec<Fault> {
    let same = dice.chance(1, 3).then(|| (call(dice), effect(dice)));
    let mut victims: Vec<_> = (0..servers).collect();
    dice.shuffle(&mut victims);
    let count = dice.between(1, most.max(1)) as usize;
    let faults = (0..count).map(|fault| {
        let ((call, nth), effect) = same.clone().unwrap_or_else(|| (call(dice), effect(dice)));
        Fault::Call { server: victims[fault % servers], call, nth, effect }
    });
    faults.collect()
}

/// Everything together, or nothing, or something between.
pub fn faults(dice: &mut Dice, file: &StoredFile, servers: &[ServerPlan]) -> Vec<Fault> {
    let most_damage = *dice.weighted(&[(3, 0), (3, 2), (4, u64::from(file.cap.n - file.cap.k)), (2, 64)]);
    let most_calls = *dice.weighted(&[(3, 0), (4, 3), (3, servers.len() as u64)]);
    let mut faults = Vec::new();
    if most_damage > 0 {
        faults.extend(damage_shares(dice, file, servers, most_damage.min(u64::from(file.cap.n))));
    }
    if most_calls > 0 {
        faults.extend(disturb_calls(dice, servers.len(), most_calls));
    }
    faults
}
