//! What could not be finished, and is tried again with growing pauses: deletions that failed, files whose rows could
//! not be written, and recovery itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use protocol::StorageIndex;
use runtime::{Instant, Runtime};
use tokio::sync::Notify;

use super::shared::Shared;
use super::{Mode, Outcome};
use crate::lock::lock;

/// The pause before the first new attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How many files are remembered. The crawler finds the others.
const REMEMBERED: usize = 100_000;

/// What is to be tried again.
#[derive(Default)]
pub(crate) struct Unfinished {
    again: Mutex<BTreeMap<What, Again>>,
    changed: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// All that was left half done is looked for.
    Recovery,
    /// A file is reconciled.
    File(StorageIndex),
}

#[derive(Clone, Copy)]
struct Again {
    due: Instant,
    pause: Duration,
}

impl Unfinished {
    /// Something of this file could not be finished.
    pub fn note(&self, index: StorageIndex, now: Instant) {
        self.add(What::File(index), now);
    }

    /// Something was left behind, and it is not known where.
    pub fn note_recovery(&self, now: Instant) {
        self.add(What::Recovery, now);
    }

    fn add(&self, what: What, now: Instant) {
        let mut again = lock(&self.again);
        if again.len() < REMEMBERED {
            again.entry(what).or_insert(Again { due: now + FIRST_PAUSE, pause: FIRST_PAUSE });
            self.changed.notify_one();
        }
    }

    /// The next thing to try, and when.
    fn next(&self) -> Option<(What, Instant)> {
        lock(&self.again)
            .iter()
            .map(|(what, again)| (*what, again.due))
            .min_by_key(|(what, due)| (*due, *what))
    }

    fn tried(&self, what: What, finished: bool, now: Instant) {
        let mut again = lock(&self.again);
        if finished {
            again.remove(&what);
        } else if let Some(again) = again.get_mut(&what) {
            again.pause = (again.pause * 4).min(LONGEST_PAUSE);
            again.due = now + again.pause;
        }
    }
}

/// Tries again what is due, as long as the server is there.
pub(super) async fn keep_trying(runtime: Runtime, unfinished: Arc<Unfinished>, server: Weak<Shared>) {
    loop {
        match unfinished.next() {
            None => unfinished.changed.notified().await,
            Some((_, due)) if due > runtime.now() => {
                // Something that is due earlier may come.
                let _ = runtime.timeout(due - runtime.now(), unfinished.changed.notified()).await;
            }
            Some((what, _)) => {
                let Some(server) = server.upgrade() else { return };
                let finished = server.try_again(what).await;
                unfinished.tried(what, finished, runtime.now());
            }
        }
    }
}

impl Shared {
    async fn try_again(self: &Arc<Self>, what: What) -> bool {
        match what {
            What::Recovery => self.recover_once().await,
            What::File(index) => match self.reconcile(index, Mode::Recover).await {
                Ok(findings) => findings.iter().all(|finding| !matches!(finding.outcome, Outcome::Failed(_))),
                Err(_) => false,
            },
        }
    }
}
