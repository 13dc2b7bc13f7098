//! The search itself: from a case that fails to a smaller one that fails alike, until nothing more can go.
//!
//! It is a pure function of the case and of what the judge says. A judge is given cases in the order of preference and
//! names the first that fails as wanted; so however many cases it tries at a time, the result is the same.
//!
//! A removal that shifts who is ready when often loses a failure that is still there under another schedule. A removal
//! that loses it is therefore tried under a few other schedules as well, and a run that fails again brings its own
//! departures along.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use toml::{Table, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::tree::{self, Path, Step};
use crate::explore::CrewError;
use crate::schedule::Departure;

/// The first of some cases that fails as wanted.
pub(super) struct Hit {
    /// Its place among them.
    pub(super) place: usize,
    /// Where its run departs from first in, first out; none when nobody can know, as its process died of it.
    pub(super) departures: Option<Vec<Departure>>,
    /// How many steps its run has.
    pub(super) steps: u64,
}

/// Why a search ends early.
pub(super) enum Ended {
    /// Its budget is used up, or somebody wants it to stop.
    Budget,
    /// The judge failed.
    Failed(CrewError),
}

/// Names the first of these cases that fails as wanted, in at most so many steps.
pub(super) type Judge<'a> = dyn FnMut(&[String], u64) -> Result<Option<Hit>, Ended> + 'a;

/// A case on its way down.
pub(super) struct Search<'a> {
    pub(super) case: Table,
    pub(super) steps: u64,
    /// How many cases have been tried.
    pub(super) attempts: u64,
    judge: &'a mut Judge<'a>,
    /// The hashes of cases that have failed otherwise or not at all, with the most steps that they might have had.
    failed: BTreeMap<u64, u64>,
}

/// A smaller case, and what it stands for.
#[derive(Clone)]
struct Candidate {
    mark: usize,
    case: Table,
}

/// How many cases the judge is given at a time.
const BATCH: usize = 32;
/// With how many seeds a removal is tried under the uniform schedule.
const OTHER_SEEDS: i64 = 4;
const ANY_STEPS: u64 = u64::MAX;

impl<'a> Search<'a> {
    pub(super) fn new(case: Table, steps: u64, judge: &'a mut Judge<'a>) -> Self {
        Search { case, steps, attempts: 0, judge, failed: BTreeMap::new() }
    }

    /// Searches until nothing more can go.
    pub(super) fn run(&mut self) -> Result<(), Ended> {
        self.follow_no_schedule()?;
        loop {
            let before = self.case.clone();
            self.level_numbers()?;
            for depth in 1..=tree::depth(&self.case) {
                for array in tree::arrays(&self.case, depth) {
                    self.remove_elements(&array, Removal::Renumbering)?;
                }
            }
            self.follow_no_schedule()?;
            self.remove_elements(&departures(), Removal::Plain)?;
            self.simplify_entries()?;
            if self.case == before {
                return Ok(());
            }
        }
    }

    /// First in, first out, if that will do.
    fn follow_no_schedule(&mut self) -> Result<(), Ended> {
        let case = under(&self.case, fifo());
        self.first(iter::once(Candidate { mark: 0, case }), ANY_STEPS).map(|_| ())
    }

    /// Removes elements of an array, as many at a time as can go: all, halves, quarters, down to single ones.
    fn remove_elements(&mut self, array: &[Step], removal: Removal) -> Result<(), Ended> {
        let length = |case: &Table| tree::at(case, array).and_then(Value::as_array).map_or(0, Vec::len);
        let mut size = length(&self.case);
        while size > 0 {
            let mut end = length(&self.case);
            while end > 0 {
                let case = self.case.clone();
                let window = |last: usize| (last + 1).saturating_sub(size)..last + 1;
                let windows: Vec<_> = (0..end).rev().step_by(size).map(window).collect();
                let without = |mark: usize| {
                    let gone = windows[mark].clone().collect();
                    removal
                        .variants(&case, array, &gone)
                        .into_iter()
                        .map(move |case| Candidate { mark, case })
                };
                let others = windows.iter().enumerate().filter(|_| removal == Removal::Renumbering);
                let others = others.flat_map(|(mark, _)| without(mark)).flat_map(other_schedules);
                match self.first((0..windows.len()).flat_map(without).chain(others), ANY_STEPS)? {
                    Some(mark) => end = windows[mark].start.min(length(&self.case)),
                    None => break,
                }
            }
            size = (size / 2).min(length(&self.case));
        }
        Ok(())
    }

    /// Takes all numbers of one kind away, or down to nothing: all latencies, all jitter.
    fn level_numbers(&mut self) -> Result<(), Ended> {
        for group in groups(&self.case) {
            let gone = group.iter().fold(self.case.clone(), |case, path| tree::without_key(&case, path));
            let nothing = |case: Table, path: &Path| match tree::at(&case, path).and_then(nothing_like) {
                Some(nothing) => tree::with(&case, path, nothing),
                None => case,
            };
            let zero = group.iter().fold(self.case.clone(), nothing);
            let levelled = [gone, zero].map(|case| Candidate { mark: 0, case });
            let others = levelled.clone().into_iter().flat_map(other_schedules);
            self.first(levelled.into_iter().chain(others), ANY_STEPS)?;
        }
        Ok(())
    }

    /// Takes every key away that can go, and makes numbers smaller and rounder. The run must not grow by it: the absence of
    /// a key may mean the most.
    fn simplify_entries(&mut self) -> Result<(), Ended> {
        for path in tree::entries(&self.case) {
            let case = self.case.clone();
            let Some(value) = tree::at(&case, &path) else { continue };
            let gone = tree::without_key(&case, &path);
            let simpler = simpler(value).into_iter().map(|value| tree::with(&case, &path, value));
            let candidates = iter::once(gone).chain(simpler).map(|case| Candidate { mark: 0, case });
            self.first(candidates, self.steps)?;
        }
        Ok(())
    }

    /// Takes the first candidate that fails as wanted, and gives its mark.
    fn first(
        &mut self,
        mut candidates: impl Iterator<Item = Candidate>,
        most_steps: u64,
    ) -> Result<Option<usize>, Ended> {
        loop {
            let batch: Vec<_> =
                candidates.by_ref().filter_map(|it| self.untried(it, most_steps)).take(BATCH).collect();
            if batch.is_empty() {
                return Ok(None);
            }
            let texts: Vec<_> = batch.iter().map(|(text, _)| text.clone()).collect();
            let hit = (self.judge)(&texts, most_steps)?;
            let failed = hit.as_ref().map_or(batch.len(), |hit| hit.place);
            self.attempts += failed as u64 + u64::from(hit.is_some());
            self.failed.extend(texts[..failed].iter().map(|text| (hash(text), most_steps)));
            if let Some(hit) = hit
                && let Some((_, taken)) = batch.into_iter().nth(hit.place)
            {
                self.take(taken.case, hit);
                return Ok(Some(taken.mark));
            }
        }
    }

    /// The candidate's text, unless it has failed already.
    fn untried(&self, candidate: Candidate, most_steps: u64) -> Option<(String, Candidate)> {
        let text = toml::to_string(&candidate.case).ok()?;
        let tried = self.failed.get(&hash(&text)).is_some_and(|steps| *steps >= most_steps);
        (!tried && candidate.case != self.case).then_some((text, candidate))
    }

    fn take(&mut self, case: Table, hit: Hit) {
        self.case = match hit.departures {
            Some(departures) => under(&case, replay(&departures)),
            None => case,
        };
        self.steps = hit.steps;
    }
}

/// How elements of an array are removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// Only they go.
    Plain,
    /// What names them goes, and what names later ones is renumbered; if that does not do, only they go. If that does not
    /// do, under other schedules.
    Renumbering,
}

impl Removal {
    fn variants(self, case: &Table, array: &[Step], gone: &BTreeSet<usize>) -> Vec<Table> {
        let plain = tree::without_elements(case, array, gone);
        if self == Removal::Plain {
            return vec![plain];
        }
        let renumbered = tree::without_elements_renumbered(case, array, gone);
        if renumbered == plain { vec![plain] } else { vec![renumbered, plain] }
    }
}

/// Other schedules under which a candidate may fail: first in first out, and some random ones.
fn other_schedules(candidate: Candidate) -> impl Iterator<Item = Candidate> {
    let Candidate { mark, case } = candidate;
    let in_order = under(&case, fifo());
    let at_random = (0..OTHER_SEEDS).map(move |seed| {
        let mut case = under(&case, table([("kind", "uniform".into())]));
        case.insert("seed".into(), seed.into());
        case
    });
    iter::once(in_order).chain(at_random).map(move |case| Candidate { mark, case })
}

/// The case under another schedule.
pub(super) fn under(case: &Table, schedule: Value) -> Table {
    let mut case = case.clone();
    case.insert("schedule".into(), schedule);
    case
}

/// The schedule that follows these departures.
pub(super) fn replay(departures: &[Departure]) -> Value {
    let departure = |departure: &Departure| {
        table([("instead_of", departure.instead_of.as_str().into()), ("run", departure.run.as_str().into())])
    };
    match departures.is_empty() {
        true => fifo(),
        false => {
            let departures = departures.iter().map(departure).collect();
            table([("kind", "replay".into()), ("departures", Value::Array(departures))])
        }
    }
}

fn fifo() -> Value {
    table([("kind", "fifo".into())])
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// Where a case keeps its departures.
pub(super) fn departures() -> Path {
    vec![Step::Key("schedule".into()), Step::Key("departures".into())]
}

/// The numbers and truths of a case by what they are about: those that differ in the numbers of elements only.
fn groups(case: &Table) -> Vec<Vec<Path>> {
    let mut groups = BTreeMap::<Vec<&str>, Vec<Path>>::new();
    let entries = tree::entries(case);
    for path in &entries {
        if path.len() > 1 && tree::at(case, path).and_then(nothing_like).is_some() {
            groups.entry(path.iter().map(name_of).collect()).or_default().push(path.clone());
        }
    }
    groups.into_values().collect()
}

fn name_of(step: &Step) -> &str {
    match step {
        Step::Key(key) => key,
        Step::Index(_) => "",
    }
}

/// Nothing, of the same type; none for what is nothing already, or neither a number nor a truth.
fn nothing_like(value: &Value) -> Option<Value> {
    let nothing = match value {
        Value::Integer(_) => Value::Integer(0),
        Value::Float(_) => Value::Float(0.0),
        Value::Boolean(_) => Value::Boolean(false),
        _ => return None,
    };
    (nothing != *value).then_some(nothing)
}

/// Up to this, every smaller number is tried.
const SMALL: i64 = 16;

/// Simpler values of the same type, the simplest first: all smaller numbers while these are few, else round ones.
fn simpler(value: &Value) -> Vec<Value> {
    let Value::Integer(number) = value else { return nothing_like(value).into_iter().collect() };
    let magnitudes = 0..number.saturating_abs();
    let magnitudes: BTreeSet<i64> = match magnitudes.end <= SMALL {
        true => magnitudes.collect(),
        false => round_below(magnitudes.end),
    };
    let negative = magnitudes.iter().rev().map(|magnitude| -magnitude).take(if *number < 0 {
        SMALL as usize
    } else {
        0
    });
    let both = magnitudes.iter().copied().chain(negative.filter(|it| *it < 0));
    both.map(Value::Integer).collect()
}

/// 0, 1, 2, 5, 10, 20, 50 and so on below a number, and the number itself with its last digits made zero.
fn round_below(number: i64) -> BTreeSet<i64> {
    let tens = std::iter::successors(Some(1i64), |ten| ten.checked_mul(10)).take_while(|ten| *ten <= number);
    let round = tens.flat_map(|ten| [ten, ten.saturating_mul(2), ten.saturating_mul(5), number / ten * ten]);
    round.chain([0]).filter(|round| *round < number).collect()
}

fn hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}
