//! The server broker: which servers there are, and in which order a file's are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::StorageIndex;
use protocol::hash::permute;
use protocol::server::StorageServer;

/// The servers that a client knows, by name.
#[derive(Default)]
pub(crate) struct Broker {
    servers: Mutex<BTreeMap<Arc<str>, Arc<dyn StorageServer>>>,
    preferred: BTreeSet<String>,
}

impl Broker {
    pub fn new(preferred: BTreeSet<String>) -> Self {
        Broker { servers: Mutex::default(), preferred }
    }

    /// Adds a server; it replaces one of the same name.
    pub fn add(&self, server: Arc<dyn StorageServer>) {
        self.lock().insert(server.id().name.clone(), server);
    }

    /// Removes a server. Nodes that have taken their snapshot keep it.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// All servers as they stand on the ring of `index`, preferred ones first (spec §10).
    pub fn ring(&self, index: &StorageIndex) -> Vec<Arc<dyn StorageServer>> {
        let mut servers: Vec<_> = self.lock().values().cloned().collect();
        servers.sort_by_cached_key(|server| {
            let id = server.id();
            let preferred = self.preferred.contains(&*id.name);
            (!preferred, permute(index, &id.permutation_seed), id.name.clone())
        });
        servers
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<dyn StorageServer>>> {
        // A map is whole between its own calls, so a poisoned one is too.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
