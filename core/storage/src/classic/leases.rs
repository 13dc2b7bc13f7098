//! The leases in the containers of a node's directory: who asked for what until when, and the end of those that are over
//! (leasedb-and-storage §4, §6).

use protocol::server::ServerError;
use runtime::files::OpenMode;
use runtime::reached;

use super::ShareDirectory;
use super::directory::{Access, Shared};
use crate::config::{Expire, LEASE, STARTER_LEASE};
use crate::container::Container;
use crate::container::record::{Lease, LeaseRequest};
use crate::error::StorageError;
use crate::layout::{parse_index, parse_share};
use crate::share::{Kind, Prefix, ShareId};

/// A share file, or what passes for one by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareFile {
    /// Which.
    pub id: ShareId,
    /// What is in it; otherwise why nothing is known of it.
    pub found: Result<Held, String>,
}

/// A share and its leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub kind: Kind,
    /// Bytes of its data.
    pub size: u64,
    /// Bytes of the file.
    pub used: u64,
    /// The leases, in the order of their records. Their secrets stay where they are.
    pub leases: Vec<ContainerLease>,
}

/// A lease in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerLease {
    /// Without meaning today; 0 from an allocation, 1 otherwise.
    pub owner: u32,
    /// When it ends, in seconds since the Unix epoch. It was last renewed 31 days before, as far as one can tell.
    pub expires: u32,
}

/// What [`ShareDirectory::expire`] came by and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Shares that were looked at.
    pub examined: u64,
    /// Leases that were over, and are gone.
    pub leases: u64,
    /// Shares that lost their last lease, and are gone.
    pub shares: u64,
    /// The bytes of their files.
    pub bytes: u64,
    /// Shares without any lease, which were given one for 60 days.
    pub given: u64,
    /// Files that nothing was done about, and why.
    pub unusable: Vec<(ShareId, String)>,
}

impl ShareDirectory {
    /// Every share under a prefix and the leases in it. A file that cannot be used is among them, and harms no other.
    pub async fn leases(&self, prefix: Prefix) -> Result<Vec<ShareFile>, ServerError> {
        self.shared().job("list leases", move |shared| shared.all_leases(prefix)).await
    }

    /// Ends the leases under a prefix that are over by `policy`, and deletes each share that loses its last one. A share
    /// without any lease gets one for 60 days, as one that is found (§11): it may be new this very moment, or have come from
    /// a server that keeps its leases elsewhere; but it does not stay for ever. With a policy that is not enabled, nothing
    /// is changed.
    pub async fn expire(&self, prefix: Prefix, policy: Expire) -> Result<Expired, ServerError> {
        self.shared().job("expire leases", move |shared| shared.expire(prefix, &policy)).await
    }
}

impl Shared {
    fn all_leases(&self, prefix: Prefix) -> Result<Vec<ShareFile>, StorageError> {
        let ids = self.under(prefix)?;
        let found = |id| {
            let _still = self.still();
            self.held(id).map_err(|error| error.to_string())
        };
        Ok(ids.into_iter().map(|id| ShareFile { id, found: found(id) }).collect())
    }

    fn held(&self, id: ShareId) -> Result<Held, StorageError> {
        let container = Container::open(&*self.files(), &self.share(&id.index, id.share), OpenMode::Read)?;
        let leases = container.leases()?.into_iter();
        let leases = leases
            .map(|held| ContainerLease { owner: held.lease.owner, expires: held.lease.expires })
            .collect();
        Ok(Held { kind: container.kind(), size: container.data_len(), used: container.length(), leases })
    }

    fn expire(&self, prefix: Prefix, policy: &Expire) -> Result<Expired, StorageError> {
        let mut expired = Expired::default();
        for id in self.under(prefix)? {
            let _alone = self.change();
            expired.examined += 1;
            if let Err(error) = self.expire_share(id, policy, &mut expired) {
                let server = self.id();
                tracing::warn!(%server, %id, %error, "the leases of a share file cannot be looked at");
                expired.unusable.push((id, error.to_string()));
            }
        }
        Ok(expired)
    }

    fn expire_share(&self, id: ShareId, policy: &Expire, expired: &mut Expired) -> Result<(), StorageError> {
        if !policy.enabled {
            return self.held(id).map(|_| ());
        }
        if self.access() == Access::Read {
            return Err(StorageError::ReadOnly);
        }
        let (files, path, now) = (self.files(), self.share(&id.index, id.share), self.now());
        let container = Container::open(&*files, &path, OpenMode::Write)?;
        let held = container.leases()?;
        if held.is_empty() {
            reached!("storage: share file without any lease given one");
            let starter =
                LeaseRequest { owner: 1, renew: [0; 32], cancel: [0; 32], now, lasts: STARTER_LEASE };
            container.add_or_renew_lease(&starter)?;
            expired.given += 1;
            return Ok(());
        }
        let over = |lease: &Lease| {
            let expires = u64::from(lease.expires);
            policy.is_over(container.kind(), expires.saturating_sub(LEASE), Some(expires), now)
        };
        // A share that loses its last lease is deleted at once: there is no moment at which it has none.
        let remaining = match held.iter().all(|held| over(&held.lease)) {
            true => 0,
            false => container.remove_leases(over)?,
        };
        expired.leases += (held.len() - remaining) as u64;
        if remaining == 0 {
            expired.shares += 1;
            expired.bytes += container.length();
            drop(container);
            files.remove_file(&path)?;
            let shareset = self.shareset(&id.index);
            files.sync_dir(&shareset)?;
            // Best effort: other shares may be in it.
            let _ = files.remove_dir(&shareset);
        }
        Ok(())
    }

    /// The names of shares under a prefix, in order.
    fn under(&self, prefix: Prefix) -> Result<Vec<ShareId>, StorageError> {
        let directory = self.prefix(prefix);
        let mut ids = Vec::new();
        for index in self.names(&directory)?.iter().filter_map(|name| parse_index(name)) {
            if Prefix::of(&index) == prefix {
                let shares = self.names(&self.shareset(&index))?;
                let shares = shares.iter().filter_map(|name| parse_share(name));
                ids.extend(shares.map(|share| ShareId { index, share }));
            }
        }
        ids.sort();
        Ok(ids)
    }
}
