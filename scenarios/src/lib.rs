//! The scenarios of the storage grid: real client code, real shares, a simulated grid, and what goes wrong in it.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`fixtures`] | files whose shares the real Tahoe-LAFS made, and synthetic ones |
//! | [`workload`] | what a case does: servers, readers, their reads |
//! | [`swarm`] | which kinds of trouble a case may have |
//! | [`chaos`] | how a seed draws servers, reads and faults of these kinds |
//! | [`catalogue`] | the scenarios, each a way of drawing |
//! | [`play`] | plays a case: readers, oracles, healing, closing |
//! | [`bugs`] | the known bugs that the hunt puts back |

pub mod bugs;
pub mod catalogue;
pub mod chaos;
pub mod fixtures;
pub mod play;
pub mod swarm;
pub mod workload;

pub use bugs::BUGS;
use seedgrid::case::Scenarios;

/// Every scenario, in the order in which they are listed.
pub const ALL: Scenarios = Scenarios(&catalogue::SCENARIOS);
