//! Which repository has which object, as far as a gateway knows: the location log of git-annex (annex-p2p §8.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use runtime::{reached, relapse};

use crate::key::Key;
use crate::peer::PeerError;
use crate::uuid::Uuid;

/// Tells where objects are, and learns of it. What it has been told it tells from then on.
#[async_trait]
pub trait Located: Send + Sync {
    /// The repositories that are said to have an object.
    async fn holders(&self, key: &Key) -> Result<BTreeSet<Uuid>, PeerError>;

    /// Whether no repository has an object that the log does not tell of. Otherwise those are asked as well, last of all.
    fn is_complete(&self) -> bool {
        true
    }

    /// What the log's own clock shows, which counts entries: removals begin by it.
    fn moment(&self) -> u64 {
        0
    }

    /// A repository has an object, or has it no more: it has said so itself. What has been recorded is not lost.
    async fn record(&self, key: &Key, repository: &Uuid, news: News) -> Result<(), PeerError>;
}

/// What a log learns of an object in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is there.
    Present,
    /// It was removed, some time after this [moment](Located::moment). Where it was stored after that as well, nobody knows
    /// which came first: a log that tells of too much costs a question in vain, one that tells of too little hides an object.
    Removed {
        /// When the repository had not been asked yet to remove it.
        since: u64,
    },
}

/// Records the same of several repositories. Should one fail, the others are recorded all the same. Clusters are in no
/// log (§8.1).
pub async fn record_all(
    located: &dyn Located,
    key: &Key,
    repositories: &BTreeSet<Uuid>,
    news: News,
) -> Result<(), PeerError> {
    if relapse!("annex-B27") && news == News::Present {
        return Ok(());
    }
    let mut recorded = Ok(());
    for repository in repositories {
        if !repository.is_cluster() {
            recorded = recorded.and(located.record(key, repository, news).await);
        }
    }
    recorded
}

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    moment: u64,
    /// The holders of each object, and when that was last recorded of them.
    holders: BTreeMap<Key, BTreeMap<Uuid, u64>>,
}

impl MemoryLog {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing here can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Located for MemoryLog {
    async fn holders(&self, key: &Key) -> Result<BTreeSet<Uuid>, PeerError> {
        let entries = self.entries();
        Ok(entries.holders.get(key).into_iter().flat_map(BTreeMap::keys).cloned().collect())
    }

    fn moment(&self) -> u64 {
        self.entries().moment
    }

    async fn record(&self, key: &Key, repository: &Uuid, news: News) -> Result<(), PeerError> {
        let Entries { moment, holders } = &mut *self.entries();
        match (news, holders.get_mut(key)) {
            (News::Present, _) => {
                *moment += 1;
                holders.entry(key.clone()).or_default().insert(repository.clone(), *moment);
            }
            (News::Removed { since }, Some(of_key)) => {
                if of_key.get(repository).is_some_and(|recorded| *recorded > since) {
                    reached!("located: an object is stored while it is removed");
                } else {
                    of_key.remove(repository);
                }
                if of_key.is_empty() {
                    holders.remove(key);
                }
            }
            (News::Removed { .. }, None) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_removal_that_is_told_of_late_takes_nothing_that_was_stored_since() {
        let (key, node) = (Key::parse("WORM-s1--a").unwrap(), Uuid::new("node").unwrap());
        let log = MemoryLog::default();
        log.record(&key, &node, News::Present).await.unwrap();
        let (late, removed) = (log.moment(), News::Removed { since: log.moment() });
        log.record(&key, &node, removed).await.unwrap();
        assert_eq!(log.holders(&key).await, Ok(BTreeSet::new()));
        log.record(&key, &node, News::Present).await.unwrap();
        log.record(&key, &node, News::Removed { since: late }).await.unwrap();
        assert_eq!(log.holders(&key).await, Ok([node.clone()].into()));
        log.record(&key, &node, News::Removed { since: log.moment() }).await.unwrap();
        assert_eq!(log.holders(&key).await, Ok(BTreeSet::new()));
        assert!(log.entries().holders.is_empty());
    }
}
