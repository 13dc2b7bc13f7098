//! Cases that a command varies: where they come from, and what is told of those that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::Path;

use super::print::{self, Printer, grouped};
use super::{Failure, Program, files};
use crate::explore::{Answer, Crew, CrewError, Edit, Order, Outcome, Source};

/// How many findings of one kind are printed for people.
const OF_A_KIND_TOLD: usize = 3;

/// The cases of a scenario, or of a file.
pub(super) struct Group {
    /// What they belong to.
    pub(super) name: String,
    /// Each with what it is called while it is worked on.
    pub(super) cases: Vec<(String, Source)>,
}

/// The cases: a file, or some seeds of some scenarios.
pub(super) fn groups(
    program: Program,
    file: Option<&Path>,
    scenarios: &[String],
    seeds: Range<u64>,
) -> Result<Vec<Group>, Failure> {
    if let Some(path) = file {
        let name = path.display().to_string();
        let cases = vec![(name.clone(), Source::Toml(files::read(path)?))];
        return Ok(vec![Group { name, cases }]);
    }
    let of_scenario = |scenario: String| {
        let source = |seed| Source::Seed { scenario: scenario.clone(), seed, schedule: None };
        let cases = seeds.clone().map(|seed| (format!("{scenario} {seed}"), source(seed))).collect();
        Group { name: scenario.clone(), cases }
    };
    Ok(program.scenarios_named(scenarios)?.into_iter().map(of_scenario).collect())
}

/// The case with known bugs put back.
pub(super) fn with_relapses(crew: &Crew, source: Source, relapses: &[String]) -> Result<Source, Failure> {
    if relapses.is_empty() {
        return Ok(source);
    }
    let edit = Edit::relapses(relapses);
    match crew.ask(&Order::Make { source, edits: vec![edit] })? {
        Answer::Made(case) => Ok(Source::Toml(case)),
        _ => Err(CrewError::Defect("a worker answered what it was not asked".into()).into()),
    }
}

/// Tells the first findings of each kind, and saves the case of the first below `folder`. `done` is what was done to the
/// cases, for the names of the files.
pub(super) fn tell_findings(
    printer: &mut Printer,
    findings: &[(Outcome, String)],
    done: &str,
    folder: &Path,
    saved: &mut Vec<String>,
) -> io::Result<()> {
    let mut told = BTreeMap::<_, usize>::new();
    let mut kinds = BTreeSet::new();
    for (outcome, case) in findings {
        let count = told.entry(outcome.kind()).or_default();
        *count += 1;
        if *count <= OF_A_KIND_TOLD {
            printer.text(format_args!("  {}", print::finding(outcome)))?;
        }
        printer.object(outcome)?;
        if kinds.insert(outcome.kind()) {
            let name = format!("{}-{}-{done}-{}", outcome.scenario, outcome.seed, outcome.verdict);
            let case = format!("# {}\n{case}", print::finding(outcome));
            match files::keep(folder, &name, &case) {
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
