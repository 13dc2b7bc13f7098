//! What survives a crash, drawn from one number.

use std::ops::Range;

use crate::case::Dice;

/// Bytes that a medium writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// What survives of that which was not durable.
pub(super) enum Fate {
    Nothing,
    Everything,
    Drawn {
        dice: Box<Dice>,
        /// How many changes of 16 survive, and how many writes of 16 are torn: a crash in which all but one survive is as
        /// likely as one in which all but one are lost.
        kept: u64,
        torn: u64,
    },
}

impl Fate {
    /// 0 is nothing, 1 everything; any other number is a seed.
    pub(super) fn of(survivors: u64) -> Fate {
        match survivors {
            0 => Fate::Nothing,
            1 => Fate::Everything,
            seed => {
                let mut dice = Dice::new(seed, "survivors");
                let (kept, torn) = (*dice.pick(&[1, 4, 8, 12, 15]), *dice.pick(&[0, 1, 8]));
                Fate::Drawn { dice: Box::new(dice), kept, torn }
            }
        }
    }

    pub(super) fn spares_all(&self) -> bool {
        matches!(self, Fate::Everything)
    }

    /// Whether a change survives.
    pub(super) fn spares(&mut self) -> bool {
        match self {
            Fate::Nothing => false,
            Fate::Everything => true,
            Fate::Drawn { dice, kept, .. } => dice.chance(*kept, 16),
        }
    }

    /// How many survive of changes that can only survive in their order.
    pub(super) fn up_to(&mut self, count: usize) -> usize {
        match self {
            Fate::Nothing => 0,
            Fate::Everything => count,
            Fate::Drawn { dice, .. } => dice.between(0, count as u64) as usize,
        }
    }

    /// Which parts of a write survive: all of it, nothing, or any of its sectors.
    pub(super) fn sectors(&mut self, offset: u64, length: usize) -> Vec<Range<usize>> {
        if let Fate::Drawn { dice, torn, .. } = self
            && dice.chance(*torn, 16)
        {
            return sectors(offset, length).filter(|_| dice.chance(1, 2)).collect();
        }
        let whole = 0..length;
        self.spares().then_some(whole).into_iter().collect()
    }
}

/// The parts of a write that lie in one sector each.
fn sectors(offset: u64, length: usize) -> impl Iterator<Item = Range<usize>> {
    let first = SECTOR - (offset % SECTOR as u64) as usize;
    let starts = std::iter::once(0).chain((first..).step_by(SECTOR)).take_while(move |start| *start < length);
    starts.map(move |start| {
        let end = if start == 0 { first } else { start + SECTOR };
        start..end.min(length)
    })
}
