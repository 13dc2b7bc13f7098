//! One storage directory that a command works on as its server would.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::server::ServerId;
use runtime::Runtime;
use storage::backend::disk::Disk;
use storage::config::Config;
use storage::server::Setup;
use storage::share::Kind;

use crate::outcome::Failure;
use crate::servers::{identify, locate};

/// A storage directory.
pub struct Directory {
    /// The directory that holds `shares`.
    pub storage: PathBuf,
}

impl Directory {
    /// The storage directory that `path` is, or, being a node's directory, has.
    pub fn find(path: &Path) -> Result<Directory, Failure> {
        Ok(Directory { storage: locate(path)? })
    }

    /// Its lease database, if it has one.
    pub fn database(&self) -> Option<PathBuf> {
        let path = self.storage.join("leasedb.redb");
        path.exists().then_some(path)
    }

    pub fn id(&self) -> ServerId {
        identify(&self.storage)
    }

    /// What a server over it is made of.
    pub async fn setup(&self, runtime: Runtime, config: Config) -> Result<Setup, Failure> {
        let disk = Disk::open(runtime, &self.storage).await;
        Ok(self.setup_over(disk.map_err(Failure::usage(self.storage.display()))?, config))
    }

    /// The same, for a server that changes nothing.
    pub fn setup_to_look(&self, runtime: Runtime) -> Setup {
        self.setup_over(Disk::look(runtime, &self.storage), Config::default())
    }

    fn setup_over(&self, disk: Disk, config: Config) -> Setup {
        // The node id is recorded in new mutable shares only, and none are made here.
        let (id, state) = (self.id(), self.storage.clone());
        Setup { id, node: [0; 20], state, backend: Arc::new(disk), config }
    }
}

pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Immutable => "immutable",
        Kind::Mutable => "mutable",
        Kind::Corrupted => "corrupted",
    }
}

/// How far a walk through a directory has come, on a terminal; nothing anywhere else.
pub fn progress(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent} %, {eta} to go") {
        bar.set_style(style);
    }
    bar.with_message(what)
}
