//! One call to a server: when it is carried out, and what the faults make of it.
//!
//! A call is a task of the server's actor, so that the schedule decides when it runs, a crash ends it, and a pause
//! holds it up.

use std::sync::Weak;
use std::time::Duration;

use protocol::server::ServerError;
use runtime::Runtime;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use super::answer::Answer;
use super::server::{Inner, State};
use crate::fault::{CallKind, Effect, Fault, Refusal};
use crate::trace::mix;
use crate::world::{as_harness, could_fail, did, took_effect};

impl Inner {
    /// How long the `nth` call of a kind takes: drawn from its own coordinates, so that nothing shifts it.
    fn latency(&self, kind: CallKind, nth: u32) -> Duration {
        let place = (self.number as u64) << 40 | (kind as u64) << 32 | u64::from(nth);
        // In few steps, so that answers of different servers often come in the same instant.
        let jitter = mix(mix(self.seed, place), 0x1A7E_4C11) % 8 * self.spec.jitter_us / 7;
        Duration::from_micros(self.spec.latency_us + jitter)
    }

    /// Carries one call out. `epoch` is that of the reader that calls; none for a call to the server itself.
    pub(super) async fn call<T: Answer>(
        &self,
        kind: CallKind,
        epoch: Option<u64>,
        perform: impl Fn(&mut State) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let server = self.number as u64;
        let (nth, effect, connection) = {
            let mut state = self.lock();
            let count = state.ledger.counts.calls.entry(kind).or_default();
            *count += 1;
            let nth = *count;
            let stale = epoch.is_some_and(|epoch| epoch != state.epoch);
            let connection = if stale { None } else { state.connection.clone() };
            let effect = match connection {
                Some(_) => state.faults.get(&(kind, nth)).cloned(),
                None => None,
            };
            if let Some(effect) = &effect {
                state.suffer(effect);
            }
            (nth, effect, connection)
        };
        let Some(connection) = connection else { return Err(ServerError::Disconnected) };
        could_fail(|| {
            let fault = |effect| Fault::Call { server: self.number, call: kind, nth, effect };
            Effect::SAMPLES.iter().cloned().map(fault).collect()
        });
        if let Some(effect) = &effect {
            did(|| xxh3_64(format!("{effect:?}").as_bytes()));
            tracing::debug!(target: "fault", server = &*self.id.name, call = kind.name(), nth, "{}", effect.name());
        }
        match effect {
            Some(Effect::Crash { restart_us }) => {
                took_effect("crash");
                self.actor.crash();
                self.lose_connection(false);
                if let Some(us) = restart_us {
                    self.later(us, |server| {
                        if !server.actor.is_up() {
                            server.restart()
                        }
                    });
                }
                return Err(ServerError::Disconnected);
            }
            Some(Effect::Pause { us }) => {
                took_effect("pause");
                self.actor.pause();
                self.later(us, |server| server.actor.resume());
            }
            _ => {}
        }
        let (reply, answer) = oneshot::channel();
        let me = self.me.clone();
        let latency = self.latency(kind, nth);
        let runtime = self.actor.runtime();
        self.lock().ledger.counts.outstanding += 1;
        let outstanding = Outstanding(self.me.clone());
        let waiting = runtime::wait!("answer", server, call = kind.name(), nth);
        // Named by the server, not by how many calls came before: a label should outlive changes elsewhere.
        connection.spawn(kind.name(), server, async move {
            let _outstanding = outstanding;
            let _holding = runtime::hold!("answer", server, call = kind.name(), nth);
            let answer = serve(runtime, me, latency, effect, (server, nth), perform).await;
            let _ = reply.send(answer);
        });
        drop(connection);
        let answer = answer.await.unwrap_or(Err(ServerError::Disconnected));
        drop(waiting);
        answer
    }
}

/// A call that has not been answered.
struct Outstanding(Weak<Inner>);

impl Drop for Outstanding {
    fn drop(&mut self) {
        if let Some(server) = self.0.upgrade() {
            server.lock().ledger.counts.outstanding -= 1;
        }
    }
}

/// The server's side of a call.
async fn serve<T: Answer>(
    runtime: Runtime,
    me: Weak<Inner>,
    latency: Duration,
    effect: Option<Effect>,
    (server, call): (u64, u32),
    perform: impl Fn(&mut State) -> Result<T, ServerError>,
) -> Result<T, ServerError> {
    let slow = match effect {
        Some(Effect::Slow { us }) => Duration::from_micros(us),
        _ => Duration::ZERO,
    };
    if !(latency + slow).is_zero() {
        runtime.sleep(latency + slow).await;
    }
    if let Some(effect @ (Effect::Slow { .. } | Effect::Hang | Effect::Duplicate | Effect::Refuse { .. })) =
        &effect
    {
        took_effect(effect.name());
    }
    let inner = me.upgrade().ok_or(ServerError::Disconnected)?;
    if effect == Some(Effect::Hang) {
        let _held = as_harness(|| runtime::hold!("the fault `hang`", server, call));
        let _waiting = runtime::wait!("the fault `hang`", server, call);
        wait_for_healing(&inner).await;
    }
    if effect == Some(Effect::Duplicate) {
        let _ = perform(&mut inner.lock());
    }
    let answer = perform(&mut inner.lock());
    match effect {
        Some(Effect::Refuse { with }) => Err(refusal(with)),
        Some(Effect::Disconnect) => {
            took_effect("disconnect");
            inner.lose_connection(true);
            Err(ServerError::Disconnected)
        }
        Some(effect @ (Effect::Short { .. } | Effect::Long { .. } | Effect::Garbage)) => {
            answer.map(|answer| falsified(answer, &effect, &inner))
        }
        _ => answer,
    }
}

/// The answer after an effect that changes answers. An empty one has nothing to change, and that is no effect.
fn falsified<T: Answer>(answer: T, effect: &Effect, server: &Inner) -> T {
    let size = answer.size();
    let answer = match effect {
        Effect::Short { keep } => answer.shorter(*keep),
        Effect::Long { extra } => answer.longer(*extra, server),
        _ => answer.garbage(server),
    };
    if size != answer.size() || (*effect == Effect::Garbage && size > 0) {
        took_effect(effect.name());
    }
    answer
}

async fn wait_for_healing(inner: &Inner) {
    loop {
        let healed = inner.healed.notified();
        if inner.lock().healed {
            return;
        }
        healed.await;
    }
}

fn refusal(with: Refusal) -> ServerError {
    match with {
        Refusal::Failed => ServerError::Refused("injected failure".into()),
        Refusal::BadAnswer => ServerError::BadAnswer("injected nonsense".into()),
        Refusal::NoSuchShare => ServerError::NoSuchShare,
        Refusal::Disk => ServerError::Disk("injected disk failure".into()),
        Refusal::Disconnected => ServerError::Disconnected,
    }
}
