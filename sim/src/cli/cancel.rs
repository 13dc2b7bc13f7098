//! `cancel`: every operation of a case is cancelled at every step of its life, by every manner.

use std::io;

use serde::Serialize;

use super::args::CancelArgs;
use super::cases::{self, Group};
use super::print::{Printer, counted, grouped};
use super::progress::Progress;
use super::{Ending, Failure, Program, known_relapses};
use crate::explore::{self, Cancelled, CrewError, Stop, Stopwatch};

pub(super) fn cancel(
    program: Program,
    args: CancelArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    known_relapses(&args.relapses)?;
    let crew = args.patience.crew(args.jobs.number(), stop);
    let seeds = args.seeds.clone().unwrap_or(args.seed..args.seed + 1);
    let groups = cases::groups(program, args.case.as_deref(), &args.scenarios, seeds)?;
    let watch = Stopwatch::start();
    let mut all = Cancelled::default();
    let mut saved = Vec::new();
    let mut count = 0;
    printer.text(HEAD)?;
    for Group { name, cases: of_scenario } in groups {
        let mut scenario = Cancelled::default();
        for (what, source) in of_scenario {
            let progress = Progress::new(&what, None);
            let source = cases::with_relapses(&crew, source, &args.relapses)?;
            let mut told = |done, all| progress.at_of(done, all);
            let cancelled = explore::cancel_everywhere(&crew, source, args.at_most, args.pairs, &mut told);
            match cancelled {
                Ok(cancelled) => add(&mut scenario, cancelled),
                Err(CrewError::Stopped) => break,
                Err(error) => return Err(error.into()),
            }
            if crew.stop.is_wanted() {
                break;
            }
            count += 1;
        }
        tell_line(&mut printer, &name, &scenario)?;
        let found = &scenario.findings;
        cases::tell_findings(&mut printer, found, "cancelled", &args.findings, &mut saved)?;
        printer.flush()?;
        add(&mut all, scenario);
        if crew.stop.is_wanted() {
            break;
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    let interrupted = crew.stop.is_wanted();
    // What was not come to is not missed.
    let missed = if interrupted { 0 } else { all.wanted - all.taken };
    let per_minute = (all.taken + all.pairs_taken) as f64 / seconds.max(1e-9) * 60.0;
    printer.text(format_args!(
        "{}, {}: {} of {} taken, {}, {}; {seconds:.1} s, {} points/minute{}",
        counted(count, "case"),
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
        cases: count,
        operations: all.operations,
        points: all.points,
        wanted: all.wanted,
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

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    operations: u64,
    points: u64,
    wanted: u64,
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
    wanted: u64,
    taken: u64,
    pairs: u64,
    pairs_taken: u64,
    findings: usize,
    seconds: f64,
    points_per_minute: f64,
    saved: Vec<String>,
    interrupted: bool,
}

fn add(all: &mut Cancelled, more: Cancelled) {
    all.operations += more.operations;
    all.points += more.points;
    all.wanted += more.wanted;
    all.taken += more.taken;
    all.pairs += more.pairs;
    all.pairs_taken += more.pairs_taken;
    all.findings.extend(more.findings);
}

fn tell_line(printer: &mut Printer, scenario: &str, cancelled: &Cancelled) -> io::Result<()> {
    let Cancelled { operations, points, wanted, taken, pairs, pairs_taken, .. } = *cancelled;
    let findings = cancelled.findings.len();
    let numbers = [operations, points, taken, pairs, pairs_taken, findings as u64].map(grouped);
    let [of, all, done, two, both, found] = numbers;
    printer.text(format_args!(
        "{scenario:17}  {of:>10} {all:>10} {done:>10} {two:>9}  {both:>10}  {found:>8}"
    ))?;
    printer.object(&Line { scenario, operations, points, wanted, taken, pairs, pairs_taken, findings })
}
