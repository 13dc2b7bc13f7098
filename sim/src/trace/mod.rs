//! What a run tells: its digest, its story, and when it hangs, who waits for whom.
//!
//! Core and harness speak through `tracing` alone. From that one stream come the digest, the recording
//! that people read, the ledger of what is still open, and the wait graph.

mod chart;
mod difference;
mod digest;
mod gist;
mod html;
mod perfetto;
mod phrase;
mod recorder;
mod steps;
mod story;
mod timeline;
mod waits;

pub use chart::{Bar, BarKind, Chart, Lane, Mark, MarkKind};
pub use difference::{FirstDifference, Happening, Recorded};
pub use digest::Digest;
pub(crate) use digest::mix;
pub(crate) use gist::in_ms;
pub use gist::{GistLine, cause, gist};
pub use html::{Page, html};
pub use perfetto::perfetto;
pub use recorder::{Entry, OpenSpan, Recording, SpanKind, What};
pub(crate) use recorder::{finish, start, with as with_recording};
pub use steps::{Parted, StepDigests};
pub use story::{Story, StoryLine};
pub(crate) use timeline::Names;
pub use timeline::{Deed, Departed, Line, Moment, Stretch, StretchKind, TaskName, Timeline};
pub use waits::{Wait, WaitGraph};
