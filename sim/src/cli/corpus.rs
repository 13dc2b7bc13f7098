//! `corpus`: every case that is kept, and what has become of it; and how a case comes to be kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::args::CorpusArgs;
use super::print::{Printer, counted};
use super::shrink::with_expectation;
use super::{Ending, Failure, Program, files, input};
use crate::explore::{self, Kept, Limits, Standing, Stop, named_in};

/// For how long a case is shrunk before it is kept.
const SHRINKING: Duration = Duration::from_secs(60);

pub(super) fn corpus(
    program: Program,
    args: CorpusArgs,
    mut printer: Printer,
    stop: Stop,
) -> Result<Ending, Failure> {
    let folder = folder(program, args.folder.as_deref())?;
    let crew = args.patience.crew(super::args::cores(), stop);
    if let Some(case) = &args.add {
        let limits = Limits { attempts: u64::MAX, time: SHRINKING };
        let given = files::read(case)?;
        let shrunk = explore::shrink(&crew, &given, limits, &mut |_| ())?;
        let Some(shrunk) = shrunk else {
            return Err(input(format!("{}: the case passes: there is nothing to keep", case.display())));
        };
        let comment = leading_comment(&given);
        let text = comment.clone() + &with_expectation(&shrunk)?;
        let name = args.name.clone().unwrap_or_else(|| name_of(&text));
        let path = files::keep(&folder, &name, &text).map_err(|error| input(error.to_string()))?;
        let task = if comment.is_empty() { ": say in its first lines what happens" } else { "" };
        printer.text(format_args!("added {}{task}", path.display()))?;
    }
    let cases = cases(&folder)?;
    let width = cases.iter().map(|kept| kept.name.len()).max().unwrap_or(0);
    let mut told = Ok(());
    let mut green = 0;
    let mut tell = |kept: &Kept, standing: &Standing| {
        green += usize::from(matches!(standing, Standing::Green { .. }));
        if told.is_ok() {
            told = tell_one(&mut printer, kept, standing, width);
        }
    };
    explore::check_kept(&crew, &cases, &mut tell)?;
    told?;
    printer.text(format_args!("{}: {green} green", counted(cases.len() as u64, "case")))?;
    printer.object(&Summary { cases: cases.len(), green })?;
    printer.flush()?;
    Ok(if green == cases.len() { Ending::Held } else { Ending::Finding })
}

/// The folder that is named, or the program's own.
fn folder(program: Program, named: Option<&Path>) -> Result<PathBuf, Failure> {
    let own = || program.corpus.ok_or_else(|| input("this program keeps no cases: name a folder"));
    let folder = named.map_or_else(|| own().map(PathBuf::from), |named| Ok(named.into()))?;
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(input(format!(
            "there is no folder {} here: go to the root of the project, or name another",
            folder.display()
        ))),
    }
}

/// The cases in a folder, by name.
fn cases(folder: &Path) -> Result<Vec<Kept>, Failure> {
    let unreadable = |error: io::Error| input(format!("cannot read {}: {error}", folder.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(input(format!("{} has no cases", folder.display())));
    }
    let kept = |path: &PathBuf| {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Kept { name, case: files::read(path)? })
    };
    paths.iter().map(kept).collect()
}

/// The lines before a case's first that are comments: what a person has said of it.
fn leading_comment(case: &str) -> String {
    let lines = case.trim_start().lines().take_while(|line| line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What a case is called by itself: its first bug, or its scenario.
fn name_of(case: &str) -> String {
    let table: Option<toml::Table> = toml::from_str(case).ok();
    let relapse = table.as_ref().and_then(|case| case.get("relapses")?.get(0)?.as_str());
    relapse.map(String::from).or(named_in(case).map(|(scenario, _)| scenario)).unwrap_or("case".into())
}

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    standing: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
struct Summary {
    cases: usize,
    green: usize,
}

fn tell_one(printer: &mut Printer, kept: &Kept, standing: &Standing, width: usize) -> io::Result<()> {
    let (word, detail) = match standing {
        Standing::Green { symptom } => ("green", symptom.to_string()),
        Standing::Stale { why } => ("stale", why.clone()),
        Standing::Changed { expected, symptom } => ("changed", format!("was {expected}; is {symptom}")),
        Standing::Finding { what } => ("finding", what.clone()),
        Standing::Unusable { why } => ("unusable", why.clone()),
    };
    printer.text(format_args!("{:width$}  {word:8}  {detail}", kept.name))?;
    printer.object(&Line { case: &kept.name, standing: word, detail: &detail })
}
