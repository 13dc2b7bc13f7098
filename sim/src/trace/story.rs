//! The story of a run: what happened, when and to whom, a line each.

use std::fmt;
use std::time::Duration;

use super::recorder::{Recording, What};

/// What happened in a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// A line for each event.
    pub lines: Vec<StoryLine>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryLine {
    /// Simulated time since the run began.
    pub at: Duration,
    /// The label of the task that did it.
    pub who: String,
    /// Which part of the code speaks: a tracing target.
    pub target: &'static str,
    /// What happened.
    pub what: String,
}

impl Story {
    pub(crate) fn of(recording: &Recording, labels: &[String]) -> Story {
        let line = |entry: &super::Entry| match &entry.what {
            What::Event { target, text } => Some(StoryLine {
                at: Duration::from_nanos(entry.at),
                who: labels.get(entry.task as usize).cloned().unwrap_or_else(|| "harness".into()),
                target,
                what: text.clone(),
            }),
            _ => None,
        };
        Story { lines: recording.entries().iter().filter_map(line).collect() }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let micros = line.at.as_micros();
            writeln!(f, "{:>6}.{:03} ms  {:<24} {}", micros / 1000, micros % 1000, line.who, line.what)?;
        }
        Ok(())
    }
}
