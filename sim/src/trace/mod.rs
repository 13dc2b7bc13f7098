//! What a run tells: its digest, its story, and when it hangs, who waits for whom.
//!
//! Core and harness speak through `tracing` alone. From that one stream come the digest, the recording
//! that people read, the ledger of what is still open, and the wait graph.

mod difference;
mod digest;
mod recorder;
mod steps;
mod story;
mod waits;

pub use difference::{FirstDifference, Happening, Recorded};
pub use digest::Digest;
pub(crate) use digest::mix;
pub use recorder::{Entry, OpenSpan, Recording, SpanKind, What};
pub(crate) use recorder::{finish, start, with as with_recording};
pub use steps::{Parted, StepDigests};
pub use story::{Story, StoryLine};
pub use waits::{Wait, WaitGraph};
