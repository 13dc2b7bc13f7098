//! `run` and `replay`: one case, told in full.
//!
//! What is printed for people is a case file: the case first, all else in comments.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::args::{ReplayArgs, RunArgs};
use super::print::Printer;
use super::{Ending, Failure, Program, files, input, known_relapses};
use crate::case::Verdict;
use crate::explore::{
    Answer, Crew, CrewError, Death, Edit, Evidence, Order, Outcome, Source, Stop, Told, WorkerProcess,
    named_in,
};

/// Runs a seed.
pub(super) fn run(program: Program, args: RunArgs, printer: Printer, stop: Stop) -> Result<Ending, Failure> {
    program.scenarios_named(std::slice::from_ref(&args.scenario))?;
    known_relapses(&args.relapses)?;
    let mut replay = format!("cargo run --release -- run {} --seed {}", args.scenario, args.seed);
    for relapse in &args.relapses {
        replay += &format!(" --relapse {relapse}");
    }
    if let Some(kind) = args.schedule {
        replay += &format!(" --schedule {kind}");
    }
    for edit in &args.edits {
        replay += &format!(" --set {}", for_shell(&format!("{}={}", edit.path, edit.value)));
    }
    let mut edits = args.edits;
    if !args.relapses.is_empty() {
        edits.insert(0, Edit::relapses(&args.relapses));
    }
    let source = Source::Seed { scenario: args.scenario.clone(), seed: args.seed, schedule: args.schedule };
    let who = (args.scenario, args.seed);
    play(args.patience.crew(1, stop), Order::Make { source, edits }, who, replay, args.trace, printer)
}

/// Runs a case file.
pub(super) fn replay(args: ReplayArgs, printer: Printer, stop: Stop) -> Result<Ending, Failure> {
    let path = args.file.display().to_string();
    let source = Source::Toml(files::read(&args.file)?);
    let replay = format!("cargo run --release -- replay {}", for_shell(&path));
    let who = (path.clone(), 0);
    play(
        args.patience.crew(1, stop),
        Order::Make { source, edits: Vec::new() },
        who,
        replay,
        args.trace,
        printer,
    )
    .map_err(|failure| match failure {
        Failure::Crew(CrewError::Refused(why)) => input(format!("{path}: {why}")),
        failure => failure,
    })
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    outcome: Outcome,
    case: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    story: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits: Option<String>,
}

fn play(
    crew: Crew,
    make: Order,
    who: (String, u64),
    replay: String,
    story: bool,
    mut printer: Printer,
) -> Result<Ending, Failure> {
    let Answer::Made(case) = crew.ask(&make)? else {
        return Err(CrewError::Defect("a worker answered what it was not asked".into()).into());
    };
    printer.text(&case)?;
    printer.flush()?;
    let told = tell(&crew, who, Order::Play { case: case.clone(), replay: replay.clone(), story })?;
    let Told { outcome, story, waits } = told;
    for line in &story {
        printer.text(format_args!("# {line}"))?;
    }
    if !story.is_empty() {
        printer.text("#")?;
    }
    for line in waits.iter().flat_map(|waits| waits.lines()) {
        printer.text(format_args!("# {line}"))?;
    }
    printer.text(format_args!("# {}", verdict(&outcome)))?;
    let simulated = Duration::from_nanos(outcome.sim_ns);
    printer.text(format_args!(
        "# digest {:016x}, {} steps, {simulated:?} simulated",
        outcome.digest, outcome.steps
    ))?;
    printer.text(format_args!("# {replay}"))?;
    let ending = if outcome.evidence.is_some() { Ending::Finding } else { Ending::Held };
    printer.object(&Line { outcome, case, story, waits })?;
    printer.flush()?;
    Ok(ending)
}

/// Has the case run, in a worker of its own. What kills the worker is a finding.
fn tell(crew: &Crew, who: (String, u64), order: Order) -> Result<Told, Failure> {
    let Order::Play { case, replay, .. } = &order else { return Err(input("nothing to play")) };
    let mut worker = WorkerProcess::start(crew.patience, &crew.stop).map_err(CrewError::from)?;
    let answer = worker.ask(&order);
    // What scenarios have printed was held back, so as not to mix with ours.
    let _ = io::stderr().write_all(&worker.words());
    match answer {
        Ok(Answer::Played(told)) => Ok(told),
        Ok(Answer::Refused(why)) => Err(CrewError::Refused(why).into()),
        Ok(_) => Err(CrewError::Defect("a worker answered what it was not asked".into()).into()),
        Err(Death::OnRun { how, .. }) => {
            let (scenario, seed) = named_in(case).unwrap_or(who);
            let outcome = Outcome::without_report(Verdict::Stuck { detail: how }, &scenario, seed, replay);
            Ok(Told { outcome, story: Vec::new(), waits: None })
        }
        Err(death) => Err(CrewError::from(death).into()),
    }
}

fn verdict(outcome: &Outcome) -> String {
    match &outcome.evidence {
        None => outcome.verdict.clone(),
        Some(Evidence { oracle: None, detail, .. }) => commented(&outcome.verdict, detail),
        Some(Evidence { oracle: Some(oracle), detail, .. }) => {
            commented(&format!("{} ({oracle})", outcome.verdict), detail)
        }
    }
}

fn commented(verdict: &str, detail: &str) -> String {
    format!("{verdict}: {}", detail.replace('\n', "\n#   "))
}

/// A word for a shell, in quotes if it needs them.
pub(super) fn for_shell(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,+@%".contains(letter);
    match word.chars().all(plain) && !word.is_empty() {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        assert_eq!(for_shell("knobs.job_us=0"), "knobs.job_us=0");
        assert_eq!(for_shell("a={b = 'c'}"), r"'a={b = '\''c'\''}'");
    }
}
