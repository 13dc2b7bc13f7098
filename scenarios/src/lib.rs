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
//! | [`storage`] | the scenarios of a storage server, with rooms of their own |
//! | [`classic`] | that of a guest in a node's storage directory, likewise |
//! | [`annex`] | those of a git-annex gateway and its nodes, likewise |
//! | [`table`] | workloads as people write them |
//! | [`bugs`] | the known bugs that the hunt puts back |

pub mod annex;
pub mod bugs;
pub mod catalogue;
pub mod chaos;
pub mod classic;
pub mod fixtures;
pub mod play;
pub mod storage;
pub mod swarm;
pub mod table;
pub mod workload;

pub use bugs::BUGS;
use seedgrid::case::{Scenario, Scenarios};

/// Every scenario, in the order in which they are listed.
pub const ALL: Scenarios = Scenarios(&EVERY);

static EVERY: [&dyn Scenario; COUNT] = {
    let mut every = [catalogue::SCENARIOS[0]; COUNT];
    let (mut place, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut within = 0;
        while within < PARTS[part].len() {
            every[place] = PARTS[part][within];
            (place, within) = (place + 1, within + 1);
        }
        part += 1;
    }
    every
};

const COUNT: usize = PARTS[0].len() + PARTS[1].len() + PARTS[2].len();
const PARTS: [&[&dyn Scenario]; 3] = [&catalogue::SCENARIOS, &storage::SCENARIOS, &annex::SCENARIOS];
