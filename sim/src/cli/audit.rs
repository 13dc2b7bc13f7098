//! `audit`: the same seeds in other processes, sweeps and builds must have the same digests.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use serde::Serialize;

use super::args::AuditArgs;
use super::print::{Printer, counted, finding};
use super::progress::Progress;
use super::{Ending, Failure, Program, files, input};
use crate::explore::{self, ALONE, Audit, Difference, Plan, Stop, Trails, read_trails, write_trails};
use crate::trace::FirstDifference;

/// How many runs, when nobody says.
const BY_DEFAULT: u64 = 500;

pub(super) fn audit(
    program: Program,
    args: AuditArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    let others = args.compare.as_deref().map(read).transpose()?;
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
        write_trails(&audit.trails, &mut BufWriter::new(file))?;
    }
    tell(&mut printer, &plan, &audit, others.is_some())?;
    printer.flush()?;
    Ok(if audit.differences.is_empty() && audit.moody().next().is_none() {
        Ending::Held
    } else {
        Ending::Finding
    })
}

/// The first runs of a sweep of all scenarios.
fn plan(scenarios: Vec<String>, runs: u64) -> Result<Plan, Failure> {
    let seeds = runs.div_ceil(scenarios.len() as u64);
    let plan = Plan::new(scenarios, 0..seeds).ok_or_else(|| input("too many runs: ask for fewer seeds"))?;
    Ok(Plan { runs, ..plan })
}

/// Checks that a file has the digests of just these runs.
fn same_runs(plan: &Plan, others: &Trails, path: &Path) -> Result<(), Failure> {
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

fn read(path: &Path) -> Result<Trails, Failure> {
    let complain = |error: String| input(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|error| input(format!("cannot read {}: {error}", path.display())))?;
    read_trails(BufReader::new(file)).map_err(complain)
}

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    seed: u64,
    verdict: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<&'a FirstDifference>,
    replay: String,
}

#[derive(Serialize)]
struct Summary {
    runs: u64,
    differences: usize,
    compared: bool,
}

fn tell(printer: &mut Printer, plan: &Plan, audit: &Audit, compared: bool) -> io::Result<()> {
    let mut told = BTreeSet::new();
    for difference in &audit.differences {
        let (scenario, seed) = &difference.coordinate;
        let detail = in_words(difference);
        if told.insert((scenario, &difference.place)) {
            printer.text(format_args!("{scenario} seed {seed}: nondeterministic: {detail}"))?;
        }
        let replay = format!("cargo run --release -- run {scenario} --seed {seed}");
        let first = difference.first.as_ref();
        printer.object(&Line {
            scenario,
            seed: *seed,
            verdict: "nondeterministic",
            detail,
            first,
            replay,
        })?;
    }
    for outcome in audit.moody() {
        printer.text(finding(outcome))?;
        printer.object(outcome)?;
    }
    let differences = audit.differences.len() + audit.moody().count();
    printer.object(&Summary { runs: plan.runs, differences, compared })?;
    let runs = counted(plan.runs, "run");
    let places = if compared {
        ", in a sweep with 1 job, with 2, and in the file"
    } else {
        ", in a sweep with 1 job, and with 2"
    };
    match differences {
        0 => printer.text(format_args!("{runs}: the same digests alone in fresh processes{places}")),
        more => printer.text(format_args!(
            "{runs}: {}; above, the first of each scenario and place",
            counted(more as u64, "difference")
        )),
    }
}

/// A difference in a line.
pub(super) fn in_words(difference: &Difference) -> String {
    let Difference { alone, place, there, first, .. } = difference;
    let digest = there.map_or("none".into(), |digest| format!("{digest:016x}"));
    let first = first.as_ref().map(|first| format!("; {}", first.in_words(ALONE, place))).unwrap_or_default();
    format!("digest {alone:016x} {ALONE}, {digest} {place}{first}")
}
