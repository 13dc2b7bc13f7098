//! The recorder: one global tracing subscriber that writes to a recording of the running thread.
//!
//! A registry's span ids differ between runs, so the recorder numbers spans itself. A thread without a
//! recording (anything outside a run) costs one look at a thread-local.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Event, Level, Metadata};

use super::digest::Digest;
use super::steps::StepDigests;
use crate::case::Detail;
use crate::schedule::Candidate;
use crate::world::{context, did};

/// Whether a span says that its task waits for a resource or has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A `wait!`.
    Wait,
    /// A `hold!`.
    Hold,
    /// Any other span.
    Other,
}

/// One thing that happened, in a full recording.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Simulated time in nanoseconds.
    pub at: u64,
    /// The step of the world.
    pub step: u64,
    /// The task that did it; `u32::MAX` for the harness itself.
    pub task: u32,
    /// Where in the code, for an event and for a span that is opened: file and line.
    pub place: Option<(&'static str, u32)>,
    /// What it was.
    pub what: What,
}

/// What an [`Entry`] tells.
#[derive(Clone, Debug)]
pub enum What {
    /// A step of the world began: its task is polled.
    Poll {
        /// How often it had been polled before.
        polls: u32,
    },
    /// Something was done to the world that no event tells.
    Effect {
        /// What.
        what: &'static str,
        /// A number that says more, or a hash of what does.
        value: u64,
    },
    /// An event.
    Event {
        /// Its tracing target.
        target: &'static str,
        /// Message and fields.
        text: String,
    },
    /// A span was opened.
    Open {
        /// Its number in this run.
        span: u64,
        /// Wait, hold or other.
        kind: SpanKind,
        /// Name and fields.
        text: String,
    },
    /// A span was closed.
    Close {
        /// Its number in this run.
        span: u64,
    },
    /// An operation that a case may cancel began.
    Begin {
        /// Its number in this run.
        operation: u64,
        /// Its label.
        text: String,
    },
    /// An operation is over.
    End {
        /// Its number in this run.
        operation: u64,
    },
}

/// A span that is open.
#[derive(Clone, Debug)]
pub struct OpenSpan {
    /// Wait, hold or other.
    pub kind: SpanKind,
    /// The resource: equal for a wait and the hold that it waits for.
    pub resource: u64,
    /// Its name: the first part of the resource.
    pub name: &'static str,
    /// Who opened it.
    pub task: u32,
    /// When, in simulated nanoseconds.
    pub since: u64,
    /// Name and fields, in a full recording.
    pub text: String,
    references: u32,
}

/// What one run wrote.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    digest: Digest,
    spans: Vec<Option<OpenSpan>>,
    entries: Option<Vec<Entry>>,
    steps: Option<StepDigests>,
    /// Where a value is put into words before it is digested.
    scratch: String,
    /// Whether each task's doings are noted for themselves.
    histories: bool,
}

impl Recording {
    /// The digest so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The spans that are open, in the order in which they were opened.
    pub fn open_spans(&self) -> impl Iterator<Item = &OpenSpan> {
        self.spans.iter().flatten()
    }

    /// The running digest after each step, if these are kept.
    pub(crate) fn take_steps(&mut self) -> Option<StepDigests> {
        let mut steps = self.steps.take()?;
        steps.push(self.digest);
        Some(steps)
    }

    /// What happened; empty unless the recording is full.
    pub fn entries(&self) -> &[Entry] {
        self.entries.as_deref().unwrap_or_default()
    }
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// Starts this thread's recording: how much of what happens is kept.
pub(crate) fn start(detail: Detail) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        tracing::subscriber::set_global_default(Recorder)
            .expect("the recorder must be the program's only global tracing subscriber");
    });
    let recording = Recording {
        entries: (detail == Detail::Full).then(Vec::new),
        steps: matches!(detail, Detail::Steps | Detail::Full).then(StepDigests::default),
        histories: detail == Detail::Points,
        ..Recording::default()
    };
    RECORDING.set(Some(recording));
}

/// Ends this thread's recording.
pub(crate) fn finish() -> Recording {
    RECORDING.take().unwrap_or_default()
}

/// Looks at this thread's recording, if there is one.
pub(crate) fn with<T>(look: impl FnOnce(&mut Recording) -> T) -> Option<T> {
    RECORDING.with_borrow_mut(|recording| recording.as_mut().map(look))
}

struct Recorder;

impl Subscriber for Recorder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enabled(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    /// All but the simulator's own machinery, whose spans are no part of the story.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && !metadata.target().starts_with("madsim")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        context::burn();
        let id = with(|recording| {
            let metadata = attributes.metadata();
            let kind = match metadata.target() {
                "wait" => SpanKind::Wait,
                "hold" => SpanKind::Hold,
                _ => SpanKind::Other,
            };
            let mut resource = Digest::default();
            resource.bytes(metadata.name().as_bytes());
            attributes.record(&mut DigestFields(&mut resource, &mut recording.scratch));
            let text = match recording.entries {
                Some(_) => {
                    let mut text = metadata.name().to_string();
                    attributes.record(&mut TextFields(&mut text));
                    text
                }
                None => String::new(),
            };
            let id = recording.spans.len() as u64 + 1;
            let task = context::task();
            recording.digest.word(resource.value() ^ kind as u64);
            recording.tell(|| resource.value() ^ kind as u64);
            recording.note_at(task, place_of(metadata), || What::Open { span: id, kind, text: text.clone() });
            recording.spans.push(Some(OpenSpan {
                kind,
                resource: resource.value(),
                name: metadata.name(),
                task,
                since: context::now(),
                text,
                references: 1,
            }));
            id
        });
        Id::from_u64(id.unwrap_or(u64::MAX))
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        context::burn();
        with(|recording| {
            let metadata = event.metadata();
            let mut digest = recording.digest;
            digest.bytes(metadata.target().as_bytes());
            event.record(&mut DigestFields(&mut digest, &mut recording.scratch));
            recording.digest = digest;
            if recording.histories {
                let mut told = Digest::default();
                event.record(&mut DigestFields(&mut told, &mut recording.scratch));
                recording.tell(|| told.value());
            }
            recording.note_at(context::task(), place_of(metadata), || {
                let mut text = String::new();
                event.record(&mut TextFields(&mut text));
                What::Event { target: metadata.target(), text }
            });
        });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}

    fn clone_span(&self, id: &Id) -> Id {
        with(|recording| {
            if let Some(span) = recording.span(id) {
                span.references += 1;
            }
        });
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        with(|recording| {
            let Some(span) = recording.span(&id) else { return false };
            span.references -= 1;
            if span.references > 0 {
                return false;
            }
            let resource = span.resource;
            recording.spans[id.into_u64() as usize - 1] = None;
            recording.digest.word(!resource);
            recording.tell(|| !resource);
            recording.note(context::task(), || What::Close { span: id.into_u64() });
            true
        })
        .unwrap_or(false)
    }
}

impl Recording {
    fn span(&mut self, id: &Id) -> Option<&mut OpenSpan> {
        self.spans.get_mut((id.into_u64() as usize).wrapping_sub(1))?.as_mut()
    }

    /// Notes something that is no part of the digest, if the recording is full.
    pub(crate) fn note(&mut self, task: u32, what: impl FnOnce() -> What) {
        self.note_at(task, None, what);
    }

    fn note_at(&mut self, task: u32, place: Option<(&'static str, u32)>, what: impl FnOnce() -> What) {
        if let Some(entries) = &mut self.entries {
            entries.push(Entry { at: context::now(), step: context::step(), task, place, what: what() });
        }
    }

    /// Notes what the running task did, if each task's doings are noted.
    fn tell(&self, what: impl FnOnce() -> u64) {
        if self.histories {
            did(what);
        }
    }

    /// Folds in something that the running task did to the world, whether or not anybody will ever see it.
    pub(crate) fn effect(&mut self, what: &'static str, value: u64) {
        self.digest.word(value);
        self.note(context::task(), || What::Effect { what, value });
    }

    /// Folds a step of the world in: who runs, for the how-manieth time, and when.
    pub(crate) fn step(&mut self, task: Candidate, now: u64) {
        if let Some(steps) = &mut self.steps {
            steps.push(self.digest);
        }
        self.digest.word(task.label ^ u64::from(task.polls));
        self.digest.word(now);
        self.note(task.task, || What::Poll { polls: task.polls });
    }
}

fn place_of(metadata: &Metadata<'static>) -> Option<(&'static str, u32)> {
    metadata.file().zip(metadata.line())
}

struct DigestFields<'a>(&'a mut Digest, &'a mut String);

impl Visit for DigestFields<'_> {
    fn record_u64(&mut self, _field: &Field, value: u64) {
        self.0.word(value);
    }

    fn record_i64(&mut self, _field: &Field, value: i64) {
        self.0.word(value as u64);
    }

    fn record_bool(&mut self, _field: &Field, value: bool) {
        self.0.word(u64::from(value));
    }

    fn record_str(&mut self, _field: &Field, value: &str) {
        self.0.bytes(value.as_bytes());
    }

    fn record_debug(&mut self, _field: &Field, value: &dyn fmt::Debug) {
        // Whole values are digested, never the pieces in which a formatter happens to write them.
        self.1.clear();
        let _ = write!(self.1, "{value:?}");
        self.0.bytes(self.1.as_bytes());
    }
}

/// `message field=value …`, strings without quotes.
struct TextFields<'a>(&'a mut String);

impl TextFields<'_> {
    fn put(&mut self, field: &Field, value: &dyn fmt::Display) {
        let separator = if self.0.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{separator}{value}"),
            name => write!(self.0, "{separator}{name}={value}"),
        };
    }
}

impl Visit for TextFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_that_no_event_tells_is_part_of_the_digest() {
        let digest = |value| {
            let mut recording = Recording::default();
            recording.effect("written", value);
            recording.digest().value()
        };
        assert_ne!(digest(1), digest(2));
        assert_ne!(digest(0), Digest::default().value());
    }
}
