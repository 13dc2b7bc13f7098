//! `cancel`: every operation of a case is cancelled at every step of its life, by every manner.

use std::collections::BTreeSet;
use std::io;

use serde::Serialize;

use super::args::CancelArgs;
use super::print::{self, Printer, counted, grouped};
use super::progress::Progress;
use super::{Ending, Failure, Program, files, known_relapses};
use crate::explore::{self, Cancelled, CrewError, Edit, Source, Stop, Stopwatch};

/// How many findings of one kind are printed for people.
const OF_A_KIND_TOLD: usize = 3;

pub(super) fn cancel(
    program: Program,
    args: CancelArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    known_relapses(&args.relapses)?;
    let crew = args.patience.crew(args.jobs.number(), stop);
    let sources = sources(program, &args)?;
    let watch = Stopwatch::start();
    let mut all = Cancelled::default();
    let mut saved = Vec::new();
    let mut cases = 0;
    printer.text(HEAD)?;
    for (name, of_scenario) in sources {
        let mut scenario = Cancelled::default();
        for (seed, source) in of_scenario {
            let what = if seed == SEED_OF_A_FILE { name.clone() } else { format!("{name} {seed}") };
            let progress = Progress::new(&what, None);
            let source = with_relapses(&crew, source, &args.relapses)?;
            let cancelled = explore::cancel_everywhere(&crew, source, args.pairs, &mut |done, all| {
                progress.at_of(done, all);
            });
            match cancelled {
                Ok(cancelled) => add(&mut scenario, cancelled),
                Err(CrewError::Stopped) => break,
                Err(error) => return Err(error.into()),
            }
            cases += 1;
        }
        tell_line(&mut printer, &name, &scenario)?;
        tell_findings(&mut printer, &scenario, &args, &mut saved)?;
        printer.flush()?;
        add(&mut all, scenario);
        if crew.stop.is_wanted() {
            break;
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    let interrupted = crew.stop.is_wanted();
    let missed = all.points - all.taken;
    let per_minute = (all.points + all.pairs) as f64 / seconds.max(1e-9) * 60.0;
    printer.text(format_args!(
        "{}, {}: {} of {} taken, {}, {}; {seconds:.1} s, {} points/minute{}",
        counted(cases, "case"),
        counted(all.operations, "operation"),
        grouped(all.taken),
        counted(all.points, "cancel point"),
        counted(all.pairs, "pair"),
        counted(all.findings.len() as u64, "finding"),
        grouped(per_minute as u64),
        if interrupted { "; interrupted" } else { "" }
    ))?;
    if missed > 0 {
        printer
            .text(format_args!("{} were NOT taken: the runs did not come by", counted(missed, "point")))?;
    }
    printer.object(&Summary {
        cases,
        operations: all.operations,
        points: all.points,
        taken: all.taken,
        pairs: all.pairs,
        pairs_taken: all.pairs_taken,
        findings: all.findings.len(),
        seconds,
        points_per_minute: per_minute,
        saved,
        interrupted,
    })?;
    printer.flush()?;
    Ok(match (all.findings.is_empty() && missed == 0, interrupted) {
        (false, _) => Ending::Finding,
        (true, true) => Ending::Interrupted,
        (true, false) => Ending::Held,
    })
}

const HEAD: &str = "scenario           operations     points      taken     pairs  both taken  findings";
/// What stands for the seed of a case that comes from a file.
const SEED_OF_A_FILE: u64 = u64::MAX;

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    operations: u64,
    points: u64,
    taken: u64,
    pairs: u64,
    pairs_taken: u64,
    findings: usize,
}

#[derive(Serialize)]
struct Summary {
    cases: u64,
    operations: u64,
    points: u64,
    taken: u64,
    pairs: u64,
    pairs_taken: u64,
    findings: usize,
    seconds: f64,
    points_per_minute: f64,
    saved: Vec<String>,
    interrupted: bool,
}

/// The cases, by the name of what they belong to.
type Sources = Vec<(String, Vec<(u64, Source)>)>;

fn sources(program: Program, args: &CancelArgs) -> Result<Sources, Failure> {
    if let Some(path) = &args.case {
        let source = Source::Toml(files::read(path)?);
        return Ok(vec![(path.display().to_string(), vec![(SEED_OF_A_FILE, source)])]);
    }
    let seeds = args.seeds.clone().unwrap_or(args.seed..args.seed + 1);
    let of_scenario = |scenario: String| {
        let source = |seed| (seed, Source::Seed { scenario: scenario.clone(), seed, schedule: None });
        (scenario.clone(), seeds.clone().map(source).collect())
    };
    Ok(program.scenarios_named(&args.scenarios)?.into_iter().map(of_scenario).collect())
}

fn with_relapses(crew: &explore::Crew, source: Source, relapses: &[String]) -> Result<Source, Failure> {
    if relapses.is_empty() {
        return Ok(source);
    }
    let edit = Edit::relapses(relapses);
    match crew.ask(&explore::Order::Make { source, edits: vec![edit] })? {
        explore::Answer::Made(case) => Ok(Source::Toml(case)),
        _ => Err(CrewError::Defect("a worker answered what it was not asked".into()).into()),
    }
}

fn add(all: &mut Cancelled, more: Cancelled) {
    all.operations += more.operations;
    all.points += more.points;
    all.taken += more.taken;
    all.pairs += more.pairs;
    all.pairs_taken += more.pairs_taken;
    all.findings.extend(more.findings);
}

fn tell_line(printer: &mut Printer, scenario: &str, cancelled: &Cancelled) -> io::Result<()> {
    let Cancelled { operations, points, taken, pairs, pairs_taken, .. } = *cancelled;
    let findings = cancelled.findings.len();
    let numbers = [operations, points, taken, pairs, pairs_taken, findings as u64].map(grouped);
    let [of, all, done, two, both, found] = numbers;
    printer.text(format_args!(
        "{scenario:17}  {of:>10} {all:>10} {done:>10} {two:>9}  {both:>10}  {found:>8}"
    ))?;
    printer.object(&Line { scenario, operations, points, taken, pairs, pairs_taken, findings })
}

/// Tells the first findings of each kind, and saves the case of the first.
fn tell_findings(
    printer: &mut Printer,
    cancelled: &Cancelled,
    args: &CancelArgs,
    saved: &mut Vec<String>,
) -> io::Result<()> {
    let mut told = std::collections::BTreeMap::<_, usize>::new();
    let mut kinds = BTreeSet::new();
    for (outcome, case) in &cancelled.findings {
        let count = told.entry(outcome.kind()).or_default();
        *count += 1;
        if *count <= OF_A_KIND_TOLD {
            printer.text(format_args!("  {}", print::finding(outcome)))?;
        }
        printer.object(outcome)?;
        if kinds.insert(outcome.kind()) {
            let name = format!("{}-{}-cancelled-{}", outcome.scenario, outcome.seed, outcome.verdict);
            let case = format!("# {}\n{case}", print::finding(outcome));
            match files::keep(&args.findings, &name, &case) {
                Ok(path) => {
                    let path = path.display().to_string();
                    printer.text(format_args!("    cargo run --release -- replay {path}"))?;
                    saved.push(path);
                }
                Err(why) => print::complain(&format!("a case cannot be saved: {why}")),
            }
        }
    }
    for ((_, verdict, oracle), count) in told.into_iter().filter(|(_, count)| *count > OF_A_KIND_TOLD) {
        let oracle = oracle.map(|oracle| format!(" ({oracle})")).unwrap_or_default();
        printer.text(format_args!("  {} × {verdict}{oracle} in all", grouped(count as u64)))?;
    }
    Ok(())
}
