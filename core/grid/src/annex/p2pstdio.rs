//! `grid annex p2pstdio`: serves one client on standard input and output, as `git-annex-shell p2pstdio` does.

use std::path::PathBuf;

use pool::mode::Mode;
use pool::repository::Repository;
use pool::session::server::{Manner, serve};
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::Runtime;
use serde_json::Value;

use crate::outcome::{Answer, Failure};

/// Serve a directory of objects to one client, on standard input and output.
///
/// The client is who started this: git-annex over ssh, or a gateway. GIT_ANNEX_SHELL_READONLY and
/// GIT_ANNEX_SHELL_APPENDONLY in the environment limit what it may do.
#[derive(clap::Args)]
pub struct P2pstdio {
    /// The directory; it is made if it is not there. Other processes may serve it, too, if its file system locks files.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Who the client is. Not needed for anything.
    #[arg(value_name = "CLIENT")]
    _client: Option<String>,

    /// Who the repository is.
    #[arg(long, value_name = "UUID", value_parser = super::uuid)]
    uuid: Uuid,
}

impl P2pstdio {
    pub async fn run(self, runtime: Runtime) -> Result<Answer, Failure> {
        let opened = Repository::open(runtime, self.uuid.clone(), &self.directory).await;
        let repository =
            opened.map_err(Failure::usage(format!("cannot use {}", self.directory.display())))?;
        let manner = Manner { mode: mode(), version: Version::MAX, proxy: false, own: self.uuid };
        let mut wire = Wire::new(Box::new(tokio::io::join(tokio::io::stdin(), tokio::io::stdout())));
        let served = serve(&mut wire, &mut repository.peer(), &manner).await;
        served.map_err(Failure::failed("the session ended"))?;
        Ok(Answer::new(String::new(), Value::Null))
    }
}

/// What the environment allows, as for the real program: read-only wins.
pub fn mode() -> Mode {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    match (set("GIT_ANNEX_SHELL_READONLY"), set("GIT_ANNEX_SHELL_APPENDONLY")) {
        (true, _) => Mode::ReadOnly,
        (false, true) => Mode::AppendOnly,
        _ => Mode::ReadWrite,
    }
}
