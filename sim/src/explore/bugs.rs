//! The hunt: a known bug is put back, and the default portfolio is swept for it.
//!
//! It tests the harness. A run counts as a hit only if it passes without the bug.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::crew::{Manner, Runs};
use super::{Crew, CrewError, Outcome, Plan, Sign, Telling, wilson};

/// A bug of the grid's history that can be put back with `relapse!`.
#[derive(Clone, Copy, Debug)]
pub struct KnownBug {
    /// Its name: the dossier and its number there, as in `tahoe-B1`.
    pub name: &'static str,
    /// What goes wrong, in a line.
    pub about: &'static str,
    /// What a finding of it looks like: one of these.
    pub signs: &'static [Sign],
}

/// What to hunt, and how long.
#[derive(Clone, Debug)]
pub struct Quarry {
    /// Which runs, with the bug put back; the hunt's budget is their number.
    pub plan: Plan,
    /// Stop after so many hits.
    pub enough: Option<usize>,
}

/// What a hunt came to.
#[derive(Clone, Debug, Default)]
pub struct Hunt {
    /// Runs until the hunt ended.
    pub runs: u64,
    /// The runs that found the bug, by their number in the plan.
    pub hits: Vec<(u64, Outcome)>,
}

/// Hunts one bug. `progress` is called now and then with the number of runs done.
pub fn hunt(crew: &Crew, quarry: &Quarry, progress: &mut dyn FnMut(u64)) -> Result<Hunt, CrewError> {
    let mut hunt = Hunt::default();
    let manner = Manner { telling: Telling::Relapses, fresh: false, at_most: None };
    let enough = quarry.enough.unwrap_or(usize::MAX);
    crew.work_through(Runs::Planned(&quarry.plan), manner, &mut |swept| {
        hunt.runs = swept.runs.end;
        for (run, outcome) in swept.told {
            hunt.hits.push((run, outcome));
            if hunt.hits.len() >= enough {
                // Where the hunt ends must not depend on how the runs were cut into chunks.
                hunt.runs = run + 1;
                return ControlFlow::Break(());
            }
        }
        progress(hunt.runs);
        ControlFlow::Continue(())
    })?;
    Ok(hunt)
}

impl Hunt {
    /// Hits for each run.
    pub fn rate(&self) -> f64 {
        self.hits.len() as f64 / self.runs.max(1) as f64
    }

    /// The 95 % interval of the rate.
    pub fn interval(&self) -> (f64, f64) {
        wilson(self.hits.len() as u64, self.runs)
    }

    /// How many runs it took to find it, the middle one of all finds; none when it was not found.
    pub fn runs_median(&self) -> Option<u64> {
        let mut last = 0;
        let mut gaps: Vec<u64> = Vec::with_capacity(self.hits.len());
        for (run, _) in &self.hits {
            gaps.push(run + 1 - last);
            last = run + 1;
        }
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    }

    /// How many runs the first find took.
    pub fn runs_to_first(&self) -> Option<u64> {
        self.hits.first().map(|(run, _)| run + 1)
    }

    /// The verdicts of the finds, each once with how often, most frequent first.
    pub fn verdicts(&self) -> Vec<(String, usize)> {
        counted(self.outcomes().map(|outcome| {
            let (_, verdict, oracle) = outcome.kind();
            oracle.map_or(verdict.to_string(), |oracle| format!("{verdict} ({oracle})"))
        }))
    }

    /// The kinds of schedule under which it was found, each once with how often, most frequent first. Of a run that took
    /// its process along, nobody knows.
    pub fn schedules(&self) -> Vec<(String, usize)> {
        let evidence = self.outcomes().filter_map(|outcome| outcome.evidence.as_ref());
        counted(evidence.filter_map(|evidence| evidence.schedule.clone()))
    }

    /// The finds that bear none of these signs; none when no sign is asked for.
    pub fn unlike(&self, signs: &[Sign]) -> Vec<&Outcome> {
        let unlike = |outcome: &&Outcome| !signs.iter().any(|sign| sign.marks(outcome));
        self.outcomes().filter(|_| !signs.is_empty()).filter(unlike).collect()
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.hits.iter().map(|(_, outcome)| outcome)
    }
}

/// Each name once with how often it came, most frequent first.
fn counted(names: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::<String, usize>::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Verdict;

    fn hits(runs: &[u64]) -> Hunt {
        let outcome = |run: &u64| {
            let verdict = match run % 2 {
                0 => Verdict::Violated { oracle: "order".into(), detail: String::new() },
                _ => Verdict::Stuck { detail: String::new() },
            };
            let schedule = if *run < 5 { "fifo" } else { "uniform" };
            (*run, Outcome::without_report(verdict, "planted", *run, "").under(schedule))
        };
        Hunt { runs: 1000, hits: runs.iter().map(outcome).collect() }
    }

    #[test]
    fn gaps_are_counted_from_find_to_find() {
        assert_eq!(hits(&[]).runs_median(), None);
        assert_eq!(hits(&[4]).runs_median(), Some(5));
        assert_eq!(hits(&[4, 5, 25]).runs_median(), Some(5));
        assert_eq!(hits(&[4, 5, 25]).runs_to_first(), Some(5));
        assert_eq!(hits(&[4, 5, 25]).rate(), 0.003);
    }

    #[test]
    fn verdicts_and_schedules_come_by_frequency() {
        assert_eq!(hits(&[1, 3, 4]).verdicts(), [("stuck".into(), 2), ("violated (order)".into(), 1)]);
        assert_eq!(hits(&[1, 7, 8]).schedules(), [("uniform".into(), 2), ("fifo".into(), 1)]);
    }

    #[test]
    fn a_find_must_bear_one_of_the_signs() {
        let (stuck, violated) = (Sign::Stuck, Sign::Violated { oracle: "order" });
        let hunt = hits(&[1, 3, 4]);
        assert_eq!(hunt.unlike(&[stuck, violated]), [] as [&Outcome; 0]);
        let seeds = |outcomes: Vec<&Outcome>| outcomes.iter().map(|outcome| outcome.seed).collect::<Vec<_>>();
        assert_eq!(seeds(hunt.unlike(&[violated])), [1, 3]);
        assert_eq!(seeds(hunt.unlike(&[Sign::Panicked])), [1, 3, 4]);
        assert_eq!(hunt.unlike(&[]), [] as [&Outcome; 0]);
    }
}
