//! `sweep`: many seeds, counted, and the findings among them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::args::{self, SweepArgs};
use super::print::{self, Printer, counted, grouped};
use super::progress::Progress;
use super::{Ending, Failure, Program, files, input, known_relapses};
use crate::explore::{
    self, Answer, Crew, Order, Outcome, Plan, ScenarioTally, Source, Stop, Sweep, Sweeping,
};

/// How long a sweep goes on that nobody has set bounds to.
const BY_DEFAULT: Duration = Duration::from_secs(10);
/// How many findings of one kind are printed for people. All are counted, and all are in the JSON lines.
const OF_A_KIND_TOLD: usize = 3;
/// How many coverage marks that no run came by are named for people.
const MARKS_TOLD: usize = 12;
/// How long a line of counts may be.
const LINE: usize = 120;

pub(super) fn sweep(
    program: Program,
    args: SweepArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    known_relapses(&args.relapses)?;
    let at_most = args.at_most.or(args.seeds.is_none().then_some(BY_DEFAULT));
    let seeds = args.seeds.clone();
    let scenarios = program.scenarios_named(&args.scenarios)?;
    let troubles = program.troubles(&scenarios);
    let mut plan = plan(scenarios, seeds)?;
    plan.schedule = args.schedule;
    plan.relapses = args.relapses;
    if let Some(path) = &args.out {
        printer.copy_to(files::create(path)?);
    }
    let jobs = args.jobs.number();
    let crew = args.patience.crew(jobs, stop);
    let sweeping = Sweeping { plan, at_most, each: args.each };

    let known_end = args.seeds.is_some().then_some(sweeping.plan.runs);
    let progress = Progress::new("sweep", known_end);
    let mut printed = Ok(());
    let mut tell = |outcome: &Outcome| {
        if args.each && printed.is_ok() {
            printed = tell_run(&mut printer, outcome);
            if printed.is_err() {
                crew.stop.want();
            }
        }
    };
    let sweep = explore::sweep(&crew, &sweeping, &mut tell, &mut |runs| progress.at(runs))?;
    drop(progress);
    printed?;

    let saved = save_first_of_each_kind(&crew, &sweeping.plan, &sweep, &args.findings);
    let interrupted = crew.stop.is_wanted();
    tell_table(&mut printer, &sweeping.plan, &sweep)?;
    let without_effect: Vec<_> =
        troubles.into_iter().filter(|kind| !sweep.tally.effects.contains_key(*kind)).collect();
    tell_effects(&mut printer, &sweep.tally.effects, &without_effect)?;
    tell_findings(&mut printer, &sweep, &saved)?;
    if !args.each {
        sweep.findings.iter().try_for_each(|(_, finding)| printer.object(finding))?;
    }
    let total = sweep.tally.total();
    let per_core = total.runs as f64 / sweep.took.as_secs_f64() / jobs.min(args::cores()) as f64;
    printer.object(&Summary {
        runs: total.runs,
        passed: total.passed,
        findings: total.findings(),
        seconds: rounded(sweep.took.as_secs_f64()),
        jobs,
        seeds_per_second_per_core: rounded(per_core),
        effects: &sweep.tally.effects,
        without_effect,
        unreached: sweep.tally.unreached(),
        scenarios: scenario_lines(&sweeping.plan, &sweep),
        saved: saved.into_values().collect(),
        interrupted,
    })?;
    printer.text(format_args!(
        "{}: {} passed, {}; {:.1} s, {}, {} seeds/s/core{}",
        counted(total.runs, "run"),
        grouped(total.passed),
        counted(total.findings(), "finding"),
        sweep.took.as_secs_f64(),
        counted(jobs as u64, "job"),
        grouped(per_core as u64),
        if interrupted { "; interrupted" } else { "" }
    ))?;
    let unreached = sweep.tally.unreached().len() as u64;
    let missed = args.fail_on_unreached && unreached > 0 && !interrupted;
    if missed {
        printer.text(format_args!("FAILED: {} reached by no run", counted(unreached, "coverage mark")))?;
    }
    printer.flush()?;
    Ok(match (total.findings() > 0 || missed, interrupted) {
        (false, false) => Ending::Held,
        (false, true) => Ending::Interrupted,
        (true, _) => Ending::Finding,
    })
}

fn plan(scenarios: Vec<String>, seeds: Option<std::ops::Range<u64>>) -> Result<Plan, Failure> {
    // Without an end to the seeds, time is the end.
    let endless = 0..i64::MAX as u64 / scenarios.len() as u64;
    Plan::new(scenarios, seeds.unwrap_or(endless))
        .ok_or_else(|| input("that is more runs than there are numbers: ask for fewer seeds"))
}

#[derive(Serialize)]
struct Summary<'a> {
    runs: u64,
    passed: u64,
    findings: u64,
    seconds: f64,
    jobs: usize,
    seeds_per_second_per_core: f64,
    effects: &'a BTreeMap<String, u64>,
    without_effect: Vec<&'static str>,
    unreached: Vec<&'static str>,
    scenarios: Vec<ScenarioLine>,
    saved: Vec<String>,
    interrupted: bool,
}

#[derive(Serialize)]
struct ScenarioLine {
    scenario: String,
    runs: u64,
    passed: u64,
    findings: u64,
    seeds_per_second_per_core: f64,
}

fn scenario_lines(plan: &Plan, sweep: &Sweep) -> Vec<ScenarioLine> {
    let line = |(scenario, tally): (&String, &ScenarioTally)| ScenarioLine {
        scenario: scenario.clone(),
        runs: tally.runs,
        passed: tally.passed,
        findings: tally.findings(),
        seeds_per_second_per_core: rounded(tally.per_second()),
    };
    plan.scenarios.iter().zip(&sweep.tally.scenarios).map(line).collect()
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn tell_run(printer: &mut Printer, outcome: &Outcome) -> io::Result<()> {
    printer.object(outcome)?;
    match outcome.evidence {
        Some(_) => printer.text(print::finding(outcome)),
        None => printer.text(format_args!(
            "{} seed {}: {} {:016x}",
            outcome.scenario, outcome.seed, outcome.verdict, outcome.digest
        )),
    }
}

fn tell_table(printer: &mut Printer, plan: &Plan, sweep: &Sweep) -> io::Result<()> {
    let width = plan.scenarios.iter().map(String::len).max().unwrap_or(0).max("scenario".len());
    printer.text(format_args!(
        "{:width$}  {:>9}  {:>9}  {:>8}  {:>12}",
        "scenario", "runs", "passed", "findings", "seeds/s/core"
    ))?;
    for (name, tally) in plan.scenarios.iter().zip(&sweep.tally.scenarios) {
        let [runs, passed, findings] = [tally.runs, tally.passed, tally.findings()].map(grouped);
        let speed = grouped(tally.per_second() as u64);
        printer.text(format_args!("{name:width$}  {runs:>9}  {passed:>9}  {findings:>8}  {speed:>12}"))?;
    }
    let unreached = sweep.tally.unreached();
    if !unreached.is_empty() {
        let named = unreached.iter().take(MARKS_TOLD).copied().collect::<Vec<_>>().join("; ");
        let more = match unreached.len().saturating_sub(MARKS_TOLD) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        printer.text(format_args!("never reached: {named}{more}"))?;
    }
    Ok(())
}

/// Tells what went wrong in the runs, most frequent first, and what never did.
fn tell_effects(
    printer: &mut Printer,
    effects: &BTreeMap<String, u64>,
    without: &[&'static str],
) -> io::Result<()> {
    let mut counts: Vec<_> = effects.iter().collect();
    counts.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let counts = counts.into_iter().map(|(kind, times)| format!("{kind} {}", grouped(*times)));
    tell_list(printer, "took effect:", counts)?;
    tell_list(printer, "never took effect:", without.iter().map(ToString::to_string))
}

/// Prints a list in lines of some length; nothing when it is empty.
fn tell_list(printer: &mut Printer, title: &str, items: impl Iterator<Item = String>) -> io::Result<()> {
    let mut line = title.to_string();
    let mut items = items.peekable();
    while let Some(item) = items.next() {
        let separator = if items.peek().is_some() { "," } else { "" };
        if line.chars().count() + item.chars().count() > LINE {
            printer.text(std::mem::replace(&mut line, " ".into()))?;
        }
        line += &format!(" {item}{separator}");
        if separator.is_empty() {
            printer.text(&line)?;
        }
    }
    Ok(())
}

/// Tells of findings by kind, a few of each: thousands of one kind must not hide the one of another.
fn tell_findings(printer: &mut Printer, sweep: &Sweep, saved: &BTreeMap<u64, String>) -> io::Result<()> {
    let mut kinds = BTreeMap::<_, Vec<_>>::new();
    for (run, outcome) in &sweep.findings {
        kinds.entry(outcome.kind()).or_default().push((run, outcome));
    }
    for ((_, verdict, _), findings) in &kinds {
        for (run, outcome) in findings.iter().take(OF_A_KIND_TOLD) {
            printer.text(print::finding(outcome))?;
            if let Some(evidence) = &outcome.evidence {
                printer.text(format_args!("    {}", evidence.replay))?;
            }
            if let Some(path) = saved.get(run) {
                printer.text(format_args!("    saved as {path}"))?;
            }
        }
        let more = findings.len().saturating_sub(OF_A_KIND_TOLD);
        if more > 0 {
            printer.text(format_args!(
                "    and {} more {verdict} like this; --json tells of all",
                grouped(more as u64)
            ))?;
        }
    }
    Ok(())
}

/// Saves the case of the first finding of each kind. A finding is told even if its case cannot be saved.
fn save_first_of_each_kind(crew: &Crew, plan: &Plan, sweep: &Sweep, folder: &Path) -> BTreeMap<u64, String> {
    let mut kinds = BTreeSet::new();
    let mut saved = BTreeMap::new();
    for (run, outcome) in &sweep.findings {
        if !kinds.insert(outcome.kind()) {
            continue;
        }
        let source = Source::Run { plan: plan.clone(), index: *run };
        let name = format!("{}-{}-{}", outcome.scenario, outcome.seed, outcome.verdict);
        let kept = match crew.ask(&Order::Make { source, edits: Vec::new() }) {
            Ok(Answer::Made(case)) => {
                let case = format!("# {}\n{case}", print::finding(outcome));
                files::keep(folder, &name, &case).map_err(|error| error.to_string())
            }
            Ok(_) => Err("a worker answered what it was not asked".into()),
            Err(error) => Err(error.to_string()),
        };
        match kept {
            Ok(path) => {
                saved.insert(*run, path.display().to_string());
            }
            Err(why) => {
                let folder = folder.display();
                print::complain(&format!(
                    "the case of {} cannot be saved in {folder}: {why}",
                    print::finding(outcome)
                ));
            }
        }
    }
    saved
}
