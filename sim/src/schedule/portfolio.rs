//! The portfolio: which kinds of schedule the seeds draw, how often, and with which parameters.
//!
//! The weights follow `cargo bench -p scenarios --bench schedules`, which counts how often each kind finds each known bug.
//! Most are found as often under any; of the others, some need what first in first out does and some what it never does,
//! so both halves have their share. PCTCP finds nothing more often than PCT does, and the uniform random walk not twice as
//! often as anything, which is what its second run costs: both are there to be asked for, and have no weight.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ScheduleSpec;
use crate::case::Dice;

/// A kind of schedule that a seed can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// [`ScheduleSpec::Fifo`].
    Fifo,
    /// [`ScheduleSpec::Uniform`].
    Uniform,
    /// [`ScheduleSpec::Bounded`].
    Bounded,
    /// [`ScheduleSpec::Pct`].
    Pct,
    /// [`ScheduleSpec::Pctcp`].
    Pctcp,
    /// [`ScheduleSpec::Urw`].
    Urw,
}

/// How often a seed draws which kind: the weights of the default portfolio.
pub const PORTFOLIO: [(u64, ScheduleKind); 4] =
    [(2, ScheduleKind::Fifo), (2, ScheduleKind::Bounded), (4, ScheduleKind::Uniform), (2, ScheduleKind::Pct)];

impl ScheduleKind {
    /// All kinds.
    pub const ALL: [ScheduleKind; 6] = [
        ScheduleKind::Fifo,
        ScheduleKind::Uniform,
        ScheduleKind::Bounded,
        ScheduleKind::Pct,
        ScheduleKind::Pctcp,
        ScheduleKind::Urw,
    ];

    /// The kind that `seed` draws from the [`PORTFOLIO`].
    pub fn draw(seed: u64) -> ScheduleKind {
        ScheduleKind::draw_from(&mut Dice::new(seed, "which schedule"))
    }

    /// The kind that these dice draw from the [`PORTFOLIO`].
    pub(crate) fn draw_from(dice: &mut Dice) -> ScheduleKind {
        *dice.weighted(&PORTFOLIO)
    }

    /// The schedule of this kind that `seed` draws. Depths are 1 ..= 4, departures 1 ..= 8, few more often than many; steps
    /// are 64 ..= 2047 with a uniform number of bits: nine in ten runs of the scenarios take 120 to 1,200 decisions, half of
    /// them at most 310.
    pub fn schedule(self, seed: u64) -> ScheduleSpec {
        self.schedule_from(&mut Dice::new(seed, "schedule parameters"))
    }

    /// The schedule of this kind that these dice draw.
    pub(crate) fn schedule_from(self, dice: &mut Dice) -> ScheduleSpec {
        let mut steps = || {
            let bits = dice.between(6, 10);
            (1 << bits | dice.below(1 << bits)) as u32
        };
        match self {
            ScheduleKind::Fifo => ScheduleSpec::Fifo,
            ScheduleKind::Uniform => ScheduleSpec::Uniform,
            ScheduleKind::Urw => ScheduleSpec::Urw,
            ScheduleKind::Bounded => {
                ScheduleSpec::Bounded { steps: steps(), departures: 1 + dice.skewed(3) as u32 }
            }
            ScheduleKind::Pct => ScheduleSpec::Pct { steps: steps(), depth: dice.between(1, 4) as u32 },
            ScheduleKind::Pctcp => ScheduleSpec::Pctcp { steps: steps(), depth: dice.between(1, 4) as u32 },
        }
    }

    /// Its name, on the command line and in case files.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleKind::Fifo => "fifo",
            ScheduleKind::Uniform => "uniform",
            ScheduleKind::Bounded => "bounded",
            ScheduleKind::Pct => "pct",
            ScheduleKind::Pctcp => "pctcp",
            ScheduleKind::Urw => "urw",
        }
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
