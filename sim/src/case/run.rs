//! `run`: one case, one fresh thread, one report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use super::{Case, Report, Verdict};
use crate::schedule::{Census, Schedule, ScheduleSpec, StepCounts};
use crate::trace::{self, Moment, Recorded, Story, Timeline, WaitGraph};
use crate::world::{World, executor};
use crate::{panics, world};

/// How much of a run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Verdict, digest, coverage and counts: what a sweep needs.
    Digest,
    /// The running digest after each step as well: what is needed to say where two runs part.
    Steps,
    /// The story, the wait graph, the departures from FIFO and every step as well.
    Full,
    /// As [`Detail::Digest`], with the points at which other runs can part from this one.
    Points,
}

/// Runs a case. The same case gives the same report, whenever and wherever it runs.
///
/// A run gets a thread of its own: some state of the standard library is per thread, and a run must
/// not see what an earlier one left there.
#[allow(clippy::disallowed_methods, reason = "the harness itself is outside of any world")]
pub fn run(case: &Case, detail: Detail) -> Report {
    let case = Arc::new(case.clone());
    let counts = match case.schedule {
        ScheduleSpec::Urw => count_steps(case.clone()),
        _ => StepCounts::default(),
    };
    let start = |case: &Case| case.schedule.start(case.seed, counts);
    match thread::spawn(move || run_here(case, detail, start)).join() {
        Ok(report) => report,
        Err(panic) => {
            let message = panics::message_of(panic).unwrap_or_default();
            let detail = format!("outside of any task: {message}");
            Report::without_trace(Verdict::Panicked { detail })
        }
    }
}

/// How many steps the tasks of a case take, first in first out.
#[allow(clippy::disallowed_methods, reason = "the harness itself is outside of any world")]
fn count_steps(case: Arc<Case>) -> StepCounts {
    let census = Census::default();
    let schedule = census.clone();
    // How that run ends is nobody's business; what was counted by then stands.
    let _ = thread::spawn(move || run_here(case, Detail::Digest, |_| Box::new(schedule))).join();
    census.counts()
}

fn run_here(case: Arc<Case>, detail: Detail, start: impl FnOnce(&Case) -> Box<dyn Schedule>) -> Report {
    let full = detail == Detail::Full;
    panics::keep_quiet();
    // madsim owns clock, entropy and threads for as long as the run lasts, so nothing strays unseen.
    let runtime = madsim::runtime::Runtime::with_seed_and_config(case.seed, madsim::Config::default());
    runtime.block_on(async {
        runtime::arm_relapses(case.relapses.clone());
        runtime::Mark::take_reached();
        world::take_effects();
        trace::start(detail);
        let world = World::start(&case, detail, start(&case));
        let verdict = world.run(case.scenario.play(case.clone(), world));
        // What is dropped from here on is no part of the run.
        let mut recording = trace::finish();
        let (names, departures, steps, points) = executor::with(|executor| {
            let names = full.then(|| executor.names());
            (names, executor.departures(), executor.steps(), executor.points())
        });
        let labels: Vec<_> =
            names.iter().flat_map(|names| &names.tasks).map(|task| task.label.clone()).collect();
        let sim_ns = world::context::now();
        let mut digest = recording.digest();
        digest.bytes(verdict.to_string().as_bytes());
        let reached = runtime::Mark::take_reached();
        let effects = world::take_effects();
        executor::uninstall();
        Report {
            verdict,
            digest: digest.value(),
            steps,
            sim_ns,
            cancels: world::operation::count_cancelled(),
            crashes: world::lives::count_crashes(),
            reached,
            effects,
            story: full.then(|| Story::of(&recording, &labels)),
            waits: full.then(|| WaitGraph::of(&recording, &labels, sim_ns)),
            timeline: names.map(|names| Timeline::of(&recording, names, Moment { step: steps, ns: sim_ns })),
            departures,
            points,
            step_digests: recording.take_steps(),
            recorded: full.then(|| Recorded::new(recording, labels)),
        }
    })
}

impl Report {
    fn without_trace(verdict: Verdict) -> Report {
        Report {
            verdict,
            digest: 0,
            steps: 0,
            sim_ns: 0,
            cancels: 0,
            crashes: 0,
            reached: Vec::new(),
            effects: BTreeMap::new(),
            story: None,
            waits: None,
            timeline: None,
            departures: Vec::new(),
            points: None,
            step_digests: None,
            recorded: None,
        }
    }
}
