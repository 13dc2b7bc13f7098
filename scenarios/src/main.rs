//! `seedgrid`: scenarios by seed, known bugs, regression cases.

use std::process::ExitCode;

fn main() -> ExitCode {
    seedgrid::cli::main(scenarios::ALL, scenarios::BUGS)
}
