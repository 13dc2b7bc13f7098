//! The `grid` command: files into and out of the share directories of a Tahoe-LAFS grid, with the same
//! client and storage code that the harness tests, in the real world.
//!
//! A capability is a secret. It is printed where it is the result, and nowhere else.

mod cap;
mod get;
mod outcome;
mod output;
mod put;
mod servers;
mod shares;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use runtime::real::RealWorld;
use serde_json::{Value, json};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::outcome::Failure;

/// Read and write files in the share directories of a Tahoe-LAFS grid.
///
/// No node needs to run: the directories of storage nodes are enough.
#[derive(Parser)]
#[command(name = "grid", version, arg_required_else_help = false, after_help = EXIT_STATUS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON object on standard output.
    #[arg(long, global = true, display_order = 100)]
    json: bool,

    /// Say on standard error what happens. FILTER chooses, as in `client=debug,storage=warn`.
    #[arg(
        long,
        short,
        global = true,
        display_order = 101,
        value_name = "FILTER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "info"
    )]
    verbose: Option<Targets>,
}

#[derive(Subcommand)]
enum Command {
    Get(get::Get),
    Put(put::Put),
    Cap(cap::Explain),
}

const EXIT_STATUS: &str =
    "Exit status: 0 done; 1 failed (for example not enough shares); 2 wrong usage or input.";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    if let Some(filter) = arguments.verbose {
        let colour = std::io::stderr().is_terminal();
        let log = fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_filter(filter);
        registry().with(log).init();
    }
    match run(arguments.command, arguments.json) {
        Ok(result) => {
            if arguments.json {
                println!("{result}");
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if arguments.json {
                println!("{}", json!({ "ok": false, "error": failure.to_string() }));
            }
            eprintln!("grid: {failure}");
            failure.exit_code()
        }
    }
}

/// Runs the command and returns its result as an object. Without `json` the command prints its result
/// itself.
fn run(command: Command, json: bool) -> Result<Value, Failure> {
    // The command's own future runs on this thread: it may use the disk as it likes.
    let tokio = tokio::runtime::Runtime::new().map_err(Failure::failed("cannot start"))?;
    tokio.block_on(async {
        let runtime = RealWorld::runtime();
        match command {
            Command::Get(get) => get.run(runtime, json).await,
            Command::Put(put) => put.run(runtime, json).await,
            Command::Cap(explain) => explain.run(json),
        }
    })
}

/// Help goes to standard output in full; a usage error to standard error, in one line.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print!("{error}");
            ExitCode::SUCCESS
        }
        _ => {
            let text = error.to_string();
            let advice = |line: &&str| {
                ["Usage:", "tip:", "For more"].iter().any(|start| line.trim().starts_with(start))
            };
            let words = text.lines().take_while(|line| !advice(line)).flat_map(str::split_whitespace);
            let words: Vec<_> = words.skip_while(|word| *word == "error:").map(without_capability).collect();
            eprintln!("grid: {} (see grid --help)", words.join(" "));
            ExitCode::from(outcome::USAGE)
        }
    }
}

/// A capability in the wrong place is not repeated.
fn without_capability(word: &str) -> &str {
    if word.contains("URI:") { "'URI:…'" } else { word }
}
