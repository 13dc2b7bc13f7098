//! The wire between clients and server: messages that take time, get lost, or whose answers do.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::stage::{Life, Stage, lock};

/// What can become of a message.
pub const TROUBLES: &[&str] = &["lost-request", "lost-reply", "late-reply", "disconnect"];

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How late a late answer is.
const LATE: Duration = Duration::from_secs(30);

/// There was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The message never reached the server.
    Request,
    /// Nobody knows what became of it.
    Reply,
}

impl Stage {
    /// Has the server do something for a client. `connection` is the life of the server in which the client got what it
    /// uses, if it uses any.
    pub async fn call<T: Send + 'static>(
        &self,
        client: u64,
        kind: &'static str,
        connection: Option<u64>,
        work: impl FnOnce(Arc<Life>) -> BoxFuture<'static, T> + Send + 'static,
    ) -> Result<T, Lost> {
        let trouble = if self.is_healed() { None } else { self.world.fault("wire", client, TROUBLES) };
        if trouble == Some("lost-request") {
            self.script.sleep(PATIENCE).await;
            return Err(Lost::Request);
        }
        let Some(life) = self.life().filter(|life| connection.is_none_or(|number| number == life.number))
        else {
            return Err(Lost::Request);
        };
        let (runtime, latency) = (self.server.runtime(), Duration::from_micros(self.plan.latency_us));
        let answer = self.server.ask(kind, client, async move {
            if !latency.is_zero() {
                runtime.sleep(latency).await;
            }
            let answer = work(life.clone()).await;
            match trouble {
                Some("disconnect") => lock(&life.writers).retain(|writer, _| writer % CLIENTS != client),
                Some("late-reply") => runtime.sleep(LATE).await,
                _ => {}
            }
            answer
        });
        match self.script.timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) if !matches!(trouble, Some("lost-reply" | "disconnect")) => Ok(answer),
            _ => Err(Lost::Reply),
        }
    }

    /// The client is gone, and the server notices: it has no writers any more.
    pub fn hang_up(&self, client: u64) {
        let Some(life) = self.life() else { return };
        let gone: Vec<_> = {
            let mut writers = lock(&life.writers);
            let own: Vec<_> = writers.keys().copied().filter(|writer| writer % CLIENTS == client).collect();
            own.into_iter().filter_map(|writer| writers.remove(&writer)).collect()
        };
        // Dropped on the server, where they live.
        self.server.spawn("hang up", client, async move { drop(gone) });
    }
}

/// More clients than there can be: the numbers of writers say whose they are.
pub const CLIENTS: u64 = 1000;
