//! The corpus: cases that are kept, and what has become of each.
//!
//! A case with relapses must fail as its file says, and pass without them. One without must pass: it is a bug that was
//! found once. Either may name coverage marks that it comes by. A case that no longer does what it is kept for is stale,
//! which is as bad as a failure: it looks green and tests nothing.

use super::examiner::{Examiner, without_relapses};
use super::{Crew, CrewError, Examined};
use crate::case::{Expect, Symptom};

/// A case that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it is called.
    pub name: String,
    /// The case as TOML.
    pub case: String,
}

/// What has become of a case that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what it is kept for.
    Green {
        /// What it comes to.
        symptom: Symptom,
    },
    /// It no longer does what it is kept for.
    Stale {
        /// What it no longer does.
        why: String,
    },
    /// It fails otherwise than its file says.
    Changed {
        /// What its file says.
        expected: Symptom,
        /// What it comes to.
        symptom: Symptom,
    },
    /// It fails although it has no bug to fail by.
    Finding {
        /// The verdict, with its evidence.
        what: String,
    },
    /// It cannot be read or played.
    Unusable {
        /// Why, in one line.
        why: String,
    },
}

/// Runs cases that are kept, and tells of each.
pub fn check_kept(
    crew: &Crew,
    cases: &[Kept],
    tell: &mut dyn FnMut(&Kept, &Standing),
) -> Result<(), CrewError> {
    let mut examiner = Examiner::new(crew);
    for kept in cases {
        let standing = match check(&mut examiner, &kept.case) {
            Err(CrewError::Refused(why)) => Standing::Unusable { why },
            standing => standing?,
        };
        tell(kept, &standing);
    }
    Ok(())
}

fn check(examiner: &mut Examiner, case: &str) -> Result<Standing, CrewError> {
    let expect = Expect::from_toml(case).map_err(|error| CrewError::Refused(error.to_string()))?;
    let examined = examiner.examine(case)?;
    let healthy = without_relapses(case).map(|healthy| examiner.examine(&healthy)).transpose()?;
    Ok(judge(&expect, &examined, healthy.as_ref()))
}

/// What stands, given what a case comes to, and what it comes to without its relapses, if it has any.
fn judge(expect: &Expect, examined: &Examined, healthy: Option<&Examined>) -> Standing {
    let symptom = examined.symptom.clone();
    let should_pass = healthy.unwrap_or(examined);
    if should_pass.symptom.verdict != "pass" {
        let what = in_words(should_pass);
        let what = if healthy.is_some() { format!("without its bug: {what}") } else { what };
        return Standing::Finding { what };
    }
    if healthy.is_some() && symptom.verdict == "pass" {
        return Standing::Stale { why: "with its bug put back it passes".into() };
    }
    match expect.symptom() {
        Some(expected) if expected != symptom => return Standing::Changed { expected, symptom },
        _ => {}
    }
    match expect.reaches.iter().find(|mark| !examined.reached.contains(mark)) {
        Some(mark) => Standing::Stale { why: format!("it no longer comes by `{mark}`") },
        None => Standing::Green { symptom },
    }
}

fn in_words(examined: &Examined) -> String {
    let detail = examined.outcome.evidence.as_ref().map_or("", |evidence| evidence.detail.as_str());
    let oracle = examined.symptom.oracle.as_ref().map(|oracle| format!(" ({oracle})")).unwrap_or_default();
    format!("{}{oracle}: {detail}", examined.symptom.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Verdict;
    use crate::explore::Outcome;

    fn came_to(verdict: &str, reached: &[&str]) -> Examined {
        let stuck = Verdict::Stuck { detail: "evidence".into() };
        Examined {
            outcome: Outcome::without_report(stuck, "any", 0, ""),
            symptom: Symptom { verdict: verdict.into(), ..Symptom::default() },
            departures: None,
            reached: reached.iter().map(|mark| (*mark).into()).collect(),
        }
    }

    fn expect(verdict: Option<&str>, reaches: &[&str]) -> Expect {
        let reaches = reaches.iter().map(|mark| (*mark).into()).collect();
        Expect { verdict: verdict.map(String::from), reaches, ..Expect::default() }
    }

    #[test]
    fn a_case_with_its_bug_must_fail_as_recorded_and_pass_without() {
        let (pass, hung, panicked) =
            (came_to("pass", &[]), came_to("hung", &["x"]), came_to("panicked", &[]));
        let standing = |examined, healthy| judge(&expect(Some("hung"), &[]), examined, Some(healthy));
        assert!(matches!(standing(&hung, &pass), Standing::Green { .. }));
        assert!(matches!(standing(&pass, &pass), Standing::Stale { .. }));
        assert!(matches!(standing(&panicked, &pass), Standing::Changed { .. }));
        assert!(
            matches!(standing(&hung, &hung), Standing::Finding { what } if what.starts_with("without its bug: hung"))
        );
        assert!(matches!(judge(&expect(None, &[]), &panicked, Some(&pass)), Standing::Green { .. }));
        assert!(matches!(judge(&expect(None, &["x"]), &hung, Some(&pass)), Standing::Green { .. }));
        assert!(matches!(judge(&expect(None, &["y"]), &hung, Some(&pass)), Standing::Stale { .. }));
    }

    #[test]
    fn a_case_without_bugs_must_pass_and_reach_what_it_is_kept_for() {
        let standing = |examined: Examined| judge(&expect(None, &["y"]), &examined, None);
        assert!(matches!(standing(came_to("pass", &["x", "y"])), Standing::Green { .. }));
        assert!(matches!(standing(came_to("pass", &["x"])), Standing::Stale { .. }));
        assert!(matches!(standing(came_to("hung", &["y"])), Standing::Finding { .. }));
    }
}
