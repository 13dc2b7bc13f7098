//! The client: one per user of a grid. Knows the servers, opens files, cleans up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use protocol::cap::Cap;
use protocol::server::StorageServer;
use runtime::Runtime;

use crate::broker::Broker;
use crate::config::Config;
use crate::errors::OpenError;
use crate::janitor::Janitor;
use crate::node::{Grid, Node};

/// A client of a storage grid. Cheap to clone; the clones are one client.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

/// What a client's handles and nodes have in common.
pub(crate) struct Shared {
    pub runtime: Runtime,
    pub config: Config,
    pub broker: Arc<Broker>,
    pub janitor: Janitor,
    /// Nodes are numbered, for the trace.
    nodes_opened: AtomicU64,
    /// The open nodes; `None` when the client is closed.
    nodes: Mutex<Option<BTreeMap<u64, Weak<Grid>>>>,
}

impl Client {
    /// A client that knows no servers yet.
    pub fn new(runtime: Runtime, config: Config) -> Self {
        let janitor = Janitor::new(runtime.clone(), config.advice_limit, config.max_advice);
        let broker = Arc::new(Broker::new(config.preferred.clone()));
        let (nodes_opened, nodes) = (AtomicU64::new(0), Mutex::new(Some(BTreeMap::new())));
        Client { shared: Arc::new(Shared { runtime, config, broker, janitor, nodes_opened, nodes }) }
    }

    /// Makes a server known; it replaces one of the same name. A node that has begun to read does not
    /// learn of it.
    pub fn add_server(&self, server: Arc<dyn StorageServer>) {
        self.shared.broker.add(server);
    }

    /// Forgets a server. A node that has begun to read keeps using it.
    pub fn remove_server(&self, name: &str) {
        self.shared.broker.remove(name);
    }

    /// Opens a file. Nothing is asked of any server yet.
    ///
    /// Errors: the client is closed, or there can be no file of the size that the capability names.
    pub fn open(&self, cap: &Cap) -> Result<Node, OpenError> {
        Node::open(&self.shared, cap)
    }

    /// Ends everything. Reads end with [`ReadError::Closed`](crate::ReadError::Closed) at once; advice to
    /// servers about corrupt shares may still be delivered for as long as `limit`.
    pub async fn close(&self, limit: Duration) {
        let nodes = self.shared.lock_nodes().take();
        for node in nodes.iter().flat_map(BTreeMap::values).filter_map(Weak::upgrade) {
            node.stop();
        }
        self.shared.janitor.close(limit).await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Shared {
    pub fn next_node(&self) -> u64 {
        self.nodes_opened.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts the node on the list of those to be stopped when the client is closed.
    pub fn enlist(&self, grid: &Arc<Grid>) -> Result<(), OpenError> {
        let mut nodes = self.lock_nodes();
        nodes.as_mut().ok_or(OpenError::Closed)?.insert(grid.id, Arc::downgrade(grid));
        Ok(())
    }

    pub fn delist(&self, id: u64) {
        if let Some(nodes) = &mut *self.lock_nodes() {
            nodes.remove(&id);
        }
    }

    fn lock_nodes(&self) -> MutexGuard<'_, Option<BTreeMap<u64, Weak<Grid>>>> {
        // The map is whole between its own calls.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
