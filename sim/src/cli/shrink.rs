//! `shrink`: a case that fails, made smaller.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::args::ShrinkArgs;
use super::print::{Printer, counted, sized};
use super::progress::Progress;
use super::{Ending, Failure, files, input};
use crate::case::Expect;
use crate::explore::{self, Crew, CrewError, Limits, Shrunk, Size, Stop};

pub(super) fn shrink(args: ShrinkArgs, mut printer: Printer, stop: Stop) -> Result<Ending, Failure> {
    let path = args.file.display().to_string();
    let case = files::read(&args.file)?;
    // Before any work: nothing is lost to a name that is taken.
    let out = args.out.as_deref().map(files::create).transpose()?;
    let crew = Crew { jobs: args.jobs.number(), patience: args.patience, stop };
    let limits = Limits { attempts: args.attempts, time: args.at_most };
    let progress = Progress::new("shrink", None);
    let shrunk = explore::shrink(&crew, &case, limits, &mut |tried| progress.at(tried));
    drop(progress);
    let shrunk = match shrunk {
        Ok(Some(shrunk)) => Ok(shrunk),
        Ok(None) => Err(input(format!("{path}: nothing to shrink: the case passes"))),
        Err(CrewError::Refused(why)) => Err(input(format!("{path}: {why}"))),
        Err(error) => Err(error.into()),
    };
    let shrunk = match (shrunk, &args.out) {
        (Err(failure), Some(out)) => {
            // It is ours, and empty.
            let _ = std::fs::remove_file(out);
            return Err(failure);
        }
        (shrunk, _) => shrunk?,
    };
    let case = match args.expect {
        true => with_expectation(&shrunk)?,
        false => shrunk.case.clone(),
    };
    match out {
        Some(mut file) => file.write_all(case.as_bytes())?,
        None => printer.text(case.trim_end())?,
    }
    tell(&mut printer, &shrunk, &case, args.out.as_deref(), crew.stop.is_wanted())?;
    printer.flush()?;
    Ok(if crew.stop.is_wanted() { Ending::Interrupted } else { Ending::Held })
}

/// The case with a section that says what it comes to.
pub(super) fn with_expectation(shrunk: &Shrunk) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Section {
        expect: Expect,
    }
    let section = Section { expect: Expect::failure(shrunk.symptom.clone()) };
    let section = toml::to_string(&section).map_err(|error| input(error.to_string()))?;
    Ok(format!("{}\n\n{section}", shrunk.case.trim_end()))
}

#[derive(Serialize)]
struct Summary<'a> {
    verdict: &'a str,
    oracle: Option<&'a str>,
    before: &'a Size,
    after: &'a Size,
    attempts: u64,
    seconds: f64,
    minimal: bool,
    interrupted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
    case: &'a str,
}

fn tell(
    printer: &mut Printer,
    shrunk: &Shrunk,
    case: &str,
    out: Option<&Path>,
    interrupted: bool,
) -> io::Result<()> {
    let ended = match (shrunk.minimal, interrupted) {
        (true, _) => "removing any one thing loses the failure",
        (false, true) => "interrupted: there may be more to remove",
        (false, false) => "its budget is used up: there may be more to remove (--for, --attempts)",
    };
    printer.text("")?;
    printer.text(format_args!("# {}", shrunk.symptom))?;
    printer.text(format_args!("# was  {}", sized(&shrunk.before)))?;
    printer.text(format_args!("# is   {}", sized(&shrunk.after)))?;
    let seconds = shrunk.took.as_secs_f64();
    printer.text(format_args!("# {} in {seconds:.1} s; {ended}", counted(shrunk.attempts, "attempt")))?;
    if let Some(out) = out {
        printer.text(format_args!("# saved as {}", out.display()))?;
    }
    printer.object(&Summary {
        verdict: &shrunk.symptom.verdict,
        oracle: shrunk.symptom.oracle.as_deref(),
        before: &shrunk.before,
        after: &shrunk.after,
        attempts: shrunk.attempts,
        seconds: (seconds * 1000.0).round() / 1000.0,
        minimal: shrunk.minimal,
        interrupted,
        out: out.map(|out| out.display().to_string()),
        case,
    })
}
