//! `exhaust`: every run within so many deviations of a base.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::args::ExhaustArgs;
use super::print::{self, Printer, counted, grouped};
use super::progress::Progress;
use super::{Ending, Failure, Program, files, input, known_relapses};
use crate::explore::{
    self, Answer, Covered, Crew, CrewError, Edit, Order, Outcome, Searching, Source, Stop, Stopwatch, Watch,
};

/// How many findings of one kind are printed for people.
const OF_A_KIND_TOLD: u64 = 3;

pub(super) fn exhaust(
    program: Program,
    args: ExhaustArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    known_relapses(&args.relapses)?;
    let crew = args.patience.crew(args.jobs.number(), stop);
    let searching =
        Searching { base: base(program, &args, &crew)?, deviations: args.deviations, prune: !args.no_prune };
    let kept = args.state.as_ref().map(|path| Kept::open(path, &searching)).transpose()?;
    let before = kept.as_ref().map(|kept| kept.covered).unwrap_or_default();
    if before.extended > 0 {
        let (done, runs) = (grouped(before.extended), grouped(before.runs));
        printer.text(format_args!("going on after {done} extended, {runs} runs"))?;
    }
    let watch = Stopwatch::start();
    let mut witness = Witness {
        kept,
        findings: args.findings.clone(),
        progress: None,
        to_extend: 0,
        last: args.deviations,
        told: BTreeMap::new(),
        lines: Vec::new(),
        saved: Vec::new(),
        covered: before,
    };
    let ended = explore::exhaust(&crew, &searching, before, &mut witness);
    drop(witness.progress.take());
    let complete = match ended {
        Ok(covered) => {
            witness.covered = covered;
            true
        }
        Err(CrewError::Stopped) => false,
        Err(error) => return Err(error.into()),
    };
    let seconds = watch.elapsed().as_secs_f64();
    tell(&mut printer, &args, &witness, complete, seconds)?;
    Ok(match (witness.covered.findings, complete) {
        (0, true) => Ending::Held,
        (0, false) => Ending::Interrupted,
        _ => Ending::Finding,
    })
}

/// The base: a case from a file, or what a seed draws, without its faults and first in first out.
fn base(program: Program, args: &ExhaustArgs, crew: &Crew) -> Result<String, Failure> {
    let path = Path::new(&args.what);
    let mut edits = Vec::new();
    let source = match path.extension().is_some_and(|extension| extension == "toml") {
        true => Source::Toml(files::read(path)?),
        false => {
            program.scenarios_named(std::slice::from_ref(&args.what))?;
            for edit in ["schedule={kind='fifo'}", "fault=[]", "cancel=[]"] {
                edits.push(Edit::parse(edit).map_err(input)?);
            }
            Source::Seed { scenario: args.what.clone(), seed: args.seed, schedule: None }
        }
    };
    if !args.relapses.is_empty() {
        edits.push(Edit::relapses(&args.relapses));
    }
    let base = match crew.ask(&Order::Make { source, edits })? {
        Answer::Made(case) => case,
        _ => return Err(CrewError::Defect("a worker answered what it was not asked".into()).into()),
    };
    let schedule = toml::from_str::<toml::Table>(&base)
        .ok()
        .and_then(|case| case.get("schedule")?.get("kind")?.as_str().map(String::from));
    match schedule.as_deref() {
        Some("fifo" | "replay") => Ok(base),
        _ => Err(input(format!("{} has a random schedule: set it to fifo or to a replay", args.what))),
    }
}

/// Sees what a search does: shows it, and keeps how far it has come.
struct Witness {
    kept: Option<Kept>,
    findings: PathBuf,
    progress: Option<Progress>,
    to_extend: u64,
    last: u32,
    told: BTreeMap<(String, Option<String>), u64>,
    lines: Vec<(Outcome, Option<String>)>,
    saved: Vec<String>,
    covered: Covered,
}

impl Watch for Witness {
    fn level(&mut self, deviations: u32, to_extend: u64) {
        self.to_extend = to_extend;
        let what = format!("{} of {}", counted(u64::from(deviations) + 1, "deviation"), self.last);
        self.progress = Some(Progress::new(&what, Some(to_extend)));
    }

    fn covered(&mut self, covered: &Covered) -> Result<(), CrewError> {
        self.covered = *covered;
        if let Some(progress) = &self.progress {
            progress.at_of(covered.extended, self.to_extend);
        }
        match &mut self.kept {
            Some(kept) => kept.write(covered).map_err(CrewError::from),
            None => Ok(()),
        }
    }

    fn found(&mut self, outcome: Outcome, case: String) {
        let (_, verdict, oracle) = outcome.kind();
        let count = self.told.entry((verdict.into(), oracle.map(String::from))).or_default();
        *count += 1;
        let mut place = None;
        if *count == 1 {
            let name = format!("{}-{}-exhausted-{verdict}", outcome.scenario, outcome.seed);
            let case = format!("# {}\n{case}", print::finding(&outcome));
            match files::keep(&self.findings, &name, &case) {
                Ok(path) => {
                    let path = path.display().to_string();
                    self.saved.push(path.clone());
                    place = Some(path);
                }
                Err(why) => print::complain(&format!("a case cannot be saved: {why}")),
            }
        }
        if *count <= OF_A_KIND_TOLD {
            self.lines.push((outcome, place));
        }
    }
}

/// The file that says how far a search has come.
struct Kept {
    path: PathBuf,
    search: String,
    covered: Covered,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptFile {
    /// Which search it is of.
    search: String,
    covered: Covered,
}

impl Kept {
    fn open(path: &Path, searching: &Searching) -> Result<Kept, Failure> {
        let text = format!("{} {} {}", searching.base, searching.deviations, searching.prune);
        let search = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        let covered = match path.exists() {
            false => Covered::default(),
            true => {
                let file: KeptFile = serde_json::from_str(&files::read(path)?)
                    .map_err(|error| input(format!("{} keeps no search: {error}", path.display())))?;
                if file.search != search {
                    let path = path.display();
                    return Err(input(format!("{path} keeps another search: name a file of its own")));
                }
                file.covered
            }
        };
        Ok(Kept { path: path.into(), search, covered })
    }

    /// Only what the last level has covered is kept: the levels above are done again, which is quick.
    fn write(&mut self, covered: &Covered) -> io::Result<()> {
        if covered.extended == 0 {
            return Ok(());
        }
        let file = KeptFile { search: self.search.clone(), covered: *covered };
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(&file)?)?;
        fs::rename(fresh, &self.path)
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    deviations: u32,
    complete: bool,
    #[serde(flatten)]
    covered: &'a Covered,
    seconds: f64,
    saved: &'a [String],
}

fn tell(
    printer: &mut Printer,
    args: &ExhaustArgs,
    witness: &Witness,
    complete: bool,
    seconds: f64,
) -> io::Result<()> {
    for (outcome, place) in &witness.lines {
        printer.text(print::finding(outcome))?;
        printer.object(outcome)?;
        if let Some(path) = place {
            printer.text(format_args!("    cargo run --release -- replay {path}"))?;
        }
    }
    let covered = &witness.covered;
    let [departures, faults, cancels] = covered.kinds;
    printer.text(format_args!(
        "{}: {} made, {} left out as equivalent, {}; {seconds:.1} s",
        counted(covered.runs + covered.pruned, "run"),
        grouped(covered.runs),
        grouped(covered.pruned),
        counted(covered.findings, "finding"),
    ))?;
    printer.text(format_args!(
        "the last deviation was a departure in {}, a fault in {}, a cancellation in {}",
        grouped(departures),
        grouped(faults),
        grouped(cancels)
    ))?;
    let bound = counted(u64::from(args.deviations), "deviation");
    printer.text(match complete {
        true => format!("complete: every run within {bound} of {} is covered", args.what),
        false => {
            format!("NOT complete: {} of {} extended", grouped(covered.extended), grouped(witness.to_extend))
        }
    })?;
    printer.object(&Summary {
        deviations: args.deviations,
        complete,
        covered,
        seconds,
        saved: &witness.saved,
    })?;
    printer.flush()
}
