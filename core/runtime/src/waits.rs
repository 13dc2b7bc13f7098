//! `wait!` and `hold!`: the whole convention from which a hang can be explained.
//!
//! An operation that waits opens a `wait` span that names the resource; whoever has that resource
//! has a `hold` span with the same name and fields open. A log filter shows both in production; in
//! simulation the recorder joins them into a graph of who waits for what, held by whom, since when.

/// Says that this task waits for a resource, until the returned span is dropped.
///
/// The resource is a name and any number of fields, which must equal those of its [`hold!`](crate::hold!).
///
/// ```
/// # let (node, segment) = (0u64, 3u64);
/// let waiting = runtime::wait!("segment", node, segment);
/// // … await it …
/// drop(waiting);
/// ```
#[macro_export]
macro_rules! wait {
    ($name:literal $(, $($fields:tt)*)?) => {
        $crate::macros::tracing::debug_span!(target: "wait", $name $(, $($fields)*)?)
    };
}

/// Says that this task has a resource that others may wait for, until the returned span is dropped.
#[macro_export]
macro_rules! hold {
    ($name:literal $(, $($fields:tt)*)?) => {
        $crate::macros::tracing::debug_span!(target: "hold", $name $(, $($fields)*)?)
    };
}
