//! Any ready task, each with the same chance.

use super::{Candidate, Schedule};
use crate::case::Dice;

pub(super) struct Uniform {
    dice: Dice,
}

impl Uniform {
    pub(super) fn new(seed: u64) -> Self {
        Uniform { dice: Dice::new(seed, "schedule") }
    }
}

impl Schedule for Uniform {
    fn pick(&mut self, ready: &[Candidate]) -> usize {
        self.dice.below(ready.len() as u64) as usize
    }
}
