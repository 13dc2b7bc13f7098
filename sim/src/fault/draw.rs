//! Drawing faults of disks and clocks: for scenarios, whose part it is to decide which kinds and how many.
//!
//! ```
//! use seedgrid::case::Dice;
//! use seedgrid::fault::{CLOCK_KINDS, DiskEffect, Fault};
//!
//! /// Up to three faults of the disk `S0`, of some kinds that are drawn for each case anew (a swarm).
//! fn draw(dice: &mut Dice) -> Vec<Fault> {
//!     let kinds: Vec<&str> = DiskEffect::KINDS.into_iter().filter(|_| dice.chance(1, 2)).collect();
//!     let many = if kinds.is_empty() { 0 } else { dice.below(4) };
//!     let mut faults: Vec<Fault> = (0..many)
//!         .map(|_| {
//!             let kind = *dice.pick(&kinds);
//!             Fault::draw_disk(dice, "S0", kind, 100)
//!         })
//!         .collect();
//!     if dice.chance(1, 4) {
//!         let kind = *dice.pick(&CLOCK_KINDS);
//!         faults.push(Fault::draw_clock(dice, "S0", kind, 60_000_000));
//!     }
//!     faults
//! }
//! # assert!((0..50).any(|seed| !draw(&mut Dice::new(seed, "faults")).is_empty()));
//! ```

use super::{CLOCK_SKEW, CrashKind, DiskEffect, DiskError, DiskOp, Fault};
use crate::case::Dice;

impl Fault {
    /// A fault of that kind (of [`DiskEffect::KINDS`]; any other is a process crash) at one of the first `operations` of
    /// the disk that can have it. [`Disk::operations`](crate::world::Disk::operations) tells how many a run makes.
    pub fn draw_disk(dice: &mut Dice, disk: &str, kind: &str, operations: u64) -> Fault {
        let reads = matches!(kind, "disk-error" | "bit-rot" | "slow-disk") && dice.chance(1, 2);
        let op = if reads { DiskOp::Read } else { DiskOp::Change };
        let nth = 1 + dice.below(operations.max(1)) as u32;
        Fault::Disk { disk: disk.into(), op, nth, effect: draw_effect(dice, kind) }
    }

    /// A clock that is wrong: from the start, or set within so many microseconds.
    pub fn draw_clock(dice: &mut Dice, of: &str, kind: &str, within_us: u64) -> Fault {
        let at_us = if kind == CLOCK_SKEW { 0 } else { 1 + dice.below(within_us.max(1)) };
        // Seconds to a year and more: about a lease, and far beyond it.
        let step_s = 1 + dice.skewed(26) as i64;
        Fault::Clock { of: of.into(), at_us, step_s: if dice.chance(1, 2) { step_s } else { -step_s } }
    }
}

fn draw_effect(dice: &mut Dice, kind: &str) -> DiskEffect {
    match kind {
        "disk-error" => DiskEffect::Fail { with: DiskError::Io, times: 1 + dice.skewed(4) as u32 },
        "no-space" => DiskEffect::Fail { with: DiskError::NoSpace, times: 1 + dice.skewed(4) as u32 },
        "bit-rot" => DiskEffect::Rot { at: dice.skewed(20), bit: dice.below(8) as u8 },
        "full-disk" => {
            let us = dice.chance(3, 4).then(|| 1 + dice.skewed(26));
            DiskEffect::Full { us }
        }
        "slow-disk" => DiskEffect::Slow { us: 1 + dice.skewed(25), jobs: 1 + dice.skewed(4) as u32 },
        _ => {
            let how = if kind == CrashKind::Power.name() { CrashKind::Power } else { CrashKind::Process };
            let drawn = 2 + dice.below(1 << 16);
            let survivors = *dice.weighted(&[(1, 0), (1, 1), (6, drawn)]);
            // At once, or long after everybody has given up.
            DiskEffect::Crash { how, survivors, restart_us: Some(1 + dice.skewed(26)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::CLOCK_KINDS;

    #[test]
    fn what_is_drawn_is_of_the_kind_that_was_asked_for() {
        let mut dice = Dice::new(1, "faults");
        for kind in DiskEffect::KINDS {
            for _ in 0..50 {
                let Fault::Disk { op, nth, effect, .. } = Fault::draw_disk(&mut dice, "S0", kind, 9) else {
                    panic!("{kind} is of a disk");
                };
                assert!(effect.name() == kind && (1..=9).contains(&nth), "{effect:?} at {nth}");
                assert!(op == DiskOp::Change || !DiskEffect::CRASHES.contains(&kind));
            }
        }
        for kind in CLOCK_KINDS {
            let fault = Fault::draw_clock(&mut dice, "S0", kind, 9);
            assert!(matches!(fault, Fault::Clock { at_us, .. } if (at_us == 0) == (kind == CLOCK_SKEW)));
        }
    }
}
