//! `grid annex`: git-annex repositories, served and asked.

mod ask;
mod p2pstdio;
mod proxy;
mod serve;

use clap::Subcommand;
use pool::uuid::Uuid;
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
    Serve(serve::Serve),
    Proxy(proxy::Proxy),
    Get(ask::Get),
    Put(ask::Put),
    Check(ask::Check),
    Remove(ask::Remove),
    Lock(ask::Lock),
}

impl Annex {
    pub async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        match self.command {
            Command::P2pstdio(serve) => serve.run(runtime).await,
            Command::Serve(serve) => serve.run(runtime, json).await,
            Command::Proxy(proxy) => proxy.run(runtime, json).await,
            Command::Get(get) => get.run(runtime, json).await,
            Command::Put(put) => put.run(runtime).await,
            Command::Check(check) => check.run(runtime).await,
            Command::Remove(remove) => remove.run(runtime).await,
            Command::Lock(lock) => lock.run(runtime, json).await,
        }
    }
}

/// For clap: a repository's name.
fn uuid(text: &str) -> Result<Uuid, String> {
    Uuid::new(text).ok_or_else(|| "a UUID is a word of at most 256 bytes".into())
}
