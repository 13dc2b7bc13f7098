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

    /// Takes what is about to be tried: what is noted from here on is about what the attempt may have missed.
    fn take(&self, what: What) -> Option<Again> {
        lock(&self.again).remove(&what)
    }

    /// Puts back what was tried in vain, to be tried again after a longer pause.
    fn put_back(&self, what: What, tried: Again, now: Instant) {
        let pause = (tried.pause * 4).min(LONGEST_PAUSE);
        lock(&self.again).insert(what, Again { due: now + pause, pause });
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
                let Some(tried) = unfinished.take(what) else { continue };
                // A task of its own: should it panic, the others are tried all the same; and it runs to its end when the
                // server is closed.
                let shared = server.clone();
                let attempt =
                    server.operations.start("try again", async move { shared.try_again(what).await });
                drop(server);
                if attempt.await != Ok(true) {
                    unfinished.put_back(what, tried, runtime.now());
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_during_an_attempt_is_an_attempt_more() {
        let (unfinished, file) = (Unfinished::default(), StorageIndex([3; 16]));
        let start = Instant::from_nanos(7);
        unfinished.note(file, start);
        let tried = unfinished.take(What::File(file)).unwrap();
        assert!(unfinished.next().is_none());
        unfinished.note(file, start + FIRST_PAUSE);
        assert_eq!(unfinished.next().map(|(_, due)| due), Some(start + FIRST_PAUSE * 2), "it succeeded");
        unfinished.put_back(What::File(file), tried, start + FIRST_PAUSE);
        assert_eq!(unfinished.next().map(|(_, due)| due), Some(start + FIRST_PAUSE * 5), "it failed");
        let tried = unfinished.take(What::File(file)).unwrap();
        unfinished.put_back(What::File(file), tried, start);
        assert_eq!(unfinished.next().map(|(_, due)| due), Some(start + FIRST_PAUSE * 16));
    }
}
