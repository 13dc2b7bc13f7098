//! Chaos: how a seed draws servers, reads and faults of the kinds that its swarm has. Scenarios put these pieces together.

use seedgrid::case::Dice;
use seedgrid::fault::{CallKind, Damage, Effect, Fault, OffsetField, Refusal, Region};
use seedgrid::grid::StoredFile;
use seedgrid::world::Knobs;

use crate::swarm::{Circumstance, Swarm};
use crate::workload::{GridWorkload, ReadPlan, ReaderPlan, ServerPlan};

/// Servers, as many as asked for, with the file's shares dealt round-robin; all of one temper: instant, even, quick or far.
pub fn servers(dice: &mut Dice, count: usize, shares: u32) -> Vec<ServerPlan> {
    let temper = *dice.weighted(&[
        (2, (0, 0)),
        (2, (500, 0)),
        (2, (200, 800)),
        (2, (1_000, 30_000)),
        (1, (20_000, 200_000)),
    ]);
    let mut servers: Vec<_> = (0..count)
        .map(|_| ServerPlan { latency_us: temper.0, jitter_us: temper.1, ..ServerPlan::default() })
        .collect();
    for share in 0..shares {
        servers[share as usize % count].shares.push(share);
    }
    servers
}

/// Changes the grid and the client's settings as the swarm's circumstances have it.
pub fn circumstances(dice: &mut Dice, swarm: &Swarm, workload: &mut GridWorkload, file: &StoredFile) {
    let servers = &mut workload.servers;
    if swarm.has(Circumstance::Scarcity) {
        scarce(dice, servers, file);
    }
    if swarm.has(Circumstance::Crowding) {
        crowd(dice, servers, file.cap.n);
    }
    if swarm.has(Circumstance::Latecomers) {
        for _ in 0..dice.between(1, 4) {
            let server = dice.below(servers.len() as u64) as usize;
            servers[server].joins_us = 1 + dice.skewed(20);
        }
    }
    if swarm.has(Circumstance::StrictServers) {
        servers.iter_mut().for_each(|server| server.rejects_overrun = true);
    }
    workload.guess = guess(dice, swarm, file);
    workload.most_queries = swarm.has(Circumstance::NarrowSearch).then(|| dice.between(1, 4) as usize);
    workload.most_advice = swarm.has(Circumstance::LittleAdvice).then(|| dice.below(3) as usize);
}

/// Stores hardly more shares than are needed, so that each one counts.
fn scarce(dice: &mut Dice, servers: &mut [ServerPlan], file: &StoredFile) {
    let mut numbers: Vec<_> = (0..file.cap.n).collect();
    dice.shuffle(&mut numbers);
    let spare = *dice.pick(&[0, 0, 1, 2]);
    numbers.truncate(file.cap.k as usize + spare);
    servers.iter_mut().for_each(|server| server.shares.retain(|share| numbers.contains(share)));
}

/// Puts further copies of shares on servers, or piles shares up on one.
fn crowd(dice: &mut Dice, servers: &mut [ServerPlan], shares: u32) {
    for _ in 0..dice.between(1, 6) {
        let server = dice.below(servers.len() as u64) as usize;
        let share = dice.below(u64::from(shares)) as u32;
        if !servers[server].shares.contains(&share) {
            servers[server].shares.push(share);
            servers[server].shares.sort_unstable();
        }
    }
}

/// How long a background job may take: no time, or some.
pub fn knobs(dice: &mut Dice, swarm: &Swarm) -> Knobs {
    let slow = *dice.pick(&[1_000, 10_000, 50_000, 200_000]);
    Knobs { job_us: if swarm.has(Circumstance::SlowJobs) { slow } else { 0 } }
}

/// The segment size that nodes guess. A wrong one is the client's own guess, too low by some factor, or too high.
fn guess(dice: &mut Dice, swarm: &Swarm, file: &StoredFile) -> Option<u64> {
    let right = file.sizes.segment_size;
    let low = (right / dice.between(2, 12)).max(1);
    let wrong = *dice.weighted(&[(3, None), (6, Some(low)), (1, Some(right * 3))]);
    if swarm.has(Circumstance::WrongGuess) { wrong } else { Some(right) }
}

/// A range of the file of one of the kinds that matter: all, a segment, an edge, anything, the end, past the end.
pub fn range(dice: &mut Dice, file: &StoredFile) -> ReadPlan {
    let (size, segment) = (file.cap.size, file.sizes.segment_size);
    let number = dice.below(file.sizes.segments);
    let start = number * segment;
    let (offset, length) = match dice.below(10) {
        0 | 1 => (0, None),
        2 => (start, Some(segment)),
        3 => (start + segment / 2, Some(segment)),
        4 => (start.saturating_sub(1), Some(2)),
        5 => (dice.below(size), Some(dice.skewed(12))),
        6 => (start, Some(1 + dice.below(20))),
        7 => (start, None),
        8 => ((file.sizes.segments - 1) * segment, None),
        _ => (size.saturating_sub(dice.below(3)), Some(dice.below(100))),
    };
    ReadPlan { offset, length, ..ReadPlan::default() }
}

/// Readers, each with some reads: on one node or several, of their own ranges or the same few, at once or one after the
/// other. `span_us` is about how long a read takes.
pub fn readers(dice: &mut Dice, swarm: &Swarm, file: &StoredFile, span_us: u64) -> Vec<ReaderPlan> {
    let count = match swarm.has(Circumstance::ManyReaders) {
        true => dice.between(3, 5),
        false => dice.between(1, 2),
    };
    let hot: Vec<_> = (0..dice.between(1, 3)).map(|_| range(dice, file)).collect();
    let mut reader = |number: u64| {
        let late = swarm.strikes(dice, Circumstance::LateStarts);
        let starts_us = if late { dice.below(span_us + 1) } else { 0 };
        let mut reads = Vec::new();
        for _ in 0..dice.between(1, if count > 2 { 2 } else { 3 }) {
            let fresh = range(dice, file);
            let mut read = match swarm.has(Circumstance::HotRanges) {
                true => dice.pick(&hot).clone(),
                false => fresh,
            };
            if swarm.strikes(dice, Circumstance::Pauses) {
                pause(dice, &mut read, span_us);
            }
            // Somebody loses patience, and tries again, and perhaps gives up in the end.
            let mut drops = 0;
            while drops < 3 && swarm.strikes(dice, Circumstance::Drops) {
                let mut dropped = read.clone();
                drop_half_way(dice, &mut dropped, span_us);
                reads.push(dropped);
                drops += 1;
            }
            if drops == 0 || dice.chance(2, 3) {
                reads.push(read);
            }
        }
        let node = if swarm.has(Circumstance::SeveralNodes) { number as u32 } else { 0 };
        ReaderPlan { node, starts_us, reads }
    };
    (0..count).map(&mut reader).collect()
}

/// Has the read paused, for a while or for hours.
fn pause(dice: &mut Dice, read: &mut ReadPlan, span_us: u64) {
    read.pause_after_pieces = Some(dice.below(4));
    read.pause_us = *dice.pick(&[span_us / 4, span_us, 15_000_000, 3_600_000_000]);
}

/// Has the read dropped: after a while (a whole span, or a half of it, and so on), after some turns, both, or after some
/// pieces.
fn drop_half_way(dice: &mut Dice, read: &mut ReadPlan, span_us: u64) {
    let longest = span_us >> dice.below(8);
    let while_us = dice.below(longest + 1);
    let turns = dice.skewed(7) as u32;
    match dice.below(8) {
        0..=3 => read.drop_after_us = Some(while_us),
        4 | 5 => read.drop_after_turns = Some(turns),
        6 => (read.drop_after_us, read.drop_after_turns) = (Some(while_us), Some(turns)),
        _ => read.drop_after_pieces = Some(dice.below(3)),
    }
}

/// How long reads on such servers take, more or less: the scale for starts, drops and pauses.
pub fn span_us(servers: &[ServerPlan], knobs: &Knobs) -> u64 {
    let slowest = servers.iter().map(|server| server.latency_us + server.jitter_us).max();
    8 * (slowest.unwrap_or(0) + knobs.job_us / 2) + 50
}

/// Damage of some kind to some share.
pub fn damage(dice: &mut Dice, kind: &str, file: &StoredFile) -> Damage {
    match kind {
        "flip" => flip(dice),
        "truncate" => Damage::Truncate { length: truncated(dice, file) },
        "missing" => Damage::Missing,
        "wrong-number" => Damage::WrongNumber { claims: dice.below(u64::from(file.cap.n) + 3) as u32 },
        "other-file" => Damage::OtherFile,
        _ => Damage::StaleOffset {
            field: *dice.pick(&OffsetField::ALL),
            by: *dice.pick(&[1, 2, 32, 34, -32, -1, 1 << 20, i64::MAX]),
        },
    }
}

/// A flipped bit in any region; block data for preference.
fn flip(dice: &mut Dice) -> Damage {
    let region = if dice.chance(1, 2) { Region::Data } else { *dice.pick(&Region::ALL) };
    let at = if dice.chance(1, 2) { dice.below(20) } else { dice.below(4096) };
    Damage::Flip { region, at, bit: dice.below(8) as u8 }
}

/// A length to which a share is cut: often shorter than its header.
fn truncated(dice: &mut Dice, file: &StoredFile) -> u64 {
    match dice.below(4) {
        0 => 0,
        1 => dice.below(70),
        2 => dice.below(file.share_len()),
        _ => file.share_len() - 1 - dice.below(file.share_len().min(400)),
    }
}

/// Damages some shares: each in its own way, or all in the same. Often just so many that all others are needed.
pub fn damage_shares(
    dice: &mut Dice,
    swarm: &Swarm,
    file: &StoredFile,
    servers: &[ServerPlan],
) -> Vec<Fault> {
    let mut stored: Vec<_> = servers
        .iter()
        .enumerate()
        .flat_map(|(server, plan)| plan.shares.iter().map(move |share| (server, *share)))
        .collect();
    dice.shuffle(&mut stored);
    let spare = (stored.len() as u64).saturating_sub(file.cap.k.into());
    let few = dice.between(1, 3);
    let any = dice.between(1, file.cap.n.into());
    stored.truncate(*dice.weighted(&[(3, few), (3, any), (2, spare), (1, spare + 1)]) as usize);
    let same = dice.chance(1, 3).then(|| swarm.damage.pick(dice)).flatten();
    let same = same.map(|kind| damage(dice, kind, file));
    let mut fault = |(server, share)| {
        let own = swarm.damage.pick(dice).map(|kind| damage(dice, kind, file));
        Some(Fault::Share { server, share, damage: same.clone().or(own)? })
    };
    stored.into_iter().filter_map(&mut fault).collect()
}

/// An effect of some kind on some call.
pub fn effect(dice: &mut Dice, kind: &str) -> Effect {
    match kind {
        "hang" => Effect::Hang,
        "slow" => slow(dice),
        "refuse" => refuse(dice),
        "disconnect" => Effect::Disconnect,
        "short" => Effect::Short { keep: dice.skewed(8) },
        "long" => Effect::Long { extra: 1 + dice.skewed(8) },
        "garbage" => Effect::Garbage,
        "duplicate" => Effect::Duplicate,
        "pause" => Effect::Pause { us: dice.skewed(26) },
        _ => Effect::Crash { restart_us: dice.chance(1, 2).then(|| dice.skewed(24)) },
    }
}

/// An answer that comes late: a little, or so late that it is overdue, or later than anybody waits.
fn slow(dice: &mut Dice) -> Effect {
    let seconds = *dice.pick(&[1, 5, 11, 25, 60]);
    Effect::Slow { us: seconds * 1_000_000 + dice.below(1_000_000) }
}

/// An error of any kind.
fn refuse(dice: &mut Dice) -> Effect {
    let refusals =
        [Refusal::Failed, Refusal::BadAnswer, Refusal::NoSuchShare, Refusal::Disk, Refusal::Disconnected];
    Effect::Refuse { with: *dice.pick(&refusals) }
}

/// A call at which something may go wrong: queries and early reads for the most part.
fn call(dice: &mut Dice) -> (CallKind, u32) {
    match dice.below(8) {
        0 | 1 => (CallKind::Dyhb, 1),
        7 => (CallKind::Advise, 1),
        _ => (CallKind::Read, 1 + dice.skewed(3) as u32),
    }
}

/// Makes calls to some servers go wrong: each in its own way, or all in the same.
pub fn disturb_calls(dice: &mut Dice, swarm: &Swarm, servers: usize) -> Vec<Fault> {
    let mut victims: Vec<_> = (0..servers).collect();
    dice.shuffle(&mut victims);
    let (few, any) = (dice.between(1, 3), dice.between(1, servers as u64));
    victims.truncate(*dice.weighted(&[(1, few), (1, any)]) as usize);
    let same =
        dice.chance(1, 3).then(|| (call(dice), swarm.effects.pick(dice).map(|kind| effect(dice, kind))));
    let mut fault = |server| {
        let own = (call(dice), swarm.effects.pick(dice).map(|kind| effect(dice, kind)));
        let ((call, nth), effect) = same.clone().unwrap_or(own);
        Some(Fault::Call { server, call, nth, effect: effect? })
    };
    victims.into_iter().filter_map(&mut fault).collect()
}

/// Faults of both sorts, of one, or none.
pub fn faults(dice: &mut Dice, swarm: &Swarm, file: &StoredFile, servers: &[ServerPlan]) -> Vec<Fault> {
    let (damaged, disturbed) =
        *dice.weighted(&[(4, (true, true)), (3, (true, false)), (3, (false, true)), (1, (false, false))]);
    let mut faults = Vec::new();
    if damaged {
        faults.extend(damage_shares(dice, swarm, file, servers));
    }
    if disturbed {
        faults.extend(disturb_calls(dice, swarm, servers.len()));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::FileSpec;

    #[test]
    fn every_kind_can_be_drawn() {
        let mut dice = Dice::new(1, "every kind");
        let file = FileSpec::fixture("standard").load().expect("there is that file");
        for kind in Damage::KINDS {
            assert_eq!(damage(&mut dice, kind, file).name(), kind);
        }
        for kind in Effect::KINDS {
            assert_eq!(effect(&mut dice, kind).name(), kind);
        }
    }
}
