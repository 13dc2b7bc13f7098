//! Checking a file: which servers have which of its shares, and, if wanted, a lease on each of them.
//!
//! The two questions to a server are independent: whatever becomes of the one about the lease, the answer about the shares
//! stands (lease-bugs L1). The lease is asked for first, so that on an ordered connection it is added by the time that the
//! shares are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::StorageIndex;
use protocol::lease_secret::LeaseSecrets;
use protocol::server::{ServerError, ServerId, ShareNumber, StorageServer};
use runtime::{Runtime, reached, relapse};
use tokio::sync::mpsc;

use crate::client::Client;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// The shares of each server that answered, by its name.
    pub found: BTreeMap<Arc<str>, BTreeSet<ShareNumber>>,
    /// Why a server did not tell of its shares, by its name.
    pub failed: BTreeMap<Arc<str>, CheckFailure>,
}

/// Why a server did not tell of its shares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckFailure {
    /// It answered with an error, or there is no connection to it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It did not answer within the limit.
    #[error("the server did not answer in time")]
    Silent,
}

/// The secrets of a client's lease on one server, for the file that is checked.
pub type BucketSecrets<'a> = &'a (dyn Fn(&ServerId) -> LeaseSecrets + Sync);

/// What a server answered to one of the two questions.
enum Answer {
    Shares(Arc<str>, Result<BTreeSet<ShareNumber>, CheckFailure>),
    /// Its lease call came to an error that nobody expects.
    #[allow(dead_code, reason = "only the known bug lets it matter")]
    Lease(Arc<str>, CheckFailure),
}

impl Client {
    /// Asks every server which shares of the file it has, and with `leases` adds a lease to them, or renews it. Ends when
    /// each server has answered both questions or its time is up: [`Config::dyhb_overdue`](crate::Config::dyhb_overdue) and
    /// [`Config::abandon`](crate::Config::abandon) for the shares, [`Config::lease_limit`](crate::Config::lease_limit) for
    /// the lease. Leases fail silently where there are no shares, and with a warning in the log elsewhere.
    pub async fn check(&self, index: StorageIndex, leases: Option<BucketSecrets<'_>>) -> Check {
        let (runtime, config) = (&self.shared.runtime, &self.shared.config);
        let patience = config.dyhb_overdue.saturating_add(config.abandon.unwrap_or(Duration::MAX));
        let limit = config.lease_limit;
        // Dropping this future drops the scope, and the questions with it.
        let scope = runtime.scope();
        let (answer, mut answers) = mpsc::unbounded_channel();
        for (number, server) in (0..).zip(self.shared.broker.ring(&index)) {
            if let Some(secrets) = leases.map(|secrets| secrets(server.id())) {
                let (runtime, server, answer) = (runtime.clone(), server.clone(), answer.clone());
                scope.spawn("lease", number, async move {
                    if let Some(error) = add_lease(&runtime, &*server, index, secrets, limit).await {
                        let _ = answer.send(Answer::Lease(server.id().name.clone(), error));
                    }
                });
            }
            let (runtime, answer) = (runtime.clone(), answer.clone());
            scope.spawn("query", number, async move {
                let shares = runtime.timeout(patience, server.get_buckets(index)).await;
                let shares = match shares {
                    Ok(Ok(shares)) => Ok(shares.into_keys().collect()),
                    Ok(Err(error)) => Err(CheckFailure::Server(error)),
                    Err(_) => Err(CheckFailure::Silent),
                };
                let _ = answer.send(Answer::Shares(server.id().name.clone(), shares));
            });
        }
        drop(answer);
        let mut check = Check::default();
        let mut concealed = BTreeMap::new();
        while let Some(answer) = answers.recv().await {
            match answer {
                Answer::Shares(server, Ok(shares)) => _ = check.found.insert(server, shares),
                Answer::Shares(server, Err(error)) => _ = check.failed.insert(server, error),
                Answer::Lease(server, error) => _ = concealed.insert(server, error),
            }
        }
        if relapse!("lease-L1") {
            // Both answers were joined, and the error was taken for that of the whole.
            check.found.retain(|server, _| !concealed.contains_key(server));
            check.failed.extend(concealed);
        }
        check
    }
}

/// Asks for a lease. Gives an error that nobody expects, when it has been logged.
async fn add_lease(
    runtime: &Runtime,
    server: &dyn StorageServer,
    index: StorageIndex,
    secrets: LeaseSecrets,
    limit: Duration,
) -> Option<CheckFailure> {
    let lease = runtime.timeout(limit, server.add_lease(index, secrets.renew, secrets.cancel)).await;
    let error = match lease {
        // A server without shares has nothing to lease.
        Ok(Ok(()) | Err(ServerError::NoSuchShare)) => return None,
        Ok(Err(error)) => CheckFailure::Server(error),
        Err(_) => CheckFailure::Silent,
    };
    reached!("check: a lease failed");
    tracing::warn!(target: "client", server = %server.id(), %error, "a lease could not be added");
    Some(error)
}
