//! Planted culprits: each classic source of nondeterminism is put into a run, to see what becomes of it.
//!
//! Each is a scenario that only workers know of, and goes through the audit like any other. What must come of it is
//! declared, with words that the evidence must have; a culprit with another fate, or without an explanation, is a finding.

mod culprits;

use std::sync::Arc;

use super::{ALONE, Audit, Crew, CrewError, Plan, audit};
use crate::case::{Case, Dice, Draft, Scenario, Workload};
use crate::world::{Knobs, World};
use futures::future::BoxFuture;

/// A source of nondeterminism, planted.
#[derive(Debug)]
pub struct Culprit {
    /// Its name: a scenario that only workers know of.
    pub name: &'static str,
    /// Why it is dangerous.
    pub danger: &'static str,
    /// What must come of it.
    pub fate: Fate,
    /// Words that the evidence must have.
    evidence: &'static str,
    /// What makes that its fate.
    pub because: &'static str,
    play: fn(Arc<Case>, World) -> BoxFuture<'static, ()>,
}

/// What comes of a culprit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The audit sees that runs differ, and names the first event that does.
    Caught,
    /// The run panics, always and everywhere the same way.
    Refused,
    /// Runs do not differ.
    Harmless,
}

/// What came of a culprit.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its fate; none when it is none of the three, such as a difference that nobody can name.
    pub fate: Option<Fate>,
    /// What the audit has to show.
    pub evidence: String,
}

/// All culprits.
pub static CULPRITS: &[&Culprit] = &[
    &Culprit {
        name: "planted:wall-clock",
        danger: "std::time::Instant and SystemTime: time that goes on while nothing happens",
        fate: Fate::Harmless,
        evidence: "",
        because: "only because madsim stands in for clock_gettime during a run: both clocks showed simulated time, an \
                  hour for an hour's sleep. Time that is had from the kernel or the processor itself is another culprit",
        play: culprits::wall_clock,
    },
    &Culprit {
        name: "planted:raw-clock",
        danger: "a clock that is read without libc, as rustix and the crates on it do",
        fate: Fate::Caught,
        evidence: "read a raw clock",
        because: "it goes round madsim: no two runs agree",
        play: culprits::raw_clock,
    },
    &Culprit {
        name: "planted:hash-map",
        danger: "std's HashMap: walked in an order that differs between processes",
        fate: Fate::Harmless,
        evidence: "",
        because: "only because madsim draws the keys of std's hash maps from the seed, and each run has a thread of its \
                  own, so that no earlier run has moved them on",
        play: culprits::hash_map,
    },
    &Culprit {
        name: "planted:unbiased-select",
        danger: "tokio::select! without `biased`: draws from dice that a counter of the process seeds",
        fate: Fate::Caught,
        evidence: "selected round=",
        because: "the counter has moved on in a process with a past: alone and swept runs differ",
        play: culprits::unbiased_select,
    },
    &Culprit {
        name: "planted:watch-channel",
        danger: "tokio::sync::watch: wakes those who wait in an order of the same dice",
        fate: Fate::Caught,
        evidence: "waiter.",
        because: "the counter has moved on in a process with a past: alone and swept runs differ",
        play: culprits::watch_channel,
    },
    &Culprit {
        name: "planted:static-counter",
        danger: "a static: remembers earlier runs of the process",
        fate: Fate::Caught,
        evidence: "counted in a static count=",
        because: "alone, each run is the first of its process; swept, it is not",
        play: culprits::static_counter,
    },
    &Culprit {
        name: "planted:rand-0.8",
        danger: "rand 0.8: thread_rng and OsRng, through getrandom 0.2",
        fate: Fate::Caught,
        evidence: "drew from rand 0.8 thread_rng=",
        because: "it asks the kernel by a raw system call, round madsim: no two runs agree",
        play: culprits::rand_entropy,
    },
    &Culprit {
        name: "planted:thread",
        danger: "std::thread::spawn: scheduled by the system",
        fate: Fate::Refused,
        evidence: "left: -1",
        because: "madsim lets pthread_attr_init fail during a run, and std panics",
        play: culprits::thread,
    },
    &Culprit {
        name: "planted:stray-spawn",
        danger: "tokio::spawn: a task that no schedule of the run knows of",
        fate: Fate::Refused,
        evidence: "no reactor running",
        because: "a run has no tokio runtime, so tokio panics",
        play: culprits::stray_spawn,
    },
    &Culprit {
        name: "planted:early-end",
        danger: "a run that is over before its time, when all that it did until then is right",
        fate: Fate::Caught,
        evidence: "it ended after step ",
        because: "digests of a part and of the whole differ; here a process with a past ends the run",
        play: culprits::early_end,
    },
];

/// How many runs of each culprit an audit compares.
pub const RUNS_OF_EACH: u64 = 8;

/// Puts a culprit to the audit, and says what came of it. `progress` is called now and then with the number of runs
/// done, of `3 * RUNS_OF_EACH`.
pub fn examine(crew: &Crew, culprit: &Culprit, progress: &mut dyn FnMut(u64)) -> Result<Seen, CrewError> {
    let plan = Plan::new(vec![culprit.name.into()], 0..RUNS_OF_EACH)
        .ok_or_else(|| CrewError::Defect("too many runs of a culprit".into()))?;
    Ok(Seen::of(&audit(crew, &plan, None, progress)?))
}

impl Culprit {
    /// Whether what came of it is what had to.
    pub fn is_explained_by(&self, seen: &Seen) -> bool {
        seen.fate == Some(self.fate) && seen.evidence.contains(self.evidence)
    }
}

impl Seen {
    fn of(audit: &Audit) -> Seen {
        let is_panic = |verdict: &str| verdict == "panicked";
        let named = audit.differences.iter().find_map(|it| Some((it.first.as_ref()?, &it.place)));
        match (named, audit.findings.first()) {
            (Some((first, place)), _) => {
                Seen { fate: Some(Fate::Caught), evidence: first.in_words(ALONE, place) }
            }
            (None, _) if !audit.differences.is_empty() => {
                Seen { fate: None, evidence: "runs differ, and nobody can say where".into() }
            }
            (None, Some(finding)) => {
                let all = audit.findings.len() == audit.trails.len();
                let refused = all && audit.findings.iter().all(|finding| is_panic(&finding.verdict));
                let detail = finding.evidence.as_ref().map_or("", |evidence| evidence.detail.as_str());
                Seen {
                    fate: refused.then_some(Fate::Refused),
                    evidence: format!("{}: {detail}", finding.verdict),
                }
            }
            (None, None) => {
                let runs = audit.trails.len();
                Seen {
                    fate: Some(Fate::Harmless),
                    evidence: format!("{runs} runs had one digest each in all places"),
                }
            }
        }
    }
}

impl Fate {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Caught => "caught",
            Fate::Refused => "refused",
            Fate::Harmless => "harmless",
        }
    }
}

impl Scenario for Culprit {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.danger
    }

    fn draw(&self, _dice: &mut Dice) -> Draft {
        Draft { workload: Arc::new(toml::Table::new()), faults: Vec::new(), knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        Ok(Arc::new(workload))
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        (self.play)(case, world)
    }
}

#[cfg(test)]
mod tests {
    use super::super::trail::Trail;
    use super::*;
    use crate::case::Verdict;
    use crate::explore::{Difference, Outcome};
    use crate::trace::FirstDifference;

    fn audit(differences: Vec<Difference>, findings: Vec<Outcome>) -> Audit {
        let trails = [(("planted".to_string(), 0), Trail::default())].into();
        Audit { trails, differences, findings }
    }

    fn difference(first: Option<FirstDifference>) -> Difference {
        let coordinate = ("planted".to_string(), 0);
        Difference { coordinate, alone: 1, place: "there".into(), there: Some(2), first }
    }

    fn finding(verdict: Verdict) -> Outcome {
        Outcome::without_report(verdict, "planted", 0, "")
    }

    #[test]
    fn a_fate_is_read_off_an_audit() {
        let named = FirstDifference { step: 3, here: Vec::new(), there: None };
        let panicked = finding(Verdict::Panicked { detail: "no reactor".into() });
        let violated =
            finding(Verdict::Violated { oracle: "planted".into(), detail: "the real clock".into() });
        for (differences, findings, fate, evidence) in [
            (vec![difference(Some(named))], Vec::new(), Some(Fate::Caught), "first difference at step 3"),
            (vec![difference(None)], Vec::new(), None, "nobody can say where"),
            (Vec::new(), vec![panicked], Some(Fate::Refused), "panicked: no reactor"),
            (Vec::new(), vec![violated], None, "violated: the real clock"),
            (Vec::new(), Vec::new(), Some(Fate::Harmless), "1 runs had one digest"),
        ] {
            let seen = Seen::of(&audit(differences, findings));
            assert_eq!(seen.fate, fate);
            assert!(seen.evidence.contains(evidence), "{}", seen.evidence);
        }
    }

    #[test]
    fn another_fate_or_other_evidence_explains_nothing() {
        let [clock, .., early] = CULPRITS else { panic!("there are several") };
        let seen = |fate, evidence: &str| Seen { fate, evidence: evidence.into() };
        assert!(clock.is_explained_by(&seen(Some(Fate::Harmless), "")));
        assert!(!clock.is_explained_by(&seen(None, "")));
        assert!(early.is_explained_by(&seen(Some(Fate::Caught), "it ended after step 9")));
        assert!(!early.is_explained_by(&seen(Some(Fate::Caught), "something else")));
    }
}
