//! `audit`: the same seeds in other processes, sweeps and builds must have the same digests.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::args::AuditArgs;
use super::print::{Printer, counted};
use super::progress::Progress;
use super::{Ending, Failure, Program, files, input};
use crate::explore::{self, Audit, Difference, Digests, Plan, Stop};

/// How many runs, when nobody says.
const BY_DEFAULT: u64 = 500;
/// How many differences are printed for people.
const DIFFERENCES_TOLD: usize = 10;

pub(super) fn audit(
    program: Program,
    args: AuditArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    let others = args.compare.as_deref().map(read_digests).transpose()?;
    let runs = args.seeds.or(others.as_ref().map(|others| others.len() as u64)).unwrap_or(BY_DEFAULT);
    let plan = plan(program.scenarios_named(&[])?, runs)?;
    if let (Some(others), Some(path)) = (&others, &args.compare) {
        same_runs(&plan, others, path)?;
    }
    let emit = args.emit.as_deref().map(files::create).transpose()?;
    let crew = args.patience.crew(args.jobs.number(), stop);

    let place = args.compare.as_ref().map(|path| format!("in {}", path.display())).unwrap_or_default();
    let progress = Progress::new("audit", Some(plan.runs * 3));
    let others = others.as_ref().map(|others| (place.as_str(), others));
    let audit = explore::audit(&crew, &plan, others, &mut |runs| progress.at(runs))?;
    drop(progress);
    if let Some(file) = emit {
        write_digests(&audit.digests, file)?;
    }
    tell(&mut printer, &plan, &audit, others.is_some())?;
    printer.flush()?;
    Ok(if audit.differences.is_empty() { Ending::Held } else { Ending::Finding })
}

/// The first runs of a sweep of all scenarios.
fn plan(scenarios: Vec<String>, runs: u64) -> Result<Plan, Failure> {
    let seeds = runs.div_ceil(scenarios.len() as u64);
    let plan = Plan::new(scenarios, 0..seeds).ok_or_else(|| input("too many runs: ask for fewer seeds"))?;
    Ok(Plan { runs, ..plan })
}

/// Checks that a file has the digests of just these runs.
fn same_runs(plan: &Plan, others: &Digests, path: &Path) -> Result<(), Failure> {
    let name = |index| {
        let (scenario, seed) = plan.coordinate(index);
        (plan.scenarios[scenario].clone(), seed)
    };
    let missing = (0..plan.runs).map(name).find(|coordinate| !others.contains_key(coordinate));
    match missing {
        Some((scenario, seed)) => Err(input(format!(
            "{} has no digest of {scenario} seed {seed}: it was made with other scenarios or another --seeds",
            path.display()
        ))),
        None if others.len() as u64 > plan.runs => Err(input(format!(
            "{} has digests of {} runs: say --seeds {}, or nothing",
            path.display(),
            others.len(),
            others.len()
        ))),
        None => Ok(()),
    }
}

fn read_digests(path: &Path) -> Result<Digests, Failure> {
    let text = files::read(path)?;
    let line = |(number, line): (usize, &str)| {
        let mut words = line.split(' ');
        let entry = (|| {
            let coordinate = (words.next()?.to_string(), words.next()?.parse().ok()?);
            Some((coordinate, u64::from_str_radix(words.next()?, 16).ok()?))
        })();
        entry.filter(|_| words.next().is_none()).ok_or_else(|| {
            let path = path.display();
            input(format!(
                "{path}, line {}: not `scenario seed digest`, as audit --emit writes it",
                number + 1
            ))
        })
    };
    let digests: Digests = text.lines().enumerate().map(line).collect::<Result<_, _>>()?;
    match digests.is_empty() {
        true => Err(input(format!("{} has no digests", path.display()))),
        false => Ok(digests),
    }
}

fn write_digests(digests: &Digests, file: File) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    for ((scenario, seed), digest) in digests {
        writeln!(file, "{scenario} {seed} {digest:016x}")?;
    }
    file.flush()
}

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    seed: u64,
    verdict: &'static str,
    detail: String,
    replay: String,
}

#[derive(Serialize)]
struct Summary {
    runs: u64,
    differences: usize,
    compared: bool,
}

fn tell(printer: &mut Printer, plan: &Plan, audit: &Audit, compared: bool) -> io::Result<()> {
    for (number, difference) in audit.differences.iter().enumerate() {
        let (scenario, seed) = &difference.coordinate;
        let detail = in_words(difference);
        if number < DIFFERENCES_TOLD {
            printer.text(format_args!("{scenario} seed {seed}: nondeterministic: {detail}"))?;
        }
        let replay = format!("cargo run --release -- run {scenario} --seed {seed}");
        printer.object(&Line { scenario, seed: *seed, verdict: "nondeterministic", detail, replay })?;
    }
    let differences = audit.differences.len();
    printer.object(&Summary { runs: plan.runs, differences, compared })?;
    let runs = counted(plan.runs, "run");
    let places = if compared {
        ", in a sweep with 1 job, with 2, and in the file"
    } else {
        ", in a sweep with 1 job, and with 2"
    };
    match differences {
        0 => printer.text(format_args!("{runs}: the same digests alone in fresh processes{places}")),
        more => printer.text(format_args!("{runs}: {}", counted(more as u64, "difference"))),
    }
}

fn in_words(difference: &Difference) -> String {
    let there = difference.there.map_or("none".into(), |digest| format!("{digest:016x}"));
    format!("digest {:016x} alone in a fresh process, {there} {}", difference.alone, difference.place)
}
