//! First in, first out.

use super::{Candidate, Schedule};

pub(super) struct Fifo;

impl Schedule for Fifo {
    fn pick(&mut self, _ready: &[Candidate]) -> usize {
        0
    }
}
