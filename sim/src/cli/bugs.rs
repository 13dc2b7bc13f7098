//! `bugs`: each known bug is put back and hunted. What the hunt cannot find is a hole in the harness; what it finds must
//! be what the catalogue says.

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::args::BugsArgs;
use super::print::{self, Printer, counted, grouped};
use super::progress::Progress;
use super::{Ending, Failure, Program, input, known_relapses};
use crate::explore::{
    self, Answer, Crew, CrewError, Hunt, KnownBug, Limits, Order, Outcome, Plan, Quarry, Shrunk, Size,
    Source, Stop,
};

/// After how many hits a bug has been found often enough for a quick hunt.
const ENOUGH: usize = 20;
/// How long the first find is shrunk.
const SHRINKING: Limits = Limits { attempts: 100_000, time: Duration::from_secs(20) };
/// How many seeds lie between the hunts of two bugs, so that no two use the same ones.
const SEEDS_BETWEEN: u64 = 1_000_000;

pub(super) fn bugs(
    program: Program,
    args: BugsArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    let chosen = chosen(program, &args)?;
    let width = chosen.iter().map(|(_, bug)| bug.name.len()).max().unwrap_or(0).max("bug".len());
    let crew = args.patience.crew(args.jobs.number(), stop);
    let scenarios = program.scenarios_named(&[])?;
    if let Some((part, parts)) = args.part {
        let names: Vec<_> = chosen.iter().map(|(_, bug)| bug.name).collect();
        printer.text(format_args!("part {part} of 0..{parts}: {}", names.join(", ")))?;
    }
    printer.text(format_args!(
        "{:width$}  {:>6}  {:>5}  {:>7}  {:>15}  {:>6}  {:>6}",
        "bug", "runs", "hits", "rate", "95 % interval", "first", "median"
    ))?;
    let mut summary = Summary { part: args.part.map(|(part, parts)| [part, parts]), ..Summary::default() };
    for (place, bug) in chosen {
        let own = of_its_area(&scenarios, bug.name, program.bugs);
        let plan = Plan { schedule: args.schedule, ..plan(&own, place as u64, bug, args.budget)? };
        let progress = Progress::new(bug.name, Some(plan.runs));
        let quarry = Quarry { plan, enough: args.quick.then_some(ENOUGH) };
        let hunt = explore::hunt(&crew, &quarry, &mut |runs| progress.at(runs))?;
        drop(progress);
        let shrunk = shrink_first(&crew, &quarry.plan, &hunt)?;
        if crew.stop.is_wanted() && hunt.hits.is_empty() {
            break;
        }
        summary.bugs += 1;
        summary.found += usize::from(!hunt.hits.is_empty());
        summary.not_as_declared += usize::from(!hunt.unlike(bug.signs).is_empty());
        tell(&mut printer, bug, &hunt, shrunk.as_ref(), width)?;
        printer.flush()?;
        if crew.stop.is_wanted() {
            break;
        }
    }
    summary.interrupted = crew.stop.is_wanted();
    let mut last = format!("{} of {} found", summary.found, counted(summary.bugs as u64, "bug"));
    if summary.not_as_declared > 0 {
        last += &format!("; {} found, but not as declared", summary.not_as_declared);
    }
    if summary.interrupted {
        last += "; interrupted";
    }
    printer.text(last)?;
    printer.object(&summary)?;
    printer.flush()?;
    let held = summary.found == summary.bugs && summary.not_as_declared == 0;
    Ok(match (held, summary.interrupted) {
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
    /// Every find bears one of the signs.
    as_declared: bool,
    signs: Vec<String>,
    runs: u64,
    hits: usize,
    rate: f64,
    wilson_low: f64,
    wilson_high: f64,
    runs_to_first: Option<u64>,
    runs_median: Option<u64>,
    schedules: Vec<(String, usize)>,
    verdicts: Vec<(String, usize)>,
    /// Finds that bear none of the signs.
    not_as_declared: Vec<&'a Outcome>,
    /// Of the first find.
    verdict: Option<&'a str>,
    oracle: Option<&'a str>,
    detail: Option<&'a str>,
    replay: Option<&'a str>,
    /// How small the first find can be made.
    shrunk: Option<&'a Size>,
}

#[derive(Default, Serialize)]
struct Summary {
    bugs: usize,
    found: usize,
    not_as_declared: usize,
    part: Option<[usize; 2]>,
    interrupted: bool,
}

/// The bugs of these names, or all, and of these the part that is asked for; each with its place among all.
fn chosen(program: Program, args: &BugsArgs) -> Result<Vec<(usize, KnownBug)>, Failure> {
    let known = |name: &&String| program.bugs.iter().any(|bug| bug.name == **name);
    if let Some(unknown) = args.names.iter().find(|name| !known(name)) {
        let names: Vec<_> = program.bugs.iter().map(|bug| bug.name).collect();
        return Err(input(format!("there is no known bug `{unknown}`: there are {}", names.join(", "))));
    }
    let named = |bug: &KnownBug| args.names.is_empty() || args.names.iter().any(|name| name == bug.name);
    let in_part = |place: usize| args.part.is_none_or(|(part, parts)| place % parts == part);
    let all = program.bugs.iter().copied().enumerate();
    let chosen: Vec<_> = all.filter(|(place, bug)| named(bug) && in_part(*place)).collect();
    known_relapses(&chosen.iter().map(|(_, bug)| bug.name.to_string()).collect::<Vec<_>>())?;
    Ok(chosen)
}

/// The scenarios that a bug can show in: those whose names begin like its own, up to the hyphen; for a bug whose area has no
/// scenarios of its own, those that are no other area's.
fn of_its_area(scenarios: &[String], bug: &str, all: &[KnownBug]) -> Vec<String> {
    let area = |name: &str| name.split_once('-').map_or(name, |(area, _)| area).to_owned();
    let own: Vec<_> = scenarios.iter().filter(|name| area(name) == area(bug)).cloned().collect();
    let claimed = |name: &&String| all.iter().any(|bug| area(bug.name) == area(name));
    let free: Vec<_> = scenarios.iter().filter(|name| !claimed(name)).cloned().collect();
    [own, free].into_iter().find(|names| !names.is_empty()).unwrap_or_else(|| scenarios.to_vec())
}

fn plan(scenarios: &[String], place: u64, bug: KnownBug, budget: u64) -> Result<Plan, Failure> {
    let first = place * SEEDS_BETWEEN;
    let plan = Plan::new(scenarios.to_vec(), first..first + SEEDS_BETWEEN)
        .ok_or_else(|| input("that is more runs than there are numbers"))?;
    Ok(Plan { runs: budget, relapses: vec![bug.name.into()], ..plan })
}

/// The first find, as small as it gets.
fn shrink_first(crew: &Crew, plan: &Plan, hunt: &Hunt) -> Result<Option<Shrunk>, Failure> {
    let Some((run, outcome)) = hunt.hits.first() else { return Ok(None) };
    // What never ends takes its worker along with every attempt.
    if crew.stop.is_wanted() || outcome.verdict == "stuck" {
        return Ok(None);
    }
    let source = Source::Run { plan: plan.clone(), index: *run };
    let Answer::Made(case) = crew.ask(&Order::Make { source, edits: Vec::new() })? else {
        return Err(CrewError::Defect("a worker answered what it was not asked".into()).into());
    };
    Ok(explore::shrink(crew, &case, SHRINKING, &mut |_| {})?)
}

fn tell(
    printer: &mut Printer,
    bug: KnownBug,
    hunt: &Hunt,
    shrunk: Option<&Shrunk>,
    width: usize,
) -> io::Result<()> {
    let dash = |number: Option<u64>| number.map_or("-".into(), grouped);
    let [first, median] = [hunt.runs_to_first(), hunt.runs_median()].map(dash);
    let (verdicts, schedules) = (hunt.verdicts(), hunt.schedules());
    let seen = if verdicts.is_empty() { "NOT FOUND".into() } else { listed(&verdicts) };
    let (name, runs, hits) = (bug.name, grouped(hunt.runs), grouped(hunt.hits.len() as u64));
    let (low, high) = hunt.interval();
    let rate = format!("{:.2} %", hunt.rate() * 100.0);
    let interval = format!("{:.2} – {:.2} %", low * 100.0, high * 100.0);
    printer.text(format_args!(
        "{name:width$}  {runs:>6}  {hits:>5}  {rate:>7}  {interval:>15}  {first:>6}  {median:>6}  {seen}"
    ))?;
    printer.text(format_args!("    {}", bug.about))?;
    if !schedules.is_empty() {
        printer.text(format_args!("    schedules: {}", listed(&schedules)))?;
    }
    let outcome = hunt.hits.first().map(|(_, outcome)| outcome);
    let evidence = outcome.and_then(|outcome| outcome.evidence.as_ref());
    if let (Some(outcome), Some(evidence)) = (outcome, evidence) {
        printer.text(format_args!("    {}", print::finding(outcome)))?;
        printer.text(format_args!("    {}", evidence.replay))?;
    }
    if let Some(shrunk) = shrunk {
        let (size, seconds) = (print::sized(&shrunk.after), shrunk.took.as_secs_f64());
        printer.text(format_args!("    shrunk to {size}, in {seconds:.1} s"))?;
    }
    let unlike = hunt.unlike(bug.signs);
    let signs: Vec<_> = bug.signs.iter().map(ToString::to_string).collect();
    if let Some(outcome) = unlike.first() {
        let declared = signs.join(", or ");
        let times = counted(unlike.len() as u64, "time");
        printer.text(format_args!("    FOUND, BUT NOT AS DECLARED, {times}; declared: {declared}"))?;
        printer.text(format_args!("    {}", print::finding(outcome)))?;
        let replay = outcome.evidence.as_ref().map_or("", |evidence| evidence.replay.as_str());
        printer.text(format_args!("    {replay}"))?;
    }
    printer.object(&Line {
        bug: bug.name,
        about: bug.about,
        found: !hunt.hits.is_empty(),
        as_declared: unlike.is_empty(),
        signs,
        runs: hunt.runs,
        hits: hunt.hits.len(),
        rate: hunt.rate(),
        wilson_low: low,
        wilson_high: high,
        runs_to_first: hunt.runs_to_first(),
        runs_median: hunt.runs_median(),
        schedules,
        verdicts,
        not_as_declared: unlike,
        verdict: outcome.map(|outcome: &Outcome| outcome.verdict.as_str()),
        oracle: evidence.and_then(|evidence| evidence.oracle.as_deref()),
        detail: evidence.map(|evidence| evidence.detail.as_str()),
        replay: evidence.map(|evidence| evidence.replay.as_str()),
        shrunk: shrunk.map(|shrunk| &shrunk.after),
    })
}

/// `20 × hung, 3 × stuck`.
fn listed(counts: &[(String, usize)]) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{} × {name}", grouped(*count as u64)));
    counts.collect::<Vec<_>>().join(", ")
}
