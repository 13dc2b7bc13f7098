//! The accounting crawler and the expirer (leasedb-and-storage §10): walks the prefixes in order, ends leases that are
//! over, makes database and backend agree about every file, and counts.
//!
//! It works in slices and sleeps in between. After each slice its state is in the database, and each
//! slice begins from there: going on after a restart is the ordinary case. Whatever fails costs one file or one prefix;
//! the next slice is always scheduled (I13). In memory there is one prefix at a time.
//!
//! | room | what it holds |
//! | --- | --- |
//! | `state` | what is kept between two slices, and the clock's steps |
//! | `prefix` | one prefix: expire, reconcile, count |
//! | `report` | what a cycle found, for people and programs |

mod prefix;
mod report;
mod state;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures::FutureExt;
use protocol::StorageIndex;
use runtime::{Instant, Runtime, hold, reached, relapse, wait};
use tracing::Instrument;

use self::state::{Finished, State};
use crate::database::DatabaseError;
use crate::lock::lock;
use crate::server::{ReconcileError, Server, Shared};
use crate::share::Prefix;

pub use report::{AgeBin, Counts, Cycle, Tally};

/// How far a crawl has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Prefixes that are done.
    pub done: usize,
    /// Prefixes that have anything in them.
    pub of: usize,
    /// What was found so far.
    pub counts: &'a Counts,
}

/// What the crawler of a running server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// It sleeps, and works again at this time.
    SleepsUntil(Instant),
    /// A slice is running, since this time.
    WorksSince(Instant),
}

/// What a server's crawls share.
#[derive(Default)]
pub(crate) struct Crawling {
    /// Held by whoever crawls: one at a time.
    turn: tokio::sync::Mutex<()>,
    /// None when there is no crawler.
    pulse: Mutex<Option<Pulse>>,
    /// Both clocks when they were last compared, or at the end of the last slice.
    clocks: Mutex<Option<(u64, Instant)>>,
}

impl Server {
    /// Crawls one full cycle now, without sleeping. A cycle that was in progress ends where it was. The policy of
    /// [`Config::expire`](crate::config::Config::expire) is applied even if the clock seems to have stepped.
    pub async fn crawl(&self, mut progress: impl FnMut(Progress<'_>) + Send) -> Result<Cycle, DatabaseError> {
        let shared = &self.0;
        let _turn = take_turn(shared).await;
        let mut state = load(shared).await?;
        state.begin(shared.now());
        state.expires_from = 0;
        let worked = work(shared, &mut state, None, &mut progress).await;
        finish(shared, &mut state).await?;
        worked?;
        self.crawls().await?.pop().ok_or_else(|| DatabaseError::Failed("the cycle was not kept".into()))
    }

    /// What the last cycles found, the last one last; at most ten. Those that cannot be read are left out.
    pub async fn crawls(&self) -> Result<Vec<Cycle>, DatabaseError> {
        let history = self.0.database.view("crawler history", |read| read.crawler_history()).await?;
        let cycles = history.iter().filter_map(|(number, text)| {
            let finished: Finished = serde_json::from_str(text).ok()?;
            Some(report::cycle(*number, &finished))
        });
        Ok(cycles.collect())
    }

    /// The cycle in progress and the prefix that it has come to, if there is one.
    pub async fn crawl_in_progress(&self) -> Result<Option<(Cycle, u16)>, DatabaseError> {
        let state = load(&self.0).await?;
        let finished = Finished { started: state.started, ended: state.last_slice, found: state.found };
        Ok(state.next.map(|next| (report::cycle(state.cycle, &finished), next)))
    }

    /// What the crawler is doing; none when it is not there.
    pub fn crawler(&self) -> Option<Pulse> {
        *lock(&self.0.crawling.pulse)
    }

    /// The files under a prefix that database or backend know of: what there is to reconcile.
    pub async fn files(&self, prefix: Prefix) -> Result<BTreeSet<StorageIndex>, ReconcileError> {
        let rows = prefix::rows(&self.0, prefix).await?;
        let mut files = self.0.backend.files(prefix).await?;
        files.extend(rows.keys().map(|id| id.index));
        Ok(files)
    }
}

/// Crawls for as long as the server is there.
pub(crate) async fn run(runtime: Runtime, server: Weak<Shared>, pause: Duration) {
    let mut pause = pause;
    loop {
        let until = runtime.now() + pause;
        let Some(crawling) = server.upgrade().map(|server| Beating(server.crawling.clone())) else { return };
        crawling.set(Pulse::SleepsUntil(until));
        runtime.sleep_until(until).await;
        let Some(server) = server.upgrade() else { return };
        crawling.set(Pulse::WorksSince(runtime.now()));
        let longest = server.config.crawl.longest_sleep;
        pause = match AssertUnwindSafe(slice(&server)).catch_unwind().await {
            Ok(Ok(pause)) => pause,
            Err(panic) => {
                tracing::error!(server = %server.id, "a slice of the crawler panicked; it goes on later");
                // For whoever watches over tasks.
                server.operations.spawn("panic of the crawler", async move { resume_unwind(panic) });
                longest
            }
            Ok(Err(error)) => {
                tracing::warn!(server = %server.id, %error, "a slice of the crawler failed; it goes on later");
                if relapse!("lease-L11") {
                    return;
                }
                longest
            }
        };
    }
}

/// The crawler's pulse, which stops with it.
struct Beating(Arc<Crawling>);

impl Beating {
    fn set(&self, pulse: Pulse) {
        *lock(&self.0.pulse) = Some(pulse);
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        *lock(&self.0.pulse) = None;
    }
}

/// Works for one slice, and says how long to sleep then.
async fn slice(server: &Arc<Shared>) -> Result<Duration, DatabaseError> {
    let _turn = take_turn(server).await;
    let config = &server.config.crawl;
    let began = server.runtime.now();
    let mut state = load(server).await?;
    compare_clocks(server, &mut state);
    if state.next.is_none() {
        let wait = state.due_in(server.now(), config.cycle.as_secs());
        if wait > 0 {
            note_clocks(server);
            return Ok(Duration::from_secs(wait));
        }
        state.begin(server.now());
        // What uploads have left beside the shares is not crawled, but swept.
        server.unfinished.note_recovery(server.runtime.now());
    }
    let worked = work(server, &mut state, Some(began + config.slice), &mut |_| {}).await;
    match worked {
        Ok(true) => finish(server, &mut state).await?,
        _ => {
            note_clocks(server);
            save(server, &mut state).await?;
        }
    }
    worked?;
    let worked = (server.runtime.now() - began).as_secs_f64();
    let rest = worked / config.duty.clamp(0.001, 1.0) - worked;
    Ok(Duration::from_secs_f64(rest.clamp(0.0, config.longest_sleep.as_secs_f64())))
}

/// Crawls prefixes until `until`; true when the cycle is done.
async fn work(
    server: &Arc<Shared>,
    state: &mut State,
    until: Option<Instant>,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<bool, DatabaseError> {
    let prefixes = due(server, state).await?;
    for (done, prefix) in (1..).zip(&prefixes) {
        // Leases end by the time in each prefix. Who crawls at once takes the clock's word.
        if until.is_some() {
            compare_clocks(server, state);
        }
        prefix::crawl(server, *prefix, state).await?;
        state.next = Some(prefix.number() + 1);
        progress(Progress { done, of: prefixes.len(), counts: &state.found.counts });
        if until.is_some_and(|until| server.runtime.now() >= until) && done < prefixes.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The prefixes that are still to be crawled in this cycle and have anything in them.
async fn due(server: &Shared, state: &mut State) -> Result<Vec<Prefix>, DatabaseError> {
    let mut prefixes = server.database.view("prefixes", |read| read.prefixes()).await?;
    match server.backend.prefixes().await {
        Ok(listed) => prefixes.extend(listed),
        Err(error) => {
            state.found.counts.failed_prefixes += 1;
            tracing::warn!(server = %server.id, %error, "the backend does not say what prefixes it has");
        }
    }
    let next = state.next.unwrap_or(0);
    Ok(prefixes.into_iter().filter(|prefix| prefix.number() >= next).collect())
}

async fn take_turn(server: &Shared) -> Turn<'_> {
    let waiting = wait!("crawl", server = %server.id);
    let turn = server.crawling.turn.lock().instrument(waiting).await;
    Turn { _span: hold!("crawl", server = %server.id), _turn: turn }
}

struct Turn<'a> {
    _span: tracing::Span,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

/// Where the crawler is. A state that makes no sense is as none.
async fn load(server: &Shared) -> Result<State, DatabaseError> {
    let text = server.database.view("crawler state", |read| read.crawler_state()).await?;
    let Some(text) = text else { return Ok(State::default()) };
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(server = %server.id, %error, "the crawler's state makes no sense: it begins anew");
        State::default()
    }))
}

async fn save(server: &Shared, state: &mut State) -> Result<(), DatabaseError> {
    state.last_slice = server.now();
    let text = written(state)?;
    server.database.update("crawler state", move |write| write.set_crawler_state(&text)).await
}

/// Ends the cycle: what it found goes to the history.
async fn finish(server: &Shared, state: &mut State) -> Result<(), DatabaseError> {
    note_clocks(server);
    state.last_slice = server.now();
    state.next = None;
    let found = std::mem::take(&mut state.found);
    tracing::info!(server = %server.id, cycle = state.cycle, counts = ?found.counts, "the crawler has seen everything");
    reached!("crawler: a cycle ended");
    let finished = Finished { started: state.started, ended: state.last_slice, found };
    let (cycle, text, found) = (state.cycle, written(state)?, written(&finished)?);
    let update = server.database.update("crawler cycle", move |write| {
        write.set_crawler_state(&text)?;
        write.add_crawler_cycle(cycle, &found)
    });
    update.await
}

fn note_clocks(server: &Shared) -> Option<(u64, Instant)> {
    lock(&server.crawling.clocks).replace((server.now(), server.runtime.now()))
}

/// Notes when the clock has stepped forward since the clocks were last compared.
fn compare_clocks(server: &Shared, state: &mut State) {
    let clocks = note_clocks(server);
    let elapsed = clocks.map_or(Duration::ZERO, |(_, then)| server.runtime.now() - then);
    let last = clocks.map_or(state.last_slice, |(wall, _)| wall);
    if state.note_clock(last, server.now(), elapsed) {
        reached!("crawler: the clock stepped forward");
        let (server, now) = (&server.id, server.now());
        tracing::error!(%server, last, now, "the clock stepped forward: no lease ends for a full cycle");
    }
}

fn written(value: &impl serde::Serialize) -> Result<String, DatabaseError> {
    serde_json::to_string(value).map_err(|error| DatabaseError::Failed(error.to_string()))
}
