//! The `grid` command: files into and out of the share directories of a Tahoe-LAFS grid, with the same
//! client and storage code that the harness tests, in the real world.
//!
//! A capability is a secret. It is printed where it is the result, and nowhere else.

mod annex;
mod cap;
mod crawl;
mod directory;
mod fsck;
mod get;
mod leases;
mod outcome;
mod output;
mod put;
mod servers;
mod shares;
mod when;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use runtime::real::RealWorld;
use serde_json::json;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::outcome::{Answer, Failure};

/// Read and write files in the share directories of a Tahoe-LAFS grid.
///
/// No node needs to run: the directories of storage nodes are enough.
#[derive(Parser)]
#[command(name = "grid", version, arg_required_else_help = false, after_help = EXIT_STATUS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Print JSON on standard output, an object a line; the last is the answer.
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
    Leases(leases::Leases),
    Crawl(crawl::Crawl),
    Fsck(fsck::Fsck),
    Annex(annex::Annex),
}

const EXIT_STATUS: &str = "Exit status: 0 done; 1 failed (for example not enough shares), or something was found; 2 wrong usage or input.";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    if let Some(filter) = arguments.verbose {
        let log = fmt::layer().with_writer(io::stderr).with_ansi(false).with_filter(filter);
        registry().with(log).init();
    }
    let json = arguments.json;
    let done = match run(arguments.command, json) {
        Ok(Answer { text, object, sound }) => {
            let printed = print(if json && !object.is_null() { format!("{object}\n") } else { text });
            printed.map(|()| if sound { ExitCode::SUCCESS } else { ExitCode::from(outcome::FAILED) })
        }
        Err(failure) if json => {
            let object = json!({ "ok": false, "error": failure.to_string() });
            print(format!("{object}\n")).and(Err(failure))
        }
        Err(failure) => Err(failure),
    };
    match done {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("grid: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command, json: bool) -> Result<Answer, Failure> {
    // The command's own future runs on this thread: it may use the disk as it likes.
    let tokio = tokio::runtime::Runtime::new().map_err(Failure::failed("cannot start"))?;
    let answer = tokio.block_on(async {
        let runtime = RealWorld::runtime();
        match command {
            Command::Get(get) => get.run(runtime, json).await,
            Command::Put(put) => put.run(runtime).await,
            Command::Cap(explain) => explain.run(),
            Command::Leases(leases) => leases.run(runtime, json).await,
            Command::Crawl(crawl) => crawl.run(runtime).await,
            Command::Fsck(fsck) => fsck.run(runtime, json).await,
            Command::Annex(annex) => annex.run(runtime, json).await,
        }
    });
    // Jobs run to their end; but a read of standard input may have none.
    tokio.shutdown_timeout(Duration::from_secs(1));
    answer
}

/// Prints to standard output at once.
fn print(text: String) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    printed.map_err(Failure::failed("cannot write to standard output"))
}

/// Help goes to standard output in full; a usage error to standard error, in one line.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Who closes the pipe has read enough.
            let _ = print(error.to_string());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprintln!("grid: a command is missing (see grid --help)");
            ExitCode::from(outcome::USAGE)
        }
        _ => {
            let text = error.to_string();
            let advice = |line: &&str| {
                ["Usage:", "tip:", "For more"].iter().any(|start| line.trim().starts_with(start))
            };
            let words = text.lines().take_while(|line| !advice(line)).flat_map(str::split_whitespace);
            let words: Vec<_> =
                words.skip_while(|word| *word == "error:").map(outcome::without_secrets).collect();
            eprintln!("grid: {} (see grid --help)", words.join(" "));
            ExitCode::from(outcome::USAGE)
        }
    }
}
