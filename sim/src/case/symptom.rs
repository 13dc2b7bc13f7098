//! Symptoms: what a failure looks like, as data, so that one run can be said to fail like another; and what a case file
//! expects.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Report, Verdict};
use crate::trace::Wait;

/// What a failure looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symptom {
    /// The verdict in one word.
    pub verdict: String,
    /// The oracle that found it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<String>,
    /// For a hang: the ends of its wait chains, sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<WaitEnd>,
}

/// The end of a wait chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitEnd {
    /// What is waited for: the resource's name and fields.
    pub resource: String,
    /// The labels of the tasks that have it, or [`WaitEnd::NOBODY`].
    pub held_by: String,
}

/// What a case file says that its case comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// The verdict in one word; any failure, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The oracle that finds it, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oracle: Option<String>,
    /// For a hang: the ends of its wait chains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<WaitEnd>,
    /// Coverage marks that the case comes by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<String>,
}

impl Symptom {
    /// What a run's end looks like. Who waits is known of runs that were recorded in full.
    pub fn of(report: &Report) -> Symptom {
        let hung = matches!(report.verdict, Verdict::Hung { .. });
        let waits = report.waits.as_ref().filter(|_| hung);
        let mut ends: BTreeSet<WaitEnd> =
            waits.iter().flat_map(|waits| waits.ends()).map(WaitEnd::of).collect();
        if ends.is_empty() {
            // Chains that bite their own tails have no ends.
            ends.extend(waits.iter().flat_map(|waits| &waits.waits).map(WaitEnd::of));
        }
        Symptom {
            verdict: report.verdict.word().into(),
            oracle: report.verdict.oracle().map(String::from),
            ends: ends.into_iter().collect(),
        }
    }

    /// What becomes of a run that takes its process along.
    pub fn stuck() -> Symptom {
        Symptom { verdict: "stuck".into(), ..Symptom::default() }
    }

    /// Whether two failures look alike: the same verdict and oracle, and for a hang the same resources at the ends of the
    /// wait chains, whoever holds them. Their fields do not count, nor does what the harness itself holds back: with
    /// another server, node or share it is the same bug.
    pub fn is_like(&self, other: &Symptom) -> bool {
        (&self.verdict, &self.oracle) == (&other.verdict, &other.oracle) && self.causes() == other.causes()
    }

    /// The resources at the ends, and whether nobody holds them.
    fn causes(&self) -> BTreeSet<(&str, bool)> {
        let cause = |end: &'_ WaitEnd| end.held_by != WaitEnd::HARNESS;
        let all = |end| WaitEnd::cause(end);
        match self.ends.iter().any(cause) {
            true => self.ends.iter().filter(|end| cause(end)).map(all).collect(),
            false => self.ends.iter().map(all).collect(),
        }
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verdict)?;
        if let Some(oracle) = &self.oracle {
            write!(f, " ({oracle})")?;
        }
        for (place, end) in self.ends.iter().enumerate() {
            let separator = if place == 0 { ": waiting for" } else { "," };
            write!(f, "{separator} {}, held by {}", end.resource, end.held_by)?;
        }
        Ok(())
    }
}

impl WaitEnd {
    /// Who has a resource that nobody has: its wake-up was lost, or its work was never begun.
    pub const NOBODY: &str = "nobody";
    /// Who has what a fault holds back.
    const HARNESS: &str = "harness";

    fn of(wait: &Wait) -> WaitEnd {
        let holders: BTreeSet<&str> = wait.holders.iter().map(|(who, _)| who.as_str()).collect();
        let held_by = match holders.is_empty() {
            true => WaitEnd::NOBODY.into(),
            false => holders.into_iter().collect::<Vec<_>>().join(", "),
        };
        WaitEnd { resource: wait.resource.clone(), held_by }
    }

    /// The resource's name, without its fields.
    pub fn name(&self) -> &str {
        match self.resource.split_once('=') {
            Some((name_and_field, _)) => name_and_field.rsplit_once(' ').map_or("", |(name, _)| name),
            None => &self.resource,
        }
    }

    /// The resource's name, and whether nobody holds it.
    fn cause(&self) -> (&str, bool) {
        (self.name(), self.held_by == WaitEnd::NOBODY)
    }
}

impl Expect {
    /// Expects just this failure.
    pub fn failure(symptom: Symptom) -> Expect {
        let Symptom { verdict, oracle, ends } = symptom;
        Expect { verdict: Some(verdict), oracle, ends, reaches: Vec::new() }
    }

    /// The failure that is expected; none when any will do.
    pub fn symptom(&self) -> Option<Symptom> {
        let verdict = self.verdict.clone()?;
        Some(Symptom { verdict, oracle: self.oracle.clone(), ends: self.ends.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hung(ends: &[(&str, &str)]) -> Symptom {
        let end = |(resource, held_by): &(&str, &str)| WaitEnd {
            resource: (*resource).into(),
            held_by: (*held_by).into(),
        };
        Symptom { verdict: "hung".into(), oracle: None, ends: ends.iter().map(end).collect() }
    }

    #[test]
    fn a_hang_is_told_by_the_resource_that_nobody_gives() {
        let lost = hung(&[("the fetcher node=0", "nobody")]);
        assert!(lost.is_like(&hung(&[("the fetcher node=7 x=2", "nobody")])));
        assert!(lost.is_like(&hung(&[("the fetcher node=0", "nobody"), ("the fault server=1", "harness")])));
        assert!(!lost.is_like(&hung(&[("the fetcher node=0", "node.0")])));
        assert!(!lost.is_like(&hung(&[("the bell", "nobody")])));
        assert!(!lost.is_like(&hung(&[("the fault server=1", "harness")])));
        assert!(!lost.is_like(&hung(&[])));
    }

    #[test]
    fn a_violation_is_told_by_its_oracle() {
        let of = |verdict: &str, oracle: Option<&str>| Symptom {
            verdict: verdict.into(),
            oracle: oracle.map(String::from),
            ends: Vec::new(),
        };
        assert!(of("violated", Some("budget")).is_like(&of("violated", Some("budget"))));
        assert!(!of("violated", Some("budget")).is_like(&of("violated", Some("progress"))));
        assert!(!of("panicked", None).is_like(&Symptom::stuck()));
    }
}
