//! `crash`: every crash point of a case is taken, by a crash of the process and by loss of power.

use std::io;

use serde::Serialize;

use super::args::CrashArgs;
use super::cases::{self, Group};
use super::print::{Printer, counted, grouped};
use super::progress::Progress;
use super::{Ending, Failure, Program, input, known_relapses};
use crate::explore::{
    self, Answer, Crashed, CrashedStage, Crashing, Crew, CrewError, Order, Source, Stop, Stopwatch,
};

pub(super) fn crash(
    program: Program,
    args: CrashArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    known_relapses(&args.relapses)?;
    let crew = args.patience.crew(args.jobs.number(), stop);
    let seeds = args.seeds.clone().unwrap_or(args.seed..args.seed + 1);
    let groups = cases::groups(program, args.case.as_deref(), &args.scenarios, seeds)?;
    let everything = args.case.is_none() && args.scenarios.is_empty();
    let crashing = Crashing { drawn: args.drawn, twice: if args.twice { args.budget } else { 0 } };
    let watch = Stopwatch::start();
    let mut all = Crashed::default();
    let (mut saved, mut count) = (Vec::new(), 0);
    for Group { name, cases: of_group } in groups {
        let mut group = Crashed::default();
        for (what, source) in of_group {
            let progress = Progress::new(&what, None);
            let source = cases::with_relapses(&crew, source, &args.relapses)?;
            let source = without_crashes(&crew, source)?;
            let crashed = explore::crash_everywhere(&crew, source, crashing, &mut |done, all| {
                progress.at_of(done, all);
            });
            match crashed {
                Ok(crashed) => {
                    count += u64::from(!crashed.stages.is_empty());
                    group.add(crashed);
                }
                Err(CrewError::Stopped) => break,
                Err(error) => return Err(error.into()),
            }
            if crew.stop.is_wanted() {
                break;
            }
        }
        if group.stages.is_empty() && !crew.stop.is_wanted() {
            match everything {
                true => continue,
                false => {
                    return Err(input(format!(
                        "{name} has no crash points: none of its actors exposes its disk"
                    )));
                }
            }
        }
        if all.stages.is_empty() {
            printer.text(HEAD)?;
        }
        tell_lines(&mut printer, &name, &group)?;
        cases::tell_findings(&mut printer, &group.findings, "crashed", &args.findings, &mut saved)?;
        printer.flush()?;
        all.add(group);
        if crew.stop.is_wanted() {
            break;
        }
    }
    let interrupted = crew.stop.is_wanted();
    let seconds = watch.elapsed().as_secs_f64();
    let summary = Summary {
        cases: count,
        counts: all.total(),
        taken: all.taken,
        twice_possible: all.twice_possible,
        seconds,
        saved,
        interrupted,
    };
    tell_summary(&mut printer, &summary)?;
    Ok(match (all.findings.is_empty() && all.missed() == 0, interrupted) {
        (false, _) => Ending::Finding,
        (true, true) => Ending::Interrupted,
        (true, false) => Ending::Held,
    })
}

const HEAD: &str =
    "scenario, and what was going on                points  process    power    drawn    twice  findings";

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    #[serde(flatten)]
    counts: CrashedStage,
}

#[derive(Serialize)]
struct Summary {
    cases: u64,
    #[serde(flatten)]
    counts: CrashedStage,
    taken: u64,
    twice_possible: u64,
    seconds: f64,
    saved: Vec<String>,
    interrupted: bool,
}

/// The case without crashes of its own, which would only be in the way of those that are taken.
fn without_crashes(crew: &Crew, source: Source) -> Result<Source, Failure> {
    let Answer::Made(text) = crew.ask(&Order::Make { source, edits: Vec::new() })? else {
        return Err(CrewError::Defect("a worker answered what it was not asked".into()).into());
    };
    let defect = |error: &dyn std::fmt::Display| CrewError::Defect(format!("a case is no TOML: {error}"));
    let mut case: toml::Table = toml::from_str(&text).map_err(|error| defect(&error))?;
    if let Some(toml::Value::Array(faults)) = case.get_mut("fault") {
        let kind = |fault: &toml::Value| Some(fault.get("effect")?.get("kind")?.as_str()? == "crash");
        let on_disk = |fault: &toml::Value| fault.get("on").and_then(toml::Value::as_str) == Some("disk");
        faults.retain(|fault| !on_disk(fault) || kind(fault) != Some(true));
    }
    Ok(Source::Toml(toml::to_string(&case).map_err(|error| defect(&error))?))
}

/// A line for the scenario, and one for each of its stages.
fn tell_lines(printer: &mut Printer, scenario: &str, crashed: &Crashed) -> io::Result<()> {
    tell_line(printer, scenario, None, crashed.total())?;
    let named = crashed.stages.iter().filter(|(stage, _)| !stage.is_empty());
    named.into_iter().try_for_each(|(stage, counts)| tell_line(printer, scenario, Some(stage), *counts))
}

fn tell_line(
    printer: &mut Printer,
    scenario: &str,
    stage: Option<&str>,
    counts: CrashedStage,
) -> io::Result<()> {
    let name = stage.map_or_else(|| scenario.to_string(), |stage| format!("  {stage}"));
    let CrashedStage { points, process, power, drawn, twice, findings } = counts;
    let [points, process, power, drawn, twice, findings] =
        [points, process, power, drawn, twice, findings].map(grouped);
    printer.text(format_args!(
        "{name:44} {points:>8} {process:>8} {power:>8} {drawn:>8} {twice:>8}  {findings:>8}"
    ))?;
    printer.object(&Line { scenario, stage, counts })
}

fn tell_summary(printer: &mut Printer, summary: &Summary) -> io::Result<()> {
    let Summary { cases, counts, taken, twice_possible, seconds, interrupted, .. } = summary;
    let runs = counts.runs();
    let twice = match (counts.twice, *twice_possible) {
        (_, 0) => String::new(),
        (twice, possible) if twice == possible => {
            format!(", {} with a second crash (all there are)", grouped(twice))
        }
        (twice, possible) => {
            format!(", {} with a second crash, drawn from {}", grouped(twice), grouped(possible))
        }
    };
    printer.text(format_args!(
        "{}, {}: {} of {} crashed as wanted{twice}, {}; {seconds:.1} s, {} runs/minute{}",
        counted(*cases, "case"),
        counted(counts.points, "crash point"),
        grouped(*taken),
        counted(runs, "run"),
        counted(counts.findings, "finding"),
        grouped((runs as f64 / seconds.max(1e-9) * 60.0) as u64),
        if *interrupted { "; interrupted" } else { "" }
    ))?;
    let missed = runs - taken;
    if missed > 0 {
        printer.text(format_args!("{} did NOT come by their crashes", counted(missed, "run")))?;
    }
    printer.object(summary)?;
    printer.flush()
}
