//! The first difference between two runs of one case: its step, its task, its event and its source line.
//!
//! With both recordings at hand it is exact: the first thing that one run did and the other did not. With one recording
//! and two lists of step digests, it is all that the recorded run did in the first step that differs.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::recorder::{Entry, Recording, What};
use super::steps::{Parted, StepDigests};

/// A full recording with the names of its tasks.
#[derive(Clone, Debug)]
pub struct Recorded {
    recording: Recording,
    labels: Vec<String>,
}

/// One thing that happened in a run, in words that mean the same in every process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// The step of the world, counted from 1; 0 before the first.
    pub step: u64,
    /// Simulated nanoseconds since the run began.
    pub at_ns: u64,
    /// The label of the task that did it.
    pub task: String,
    /// What it was: an event's text, a span that was opened or closed, something that was done to the world, or a poll and
    /// the how-manieth of its task.
    pub event: String,
    /// Where in the code: `file:line`; none for a poll, or for what an event does not tell.
    pub source: Option<String>,
}

/// Where two runs of one case first differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstDifference {
    /// The step of the world.
    pub step: u64,
    /// What the run here did: one thing, or any one of several when the other run has no recording. Empty when it had
    /// ended.
    pub here: Vec<Happening>,
    /// What the run there did, when its recording is at hand. Empty when it had ended.
    pub there: Option<Vec<Happening>>,
}

/// How many of the events of a step are told.
const EVENTS_TOLD: usize = 4;
/// How many bytes of an event's text are told.
const TEXT_TOLD: usize = 160;

/// How much of a run is compared event by event: a hundred times what happens in any ordinary one.
const MOST_HAPPENINGS: usize = 200_000;

impl Recorded {
    pub(crate) fn new(recording: Recording, labels: Vec<String>) -> Recorded {
        Recorded { recording, labels }
    }

    /// What happened, as far as the digest covers it, from the start.
    pub fn happenings(&self) -> Vec<Happening> {
        let mut spans = Vec::new();
        let entries = self.recording.entries().iter();
        let happenings = entries.filter_map(|entry| Happening::of(entry, &self.labels, &mut spans));
        happenings.take(MOST_HAPPENINGS).collect()
    }
}

impl Happening {
    fn of(entry: &Entry, labels: &[String], spans: &mut Vec<(String, Option<String>)>) -> Option<Happening> {
        let source = || entry.place.map(|(file, line)| format!("{file}:{line}"));
        let (event, source) = match &entry.what {
            What::Poll { polls } => (format!("poll {}", u64::from(*polls) + 1), None),
            What::Effect { what, value } => (format!("{what} {value}"), None),
            What::Event { text, .. } => (text.clone(), source()),
            What::Open { text, .. } => {
                // Spans are numbered from 1, in the order in which they are opened.
                spans.push((text.clone(), source()));
                (format!("open {text}"), source())
            }
            What::Close { span } => {
                let (text, source) = spans.get(*span as usize - 1).cloned()?;
                (format!("close {text}"), source)
            }
            What::Begin { .. } | What::End { .. } => return None,
        };
        Some(Happening {
            step: entry.step,
            at_ns: entry.at,
            task: labels.get(entry.task as usize).cloned().unwrap_or_else(|| "harness".into()),
            event,
            source,
        })
    }
}

impl FirstDifference {
    /// Of two recordings; none when they tell the same.
    pub fn between(here: &[Happening], there: &[Happening]) -> Option<FirstDifference> {
        let common = here.iter().zip(there).take_while(|(here, there)| here == there).count();
        let (here, there) = (here.get(common), there.get(common));
        let step = [here, there].into_iter().flatten().map(|happening| happening.step).min()?;
        Some(FirstDifference {
            step,
            here: here.into_iter().cloned().collect(),
            there: Some(there.into_iter().cloned().collect()),
        })
    }

    /// Of a recording with its step digests, and another run's step digests; none when these are the same.
    pub fn by_steps(
        here: &[Happening],
        steps_here: &StepDigests,
        steps_there: &StepDigests,
    ) -> Option<FirstDifference> {
        let (step, there) = match steps_here.parted(steps_there)? {
            Parted::At(step) => (step, None),
            Parted::FirstEnded(last) => (last + 1, None),
            Parted::OtherEnded(last) => (last + 1, Some(Vec::new())),
        };
        let of_step = here.iter().filter(|happening| happening.step == step).cloned().collect();
        Some(FirstDifference { step, here: of_step, there })
    }

    /// The difference in a line. `here` and `there` say which runs those were, as in `in the first run`.
    pub fn in_words(&self, here: &str, there: &str) -> String {
        let mut text = format!("first difference at step {}", self.step);
        let tasks: Vec<&str> =
            self.here.iter().chain(self.there.iter().flatten()).map(|it| it.task.as_str()).collect();
        let one_task = tasks.first().filter(|task| tasks.iter().all(|other| other == *task));
        if let Some(task) = one_task {
            text += &format!(", {task}");
        }
        text += &format!(": {here} {}", self.side(&self.here, one_task.is_none()));
        if let Some(happenings) = &self.there {
            text += &format!("; {there} {}", self.side(happenings, one_task.is_none()));
        }
        text
    }

    fn side(&self, happenings: &[Happening], with_task: bool) -> String {
        // What has no place in the code is worth telling only where nothing else is.
        let is_bare = |it: &&Happening| it.source.is_none();
        let told: Vec<&Happening> = match happenings.iter().any(|it| !is_bare(&it)) {
            true => happenings.iter().filter(|it| !is_bare(it)).collect(),
            false => happenings.iter().collect(),
        };
        if told.is_empty() {
            return format!("it ended after step {}", self.step.saturating_sub(1));
        }
        let mut text = String::new();
        if told.len() > 1 {
            text += "it is one of: ";
        }
        for (number, happening) in told.iter().take(EVENTS_TOLD).enumerate() {
            text += if number > 0 { ", " } else { "" };
            // Writing to a string cannot fail.
            let _ = write_happening(&mut text, happening, with_task);
        }
        if told.len() > EVENTS_TOLD {
            text += &format!(", and {} more", told.len() - EVENTS_TOLD);
        }
        text
    }
}

fn write_happening(text: &mut String, happening: &Happening, with_task: bool) -> std::fmt::Result {
    let Happening { at_ns, task, event, source, .. } = happening;
    if with_task {
        write!(text, "{task} ")?;
    }
    let end = event.char_indices().map(|(at, _)| at).find(|at| *at >= TEXT_TOLD).unwrap_or(event.len());
    let cut = if end < event.len() { "…" } else { "" };
    write!(text, "`{}{cut}` at {}.{:06} ms", &event[..end], at_ns / 1_000_000, at_ns % 1_000_000)?;
    match source {
        Some(source) => write!(text, " ({source})"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(step: u64, task: &str, event: &str) -> Happening {
        let source = (!event.starts_with("poll")).then(|| format!("{event}.rs:7"));
        Happening { step, at_ns: 1_500_000, task: task.into(), event: event.into(), source }
    }

    fn run() -> Vec<Happening> {
        vec![
            happening(1, "a.0", "poll 1"),
            happening(1, "a.0", "rise"),
            happening(2, "b.0", "poll 1"),
            happening(3, "a.0", "poll 2"),
            happening(3, "a.0", "fall"),
            happening(3, "a.0", "lie"),
        ]
    }

    fn words(difference: Option<FirstDifference>) -> String {
        difference.unwrap().in_words("here", "there")
    }

    #[test]
    fn two_recordings_name_one_event_on_both_sides() {
        assert_eq!(FirstDifference::between(&run(), &run()), None);
        let mut other = run();
        other[4].event = "fly".into();
        assert_eq!(
            words(FirstDifference::between(&run(), &other)),
            "first difference at step 3, a.0: here `fall` at 1.500000 ms (fall.rs:7); there `fly` at 1.500000 ms (fall.rs:7)"
        );
        let mut other = run();
        other[2].task = "c.0".into();
        assert_eq!(
            words(FirstDifference::between(&run(), &other)),
            "first difference at step 2: here b.0 `poll 1` at 1.500000 ms; there c.0 `poll 1` at 1.500000 ms"
        );
    }

    #[test]
    fn the_earlier_step_is_where_runs_differ() {
        let mut other = run();
        other[3].step = 4;
        for difference in [FirstDifference::between(&run(), &other), FirstDifference::between(&other, &run())]
        {
            assert_eq!(difference.unwrap().step, 3);
        }
    }

    #[test]
    fn a_span_that_is_closed_is_named_with_the_place_where_it_was_opened() {
        let open = |line, text: &str| Entry {
            at: 0,
            step: 1,
            task: 0,
            place: Some(("here.rs", line)),
            what: What::Open { span: 0, kind: super::super::SpanKind::Other, text: text.into() },
        };
        let close = |span| Entry { place: None, what: What::Close { span }, ..open(0, "") };
        let mut spans = Vec::new();
        let told = [open(7, "one"), open(8, "two"), close(2), close(1)].map(|entry| {
            let Happening { event, source, task, .. } =
                Happening::of(&entry, &["a.0".into()], &mut spans).unwrap();
            format!("{task} {event} {}", source.unwrap())
        });
        assert_eq!(
            told,
            [
                "a.0 open one here.rs:7",
                "a.0 open two here.rs:8",
                "a.0 close two here.rs:8",
                "a.0 close one here.rs:7"
            ]
        );
    }

    #[test]
    fn a_run_that_ends_early_says_after_which_step() {
        assert_eq!(
            words(FirstDifference::between(&run(), &run()[..3])),
            "first difference at step 3, a.0: here `poll 2` at 1.500000 ms; there it ended after step 2"
        );
        assert_eq!(
            words(FirstDifference::between(&run()[..3], &run())),
            "first difference at step 3, a.0: here it ended after step 2; there `poll 2` at 1.500000 ms"
        );
    }

    #[test]
    fn one_recording_and_two_lists_of_digests_name_the_step() {
        let by_steps = |there: &str| {
            let steps = "0000111122223333".parse().unwrap();
            words(FirstDifference::by_steps(&run(), &steps, &there.parse().unwrap()))
        };
        assert_eq!(
            by_steps("0000111122224444"),
            "first difference at step 3, a.0: here it is one of: `fall` at 1.500000 ms (fall.rs:7), `lie` at 1.500000 ms (lie.rs:7)"
        );
        assert_eq!(
            by_steps("0000111144443333"),
            "first difference at step 2, b.0: here `poll 1` at 1.500000 ms"
        );
        assert!(by_steps("00001111").ends_with("here `poll 1` at 1.500000 ms; there it ended after step 1"));
        assert!(by_steps("00001111222233334444").ends_with("step 4: here it ended after step 3"));
    }
}
