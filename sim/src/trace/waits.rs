//! The wait graph: when a run hangs, who waits for what, held by whom, since when.
//!
//! It is read off the spans that are still open: each `wait!` is joined with the `hold!`s of the same
//! resource. A wait that nobody holds is a lost wake-up, or work that somebody forgot to start.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::recorder::{OpenSpan, Recording, SpanKind};

/// Who waits for what at the end of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WaitGraph {
    /// Every open wait, oldest first.
    pub waits: Vec<Wait>,
    pub(super) now: Duration,
}

/// A task that waits for a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The label of the task that waits.
    pub who: String,
    /// What for: the resource's name and fields.
    pub resource: String,
    /// Since when.
    pub since: Duration,
    /// The labels of the tasks that have it, with since when; empty when nobody does.
    pub holders: Vec<(String, Duration)>,
}

impl WaitGraph {
    pub(crate) fn of(recording: &Recording, labels: &[String], now: u64) -> WaitGraph {
        let label =
            |span: &OpenSpan| labels.get(span.task as usize).cloned().unwrap_or_else(|| "harness".into());
        let open: Vec<&OpenSpan> = recording.open_spans().collect();
        let holders = |wait: &OpenSpan| {
            let same = |span: &&&OpenSpan| span.kind == SpanKind::Hold && span.resource == wait.resource;
            open.iter().filter(same).map(|span| (label(span), Duration::from_nanos(span.since))).collect()
        };
        let waits = open.iter().filter(|span| span.kind == SpanKind::Wait).map(|span| Wait {
            who: label(span),
            resource: span.text.clone(),
            since: Duration::from_nanos(span.since),
            holders: holders(span),
        });
        WaitGraph { waits: waits.collect(), now: Duration::from_nanos(now) }
    }

    /// The waits at the ends of the chains: those whose holders wait for nothing themselves.
    pub fn ends(&self) -> impl Iterator<Item = &Wait> {
        let waits_itself = |who: &str| self.waits.iter().any(|wait| wait.who == who);
        self.waits.iter().filter(move |wait| {
            wait.holders.iter().all(|(holder, _)| *holder == wait.who || !waits_itself(holder))
        })
    }

    /// The chain of waits that explains a hang best: from somebody for whom nobody waits, over whoever has what he waits
    /// for, to the wait that nobody can end, or to where the chain bites its tail.
    pub fn chain(&self) -> Vec<&Wait> {
        let awaited = |who: &str| {
            self.waits.iter().any(|wait| wait.who != who && wait.holders.iter().any(|(it, _)| it == who))
        };
        let roots: Vec<&Wait> = self.waits.iter().filter(|wait| !awaited(&wait.who)).collect();
        let roots = if roots.is_empty() { self.waits.iter().take(1).collect() } else { roots };
        let chains = roots.into_iter().map(|root| self.chain_from(root));
        // An operation that waits is a better start than one of its helpers; nobody is a worse end than somebody.
        let rank = |chain: &Vec<&Wait>| {
            let nobody = chain.last().is_some_and(|wait| wait.holders.is_empty());
            let begun = chain.first().is_some_and(|wait| !wait.who.contains('/'));
            let held_by_a_fault =
                chain.last().is_some_and(|wait| wait.holders.iter().any(|(it, _)| it == "harness"));
            (held_by_a_fault, !nobody, !begun, std::cmp::Reverse(chain.len()))
        };
        chains.min_by_key(rank).unwrap_or_default()
    }

    fn chain_from<'a>(&'a self, root: &'a Wait) -> Vec<&'a Wait> {
        let mut chain = vec![root];
        while let Some((holder, _)) = chain.last().and_then(|wait| wait.holders.first()) {
            let Some(next) = self.waits.iter().find(|wait| wait.who == *holder) else { break };
            let closed = chain.iter().any(|wait| wait.who == next.who);
            chain.push(next);
            if closed {
                break;
            }
        }
        chain
    }

    fn write_waits_of(
        &self,
        who: &str,
        depth: usize,
        told: &mut BTreeSet<String>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        if !told.insert(who.into()) {
            return Ok(());
        }
        let indent = "  ".repeat(depth);
        for wait in self.waits.iter().filter(|wait| wait.who == who) {
            let waited = self.now.saturating_sub(wait.since);
            writeln!(f, "{indent}{who} has waited {waited:?} for {}", wait.resource)?;
            if wait.holders.is_empty() {
                writeln!(f, "{indent}  held by nobody: a lost wake-up, or work that was not begun")?;
            }
            for (holder, since) in &wait.holders {
                writeln!(f, "{indent}  held by {holder}, for {:?}", self.now.saturating_sub(*since))?;
                self.write_waits_of(holder, depth + 2, told, f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for WaitGraph {
    /// Chains from those who hold nothing that others wait for, down to whoever holds and does not wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = BTreeSet::new();
        let holds = |who: &str| {
            self.waits
                .iter()
                .any(|wait| wait.who != who && wait.holders.iter().any(|(holder, _)| holder == who))
        };
        let (inner, roots): (Vec<_>, Vec<_>) = self.waits.iter().partition(|wait| holds(&wait.who));
        for wait in roots.into_iter().chain(inner) {
            self.write_waits_of(&wait.who, 0, &mut told, f)?;
        }
        Ok(())
    }
}
