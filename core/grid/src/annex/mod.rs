//! `grid annex`: git-annex repositories, served and asked.

mod p2pstdio;

use clap::Subcommand;
use runtime::Runtime;

use crate::outcome::{Answer, Failure};

/// Serve a directory of annexed objects to git-annex, or ask one that somebody else serves.
#[derive(clap::Args)]
pub struct Annex {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    P2pstdio(p2pstdio::P2pstdio),
}

impl Annex {
    pub async fn run(self, runtime: Runtime) -> Result<Answer, Failure> {
        match self.command {
            Command::P2pstdio(serve) => serve.run(runtime).await,
        }
    }
}
