//! `grid annex proxy`: a gateway to repositories elsewhere and to clusters of them, as `git-annex-shell p2pstdio` and
//! `git-annex p2phttp` are one.

mod child;
mod config;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use pool::gateway::Gateway;
use pool::session::server::{Manner, serve};
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::Runtime;
use serde_json::Value;

use super::p2pstdio::mode;
use super::serve::Listening;
use crate::outcome::{Answer, Failure};

/// Pass requests on to repositories elsewhere, and to clusters of them.
#[derive(clap::Args)]
pub struct Proxy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    P2pstdio(P2pstdio),
    Serve(Serve),
}

/// Pass one client's requests on, from standard input to a node or cluster and back to standard output.
///
/// GIT_ANNEX_SHELL_READONLY and GIT_ANNEX_SHELL_APPENDONLY in the environment limit what the client may do.
#[derive(clap::Args)]
struct P2pstdio {
    #[command(flatten)]
    configured: Configured,

    /// Who the client is. Its connections to nodes are its own.
    #[arg(value_name = "CLIENT", value_parser = super::uuid)]
    client: Option<Uuid>,

    /// The node or cluster that the client wants.
    #[arg(long, value_name = "UUID", value_parser = super::uuid)]
    uuid: Uuid,
}

/// Pass requests on that come over HTTP, until Ctrl-C.
///
/// Nobody may do anything unless an option says so. There is no TLS: what crosses a network that others listen to belongs
/// behind a proxy that speaks it.
#[derive(clap::Args)]
struct Serve {
    #[command(flatten)]
    configured: Configured,

    #[command(flatten)]
    listening: Listening,
}

#[derive(clap::Args)]
struct Configured {
    /// What the gateway is, and its nodes and clusters, in TOML.
    #[arg(value_name = "CONFIG", long_help = config::HELP)]
    config: PathBuf,

    /// How many nodes one request to a cluster may be busy with at a time, instead of what CONFIG says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    clusterjobs: Option<u32>,
}

impl Configured {
    async fn gateway(&self, runtime: &Runtime) -> Result<Gateway, Failure> {
        config::Config::read(&self.config)?.open(runtime, self.clusterjobs).await
    }
}

impl Proxy {
    pub async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        match self.command {
            Command::P2pstdio(session) => session.run(runtime).await,
            Command::Serve(serve) => serve.run(runtime, json).await,
        }
    }
}

impl P2pstdio {
    async fn run(self, runtime: Runtime) -> Result<Answer, Failure> {
        let gateway = self.configured.gateway(&runtime).await?;
        let own = gateway.uuid().clone();
        let peer = gateway.peer(&self.uuid, self.client.as_ref().unwrap_or(&own));
        let text =
            || Failure::Usage(format!("{} is neither a node nor a cluster of this gateway", self.uuid));
        let mut peer = peer.ok_or_else(text)?;
        let manner = Manner { mode: mode(), version: Version::MAX, proxy: true, own };
        let mut wire = Wire::new(Box::new(tokio::io::join(tokio::io::stdin(), tokio::io::stdout())));
        let served = serve(&mut wire, &mut *peer, &manner).await;
        drop(peer);
        gateway.close().await;
        served.map_err(Failure::failed("the session ended"))?;
        Ok(Answer::new(String::new(), Value::Null))
    }
}

impl Serve {
    async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        let access = self.listening.access()?;
        let gateway = Arc::new(self.configured.gateway(&runtime).await?);
        let served: Vec<_> = gateway.served().cloned().collect();
        let answer = self.listening.serve(runtime, access, gateway.clone(), &served, json).await;
        gateway.close().await;
        answer
    }
}
