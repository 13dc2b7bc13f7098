//! `grid annex serve`: serves a directory of objects over HTTP, as `git-annex p2phttp` does.

use std::env::{self, VarError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use pool::http::access::{Access, User};
use pool::http::server::Config;
use pool::http::{Peers, Server};
use pool::mode::Mode;
use pool::repository::Repository;
use pool::uuid::Uuid;
use runtime::Runtime;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::outcome::{Answer, Failure};
use crate::print;

/// How long requests that are under way have when the server ends.
const DRAIN: Duration = Duration::from_secs(10);

/// What the environment calls users' passwords, and what they may do.
const PASSWORD: &str = "GIT_ANNEX_P2PHTTP_PASSWORD_";
const PERMISSIONS: &str = "GIT_ANNEX_P2PHTTP_PERMISSIONS_";

/// Serve a directory of objects over HTTP, until Ctrl-C.
///
/// Nobody may do anything unless an option says so. There is no TLS: what crosses a network that others listen to belongs
/// behind a proxy that speaks it.
#[derive(clap::Args)]
pub struct Serve {
    /// The directory; it is made if it is not there. Other processes may serve it, too, if its file system locks files.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Who the repository is.
    #[arg(long, value_name = "UUID", value_parser = super::uuid)]
    uuid: Uuid,

    #[command(flatten)]
    listening: Listening,
}

/// Where to listen, how much to do at a time, and who may do what.
#[derive(clap::Args)]
pub struct Listening {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9417")]
    bind: SocketAddr,

    /// How many requests are served at a time; the others wait.
    #[arg(long, short = 'J', value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    jobs: u32,

    /// How many locks there can be at a time.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    lockedfiles: u32,

    /// Anybody may do everything.
    #[arg(long, group = "anybody")]
    wideopen: bool,

    /// Anybody may read.
    #[arg(long, group = "anybody")]
    unauth_readonly: bool,

    /// Anybody may read and add.
    #[arg(long, group = "anybody")]
    unauth_appendonly: bool,

    /// Who may read or add only may not lock objects against removal.
    #[arg(long)]
    unauth_nolocking: bool,

    /// Users are in the environment: GIT_ANNEX_P2PHTTP_PASSWORD_name has a password, and
    /// GIT_ANNEX_P2PHTTP_PERMISSIONS_name is `readonly` or `appendonly`, if it is set. Passwords cross the network in clear.
    #[arg(long)]
    authenv_http: bool,
}

impl Serve {
    pub async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        let access = self.listening.access()?;
        let opened = Repository::open(runtime.clone(), self.uuid.clone(), &self.directory).await;
        let repository =
            opened.map_err(Failure::usage(format!("cannot use {}", self.directory.display())))?;
        self.listening.serve(runtime, access, repository, &[self.uuid], json).await
    }
}

impl Listening {
    /// Serves until Ctrl-C, and says first where `served` can be found.
    pub async fn serve(
        self,
        runtime: Runtime,
        access: Access,
        peers: impl Peers + 'static,
        served: &[Uuid],
        json: bool,
    ) -> Result<Answer, Failure> {
        let (jobs, locked_files) = (self.jobs as usize, self.lockedfiles as usize);
        let mut server =
            Server::new(runtime, peers, Config { jobs, locked_files, access, ..Config::default() });
        let address = server.listen(self.bind).await;
        let address = address.map_err(Failure::usage(format!("cannot listen at {}", self.bind)))?;
        let line = |uuid: &Uuid| match (format!("annex+http://{address}/git-annex/{uuid}"), json) {
            (url, true) => format!("{}\n", json!({ "url": url, "uuid": uuid.as_str() })),
            (url, false) => format!("{url}\n"),
        };
        print(served.iter().map(line).collect())?;
        until_told().await.map_err(Failure::failed("cannot wait for Ctrl-C"))?;
        let drained = server.close(DRAIN).await;
        let text = if drained { "" } else { "requests were ended early\n" };
        Ok(Answer::new(text.into(), json!({ "ok": true, "drained": drained })))
    }

    /// Who may do what.
    pub fn access(&self) -> Result<Access, Failure> {
        let anybody = match (self.wideopen, self.unauth_appendonly, self.unauth_readonly) {
            (true, ..) => Some(Mode::ReadWrite),
            (_, true, _) => Some(Mode::AppendOnly),
            (_, _, true) => Some(Mode::ReadOnly),
            _ => None,
        };
        let users = if self.authenv_http { users()? } else { Vec::new() };
        if anybody.is_none() && users.is_empty() {
            return Err(Failure::Usage(
                "nobody may do anything: use --wideopen, --unauth-readonly, --unauth-appendonly, or --authenv-http with \
                 GIT_ANNEX_P2PHTTP_PASSWORD_name in the environment"
                    .into(),
            ));
        }
        Ok(Access { anybody, no_locking: self.unauth_nolocking, users })
    }
}

/// Waits for Ctrl-C, or for whoever manages services to say that it is over.
async fn until_told() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    match select(pin!(tokio::signal::ctrl_c()), pin!(terminate.recv())).await {
        Either::Left((interrupted, _)) => interrupted,
        Either::Right(_) => Ok(()),
    }
}

/// The users of the environment.
fn users() -> Result<Vec<User>, Failure> {
    let mut users = Vec::new();
    for (variable, password) in env::vars_os() {
        let Some(name) = variable.to_str().and_then(|variable| variable.strip_prefix(PASSWORD)) else {
            continue;
        };
        let mode = match env::var(format!("{PERMISSIONS}{name}")).as_deref() {
            Err(VarError::NotPresent) => Mode::ReadWrite,
            Ok("readonly") => Mode::ReadOnly,
            Ok("appendonly") => Mode::AppendOnly,
            _ => {
                let text = format!("{PERMISSIONS}{name} is neither `readonly` nor `appendonly`");
                return Err(Failure::Usage(text));
            }
        };
        let password = password.into_string();
        let password = password.map_err(|_| Failure::Usage(format!("the password of {name} is no text")))?;
        users.push(User::new(name, &password, mode));
    }
    Ok(users)
}

/// A user's password, from the environment.
pub fn password(user: &str) -> Option<String> {
    env::var(format!("{PASSWORD}{user}")).ok()
}
