//! Which repository has which object, as far as a gateway knows: the location log of git-annex (annex-p2p §8.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use runtime::relapse;

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

    /// A repository has an object, or has it no more: it has said so itself. What has been recorded is not lost.
    async fn record(&self, key: &Key, repository: &Uuid, present: bool) -> Result<(), PeerError>;
}

/// Records the same of several repositories. Should one fail, the others are recorded all the same. Clusters are in no
/// log (§8.1).
pub async fn record_all(
    located: &dyn Located,
    key: &Key,
    repositories: &BTreeSet<Uuid>,
    present: bool,
) -> Result<(), PeerError> {
    if relapse!("annex-B27") && present {
        return Ok(());
    }
    let mut recorded = Ok(());
    for repository in repositories {
        if !repository.is_cluster() {
            recorded = recorded.and(located.record(key, repository, present).await);
        }
    }
    recorded
}

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<BTreeMap<Key, BTreeSet<Uuid>>>);

#[async_trait]
impl Located for MemoryLog {
    async fn holders(&self, key: &Key) -> Result<BTreeSet<Uuid>, PeerError> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(log.get(key).cloned().unwrap_or_default())
    }

    async fn record(&self, key: &Key, repository: &Uuid, present: bool) -> Result<(), PeerError> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = log.entry(key.clone()).or_default();
        match present {
            true => _ = holders.insert(repository.clone()),
            false => _ = holders.remove(repository),
        }
        if holders.is_empty() {
            log.remove(key);
        }
        Ok(())
    }
}
