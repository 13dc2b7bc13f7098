//! `audit --planted`: what becomes of each classic source of nondeterminism that is put into a run.

use std::io;

use serde::Serialize;

use super::args::AuditArgs;
use super::print::{Printer, counted, one_line};
use super::progress::Progress;
use super::{Ending, Failure};
use crate::explore::{CULPRITS, Culprit, Fate, RUNS_OF_EACH, Seen, Stop, examine};

/// Shows what becomes of each culprit; one without the fate that was declared is a finding.
pub(super) fn planted(args: AuditArgs, mut printer: Printer, stop: Stop) -> Result<Ending, Failure> {
    let crew = args.patience.crew(args.jobs.number(), stop);
    let runs_of_each = 3 * RUNS_OF_EACH;
    let progress = Progress::new("audit --planted", Some(runs_of_each * CULPRITS.len() as u64));
    let (mut done, mut unexplained) = (0, 0);
    for culprit in CULPRITS {
        let seen = examine(&crew, culprit, &mut |runs| progress.at(done + runs))?;
        done += runs_of_each;
        unexplained += u64::from(!culprit.is_explained_by(&seen));
        tell(&mut printer, culprit, &seen)?;
    }
    drop(progress);
    let culprits = CULPRITS.len() as u64;
    printer.object(&Summary { culprits, unexplained })?;
    printer.text(match unexplained {
        0 => format!("{}: none unexplained", counted(culprits, "culprit")),
        some => format!("{}: {some} unexplained", counted(culprits, "culprit")),
    })?;
    printer.flush()?;
    Ok(if unexplained == 0 { Ending::Held } else { Ending::Finding })
}

#[derive(Serialize)]
struct Line<'a> {
    culprit: &'a str,
    danger: &'a str,
    expected: &'static str,
    seen: &'static str,
    explained: bool,
    evidence: &'a str,
    because: &'a str,
}

#[derive(Serialize)]
struct Summary {
    culprits: u64,
    unexplained: u64,
}

fn tell(printer: &mut Printer, culprit: &Culprit, seen: &Seen) -> io::Result<()> {
    let Culprit { name, danger, fate, because, .. } = culprit;
    let name = name.trim_start_matches("planted:");
    let (expected, fate) = (fate.word(), seen.fate.map_or("unexplained", Fate::word));
    let evidence = &one_line(&seen.evidence);
    let explained = culprit.is_explained_by(seen);
    let verdict = match explained {
        true => fate.to_string(),
        false => format!("{fate}, and not {expected} as it should be: UNEXPLAINED"),
    };
    printer.text(format_args!("{name:<16} {verdict}"))?;
    printer.text(format_args!("    {danger}"))?;
    printer.text(format_args!("    {evidence}"))?;
    printer.text(format_args!("    {because}"))?;
    printer.object(&Line { culprit: name, danger, expected, seen: fate, explained, evidence, because })
}
