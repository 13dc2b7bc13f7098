//! The command line: the commands, what they print, and how they end.
//!
//! A binary brings the scenarios and has nothing else to do:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     seedgrid::cli::main(seedgrid::case::Scenarios(&[]), &[])
//! }
//! ```
//!
//! | exit status | meaning |
//! | --- | --- |
//! | 0 | all held |
//! | 1 | a finding |
//! | 2 | usage or input error, told in one line on stderr |
//! | 101 | a defect of the harness itself |
//! | 130 | stopped by Ctrl-C, with no finding until then |
//! | 141 | nobody reads the output any more |

mod args;
mod audit;
mod bugs;
mod cancel;
mod cases;
mod corpus;
mod crash;
mod exhaust;
mod explain;
mod files;
mod planted;
mod print;
mod progress;
mod run;
mod scenarios;
mod shrink;
mod sweep;

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;

use crate::case::{Scenario, Scenarios};
use crate::explore::{CrewError, KnownBug, Stop, work};
use args::Command;
use print::Printer;

/// What a binary brings to the command line.
#[derive(Clone, Copy)]
pub struct Program {
    scenarios: Scenarios,
    bugs: &'static [KnownBug],
    corpus: Option<&'static str>,
}

/// How a command ends that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Held,
    Finding,
    Interrupted,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Usage or input is at fault.
    #[error("{0}")]
    Input(String),
    /// The output goes nowhere.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The crew failed.
    #[error(transparent)]
    Crew(#[from] CrewError),
}

/// Runs the command line of this process, for a program that keeps no cases.
pub fn main(scenarios: Scenarios, bugs: &'static [KnownBug]) -> ExitCode {
    Program::new(scenarios, bugs).main()
}

fn carry_out(program: Program, (printer, command): (Printer, Command)) -> Result<Ending, Failure> {
    let stop = match command {
        Command::Worker => Stop::default(),
        _ => Stop::on_interrupt(),
    };
    match command {
        Command::Scenarios => scenarios::list(program, printer),
        Command::Run(args) => run::run(program, args, printer, stop),
        Command::Sweep(args) => sweep::sweep(program, args, printer, stop),
        Command::Replay(args) => run::replay(args, printer, stop),
        Command::Cancel(args) => cancel::cancel(program, args, printer, stop),
        Command::Crash(args) => crash::crash(program, args, printer, stop),
        Command::Exhaust(args) => exhaust::exhaust(program, args, printer, stop),
        Command::Bugs(args) => bugs::bugs(program, args, printer, stop),
        Command::Explain(args) => explain::explain(args, printer, stop),
        Command::Audit(args) if args.planted => planted::planted(args, printer, stop),
        Command::Audit(args) => audit::audit(program, args, printer, stop),
        Command::Shrink(args) => shrink::shrink(args, printer, stop),
        Command::Corpus(args) => corpus::corpus(program, args, printer, stop),
        Command::Worker => Ok(work(program.scenarios).map(|()| Ending::Held)?),
    }
}

fn give_up(failure: &Failure) -> ExitCode {
    let status = match failure {
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::from(141),
        Failure::Crew(CrewError::Stopped) => return ExitCode::from(130),
        Failure::Crew(CrewError::Defect(_)) => 101,
        Failure::Input(_) | Failure::Output(_) | Failure::Crew(_) => 2,
    };
    print::complain(&failure.to_string());
    ExitCode::from(status)
}

impl Program {
    /// A program with these scenarios and known bugs.
    pub fn new(scenarios: Scenarios, bugs: &'static [KnownBug]) -> Program {
        Program { scenarios, bugs, corpus: None }
    }

    /// The folder in which it keeps cases, from where it is run.
    pub fn corpus(self, folder: &'static str) -> Program {
        Program { corpus: Some(folder), ..self }
    }

    /// Runs the command line of this process.
    pub fn main(self) -> ExitCode {
        let command = match args::parse(std::env::args_os()) {
            Ok(Some(command)) => command,
            Ok(None) => return ExitCode::SUCCESS,
            Err(failure) => return give_up(&failure),
        };
        match carry_out(self, command) {
            Ok(Ending::Held) => ExitCode::SUCCESS,
            Ok(Ending::Finding) => ExitCode::from(1),
            Ok(Ending::Interrupted) => ExitCode::from(130),
            Err(failure) => give_up(&failure),
        }
    }

    /// The kinds of trouble that runs of these scenarios may come by, each once.
    fn troubles(&self, scenarios: &[String]) -> BTreeSet<&'static str> {
        let scenarios = scenarios.iter().filter_map(|name| self.scenarios.find(name));
        scenarios.flat_map(Scenario::troubles).collect()
    }

    /// The scenarios of these names; all of them, when none is named.
    fn scenarios_named(&self, names: &[String]) -> Result<Vec<String>, Failure> {
        if let Some(unknown) = names.iter().find(|name| self.scenarios.find(name).is_none()) {
            let known: Vec<_> = self.scenarios.0.iter().map(|scenario| scenario.name()).collect();
            return Err(input(format!("there is no scenario `{unknown}`: there are {}", known.join(", "))));
        }
        let all = self.scenarios.0.iter().map(|scenario| scenario.name().to_string());
        let chosen: Vec<String> = match names.is_empty() {
            true => all.collect(),
            false => all.filter(|name| names.contains(name)).collect(),
        };
        match chosen.is_empty() {
            true => Err(input("this program has no scenarios")),
            false => Ok(chosen),
        }
    }
}

/// Checks that these bugs can be put back.
fn known_relapses(names: &[String]) -> Result<(), Failure> {
    let known = |name: &&str| runtime::RELAPSES.iter().any(|relapse| relapse.name == *name);
    match names.iter().map(String::as_str).find(|name| !known(name)) {
        Some(unknown) => Err(input(format!(
            "there is no known bug `{unknown}` in this build: the command `bugs --help` says where to look"
        ))),
        None => Ok(()),
    }
}

fn input(what: impl Into<String>) -> Failure {
    Failure::Input(what.into())
}
