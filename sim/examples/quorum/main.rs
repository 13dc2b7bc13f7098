//! A harness of one's own: a quorum key-value client, its replicas, and two bugs that can be put back.
//!
//! ```text
//! cargo run --release --example quorum -- sweep
//! cargo run --release --example quorum -- bugs
//! ```
//!
//! The guide in the crate's documentation (`seedgrid::guide`) goes through it file by file.

mod client;
mod oracle;
mod replica;
mod scenario;

use std::process::ExitCode;

use seedgrid::case::Scenarios;
use seedgrid::explore::{KnownBug, Sign};

/// The scenarios of this program.
static SCENARIOS: Scenarios = Scenarios(&[&scenario::QUORUM]);

/// The bugs that can be put back, and what a finding of each must look like.
static BUGS: &[KnownBug] = &[
    KnownBug {
        name: "quorum-B1",
        about: "an operation that is given up when its turn has come takes the turn along",
        signs: &[Sign::Hung { resource: "turn", held_by: "nobody" }],
    },
    KnownBug {
        name: "quorum-B2",
        about: "of an even number of replicas, half are taken for a majority",
        signs: &[Sign::Violated { oracle: "regular" }],
    },
];

fn main() -> ExitCode {
    seedgrid::cli::main(SCENARIOS, BUGS)
}
