//! Messages: work that one actor does for another, and its answer.

use std::future::Future;

use tokio::sync::oneshot;

use super::{Actor, executor};

/// There will be no answer: the actor was down, or went down before it had answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor went down before it had answered")]
pub struct NoAnswer;

impl Actor {
    /// Asks this actor to do `work`, and waits for what comes of it. The work is a task of this actor, called `KIND.INDEX`:
    /// the schedule decides when it gets on, a pause holds it up, a crash ends it. When nobody waits for the answer any
    /// more, the work goes on: like a message, it cannot be called back.
    ///
    /// Delay and loss are the scenario's to make: with a `sleep` in the work, and with
    /// [`World::fault`](super::World::fault).
    ///
    /// # Errors
    /// [`NoAnswer`] when the actor is down, or goes down before it has answered.
    pub async fn ask<T: Send + 'static>(
        &self,
        kind: &'static str,
        index: u64,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let (id, life) = (self.id, self.life());
        let of = executor::with(|executor| executor.actors[id as usize].name.clone());
        let _waiting = runtime::wait!("answer", of, call = kind, index);
        let (reply, answer) = oneshot::channel();
        self.spawn(kind, index, async move {
            let _holding = runtime::hold!("answer", of, call = kind, index);
            let answer = work.await;
            // The actor may have gone down in this very poll. Then its answer reaches nobody.
            if executor::is_alive(id, life) {
                // Nobody may be waiting any more: that is the caller's right.
                let _ = reply.send(answer);
            }
        });
        answer.await.map_err(|_| NoAnswer)
    }
}
