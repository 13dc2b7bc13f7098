//! Signs: what a finding of a known bug must look like. A hunt that finds something else has found something else.

use std::fmt;

use super::Outcome;

/// What a finding of a known bug looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// This oracle finds it.
    Violated {
        /// The oracle.
        oracle: &'static str,
    },
    /// Somebody waits for ever.
    Hung {
        /// What for: a resource at the end of a wait chain, without its fields.
        resource: &'static str,
        /// The kind of task that has it, as `node`; [`NOBODY`](crate::case::WaitEnd::NOBODY) for a lost wake-up.
        held_by: &'static str,
    },
    /// Something is left when the operations are over.
    Leaked,
    /// One poll, or the run, never ends.
    Stuck,
    /// A task panics.
    Panicked,
}

impl Sign {
    /// Whether the finding bears this sign.
    pub fn marks(&self, finding: &Outcome) -> bool {
        let (_, verdict, found_by) = finding.kind();
        let same_verdict = verdict == self.verdict();
        match *self {
            Sign::Violated { oracle } => same_verdict && found_by == Some(oracle),
            Sign::Hung { resource, held_by } => {
                let ends = finding.evidence.iter().flat_map(|evidence| &evidence.ends);
                let mut ends = ends.filter(|end| end.name() == resource);
                same_verdict && ends.any(|end| end.held_by.split(", ").all(|label| kind(label) == held_by))
            }
            Sign::Leaked | Sign::Stuck | Sign::Panicked => same_verdict,
        }
    }

    fn verdict(&self) -> &'static str {
        match self {
            Sign::Violated { .. } => "violated",
            Sign::Hung { .. } => "hung",
            Sign::Leaked => "leaked",
            Sign::Stuck => "stuck",
            Sign::Panicked => "panicked",
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verdict())?;
        match self {
            Sign::Violated { oracle } => write!(f, " ({oracle})"),
            Sign::Hung { resource, held_by } => write!(f, ": waiting for {resource}, held by {held_by}"),
            Sign::Leaked | Sign::Stuck | Sign::Panicked => Ok(()),
        }
    }
}

/// The kind of a task, out of its label: `node` of `reader.0/node.7`.
fn kind(label: &str) -> &str {
    let own = label.rsplit_once('/').map_or(label, |(_, own)| own);
    own.split_once('.').map_or(own, |(kind, _)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Verdict, WaitEnd};

    fn hung(ends: &[(&str, &str)]) -> Outcome {
        let mut outcome = Outcome::without_report(Verdict::Hung { detail: String::new() }, "planted", 0, "");
        let end = |(resource, held_by): &(&str, &str)| WaitEnd {
            resource: (*resource).into(),
            held_by: (*held_by).into(),
        };
        outcome.evidence.as_mut().expect("a finding").ends = ends.iter().map(end).collect();
        outcome
    }

    #[test]
    fn a_hang_is_told_by_what_is_waited_for_and_who_has_it() {
        let lost = Sign::Hung { resource: "fetcher", held_by: "nobody" };
        assert!(lost.marks(&hung(&[("answer server=1 nth=2", "S1/read.2"), ("fetcher node=0", "nobody")])));
        assert!(!lost.marks(&hung(&[("fetcher node=0", "reader.0/node.0")])));
        assert!(!lost.marks(&hung(&[("the fetcher node=0", "nobody")])));
        assert!(!lost.marks(&hung(&[])));
        let kept = Sign::Hung { resource: "fetcher", held_by: "node" };
        assert!(kept.marks(&hung(&[("fetcher node=0", "reader.0/node.0, reader.1/node.1")])));
        assert!(!kept.marks(&hung(&[("fetcher node=0", "reader.0/node.0, reader.1")])));
        assert!(
            Sign::Hung { resource: "the bell", held_by: "nobody" }.marks(&hung(&[("the bell", "nobody")]))
        );
    }

    #[test]
    fn another_verdict_or_oracle_is_another_finding() {
        let of = |verdict| Outcome::without_report(verdict, "planted", 0, "");
        let violated = |oracle: &str| Verdict::Violated { oracle: oracle.into(), detail: String::new() };
        let outcome = of(violated("budget"));
        assert!(Sign::Violated { oracle: "budget" }.marks(&outcome));
        assert!(!Sign::Violated { oracle: "progress" }.marks(&outcome));
        assert!(!Sign::Panicked.marks(&outcome));
        assert!(Sign::Panicked.marks(&of(Verdict::Panicked { detail: String::new() })));
        assert!(Sign::Stuck.marks(&of(Verdict::Stuck { detail: String::new() })));
        assert!(!Sign::Leaked.marks(&hung(&[("fetcher", "nobody")])));
    }
}
