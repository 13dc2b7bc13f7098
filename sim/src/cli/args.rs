//! The arguments, and what is wrong with them in one line.

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::print::Printer;
use super::{Failure, input};
use crate::explore::{Crew, Edit, MOST_RUNS, Stop};
use crate::schedule::ScheduleKind;

#[derive(Parser)]
#[command(name = "seedgrid", version, about = "A deterministic simulation harness for storage-grid clients")]
#[command(after_help = "Exit status: 0 all held, 1 a finding, 2 usage or input error, 130 interrupted.")]
struct CommandLine {
    /// One JSON object a line on stdout, the last one a summary
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// What there is, a line each
    Scenarios,
    /// Run one seed, and tell everything
    ///
    /// What is printed is itself a case file: save it, edit it, and replay it.
    Run(RunArgs),
    /// Run many seeds
    ///
    /// Without --seeds and --for: seeds from 0 upwards, for ten seconds.
    Sweep(SweepArgs),
    /// Run a case from a file
    Replay(ReplayArgs),
    /// Cancel every operation of a case at every step of its life: by drop, by abort, by timeout
    ///
    /// Then pairs of cancellations, by sample. Without names: seed 0 of every scenario.
    Cancel(CancelArgs),
    /// Take every crash point of a case: each operation that changes a disk, by a crash of the process and by power loss
    ///
    /// Of what was not durable, nothing survives, everything, and some, as drawn. Actors restart, and the scenario's oracles
    /// judge what is left. Without names: seed 0 of every scenario that has crash points.
    Crash(CrashArgs),
    /// Run everything within so many deviations of a base
    ///
    /// A deviation is a departure from the schedule, a fault at any logical point, or a cancellation at any step. The base
    /// is a case file, or what a seed draws, without its faults and first in first out.
    Exhaust(ExhaustArgs),
    /// From a case to its cause: the story, who waits for whom, the nearest passing run, a timeline
    ///
    /// All of it is also written to a folder of its own, with a timeline for the browser and a trace for Perfetto.
    Explain(ExplainArgs),
    /// Put known bugs back, one at a time, and hunt each with the default sweep
    ///
    /// Without names: all of them, with what they are. A run counts as a hit if it fails with the bug and
    /// passes without. A bug that is not found, or shows itself otherwise than its entry says, is a finding.
    Bugs(BugsArgs),
    /// Check that a seed has the same digest alone in a fresh process and in sweeps
    Audit(AuditArgs),
    /// Make a case that fails smaller, as long as it fails alike
    ///
    /// Workload, faults, cancellations and schedule shrink together, down to where removing any one thing
    /// loses the failure.
    Shrink(ShrinkArgs),
    /// Run every case that is kept
    ///
    /// A case with relapses must fail as its section [expect] says, and pass without them; another must pass.
    /// One that no longer does what it is kept for is stale, and never green.
    Corpus(CorpusArgs),
    #[command(hide = true)]
    Worker,
}

#[derive(Args)]
pub(super) struct RunArgs {
    /// Which scenario
    pub(super) scenario: String,
    /// Which seed
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(super) seed: u64,
    /// Tell the story of the run
    #[arg(long)]
    pub(super) trace: bool,
    /// A kind of schedule, instead of the one that the seed draws
    #[arg(long, value_name = "KIND")]
    pub(super) schedule: Option<ScheduleKind>,
    /// Change the case: a dotted path in its TOML, as in knobs.job_us=0 or fault.0.server=3
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = Edit::parse)]
    pub(super) edits: Vec<Edit>,
    /// Put a known bug back
    #[arg(long = "relapse", value_name = "BUG")]
    pub(super) relapses: Vec<String>,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct SweepArgs {
    /// Which scenarios; all of them, when none is named
    pub(super) scenarios: Vec<String>,
    /// Which seeds of each scenario, as in 0..1000
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub(super) seeds: Option<Range<u64>>,
    /// For how long, as in 60s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(super) at_most: Option<Duration>,
    /// One kind of schedule for all runs, instead of the one that each seed draws
    #[arg(long, value_name = "KIND")]
    pub(super) schedule: Option<ScheduleKind>,
    /// Put a known bug back
    #[arg(long = "relapse", value_name = "BUG")]
    pub(super) relapses: Vec<String>,
    /// Tell of every run, not of findings only
    #[arg(long)]
    pub(super) each: bool,
    /// A coverage mark that no run comes by is a finding
    #[arg(long)]
    pub(super) fail_on_unreached: bool,
    /// Also write the JSON lines to this file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Where the first case of each kind of finding is saved
    #[arg(long, value_name = "DIR", default_value = "findings")]
    pub(super) findings: PathBuf,
    #[command(flatten)]
    pub(super) jobs: Jobs,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct CancelArgs {
    /// Which scenarios; all of them, when none is named
    pub(super) scenarios: Vec<String>,
    /// Which seed of each scenario
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..i64::MAX as u64))]
    pub(super) seed: u64,
    /// Which seeds of each scenario, as in 0..20
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with = "seed")]
    pub(super) seeds: Option<Range<u64>>,
    /// A case file, instead of seeds of scenarios
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenarios", "seed", "seeds"])]
    pub(super) case: Option<PathBuf>,
    /// The most cancel points to take in each case; when it has more, they are spread evenly over it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) at_most: Option<u64>,
    /// How many pairs of cancellations to try in each case
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    pub(super) pairs: u64,
    /// Put a known bug back
    #[arg(long = "relapse", value_name = "BUG")]
    pub(super) relapses: Vec<String>,
    /// Where the first case of each kind of finding is saved
    #[arg(long, value_name = "DIR", default_value = "findings")]
    pub(super) findings: PathBuf,
    #[command(flatten)]
    pub(super) jobs: Jobs,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct CrashArgs {
    /// Which scenarios; all that have crash points, when none is named
    pub(super) scenarios: Vec<String>,
    /// Which seed of each scenario
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..i64::MAX as u64))]
    pub(super) seed: u64,
    /// Which seeds of each scenario, as in 0..20
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with = "seed")]
    pub(super) seeds: Option<Range<u64>>,
    /// A case file, instead of seeds of scenarios
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenarios", "seed", "seeds"])]
    pub(super) case: Option<PathBuf>,
    /// How often what survives a power loss is drawn at each point, beside nothing and everything
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub(super) drawn: u64,
    /// Crash a second time, at each operation of the recovery from the first crash
    #[arg(long)]
    pub(super) twice: bool,
    /// The most runs with a second crash in each case; when there could be more, they are drawn
    #[arg(long, value_name = "RUNS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(super) budget: u64,
    /// Put a known bug back
    #[arg(long = "relapse", value_name = "BUG")]
    pub(super) relapses: Vec<String>,
    /// Where the first case of each kind of finding is saved
    #[arg(long, value_name = "DIR", default_value = "findings")]
    pub(super) findings: PathBuf,
    #[command(flatten)]
    pub(super) jobs: Jobs,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct ExhaustArgs {
    /// A scenario, or a case file (.toml)
    #[arg(value_name = "SCENARIO|FILE")]
    pub(super) what: String,
    /// Which seed of the scenario
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(super) seed: u64,
    /// How many deviations at the most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(super) deviations: u32,
    /// Keep in this file how far the search has come, and go on from there
    #[arg(long, value_name = "FILE")]
    pub(super) state: Option<PathBuf>,
    /// Run also what is equivalent to what was run
    #[arg(long)]
    pub(super) no_prune: bool,
    /// Put a known bug back
    #[arg(long = "relapse", value_name = "BUG")]
    pub(super) relapses: Vec<String>,
    /// Where the first case of each kind of finding is saved
    #[arg(long, value_name = "DIR", default_value = "findings")]
    pub(super) findings: PathBuf,
    #[command(flatten)]
    pub(super) jobs: Jobs,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct ReplayArgs {
    /// The case file
    pub(super) file: PathBuf,
    /// Tell the story of the run
    #[arg(long)]
    pub(super) trace: bool,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// The case file
    pub(super) file: PathBuf,
    /// The folder to write to, made afresh: with a number behind it, when it exists [default: explained/NAME]
    #[arg(short, long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Explain the case as it is, without shrinking it first
    #[arg(long)]
    pub(super) as_it_is: bool,
    /// How long a case may go without a sign of progress, in real time
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(super) patience: Duration,
    #[command(flatten)]
    pub(super) jobs: Jobs,
}

#[derive(Args)]
pub(super) struct BugsArgs {
    /// Which bugs; all of them, when none is named
    pub(super) names: Vec<String>,
    /// How many runs to hunt one bug for
    #[arg(long, value_name = "RUNS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) budget: u64,
    /// Stop after 20 hits, instead of using the whole budget
    #[arg(long)]
    pub(super) quick: bool,
    /// A part of the catalogue: the bugs whose place modulo N is I, counted from 0
    #[arg(long, value_name = "I/N", value_parser = part)]
    pub(super) part: Option<(usize, usize)>,
    /// One kind of schedule for all runs, instead of the one that each seed draws
    #[arg(long, value_name = "KIND")]
    pub(super) schedule: Option<ScheduleKind>,
    #[command(flatten)]
    pub(super) jobs: Jobs,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct AuditArgs {
    /// How many runs, dealt to the scenarios in turn [default: 500, or as many as the file to compare with has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_RUNS))]
    pub(super) seeds: Option<u64>,
    /// Write the digests to this file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    pub(super) emit: Option<PathBuf>,
    /// Compare with the digests that another build has written
    #[arg(long, value_name = "FILE")]
    pub(super) compare: Option<PathBuf>,
    /// Put each classic source of nondeterminism into a run instead, and show what becomes of it
    #[arg(long, conflicts_with_all = ["seeds", "emit", "compare"])]
    pub(super) planted: bool,
    #[command(flatten)]
    pub(super) jobs: Jobs,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct ShrinkArgs {
    /// The case file
    pub(super) file: PathBuf,
    /// Write the smaller case to this file, which must not exist yet, instead of printing it
    #[arg(long, short, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Add what the case comes to, as `seedgrid corpus` compares it
    #[arg(long)]
    pub(super) expect: bool,
    /// For how long at the most, as in 60s or 5m
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(super) at_most: Duration,
    /// The most cases that are tried
    #[arg(long, value_name = "CASES", default_value_t = 1_000_000)]
    pub(super) attempts: u64,
    /// How long a case may go without a sign of progress, in real time
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(super) patience: Duration,
    #[command(flatten)]
    pub(super) jobs: Jobs,
}

#[derive(Args)]
pub(super) struct CorpusArgs {
    /// Where the cases are [default: the program's own folder]
    pub(super) folder: Option<PathBuf>,
    /// Shrink this case and add it, with what it comes to
    #[arg(long, value_name = "CASE")]
    pub(super) add: Option<PathBuf>,
    /// Under which name [default: that of its first relapse, or of its scenario]
    #[arg(long, value_name = "NAME", requires = "add")]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Args)]
pub(super) struct Jobs {
    /// How many runs at a time [default: as many as there are cores]
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
}

#[derive(Args)]
pub(super) struct Patience {
    /// How long a run may go without a sign of progress, in real time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    patience: Duration,
}

/// Reads the arguments; nothing when they asked for help and got it.
pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<(Printer, Command)>, Failure> {
    match CommandLine::try_parse_from(args) {
        Ok(CommandLine { json, command }) => Ok(Some((Printer::new(json), command))),
        Err(help) if matches!(help.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            help.print()?;
            Ok(None)
        }
        Err(error) => Err(input(in_one_line(&error))),
    }
}

impl Jobs {
    pub(super) fn number(&self) -> usize {
        self.jobs.map_or_else(cores, |jobs| jobs as usize)
    }
}

impl Patience {
    /// A crew with this much patience.
    pub(super) fn crew(&self, jobs: usize, stop: Stop) -> Crew {
        Crew { jobs, patience: self.patience, stop }
    }
}

impl ValueEnum for ScheduleKind {
    fn value_variants<'a>() -> &'a [ScheduleKind] {
        &ScheduleKind::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// How many cores there are to run on.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn in_one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing: try `sweep`, or --help for what there is".into();
    }
    let text = error.to_string();
    let first: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let first = first.join(" ");
    format!("{}; try --help", first.strip_prefix("error: ").unwrap_or(&first))
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    match parsed {
        Some(seeds) if !seeds.is_empty() && seeds.end <= i64::MAX as u64 => Ok(seeds),
        Some(seeds) if seeds.is_empty() => Err("the range is empty: write A..B with A below B".into()),
        Some(_) => Err(format!("seeds end at {}", i64::MAX)),
        None => Err("write A..B, as in 0..1000".into()),
    }
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let parsed =
        text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    match parsed {
        Some((part, parts)) if part < parts => Ok((part, parts)),
        _ => Err("write I/N with I below N, as in 0/5".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    // A year: beyond it, clocks overflow.
    match ms.filter(|ms| (1..=365 * 24 * 3_600_000).contains(ms)) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err("write a time above zero, as in 500ms, 60s, 5m or 1h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn seed_ranges() {
        assert_eq!(seeds("0..1000"), Ok(0..1000));
        for bad in [
            "5..2",
            "3..3",
            "x",
            "1..",
            "..4",
            "1-4",
            "-1..4",
            "0..99999999999999999999",
            "0..9223372036854775808",
        ] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts() {
        assert_eq!(part("0/5"), Ok((0, 5)));
        assert_eq!(part("4/5"), Ok((4, 5)));
        for bad in ["5/5", "0/0", "1", "/", "-1/2", "a/b"] {
            assert!(part(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        for bad in ["", "s", "0s", "-1s", "1d", "1.5s", "99999999999h", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
