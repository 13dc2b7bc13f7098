//! Which repository has which object, as far as a gateway knows: the location log of git-annex (annex-p2p §8.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::key::Key;
use crate::uuid::Uuid;

/// Tells where objects are, and learns of it. What it has been told it tells from then on.
#[async_trait]
pub trait Located: Send + Sync {
    /// The repositories that are said to have an object.
    async fn holders(&self, key: &Key) -> BTreeSet<Uuid>;

    /// A repository has an object, or has it no more: it has said so itself.
    async fn record(&self, key: &Key, repository: &Uuid, present: bool);
}

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<BTreeMap<Key, BTreeSet<Uuid>>>);

#[async_trait]
impl Located for MemoryLog {
    async fn holders(&self, key: &Key) -> BTreeSet<Uuid> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.get(key).cloned().unwrap_or_default()
    }

    async fn record(&self, key: &Key, repository: &Uuid, present: bool) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = log.entry(key.clone()).or_default();
        match present {
            true => _ = holders.insert(repository.clone()),
            false => _ = holders.remove(repository),
        }
        if holders.is_empty() {
            log.remove(key);
        }
    }
}
