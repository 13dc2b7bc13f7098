//! `seedgrid`: scenarios by seed, known bugs, regression cases.

use std::process::ExitCode;

use seedgrid::cli::Program;

fn main() -> ExitCode {
    Program::new(scenarios::ALL, scenarios::BUGS).corpus("scenarios/regressions").main()
}
