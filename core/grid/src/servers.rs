//! The storage directories that a command works on, each as a server of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::base32;
use protocol::server::ServerId;
use runtime::Runtime;
use storage::ShareDirectory;

use crate::outcome::Failure;

/// The directories of a grid's storage nodes.
#[derive(clap::Args)]
pub struct StorageDirs {
    /// A storage node's directory, or the `storage` directory in it. Repeat it for each node.
    #[arg(long = "storage", value_name = "DIR")]
    directories: Vec<PathBuf>,
}

/// What a command does with its servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing in the directories changes.
    Read,
    /// Shares and leases are added.
    Write,
}

impl StorageDirs {
    /// A server for each directory. One that was named twice is one server.
    pub async fn open(&self, runtime: &Runtime, access: Access) -> Result<Vec<Arc<ShareDirectory>>, Failure> {
        if self.directories.is_empty() {
            return Err(Failure::Usage("name the storage directories: --storage DIR, once for each".into()));
        }
        let mut seen = BTreeSet::new();
        let mut servers = Vec::new();
        for directory in &self.directories {
            let storage = locate(directory)?;
            let id = identify(&storage);
            if !seen.insert(storage.clone()) {
                continue;
            }
            let opened = match access {
                Access::Read => ShareDirectory::open_read_only(runtime.clone(), &storage, id).await,
                Access::Write => ShareDirectory::open(runtime.clone(), &storage, id).await,
            };
            servers.push(Arc::new(opened.map_err(|error| Failure::Usage(error.to_string()))?));
        }
        Ok(servers)
    }
}

/// The storage directory that `directory` is or, being a node's directory, has.
pub fn locate(directory: &Path) -> Result<PathBuf, Failure> {
    let candidates = [directory.join("storage"), directory.to_owned()];
    let found = candidates.into_iter().find(|candidate| candidate.join("shares").is_dir());
    let found = found.ok_or_else(|| {
        let directory = directory.display();
        Failure::Usage(format!(
            "{directory} is neither a storage node's directory nor its `storage` directory"
        ))
    })?;
    fs::canonicalize(&found).map_err(Failure::usage(found.display()))
}

/// The server's name, which is where it is, and its place in the ring, which its node decides.
pub fn identify(storage: &Path) -> ServerId {
    let name = storage.display().to_string();
    let seed = storage.parent().and_then(permutation_seed).unwrap_or_else(|| name.clone().into_bytes());
    ServerId::new(name, seed)
}

/// The seed that a node announces (tahoe-immutable §10): its own file says it; an older node's is its
/// public key; before that it was its node id.
fn permutation_seed(node: &Path) -> Option<Vec<u8>> {
    let line = |name| Some(fs::read_to_string(node.join(name)).ok()?.trim().to_owned());
    let seed = || base32::decode(&line("permutation-seed")?);
    let public_key = || base32::decode(line("node.pubkey")?.strip_prefix("pub-v0-")?);
    let node_id = || base32::decode(&line("my_nodeid")?);
    seed().or_else(public_key).or_else(node_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node of Tahoe-LAFS 1.20 announces, and what older ones are known by.
    #[test]
    fn a_node_says_itself_where_in_the_ring_it_is() {
        let root = tempfile::TempDir::new().unwrap();
        let storage = root.path().join("storage");
        fs::create_dir_all(storage.join("shares")).unwrap();
        let seed = || identify(&storage).permutation_seed;
        let node = |name: &str, line: &str| fs::write(root.path().join(name), line).unwrap();

        assert_eq!(*seed(), *storage.display().to_string().as_bytes());
        node("my_nodeid", "aaaqeayeaudaocajbifqydiob4ibceqt\n");
        assert_eq!(*seed(), *(0..20).collect::<Vec<u8>>());
        node("node.pubkey", "pub-v0-xlg5nahhhcpcojyj7aru674axim7urfkibg2nmeqbjrenqppu5lq\n");
        assert_eq!((seed().len(), seed()[0]), (32, 0xba));
        node(
            "permutation-seed",
            "pbwgonlomfugq2ddobrw62tzni3wc4tvgy3tiylynfwto5lsmzvwsythgjxg2zlrmjvhezloofyha5jvnryq\n",
        );
        assert_eq!(*seed(), *b"xlg5nahhhcpcojyj7aru674axim7urfkibg2nmeqbjrenqppu5lq");
        node("permutation-seed", "damaged!");
        assert_eq!(seed()[0], 0xba);
    }

    #[test]
    fn a_nodes_directory_and_its_storage_directory_are_one_place() {
        let root = tempfile::TempDir::new().unwrap();
        let storage = root.path().join("storage");
        fs::create_dir_all(storage.join("shares")).unwrap();
        let expected = fs::canonicalize(&storage).unwrap();
        assert_eq!(locate(root.path()).unwrap(), expected);
        assert_eq!(locate(&storage).unwrap(), expected);
        assert!(matches!(locate(&storage.join("shares")), Err(Failure::Usage(_))));
    }
}
