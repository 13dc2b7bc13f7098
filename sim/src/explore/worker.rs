//! The worker: a child process that runs what its parent orders, and dies with it.
//!
//! Orders come on stdin, answers go out on what was stdout. Stderr is a file without a name that the parent can
//! read: at its head, the worker keeps a note of the run that it is on (one small write for each run); behind
//! that is whatever it has to say when it dies. Whatever scenarios print goes there too.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use super::{
    Answer, CULPRITS, Candidate, Deviation, Examined, Order, Outcome, Plan, Record, Source, Stopwatch, Tally,
    Telling, Told, Variations, Wanted, explain,
};
use crate::case::{Case, Detail, Report, Scenario, Scenarios, Symptom, Verdict, run};
use crate::trace::{FirstDifference, Happening, Recorded};

/// Works until stdin ends, or stdout has nobody to read it. A worker knows the planted culprits as well.
pub fn work(scenarios: Scenarios) -> io::Result<()> {
    let culprits = CULPRITS.iter().map(|culprit| *culprit as &dyn Scenario);
    let scenarios: Vec<_> = scenarios.0.iter().copied().chain(culprits).collect();
    // Once for each process, for as long as it lives.
    let scenarios = Scenarios(scenarios.leak());
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    let mut answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdout(&stderr)?;
    let mut bench = Bench { scenarios, note: Note { file: stderr.into(), count: 0 } };
    for order in orders()? {
        let mut answer = serde_json::to_vec(&bench.carry_out(order))?;
        answer.push(b'\n');
        bench.note.idle()?;
        answers.write_all(&answer)?;
    }
    Ok(())
}

/// What the worker is on, for its parent to see at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// How often the place has changed.
    pub(super) count: u64,
    /// The number of the run, plus one; zero between orders.
    pub(super) run: u64,
}

impl Place {
    /// How long a note is.
    pub(super) const BYTES: usize = 16;

    pub(super) fn read(file: &File) -> io::Result<Place> {
        let mut bytes = [0; Place::BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        let [mut count, mut run] = [[0; 8]; 2];
        count.copy_from_slice(&bytes[..8]);
        run.copy_from_slice(&bytes[8..]);
        Ok(Place { count: u64::from_le_bytes(count), run: u64::from_le_bytes(run) })
    }

    fn write(self, file: &File) -> io::Result<()> {
        let mut bytes = [0; Place::BYTES];
        bytes[..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..].copy_from_slice(&self.run.to_le_bytes());
        file.write_all_at(&bytes, 0)
    }
}

struct Note {
    file: File,
    count: u64,
}

impl Note {
    fn on(&mut self, run: u64) {
        self.count += 1;
        // Without the note a dead worker's run cannot be told from its neighbours; the parent sees that.
        let _ = Place { count: self.count, run: run + 1 }.write(&self.file);
    }

    /// Throws away what has been printed.
    fn forget_words(&mut self) {
        let head = Place::BYTES as u64;
        // At worst the words appear twice.
        let _ = self.file.set_len(head).and_then(|()| self.file.seek(io::SeekFrom::Start(head)));
    }

    fn idle(&mut self) -> io::Result<()> {
        self.count += 1;
        Place { count: self.count, run: 0 }.write(&self.file)
    }
}

/// Orders as they come. A thread waits for them, so that the process ends as soon as its parent has, whatever a
/// run is doing.
fn orders() -> io::Result<mpsc::Receiver<Order>> {
    let (sender, orders) = mpsc::channel();
    std::thread::Builder::new().name("orders".into()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let Some(order) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { break };
            if sender.send(order).is_err() {
                break;
            }
        }
        std::process::exit(0);
    })?;
    Ok(orders)
}

struct Bench {
    scenarios: Scenarios,
    note: Note,
}

impl Bench {
    fn carry_out(&mut self, order: Order) -> Answer {
        let done = match order {
            Order::Sweep { plan, runs, telling } => self.sweep(&plan, runs, telling),
            Order::Vary { variations, first } => self.vary(&variations, first),
            Order::Points { source, deviations } => self.points(source, &deviations),
            Order::Crashes { variations } => self.crashes(&variations),
            Order::Record { plan, run, telling } => self.record(&plan, run, telling),
            Order::Make { source, edits } => {
                self.note.on(0);
                source.make(&edits, self.scenarios).map(Answer::Made)
            }
            Order::Trace { case, replay } => self.trace(&case, &replay),
            Order::Compare { case, candidates } => self.compare(&case, &candidates),
            Order::Play { case, replay, story } => self.play(&case, &replay, story),
            Order::Examine { case } => self.examine(&case).map(Answer::Examined),
            Order::Try { cases, wanted } => Ok(Answer::Tried(self.try_each(&cases, &wanted))),
        };
        done.unwrap_or_else(Answer::Refused)
    }

    fn sweep(&mut self, plan: &Plan, runs: std::ops::Range<u64>, telling: Telling) -> Result<Answer, String> {
        let mut tally = Tally::new(plan.scenarios.len());
        let mut told = Vec::new();
        for index in runs.clone() {
            self.note.on(index);
            let (scenario, seed) = plan.coordinate(index);
            let name = &plan.scenarios[scenario];
            let watch = Stopwatch::start();
            let drawn = catch_unwind(AssertUnwindSafe(|| self.case(plan, index, telling)));
            let Ok(case) = drawn else {
                let detail = "while its case was drawn: run it alone to see where".into();
                let outcome =
                    Outcome::without_report(Verdict::Panicked { detail }, name, seed, &plan.replay(index));
                tally.count_lost(scenario, &outcome);
                // Relapses have no part in drawing.
                if telling != Telling::Relapses {
                    told.push((index, outcome));
                }
                continue;
            };
            let case = case?;
            let mut report = run(&case, telling.detail());
            let busy = watch.elapsed();
            if !report.verdict.is_pass() {
                self.note.on(index);
                report = confirm(&case, report);
            }
            tally.count(scenario, &report, busy);
            let tell = match telling {
                Telling::Each | Telling::Steps | Telling::FromToml => true,
                Telling::Findings => !report.verdict.is_pass(),
                Telling::Relapses => !report.verdict.is_pass() && self.healthy_passes(&case, index),
            };
            if tell {
                let replay = if report.verdict.is_pass() { String::new() } else { plan.replay(index) };
                let mut outcome = Outcome::of(&report, name, seed, &replay).under(case.schedule.name());
                if telling.detail() == Detail::Steps {
                    outcome.step_digests = report.step_digests;
                }
                told.push((index, outcome));
            }
        }
        Ok(Answer::Swept { runs, tally, told })
    }

    /// Runs variations of one case.
    fn vary(&mut self, variations: &Variations, first: u64) -> Result<Answer, String> {
        self.note.on(first);
        let base = Case::from_toml(&variations.base, self.scenarios).map_err(|error| error.to_string())?;
        let mut tally = Tally::new(1);
        let mut told = Vec::new();
        for (deviations, index) in variations.deviations.iter().zip(first..) {
            self.note.on(index);
            let case = base.varied(deviations);
            let watch = Stopwatch::start();
            let mut report = run(&case, Detail::Digest);
            let busy = watch.elapsed();
            if !report.verdict.is_pass() {
                self.note.on(index);
                report = confirm(&case, report);
                told.push((index, Outcome::of(&report, case.scenario.name(), case.seed, "")));
            }
            tally.count(0, &report, busy);
        }
        Ok(Answer::Swept { runs: first..first + variations.deviations.len() as u64, tally, told })
    }

    fn points(&mut self, source: Source, deviations: &[Deviation]) -> Result<Answer, String> {
        self.note.on(0);
        let text = source.make(&[], self.scenarios)?;
        let case = Case::from_toml(&text, self.scenarios).map_err(|error| error.to_string())?;
        self.note.on(0);
        let report = run(&case.varied(deviations), Detail::Points);
        let outcome = Outcome::of(&report, case.scenario.name(), case.seed, "");
        Ok(Answer::Points { case: text, outcome, points: report.points.unwrap_or_default() })
    }

    fn crashes(&mut self, variations: &Variations) -> Result<Answer, String> {
        let base = Case::from_toml(&variations.base, self.scenarios).map_err(|error| error.to_string())?;
        let crashes_of = |(deviations, number): (&Vec<Deviation>, u64)| {
            self.note.on(number);
            run(&base.varied(deviations), Detail::Points).points.unwrap_or_default().crashes
        };
        Ok(Answer::Crashes(variations.deviations.iter().zip(0..).map(crashes_of).collect()))
    }

    fn case(&self, plan: &Plan, index: u64, telling: Telling) -> Result<Case, String> {
        let case = plan.case(index, self.scenarios)?;
        match telling {
            Telling::FromToml => {
                let text = case.to_toml().map_err(|error| error.to_string())?;
                Case::from_toml(&text, self.scenarios).map_err(|error| error.to_string())
            }
            Telling::Findings | Telling::Relapses | Telling::Each | Telling::Steps => Ok(case),
        }
    }

    fn record(&mut self, plan: &Plan, index: u64, telling: Telling) -> Result<Answer, String> {
        self.note.on(index);
        let report = run(&self.case(plan, index, telling)?, Detail::Full);
        let happenings = happenings(&report);
        Ok(Answer::Recorded(Record { steps: report.step_digests.unwrap_or_default(), happenings }))
    }

    /// Whether the case passes without its relapses: what fails anyway says nothing about them.
    fn healthy_passes(&mut self, case: &Case, index: u64) -> bool {
        self.note.on(index);
        let healthy = Case { relapses: Vec::new(), ..case.clone() };
        run(&healthy, Detail::Digest).verdict.is_pass()
    }

    fn trace(&mut self, case: &str, replay: &str) -> Result<Answer, String> {
        self.note.on(0);
        let case = Case::from_toml(case, self.scenarios).map_err(|error| error.to_string())?;
        let quick = run(&case, Detail::Digest);
        self.note.on(0);
        let report = confirm(&case, quick);
        Ok(Answer::Traced(Box::new(explain::trace(&case, report, replay))))
    }

    fn compare(&mut self, case: &str, candidates: &[Candidate]) -> Result<Answer, String> {
        // A run of no candidate: the case itself, which is known not to take anybody along.
        self.note.on(candidates.len() as u64);
        let case = Case::from_toml(case, self.scenarios).map_err(|error| error.to_string())?;
        let note = &mut self.note;
        let comparison =
            explain::compare(&case, candidates, self.scenarios, &mut |number| note.on(number as u64));
        Ok(Answer::Compared(Box::new(comparison)))
    }

    fn play(&mut self, case: &str, replay: &str, story: bool) -> Result<Answer, String> {
        self.note.on(0);
        let case = Case::from_toml(case, self.scenarios).map_err(|error| error.to_string())?;
        let quick = run(&case, Detail::Digest);
        // The second run will print it all again.
        self.note.forget_words();
        self.note.on(0);
        let report = confirm(&case, quick);
        let told_story = match &report.story {
            Some(told) if story => told.to_string().lines().map(String::from).collect(),
            _ => Vec::new(),
        };
        // Any other run ends in the middle of things: who waits then is no evidence.
        let hung = matches!(report.verdict, Verdict::Hung { .. });
        let waits = report.waits.as_ref().filter(|waits| hung && !waits.waits.is_empty());
        Ok(Answer::Played(Told {
            outcome: Outcome::of(&report, case.scenario.name(), case.seed, replay),
            story: told_story,
            waits: waits.map(ToString::to_string),
        }))
    }

    fn examine(&mut self, case: &str) -> Result<Examined, String> {
        self.note.on(0);
        let case = Case::from_toml(case, self.scenarios).map_err(|error| error.to_string())?;
        let quick = run(&case, Detail::Digest);
        self.note.on(0);
        let report = confirm(&case, quick);
        let bit =
            |index: usize| report.reached.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1);
        let marks = runtime::MARKS.iter().enumerate().filter(|(index, _)| bit(*index));
        let reached: BTreeSet<String> = marks.map(|(_, mark)| mark.name.into()).collect();
        Ok(Examined { reached: reached.into_iter().collect(), ..examined(&case, report) })
    }

    /// The first of the cases that fails as wanted.
    fn try_each(&mut self, cases: &[String], wanted: &Wanted) -> Option<(usize, Examined)> {
        cases.iter().enumerate().find_map(|(index, case)| Some((index, self.try_one(index, case, wanted)?)))
    }

    fn try_one(&mut self, index: usize, case: &str, wanted: &Wanted) -> Option<Examined> {
        self.note.on(index as u64);
        // A scenario may panic over what nobody would write.
        let case = catch_unwind(AssertUnwindSafe(|| Case::from_json(case, self.scenarios))).ok()?.ok()?;
        let quick = run(&case, Detail::Digest);
        let alike = (quick.verdict.word(), quick.verdict.oracle());
        let nondeterministic = wanted.like.verdict == "nondeterministic";
        if quick.steps > wanted.most_steps
            || (alike != (&wanted.like.verdict, wanted.like.oracle.as_deref()) && !nondeterministic)
        {
            return None;
        }
        self.note.on(index as u64);
        let examined = examined(&case, confirm(&case, quick));
        let hit = examined.symptom.is_like(&wanted.like)
            && (!wanted.by_relapse || !case.relapses.is_empty() && self.healthy_passes(&case, index as u64));
        hit.then_some(examined)
    }
}

fn examined(case: &Case, report: Report) -> Examined {
    Examined {
        outcome: Outcome::of(&report, case.scenario.name(), case.seed, ""),
        symptom: Symptom::of(&report),
        departures: Some(report.departures),
        reached: Vec::new(),
    }
}

/// Runs a case again, with everything recorded: the same, with evidence, or a finding of its own.
fn confirm(case: &Case, quick: Report) -> Report {
    let full = run(case, Detail::Full);
    if (full.digest, &full.verdict) == (quick.digest, &quick.verdict) {
        return full;
    }
    let first = first_difference(case, &full).map(|first| format!("; {first}")).unwrap_or_default();
    let detail = format!(
        "two runs of the case differ: {} with digest {:016x}, then {} with digest {:016x}{first}",
        quick.verdict, quick.digest, full.verdict, full.digest
    );
    let (digest, step_digests) = (quick.digest, quick.step_digests);
    Report { verdict: Verdict::Nondeterministic { detail }, digest, step_digests, ..full }
}

/// What differs first between two recordings of a case; should these agree, between a recording and a run without one.
fn first_difference(case: &Case, full: &Report) -> Option<String> {
    let here = happenings(full);
    let again = run(case, Detail::Full);
    if let Some(first) = FirstDifference::between(&here, &happenings(&again)) {
        return Some(first.in_words("in one run", "in the next"));
    }
    let unrecorded = run(case, Detail::Steps);
    let (steps, others) = (full.step_digests.as_ref()?, unrecorded.step_digests.as_ref()?);
    let first = FirstDifference::by_steps(&here, steps, others)?;
    Some(first.in_words("with everything recorded", "without"))
}

fn happenings(report: &Report) -> Vec<Happening> {
    report.recorded.as_ref().map(Recorded::happenings).unwrap_or_default()
}

impl Telling {
    /// How much must be kept of a run to be told.
    fn detail(self) -> Detail {
        match self {
            Telling::Findings | Telling::Relapses | Telling::Each => Detail::Digest,
            Telling::Steps | Telling::FromToml => Detail::Steps,
        }
    }
}
