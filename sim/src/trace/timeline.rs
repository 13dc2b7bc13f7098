//! The timeline of a run: everything that happened and everything that lasted, with step and time, as plain data.
//!
//! It is what a worker hands out for an explanation, and all that the renderers know of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::recorder::{Recording, SpanKind, What};

/// A point in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// The step of the world: how many polls there have been. Many steps can share one time.
    pub step: u64,
    /// Simulated nanoseconds since the run began.
    pub ns: u64,
}

/// What happened in a run, and what lasted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The names of the actors, by number.
    pub actors: Vec<String>,
    /// The tasks, by number.
    pub tasks: Vec<TaskName>,
    /// What lasted: waits, holds, operations and other spans, in the order in which they began.
    pub stretches: Vec<Stretch>,
    /// What happened, in order.
    pub log: Vec<Line>,
    /// The steps at which another task ran than the one that had been ready longest.
    pub departures: Vec<Departed>,
    /// When the run ended.
    pub end: Moment,
    /// How many lines in the middle of a very long run were left out.
    pub left_out: u64,
}

/// Who a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskName {
    /// Its label.
    pub label: String,
    /// The number of the actor that it belongs to.
    pub actor: u32,
}

/// Something that lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// What it was.
    pub kind: StretchKind,
    /// Name and fields: the resource of a wait or a hold, the label of an operation.
    pub text: String,
    /// The number of the task whose it was; past the last task for the harness itself.
    pub task: u32,
    /// Where in the code it began: `file:line`.
    pub source: Option<String>,
    /// When it began.
    pub from: Moment,
    /// When it ended; none when the run ended first.
    pub to: Option<Moment>,
}

/// What a [`Stretch`] was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StretchKind {
    /// The task waited for a resource.
    Wait,
    /// The task had a resource that others may have waited for.
    Hold,
    /// The task was busy with an operation that a case may cancel.
    Operation,
    /// Any other span.
    Other,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub at: Moment,
    /// The number of the task that did it; past the last task for the harness itself.
    pub task: u32,
    /// Where in the code, for an event and for what begins: `file:line`.
    pub source: Option<String>,
    /// What it did.
    pub what: Deed,
}

/// What a [`Line`] tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// An event.
    Says {
        /// Which part of the code speaks: a tracing target.
        target: String,
        /// Message and fields.
        text: String,
    },
    /// The stretch of this number began.
    Begins(usize),
    /// The stretch of this number ended.
    Ends(usize),
}

/// A step at which another task ran than the one that had been ready longest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departed {
    /// When.
    pub at: Moment,
    /// The number of the task that was passed over.
    pub passed: u32,
    /// The number of the task that ran.
    pub ran: u32,
}

/// How many lines are kept of the beginning and of the end of a run that has more than both together.
const KEPT: [usize; 2] = [4_000, 16_000];

impl Timeline {
    pub(crate) fn of(recording: &Recording, names: Names, end: Moment) -> Timeline {
        let mut stretches = Vec::new();
        let mut log = Vec::new();
        let mut open = BTreeMap::new();
        for entry in recording.entries() {
            let at = Moment { step: entry.step, ns: entry.at };
            let source = entry.place.map(|(file, line)| format!("{file}:{line}"));
            let mut begin = |key, kind, text: &String| {
                open.insert(key, stretches.len());
                stretches.push(Stretch {
                    kind,
                    text: text.clone(),
                    task: entry.task,
                    source: source.clone(),
                    from: at,
                    to: None,
                });
                Some(Deed::Begins(stretches.len() - 1))
            };
            let deed = match &entry.what {
                What::Poll { .. } | What::Effect { .. } => None,
                What::Event { target, text } => {
                    Some(Deed::Says { target: (*target).into(), text: text.clone() })
                }
                What::Open { span, kind, text } => begin((false, *span), (*kind).into(), text),
                What::Begin { operation, text } => begin((true, *operation), StretchKind::Operation, text),
                What::Close { span } => open.remove(&(false, *span)).map(Deed::Ends),
                What::End { operation } => open.remove(&(true, *operation)).map(Deed::Ends),
            };
            if let Some(Deed::Ends(stretch)) = deed {
                stretches[stretch].to = Some(at);
            }
            log.extend(deed.map(|what| Line { at, task: entry.task, source, what }));
        }
        let Names { actors, tasks, departures } = names;
        let whole = Timeline { actors, tasks, stretches, log, departures, end, left_out: 0 };
        whole.bounded(KEPT)
    }

    /// The label of a task.
    pub fn who(&self, task: u32) -> &str {
        self.tasks.get(task as usize).map_or("harness", |task| &task.label)
    }

    /// The name of a task's actor.
    pub fn actor_of(&self, task: u32) -> &str {
        let actor = self.tasks.get(task as usize).and_then(|task| self.actors.get(task.actor as usize));
        actor.map_or("harness", String::as_str)
    }

    /// What a line tells, in words.
    pub fn words(&self, line: &Line) -> String {
        let stretch = |number: &usize| {
            self.stretches.get(*number).map_or((StretchKind::Other, ""), |it| (it.kind, it.text.as_str()))
        };
        match &line.what {
            Deed::Says { text, .. } => text.clone(),
            Deed::Begins(number) => match stretch(number) {
                (StretchKind::Wait, text) => format!("begins to wait for {text}"),
                (StretchKind::Hold, text) => format!("now has {text}"),
                (_, text) => format!("begins {text}"),
            },
            Deed::Ends(number) => match stretch(number) {
                (StretchKind::Wait, text) => format!("waits no more for {text}"),
                (StretchKind::Hold, text) => format!("lets go of {text}"),
                (_, text) => format!("ends {text}"),
            },
        }
    }

    /// Without the middle of a log that is longer than `head` and `tail` lines.
    fn bounded(mut self, [head, tail]: [usize; 2]) -> Timeline {
        if self.log.len() <= head + tail {
            return self;
        }
        let gone = head..self.log.len() - tail;
        self.left_out = gone.len() as u64;
        self.log.drain(gone);
        // Stretches of which no line is left go as well; the others get new numbers.
        let mut numbers = vec![None; self.stretches.len()];
        for line in &self.log {
            if let Deed::Begins(number) | Deed::Ends(number) = line.what {
                numbers[number] = Some(0);
            }
        }
        for (number, stretch) in numbers.iter_mut().zip(&self.stretches) {
            *number = number.or(stretch.to.is_none().then_some(0));
        }
        let kept = numbers.iter_mut().flatten();
        kept.enumerate().for_each(|(place, number)| *number = place);
        let mut left = numbers.iter();
        self.stretches.retain(|_| left.next().is_some_and(Option::is_some));
        for line in &mut self.log {
            if let Deed::Begins(number) | Deed::Ends(number) = &mut line.what {
                *number = numbers[*number].unwrap_or_default();
            }
        }
        let (first, last) = (self.log[head - 1].at, self.log[head].at);
        self.departures.retain(|departed| departed.at <= first || departed.at >= last);
        self
    }
}

/// Who there was in a run, and whom the schedule passed over.
pub(crate) struct Names {
    pub(crate) actors: Vec<String>,
    pub(crate) tasks: Vec<TaskName>,
    pub(crate) departures: Vec<Departed>,
}

impl From<SpanKind> for StretchKind {
    fn from(kind: SpanKind) -> StretchKind {
        match kind {
            SpanKind::Wait => StretchKind::Wait,
            SpanKind::Hold => StretchKind::Hold,
            SpanKind::Other => StretchKind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(step: u64) -> Moment {
        Moment { step, ns: step * 10 }
    }

    #[test]
    fn the_middle_of_a_long_run_is_left_out_with_its_stretches() {
        let stretch = |number: u64, to| Stretch {
            kind: StretchKind::Wait,
            text: format!("resource {number}"),
            task: 0,
            source: None,
            from: moment(number),
            to,
        };
        let line = |step: u64, what| Line { at: moment(step), task: 0, source: None, what };
        let whole = Timeline {
            stretches: vec![
                stretch(0, Some(moment(9))),
                stretch(2, Some(moment(3))),
                stretch(4, None),
                stretch(8, None),
            ],
            log: vec![
                line(0, Deed::Begins(0)),
                line(2, Deed::Begins(1)),
                line(3, Deed::Ends(1)),
                line(4, Deed::Begins(2)),
                line(8, Deed::Begins(3)),
                line(9, Deed::Ends(0)),
            ],
            ..Timeline::default()
        };
        assert_eq!(whole.clone().bounded([3, 3]), whole);
        let bounded = whole.bounded([1, 2]);
        assert_eq!(bounded.left_out, 3);
        let texts: Vec<_> = bounded.stretches.iter().map(|stretch| stretch.text.as_str()).collect();
        assert_eq!(texts, ["resource 0", "resource 4", "resource 8"]);
        let told: Vec<_> = bounded.log.iter().map(|line| bounded.words(line)).collect();
        let waits = [
            "begins to wait for resource 0",
            "begins to wait for resource 8",
            "waits no more for resource 0",
        ];
        assert_eq!(told, waits);
    }
}
