//! The account of an explanation: its text for people, at most thirty lines.

use std::fmt::{self, Display};
use std::time::Duration;

use super::explain::Told;
use super::{Comparison, Explanation, Nearest, Outcome};
use crate::trace::{GistLine, cause, gist, in_ms};

/// The most lines of an account.
const LINES: usize = 30;
/// How wide the column of labels may be.
const WHO: usize = 28;

/// What happened, how it ended and why, in at most thirty lines.
#[derive(Clone, Debug)]
pub struct Account {
    /// Scenario, seed, the bugs that were put back, and the size of the run.
    pub head: String,
    /// What happened, as far as it matters.
    pub gist: Vec<GistLine>,
    /// How it ended.
    pub verdict: String,
    /// For a hang: the chain of waits that explains it, in a sentence.
    pub cause: Option<String>,
    /// For a finding: the nearest run that passes, a line each.
    pub comparison: Vec<String>,
}

impl Account {
    /// The account of an explanation.
    pub fn of(explanation: &Explanation) -> Account {
        let Explanation { outcome, traced, comparison, .. } = explanation;
        let hung = outcome.verdict == "hung";
        let waits = traced.as_ref().filter(|_| hung).map(|traced| &traced.waits);
        let cause = traced.as_ref().zip(waits).and_then(|(traced, waits)| cause(&traced.timeline, waits));
        let comparison_told = match (traced, comparison) {
            (None, _) => vec![
                "The run took its process along, so nothing is known of what happened in it. To see where, run it in a \
                 debugger, or with --trace and fewer steps before the place that you suspect."
                    .into(),
            ],
            (_, Some(comparison)) => told_comparison(comparison),
            _ => Vec::new(),
        };
        let fixed = 2 + usize::from(cause.is_some()) + comparison_told.len();
        let parting = comparison.as_ref().and_then(|it| it.nearest.as_ref()).map(|nearest| nearest.common);
        let most = LINES.saturating_sub(fixed);
        let gist = traced.as_ref().map(|traced| gist(&traced.timeline, waits, parting, most));
        Account {
            head: head(explanation),
            gist: gist.unwrap_or_default(),
            verdict: in_words(outcome),
            cause,
            comparison: comparison_told,
        }
    }
}

impl Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.head)?;
        let width = self.gist.iter().map(|line| line.who.chars().count()).max().unwrap_or_default().min(WHO);
        for GistLine { at, until, who, text, .. } in &self.gist {
            let until = if until.ns > at.ns { format!(", until {}", in_ms(until.ns)) } else { String::new() };
            writeln!(f, "{:>14}  {who:<width$}  {}{until}", in_ms(at.ns), one_line(text))?;
        }
        writeln!(f, "{}", one_line(&self.verdict))?;
        if let Some(cause) = &self.cause {
            writeln!(f, "cause: {}", one_line(cause))?;
        }
        self.comparison.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn head(explanation: &Explanation) -> String {
    let Outcome { scenario, seed, steps, sim_ns, .. } = &explanation.outcome;
    let mut head = format!("{scenario} seed {seed}");
    let case: toml::Table = toml::from_str(&explanation.case).unwrap_or_default();
    let relapses = case.get("relapses").and_then(toml::Value::as_array);
    for relapse in relapses.into_iter().flatten().filter_map(toml::Value::as_str) {
        head += &format!(", with {relapse} put back");
    }
    match steps {
        0 => head,
        steps => format!("{head}: {steps} steps, {:?} simulated", Duration::from_nanos(*sim_ns)),
    }
}

fn in_words(outcome: &Outcome) -> String {
    let Some(evidence) = &outcome.evidence else { return "pass: all held".into() };
    let oracle = evidence.oracle.as_ref().map(|oracle| format!(" ({oracle})")).unwrap_or_default();
    format!("{}{oracle}: {}", outcome.verdict, evidence.detail)
}

fn told_comparison(comparison: &Comparison) -> Vec<String> {
    let Some(nearest) = &comparison.nearest else {
        let tried = comparison.tried;
        return vec![match comparison.untried {
            0 => {
                format!("nearest passing run: none; each of {tried} cases that lack one thing fails as well")
            }
            more => format!(
                "nearest passing run: none among {tried} cases that lack one thing; {more} were not tried"
            ),
        }];
    };
    let Nearest { lacks, common, last_common, explained, passing, .. } = nearest;
    if explained.is_empty() && passing.is_empty() {
        return vec![format!(
            "nearest passing run: without {lacks}; the same in all that either tells, but for the end"
        )];
    }
    let same = match last_common {
        Some(last) => format!("the same for {common} lines, up to {}", told(last)),
        None => "different from the start".into(),
    };
    let goes_on = |lines: &[Told]| lines.first().map_or("ends".into(), told);
    vec![
        format!("nearest passing run: without {lacks}; {same}"),
        format!("  then here:  {}", goes_on(explained)),
        format!("  then there: {}", goes_on(passing)),
    ]
}

fn told(Told { at, who, text, source }: &Told) -> String {
    let source = source.as_ref().map(|source| format!(", {source}")).unwrap_or_default();
    format!("{} {who} {} (step {}{source})", in_ms(at.ns), one_line(text), at.step)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
