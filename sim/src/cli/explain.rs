//! `explain`: from a case to its cause. Writes a folder of files, and tells the story.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::args::ExplainArgs;
use super::print::{Printer, counted};
use super::progress::Progress;
use super::run::for_shell;
use super::{Ending, Failure, files, input};
use crate::explore::{
    self, Account, Answer, Crew, CrewError, Explanation, Limits, Order, Outcome, Shrunk, Source, Stop, Traced,
};
use crate::trace::{Chart, Page, WaitGraph, html, perfetto};

/// What the case is called in the folder.
const CASE: &str = "case.toml";
/// Where explanations are put when nobody says.
const FOLDER: &str = "explained";
/// How many folders of one name there may be.
const MOST_OF_A_NAME: u32 = 1000;

/// How long a case is shrunk before it is explained as it then is.
const SHRINKING: Limits = Limits { attempts: 100_000, time: Duration::from_secs(4) };

/// Explains a case file.
pub(super) fn explain(args: ExplainArgs, mut printer: Printer, stop: Stop) -> Result<Ending, Failure> {
    let path = args.file.display().to_string();
    let about = |failure| match failure {
        Failure::Crew(CrewError::Refused(why)) => input(format!("{path}: {why}")),
        failure => failure,
    };
    let source = Source::Toml(files::read(&args.file)?);
    let crew = Crew { jobs: args.jobs.number(), patience: args.patience, stop };
    let case = made(&crew, source).map_err(about)?;
    let shrunk = match args.as_it_is {
        true => None,
        false => shrink(&crew, &case).map_err(about)?,
    };
    let case = shrunk.as_ref().map_or(case, |shrunk| shrunk.case.clone());
    let name = args.file.file_stem().map_or("case".into(), |name| name.to_string_lossy().into_owned());
    let folder = args.out.unwrap_or_else(|| Path::new(FOLDER).join(name));
    let folder = fresh_folder(&folder)
        .map_err(|error| input(format!("cannot create {}: {error}", folder.display())))?;
    let saved_as = folder.join(CASE).display().to_string();
    let replay = format!("cargo run --release -- replay {}", for_shell(&saved_as));

    let explanation = explore::explain(&crew, &case, &replay).map_err(|error| about(Failure::Crew(error)))?;
    let account = Account::of(&explanation);
    let mut written = Vec::new();
    for (name, text) in texts(&explanation, &account, shrunk.as_ref(), &replay)? {
        let path = folder.join(name);
        files::create(&path)?.write_all(text.as_bytes())?;
        written.push(path.display().to_string());
    }
    printer.text(account.to_string().trim_end())?;
    if let Some(waits) = waits(&explanation) {
        printer.text(format_args!("\n{}", waits.to_string().trim_end()))?;
    }
    printer.text(format_args!("\n{}", written.join("\n")))?;
    let ending = if explanation.outcome.evidence.is_some() { Ending::Finding } else { Ending::Held };
    let story = account.to_string().lines().map(String::from).collect();
    printer.object(&Object { outcome: explanation.outcome, story, files: written })?;
    printer.flush()?;
    Ok(ending)
}

fn shrink(crew: &Crew, case: &str) -> Result<Option<Shrunk>, Failure> {
    let progress = Progress::new("shrink", None);
    Ok(explore::shrink(crew, case, SHRINKING, &mut |tried| progress.at(tried))?)
}

#[derive(Serialize)]
struct Object {
    #[serde(flatten)]
    outcome: Outcome,
    story: Vec<String>,
    files: Vec<String>,
}

fn made(crew: &Crew, source: Source) -> Result<String, Failure> {
    match crew.ask(&Order::Make { source, edits: Vec::new() })? {
        Answer::Made(case) => Ok(case),
        _ => Err(CrewError::Defect("a worker answered what it was not asked".into()).into()),
    }
}

/// A folder that nobody has made yet: `FOLDER`, or `FOLDER-2` and so on.
fn fresh_folder(folder: &Path) -> io::Result<PathBuf> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    for number in 1..=MOST_OF_A_NAME {
        let mut name = folder.as_os_str().to_os_string();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let folder = PathBuf::from(name);
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("more than {MOST_OF_A_NAME} folders of one name"),
    ))
}

/// The files of an explanation, by name.
fn texts(
    explanation: &Explanation,
    account: &Account,
    shrunk: Option<&Shrunk>,
    replay: &str,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let shrunk = shrunk.map(|shrunk| {
        let ended = match shrunk.minimal {
            true => "removing any one thing loses the failure",
            false => "its time was up: there may be more to remove",
        };
        format!("shrunk in {}; {ended}", counted(shrunk.attempts, "attempt"))
    });
    let comment = account.verdict.lines().chain(shrunk.as_deref()).chain([replay]);
    let comment: String = comment.map(|line| format!("# {line}\n")).collect();
    let mut texts = vec![(CASE, comment + &explanation.case), ("story.txt", account.to_string())];
    if let Some(traced) = &explanation.traced {
        let chart = Chart::of(&traced.timeline);
        texts.extend([
            ("waits.txt", traced.waits.to_string()),
            ("timeline.html", page(explanation, traced, account, replay, &chart)?),
            ("trace.json", perfetto(&chart, &account.head)?),
        ]);
    }
    Ok(texts)
}

/// Who waits for what: evidence for a hang only, since any other run ends in the middle of things.
fn waits(explanation: &Explanation) -> Option<&WaitGraph> {
    let traced = explanation.traced.as_ref().filter(|_| explanation.outcome.verdict == "hung");
    traced.map(|traced| &traced.waits)
}

fn page(
    explanation: &Explanation,
    traced: &Traced,
    account: &Account,
    replay: &str,
    chart: &Chart,
) -> Result<String, Failure> {
    let nearest = explanation.comparison.as_ref().and_then(|comparison| comparison.nearest.as_ref());
    let page = Page {
        head: &account.head,
        verdict: &explanation.outcome.verdict,
        detail: &account.verdict,
        cause: account.cause.as_deref(),
        gist: &account.gist,
        comparison: &account.comparison,
        parting: nearest.and_then(|nearest| nearest.explained.first()).map(|line| line.at),
        waits: waits(explanation),
        replay,
        case: &explanation.case,
    };
    html(&page, &traced.timeline, chart).map_err(|error| io::Error::from(error).into())
}
