//! **quiescence**: when the work is over, nothing is left. An idle node may have its own task; a closed client
//! nothing at all (tahoe-immutable §17, A1 and A3).

use crate::trace::{SpanKind, with_recording};
use crate::world::{Actor, executor};

/// Checks a client whose reads are over and whose patience with silent servers has passed: it may have `nodes`
/// open nodes, each with one task, and waits for nothing.
pub fn check_idle(client: &Actor, nodes: usize) -> Result<(), String> {
    let tasks = client.live_tasks();
    if tasks.len() > nodes {
        return Err(format!("{nodes} idle nodes have {} tasks: {}", tasks.len(), tasks.join(", ")));
    }
    check_timers_and_spans(client, "an idle client")
}

/// Checks a client that was closed and dropped.
pub fn check_closed(client: &Actor) -> Result<(), String> {
    let tasks = client.live_tasks();
    if !tasks.is_empty() {
        return Err(format!("a closed client has {} tasks: {}", tasks.len(), tasks.join(", ")));
    }
    check_timers_and_spans(client, "a closed client")
}

fn check_timers_and_spans(client: &Actor, whose: &str) -> Result<(), String> {
    if client.live_timers() > 0 {
        return Err(format!("{whose} has {} timers", client.live_timers()));
    }
    let open: Vec<_> = with_recording(|recording| {
        let of_client = |task| executor::with(|executor| executor.actor_of(task)) == Some(client.id());
        let spans = recording.open_spans().filter(|span| of_client(span.task));
        spans.filter(|span| span.kind == SpanKind::Wait).map(|span| span.name).collect()
    })
    .unwrap_or_default();
    match open.is_empty() {
        true => Ok(()),
        false => Err(format!("{whose} still waits for: {}", open.join(", "))),
    }
}
