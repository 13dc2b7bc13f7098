//! The crew: several workers that share the runs of a plan.
//!
//! Each worker has a thread here that hands it one chunk of runs after another. When a worker dies, the run that
//! it was on is tried once more, alone, in a new one: what happens again is a finding. All answers are handed on
//! in the order of the plan, so that nothing depends on how many workers there are.

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::one_core;
use super::order::named_in;
use super::{
    Answer, Death, Order, Outcome, Plan, Source, Stop, Stopwatch, Tally, Telling, Variations, WorkerProcess,
};
use crate::case::Verdict;

/// How runs are supervised.
#[derive(Clone, Debug)]
pub struct Crew {
    /// How many workers there are.
    pub jobs: usize,
    /// How long a run may go without a sign of progress, in real time.
    pub patience: Duration,
    /// Whether to stop.
    pub stop: Stop,
}

/// Why the work could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// No process can be started or watched.
    #[error("cannot run worker processes: {0}")]
    Processes(#[from] io::Error),
    /// The input is at fault.
    #[error("{0}")]
    Refused(String),
    /// Somebody stopped it.
    #[error("interrupted")]
    Stopped,
    /// The harness is at fault.
    #[error("seedgrid itself failed, please report this: {0}")]
    Defect(String),
}

/// What a stretch of runs came to.
pub(super) struct Swept {
    pub(super) runs: Range<u64>,
    pub(super) tally: Tally,
    pub(super) told: Vec<(u64, Outcome)>,
}

/// Which runs there are to work through.
#[derive(Clone, Copy, Debug)]
pub(super) enum Runs<'a> {
    /// Those of a plan.
    Planned(&'a Plan),
    /// Variations of one case.
    Varied(&'a Variations),
}

impl Runs<'_> {
    fn count(&self) -> u64 {
        match self {
            Runs::Planned(plan) => plan.runs,
            Runs::Varied(variations) => variations.deviations.len() as u64,
        }
    }

    fn order(&self, runs: Range<u64>, telling: Telling) -> Order {
        match self {
            Runs::Planned(plan) => Order::Sweep { plan: (*plan).clone(), runs, telling },
            Runs::Varied(variations) => {
                let (base, first) = (variations.base.clone(), runs.start);
                let deviations = variations.deviations[runs.start as usize..runs.end as usize].to_vec();
                Order::Vary { variations: Variations { base, deviations }, first }
            }
        }
    }
}

/// How a plan is worked through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) telling: Telling,
    /// Every run in a process of its own.
    pub(super) fresh: bool,
    /// Give out no more work after this much real time.
    pub(super) at_most: Option<Duration>,
}

/// The most runs in a chunk: enough that handing over costs nothing, few enough to stop soon.
const CHUNK: u64 = 64;

impl Crew {
    /// Asks a worker of its own for one thing.
    pub fn ask(&self, order: &Order) -> Result<Answer, CrewError> {
        self.ask_in_turn(std::slice::from_ref(order))
    }

    /// Asks one worker for one thing after another, and gives its last answer.
    pub(super) fn ask_in_turn(&self, orders: &[Order]) -> Result<Answer, CrewError> {
        let mut worker = WorkerProcess::start(self.patience, &self.stop)?;
        let mut last = Err(CrewError::Defect("a worker was asked for nothing".into()));
        for order in orders {
            last = match worker.ask(order)? {
                Answer::Refused(why) => return Err(CrewError::Refused(why)),
                answer => Ok(answer),
            };
        }
        last
    }

    /// The case of a variation, as TOML.
    pub(super) fn case_of(&self, variations: &Variations, run: u64) -> Result<String, CrewError> {
        let (base, deviations) = (variations.base.clone(), variations.deviations[run as usize].clone());
        let source = Source::Varied { base, deviations };
        match self.ask(&Order::Make { source, edits: Vec::new() })? {
            Answer::Made(case) => Ok(case),
            _ => Err(CrewError::Defect("a worker answered what it was not asked".into())),
        }
    }

    /// Works through runs. `take` is given the results in the plan's order, without gaps unless somebody stopped
    /// the work, and may end it.
    pub(super) fn work_through(
        &self,
        runs: Runs<'_>,
        manner: Manner,
        take: &mut dyn FnMut(Swept) -> ControlFlow<()>,
    ) -> Result<(), CrewError> {
        let chunk = match manner.fresh {
            true => 1,
            false => (runs.count() / (self.jobs as u64 * 8)).clamp(1, CHUNK),
        };
        let queue = Queue {
            next: AtomicU64::new(0),
            end: runs.count(),
            chunk,
            closed: AtomicBool::new(false),
            watch: Stopwatch::start(),
            at_most: manner.at_most,
            stop: &self.stop,
        };
        thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            for hand in 0..self.jobs {
                let (sender, queue) = (sender.clone(), &queue);
                scope.spawn(move || {
                    // Its worker inherits that.
                    one_core::stay_on(hand);
                    let mut hand = Hand { crew: self, runs, manner, worker: None };
                    while let Some(runs) = queue.take() {
                        if sender.send(hand.sweep(runs)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let taken = in_order(&results, take);
            queue.closed.store(true, Ordering::Relaxed);
            // Workers that are still on a chunk finish it, for nobody.
            drop(results);
            taken
        })
    }
}

/// Which runs nobody has taken yet.
struct Queue<'a> {
    next: AtomicU64,
    end: u64,
    chunk: u64,
    closed: AtomicBool,
    watch: Stopwatch,
    at_most: Option<Duration>,
    stop: &'a Stop,
}

impl Queue<'_> {
    fn take(&self) -> Option<Range<u64>> {
        let late = self.at_most.is_some_and(|most| self.watch.elapsed() >= most);
        if late || self.stop.is_wanted() || self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let first = self.next.fetch_add(self.chunk, Ordering::Relaxed);
        (first < self.end).then(|| first..(first + self.chunk).min(self.end))
    }
}

fn in_order(
    results: &mpsc::Receiver<Result<Vec<Swept>, CrewError>>,
    take: &mut dyn FnMut(Swept) -> ControlFlow<()>,
) -> Result<(), CrewError> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for result in results {
        match result {
            Ok(swept) => waiting.extend(swept.into_iter().map(|swept| (swept.runs.start, swept))),
            // What others have done is still worth telling.
            Err(CrewError::Stopped) => {}
            Err(error) => return Err(error),
        }
        while let Some(swept) = waiting.remove(&next) {
            next = swept.runs.end;
            if take(swept).is_break() {
                return Ok(());
            }
        }
    }
    // Stopped: there are gaps where somebody was on a chunk.
    for swept in waiting.into_values() {
        if take(swept).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// One worker after another, on one thread.
struct Hand<'a> {
    crew: &'a Crew,
    runs: Runs<'a>,
    manner: Manner,
    worker: Option<WorkerProcess>,
}

impl Hand<'_> {
    /// Gets a stretch of runs done, whatever they do to the worker.
    fn sweep(&mut self, runs: Range<u64>) -> Result<Vec<Swept>, CrewError> {
        let mut done = Vec::new();
        let mut left = vec![runs];
        while let Some(runs) = left.pop() {
            if runs.is_empty() {
                continue;
            }
            match self.ask(runs.clone())? {
                Ok(swept) => done.push(swept),
                Err(Lost { run, how, killed }) => {
                    left.extend([runs.start..run, run + 1..runs.end]);
                    done.push(self.try_again(run, &how, killed)?);
                }
            }
        }
        Ok(done)
    }

    /// The second try of a run that took its worker along. A worker may have been killed because the machine was
    /// busy, or short of memory; one that died by itself has no such excuse.
    fn try_again(&mut self, run: u64, how: &str, killed: bool) -> Result<Swept, CrewError> {
        let verdict = match self.ask(run..run + 1)? {
            Ok(swept) if killed => return Ok(swept),
            Ok(_) => {
                let detail = format!("{how}; when it ran again, alone, it came to its end");
                Verdict::Nondeterministic { detail }
            }
            Err(again) => Verdict::Stuck { detail: again.how },
        };
        let (scenario, outcome, scenarios) = match self.runs {
            Runs::Planned(plan) => {
                let (scenario, seed) = plan.coordinate(run);
                let name = &plan.scenarios[scenario];
                let outcome = Outcome::without_report(verdict, name, seed, &plan.replay(run));
                (scenario, outcome, plan.scenarios.len())
            }
            Runs::Varied(variations) => {
                let (name, seed) = named_in(&variations.base).unwrap_or_default();
                (0, Outcome::without_report(verdict, &name, seed, ""), 1)
            }
        };
        let mut tally = Tally::new(scenarios);
        tally.count_lost(scenario, &outcome);
        let tell = self.manner.telling != Telling::Relapses || self.healthy_passes(run)?;
        let told = if tell { vec![(run, outcome)] } else { Vec::new() };
        Ok(Swept { runs: run..run + 1, tally, told })
    }

    /// Whether a run passes without the plan's relapses.
    fn healthy_passes(&mut self, run: u64) -> Result<bool, CrewError> {
        let Runs::Planned(plan) = self.runs else { return Ok(true) };
        let plan = Plan { relapses: Vec::new(), ..plan.clone() };
        let runs = run..run + 1;
        let swept = self.give(Order::Sweep { plan, runs: runs.clone(), telling: Telling::Findings }, runs)?;
        Ok(swept.is_ok_and(|swept| swept.told.is_empty()))
    }

    fn ask(&mut self, runs: Range<u64>) -> Result<Result<Swept, Lost>, CrewError> {
        self.give(self.runs.order(runs.clone(), self.manner.telling), runs)
    }

    fn give(&mut self, order: Order, runs: Range<u64>) -> Result<Result<Swept, Lost>, CrewError> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => none.insert(WorkerProcess::start(self.crew.patience, &self.crew.stop)?),
        };
        let answer = worker.ask(&order);
        if self.manner.fresh || answer.is_err() {
            self.worker = None;
        }
        match answer {
            Ok(Answer::Swept { runs, tally, told }) => Ok(Ok(Swept { runs, tally, told })),
            Ok(Answer::Refused(why)) => Err(CrewError::Refused(why)),
            Ok(_) => Err(CrewError::Defect("a worker answered what it was not asked".into())),
            Err(Death::OnRun { run, how, killed }) if runs.contains(&run) => {
                Ok(Err(Lost { run, how, killed }))
            }
            Err(death) => Err(death.into()),
        }
    }
}

/// A run that took its worker along.
struct Lost {
    run: u64,
    how: String,
    killed: bool,
}

impl From<Death> for CrewError {
    fn from(death: Death) -> CrewError {
        match death {
            Death::Stopped => CrewError::Stopped,
            Death::OnRun { how, .. } => CrewError::Defect(how),
            Death::Defect(what) => CrewError::Defect(what),
        }
    }
}
