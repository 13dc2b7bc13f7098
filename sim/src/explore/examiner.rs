//! The examiner: a worker that is asked about one case after another, and replaced when a case takes it along.

use super::{Answer, Crew, CrewError, Death, Examined, Order, Outcome, WorkerProcess, named_in};
use crate::case::{Symptom, Verdict};

/// A worker that is asked about cases.
pub(super) struct Examiner<'a> {
    crew: &'a Crew,
    worker: Option<WorkerProcess>,
}

/// A case that took its worker along: its place among those asked about, and how.
pub(super) struct Lost {
    pub(super) place: usize,
    pub(super) how: String,
}

impl<'a> Examiner<'a> {
    pub(super) fn new(crew: &'a Crew) -> Self {
        Examiner { crew, worker: None }
    }

    /// What a case comes to.
    pub(super) fn examine(&mut self, case: &str) -> Result<Examined, CrewError> {
        match self.ask(&Order::Examine { case: case.into() })? {
            Ok(Answer::Examined(examined)) => Ok(examined),
            Ok(_) => Err(unasked()),
            Err(Lost { how, .. }) => {
                let (scenario, seed) = named_in(case).unwrap_or_default();
                let verdict = Verdict::Stuck { detail: how };
                Ok(Examined {
                    outcome: Outcome::without_report(verdict, &scenario, seed, ""),
                    symptom: Symptom::stuck(),
                    departures: None,
                    reached: Vec::new(),
                })
            }
        }
    }

    /// Asks the worker, who is started if need be.
    pub(super) fn ask(&mut self, order: &Order) -> Result<Result<Answer, Lost>, CrewError> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => WorkerProcess::start(self.crew.patience, &self.crew.stop)?,
        };
        let answer = worker.ask(order);
        if answer.is_ok() {
            self.worker = Some(worker);
        }
        match answer {
            Ok(Answer::Refused(why)) => Err(CrewError::Refused(why)),
            Ok(answer) => Ok(Ok(answer)),
            Err(Death::OnRun { run, how, .. }) => {
                Ok(Err(Lost { place: usize::try_from(run).unwrap_or(usize::MAX), how }))
            }
            Err(death) => Err(death.into()),
        }
    }
}

/// The case with its bugs mended; none when it has none.
pub(super) fn without_relapses(case: &str) -> Option<String> {
    let mut case: toml::Table = toml::from_str(case).ok()?;
    case.remove("relapses")?;
    toml::to_string(&case).ok()
}

pub(super) fn unasked() -> CrewError {
    CrewError::Defect("a worker answered what it was not asked".into())
}
