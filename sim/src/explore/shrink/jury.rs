//! The jury: workers that try cases, each in a process that others' cases cannot have spoilt.
//!
//! Several workers take cases in their order, and the first case that fails as wanted is named, as one worker alone would
//! name it. A case that takes its worker along is judged by that, and its worker is replaced.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::search::Hit;
use crate::case::Symptom;
use crate::explore::examiner::{Examiner, unasked, without_relapses};
use crate::explore::{Answer, Crew, CrewError, Examined, Order, Wanted};

/// Workers that try cases.
pub(super) struct Jury<'a> {
    examiners: Vec<Examiner<'a>>,
}

/// How many cases a worker takes at a time.
const HANDFUL: usize = 4;

impl<'a> Jury<'a> {
    pub(super) fn new(crew: &'a Crew) -> Self {
        Jury { examiners: (0..crew.jobs.max(1)).map(|_| Examiner::new(crew)).collect() }
    }

    /// The first of the cases that fails as wanted.
    pub(super) fn first(&mut self, cases: &[String], wanted: &Wanted) -> Result<Option<Hit>, CrewError> {
        let session = Session { cases, wanted, next: AtomicUsize::new(0), found: Mutex::default() };
        let hands = self.examiners.len().min(cases.len().div_ceil(HANDFUL));
        match self.examiners[..hands].split_first_mut() {
            None => return Ok(None),
            Some((examiner, [])) => session.work(examiner)?,
            Some((examiner, others)) => thread::scope(|scope| {
                let others: Vec<_> =
                    others.iter_mut().map(|other| scope.spawn(|| session.work(other))).collect();
                let mut result = session.work(examiner);
                for other in others {
                    let defect = |_| Err(CrewError::Defect("a thread that tries cases panicked".into()));
                    result = result.and(other.join().unwrap_or_else(defect));
                }
                result
            })?,
        }
        Ok(session.found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Cases that are being tried.
struct Session<'a> {
    cases: &'a [String],
    wanted: &'a Wanted,
    next: AtomicUsize,
    found: Mutex<Option<Hit>>,
}

impl Session<'_> {
    /// Tries handfuls of cases until there are no more, or an earlier one has been found.
    fn work(&self, examiner: &mut Examiner) -> Result<(), CrewError> {
        loop {
            let start = self.next.fetch_add(HANDFUL, Ordering::Relaxed);
            let beaten = |hit: &Hit| hit.place < start;
            if start >= self.cases.len() || self.found().as_ref().is_some_and(beaten) {
                return Ok(());
            }
            let end = (start + HANDFUL).min(self.cases.len());
            if let Some(hit) = self.try_all(examiner, start..end)? {
                let mut found = self.found();
                if found.as_ref().is_none_or(|earlier| hit.place < earlier.place) {
                    *found = Some(hit);
                }
            }
        }
    }

    fn try_all(
        &self,
        examiner: &mut Examiner,
        mut places: std::ops::Range<usize>,
    ) -> Result<Option<Hit>, CrewError> {
        while !places.is_empty() {
            let order =
                Order::Try { cases: self.cases[places.clone()].to_vec(), wanted: self.wanted.clone() };
            match examiner.ask(&order)? {
                Ok(Answer::Tried(None)) => return Ok(None),
                Ok(Answer::Tried(Some((place, examined)))) => {
                    let Examined { departures, outcome, .. } = examined;
                    return Ok(Some(Hit { place: places.start + place, departures, steps: outcome.steps }));
                }
                Ok(_) => return Err(unasked()),
                Err(lost) => {
                    let place = places.start + lost.place;
                    if self.is_wanted(examiner, place)? {
                        return Ok(Some(Hit { place, departures: None, steps: 0 }));
                    }
                    places.start = place + 1;
                }
            }
        }
        Ok(None)
    }

    /// Whether a case that took its worker along fails as wanted.
    fn is_wanted(&self, examiner: &mut Examiner, place: usize) -> Result<bool, CrewError> {
        if !Symptom::stuck().is_like(&self.wanted.like) {
            return Ok(false);
        }
        if !self.wanted.by_relapse {
            return Ok(true);
        }
        let case: Option<toml::Table> = serde_json::from_str(&self.cases[place]).ok();
        let case = case.and_then(|case| toml::to_string(&case).ok());
        let Some(healthy) = case.and_then(|case| without_relapses(&case)) else { return Ok(false) };
        examiner.examine(&healthy).map(|examined| examined.symptom.verdict == "pass")
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Option<Hit>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
