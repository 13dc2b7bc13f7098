//! The oracles: what must hold of every run, one checker per file. Each takes facts and gives a verdict on them.

mod budget;
mod integrity;
mod progress;
mod quiescence;

pub use budget::{Budget, check_budget};
pub use integrity::check_bytes;
pub use progress::{Outcome, ReadFacts, check_outcome};
pub use quiescence::{check_closed, check_idle};
