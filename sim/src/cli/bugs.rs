//! `bugs`: each known bug is put back and hunted. What the hunt cannot find is a hole in the harness.

use std::io;

use serde::Serialize;

use super::args::BugsArgs;
use super::print::{self, Printer, counted, grouped};
use super::progress::Progress;
use super::{Ending, Failure, Program, input, known_relapses};
use crate::explore::{self, Hunt, KnownBug, Outcome, Plan, Quarry, Stop};

/// After how many hits a bug has been found often enough.
const ENOUGH: usize = 20;
/// How many seeds lie between the hunts of two bugs, so that no two use the same ones.
const SEEDS_BETWEEN: u64 = 1_000_000;

pub(super) fn bugs(
    program: Program,
    args: BugsArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    let chosen = chosen(program, &args.names)?;
    let width = chosen.iter().map(|(_, bug)| bug.name.len()).max().unwrap_or(0).max("bug".len());
    let crew = args.patience.crew(args.jobs.number(), stop);
    let scenarios = program.scenarios_named(&[])?;
    printer.text(format_args!(
        "{:width$}  {:>6}  {:>5}  {:>6}  {:>6}",
        "bug", "runs", "hits", "first", "median"
    ))?;
    let (mut found, mut hunted) = (0, 0);
    for (place, bug) in chosen {
        let plan = plan(&scenarios, place as u64, bug, args.budget)?;
        let progress = Progress::new(bug.name, Some(plan.runs));
        let quarry = Quarry { plan, enough: (!args.all).then_some(ENOUGH) };
        let hunt = explore::hunt(&crew, &quarry, &mut |runs| progress.at(runs))?;
        drop(progress);
        if crew.stop.is_wanted() && hunt.hits.is_empty() {
            break;
        }
        hunted += 1;
        found += usize::from(!hunt.hits.is_empty());
        tell(&mut printer, bug, &hunt, width)?;
        printer.flush()?;
        if crew.stop.is_wanted() {
            break;
        }
    }
    let interrupted = crew.stop.is_wanted();
    printer.text(format_args!(
        "{found} of {} found{}",
        counted(hunted as u64, "bug"),
        if interrupted { "; interrupted" } else { "" }
    ))?;
    printer.object(&Summary { bugs: hunted, found, interrupted })?;
    printer.flush()?;
    Ok(match (found == hunted, interrupted) {
        (false, _) => Ending::Finding,
        (true, true) => Ending::Interrupted,
        (true, false) => Ending::Held,
    })
}

#[derive(Serialize)]
struct Line<'a> {
    bug: &'a str,
    about: &'a str,
    found: bool,
    runs: u64,
    hits: usize,
    runs_to_first: Option<u64>,
    runs_median: Option<u64>,
    /// Of the first find.
    verdict: Option<&'a str>,
    verdicts: Vec<(String, usize)>,
    oracle: Option<&'a str>,
    detail: Option<&'a str>,
    replay: Option<&'a str>,
}

#[derive(Serialize)]
struct Summary {
    bugs: usize,
    found: usize,
    interrupted: bool,
}

/// The bugs of these names, or all, each with its place among all.
fn chosen(program: Program, names: &[String]) -> Result<Vec<(usize, KnownBug)>, Failure> {
    let known = |name: &&String| program.bugs.iter().any(|bug| bug.name == **name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let names: Vec<_> = program.bugs.iter().map(|bug| bug.name).collect();
        return Err(input(format!("there is no known bug `{unknown}`: there are {}", names.join(", "))));
    }
    let all = program.bugs.iter().copied().enumerate();
    let chosen: Vec<_> =
        all.filter(|(_, bug)| names.is_empty() || names.iter().any(|name| name == bug.name)).collect();
    known_relapses(&chosen.iter().map(|(_, bug)| bug.name.to_string()).collect::<Vec<_>>())?;
    Ok(chosen)
}

fn plan(scenarios: &[String], place: u64, bug: KnownBug, budget: u64) -> Result<Plan, Failure> {
    let first = place * SEEDS_BETWEEN;
    let plan = Plan::new(scenarios.to_vec(), first..first + SEEDS_BETWEEN)
        .ok_or_else(|| input("that is more runs than there are numbers"))?;
    Ok(Plan { runs: budget, relapses: vec![bug.name.into()], ..plan })
}

fn tell(printer: &mut Printer, bug: KnownBug, hunt: &Hunt, width: usize) -> io::Result<()> {
    let dash = |number: Option<u64>| number.map_or("-".into(), grouped);
    let [first, median] = [hunt.runs_to_first(), hunt.runs_median()].map(dash);
    let verdicts = hunt.verdicts();
    let seen: Vec<_> = verdicts.iter().map(|(verdict, count)| format!("{count} × {verdict}")).collect();
    let seen = if seen.is_empty() { "NOT FOUND".into() } else { seen.join(", ") };
    let (name, runs, hits) = (bug.name, grouped(hunt.runs), hunt.hits.len());
    printer.text(format_args!("{name:width$}  {runs:>6}  {hits:>5}  {first:>6}  {median:>6}  {seen}"))?;
    printer.text(format_args!("    {}", bug.about))?;
    let outcome = hunt.hits.first().map(|(_, outcome)| outcome);
    let evidence = outcome.and_then(|outcome| outcome.evidence.as_ref());
    if let (Some(outcome), Some(evidence)) = (outcome, evidence) {
        printer.text(format_args!("    {}", print::finding(outcome)))?;
        printer.text(format_args!("    {}", evidence.replay))?;
    }
    printer.object(&Line {
        bug: bug.name,
        about: bug.about,
        found: !hunt.hits.is_empty(),
        runs: hunt.runs,
        hits,
        runs_to_first: hunt.runs_to_first(),
        runs_median: hunt.runs_median(),
        verdict: outcome.map(|outcome: &Outcome| outcome.verdict.as_str()),
        verdicts,
        oracle: evidence.and_then(|evidence| evidence.oracle.as_deref()),
        detail: evidence.map(|evidence| evidence.detail.as_str()),
        replay: evidence.map(|evidence| evidence.replay.as_str()),
    })
}
