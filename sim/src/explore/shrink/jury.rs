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
use crate::explore::{Answer, Crew, CrewError, Death, Examined, Order, Wanted, WorkerProcess};

/// Workers that try cases.
pub(super) struct Jury<'a> {
    crew: &'a Crew,
    workers: Vec<Option<WorkerProcess>>,
}

/// How many cases a worker takes at a time.
const HANDFUL: usize = 4;

impl<'a> Jury<'a> {
    pub(super) fn new(crew: &'a Crew) -> Self {
        Jury { crew, workers: (0..crew.jobs.max(1)).map(|_| None).collect() }
    }

    /// The first of the cases that fails as wanted.
    pub(super) fn first(&mut self, cases: &[String], wanted: &Wanted) -> Result<Option<Hit>, CrewError> {
        let session =
            Session { crew: self.crew, cases, wanted, next: AtomicUsize::new(0), found: Mutex::default() };
        let hands = self.workers.len().min(cases.len().div_ceil(HANDFUL));
        match self.workers[..hands].split_first_mut() {
            None => return Ok(None),
            Some((worker, [])) => session.work(worker)?,
            Some((worker, others)) => thread::scope(|scope| {
                let others: Vec<_> =
                    others.iter_mut().map(|worker| scope.spawn(|| session.work(worker))).collect();
                let mut result = session.work(worker);
                for other in others {
                    let defect = |_| Err(CrewError::Defect("a thread that tries cases panicked".into()));
                    result = result.and(other.join().unwrap_or_else(defect));
                }
                result
            })?,
        }
        Ok(session.found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a case comes to; a `stuck` symptom when it takes its worker along.
    pub(super) fn examine(&mut self, case: &str) -> Result<Result<Examined, Symptom>, CrewError> {
        match ask(self.crew, &mut self.workers[0], &Order::Examine { case: case.into() })? {
            Ok(Answer::Examined(examined)) => Ok(Ok(examined)),
            Ok(_) => Err(unasked()),
            Err(_) => Ok(Err(Symptom::stuck())),
        }
    }
}

/// Cases that are being tried.
struct Session<'a> {
    crew: &'a Crew,
    cases: &'a [String],
    wanted: &'a Wanted,
    next: AtomicUsize,
    found: Mutex<Option<Hit>>,
}

impl Session<'_> {
    /// Tries handfuls of cases until there are no more, or an earlier one has been found.
    fn work(&self, worker: &mut Option<WorkerProcess>) -> Result<(), CrewError> {
        loop {
            let start = self.next.fetch_add(HANDFUL, Ordering::Relaxed);
            let beaten = |hit: &Hit| hit.place < start;
            if start >= self.cases.len() || self.found().as_ref().is_some_and(beaten) {
                return Ok(());
            }
            let end = (start + HANDFUL).min(self.cases.len());
            if let Some(hit) = self.try_all(worker, start..end)? {
                let mut found = self.found();
                if found.as_ref().is_none_or(|earlier| hit.place < earlier.place) {
                    *found = Some(hit);
                }
            }
        }
    }

    fn try_all(
        &self,
        worker: &mut Option<WorkerProcess>,
        mut places: std::ops::Range<usize>,
    ) -> Result<Option<Hit>, CrewError> {
        while !places.is_empty() {
            let order =
                Order::Try { cases: self.cases[places.clone()].to_vec(), wanted: self.wanted.clone() };
            match ask(self.crew, worker, &order)? {
                Ok(Answer::Tried(None)) => return Ok(None),
                Ok(Answer::Tried(Some((place, examined)))) => {
                    let (departures, steps) = (Some(examined.departures), examined.outcome.steps);
                    return Ok(Some(Hit { place: places.start + place, departures, steps }));
                }
                Ok(_) => return Err(unasked()),
                Err(place) => {
                    let place = places.start + place;
                    if self.is_wanted(worker, place)? {
                        return Ok(Some(Hit { place, departures: None, steps: 0 }));
                    }
                    places.start = place + 1;
                }
            }
        }
        Ok(None)
    }

    /// Whether a case that took its worker along fails as wanted.
    fn is_wanted(&self, worker: &mut Option<WorkerProcess>, place: usize) -> Result<bool, CrewError> {
        if !Symptom::stuck().is_like(&self.wanted.like) {
            return Ok(false);
        }
        let Some(healthy) = without_relapses(&self.cases[place]).filter(|_| self.wanted.by_relapse) else {
            return Ok(!self.wanted.by_relapse);
        };
        match ask(self.crew, worker, &Order::Examine { case: healthy })? {
            Ok(Answer::Examined(examined)) => Ok(examined.outcome.verdict == "pass"),
            Ok(_) => Err(unasked()),
            Err(_) => Ok(false),
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Option<Hit>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The case with its bugs mended; none when it has none.
pub(super) fn without_relapses(case: &str) -> Option<String> {
    let mut case: toml::Table = toml::from_str(case).ok()?;
    case.remove("relapses")?;
    toml::to_string(&case).ok()
}

/// Asks a worker, who is started if need be. One that dies over a case is lost, and the case's place is told.
fn ask(
    crew: &Crew,
    worker: &mut Option<WorkerProcess>,
    order: &Order,
) -> Result<Result<Answer, usize>, CrewError> {
    let mut hand = match worker.take() {
        Some(hand) => hand,
        None => WorkerProcess::start(crew.patience, &crew.stop)?,
    };
    let answer = hand.ask(order);
    if answer.is_ok() {
        *worker = Some(hand);
    }
    match answer {
        Ok(Answer::Refused(why)) => Err(CrewError::Refused(why)),
        Ok(answer) => Ok(Ok(answer)),
        Err(Death::OnRun { run, .. }) => Ok(Err(usize::try_from(run).unwrap_or(usize::MAX))),
        Err(death) => Err(death.into()),
    }
}

fn unasked() -> CrewError {
    CrewError::Defect("a worker answered what it was not asked".into())
}
