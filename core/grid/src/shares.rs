//! The shares of one upload: which server gets which, and their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use protocol::server::{Allocate, ShareNumber, ShareWriter, StorageServer};
use storage::ShareDirectory;

use crate::outcome::Failure;

/// The shares of a file that are there already, and those being written, all to the same length.
#[derive(Default)]
pub struct Shares {
    kept: BTreeSet<ShareNumber>,
    writers: BTreeMap<ShareNumber, Placed>,
    length: u64,
}

struct Placed {
    server: String,
    writer: Box<dyn ShareWriter>,
}

impl Shares {
    /// Shares that were there before.
    pub fn kept(&self) -> impl Iterator<Item = ShareNumber> {
        self.kept.iter().copied()
    }

    /// Shares that were not, and are written now.
    pub fn written(&self) -> impl Iterator<Item = ShareNumber> {
        self.writers.keys().copied()
    }

    /// Finds a place for each of `count` shares: where it is, else on the next server of the ring in
    /// turn. A server that refuses a share is passed over.
    pub async fn place(
        &mut self,
        ring: &[Arc<ShareDirectory>],
        count: ShareNumber,
        request: &Allocate,
    ) -> Result<(), Failure> {
        for server in ring {
            let found = server.get_buckets(request.index).await;
            let found =
                found.map_err(Failure::failed(format!("cannot list the shares in {}", server.id())))?;
            self.kept.extend(found.into_keys().filter(|share| *share < count));
        }
        let mut homeless: BTreeSet<_> = (0..count).filter(|share| !self.kept.contains(share)).collect();
        for round in 0..ring.len() {
            for (place, server) in ring.iter().enumerate() {
                let turn = |share: &ShareNumber| (*share as usize + round) % ring.len() == place;
                // In the first round each server is asked, for that renews the leases of what it has.
                let shares: BTreeSet<_> = homeless.iter().copied().filter(turn).collect();
                if shares.is_empty() && round > 0 {
                    continue;
                }
                let allocated = server.allocate_buckets(Allocate { shares, ..request.clone() }).await;
                let failed = format!("cannot place shares in {}", server.id());
                for (share, writer) in allocated.map_err(Failure::failed(failed))?.writers {
                    homeless.remove(&share);
                    self.writers.insert(share, Placed { server: server.id().to_string(), writer });
                }
            }
        }
        match homeless.first() {
            None => Ok(()),
            Some(share) => Err(Failure::Failed(format!(
                "no directory takes share {share} ({} bytes), nor {} others: they are full, or an upload of the \
                 same file is under way or was cut off there",
                request.size,
                homeless.len() - 1
            ))),
        }
    }

    /// Appends to each share that is being written its piece, by number. All pieces have one length.
    pub async fn append(&mut self, pieces: &[Bytes]) -> Result<(), Failure> {
        let offset = self.length;
        let writes = (0..).zip(pieces).filter_map(|(share, piece)| {
            let Placed { server, writer } = self.writers.get(&share)?;
            Some(async move {
                let written = writer.write(offset, piece.clone()).await;
                written.map_err(Failure::failed(format!("cannot write share {share} in {server}")))
            })
        });
        try_join_all(writes).await?;
        self.length += pieces.first().map_or(0, |piece| piece.len() as u64);
        Ok(())
    }

    /// Publishes the shares.
    pub async fn close(&self) -> Result<(), Failure> {
        let closes = self.writers.iter().map(async |(share, Placed { server, writer })| {
            let closed = writer.close().await;
            closed.map_err(Failure::failed(format!("cannot complete share {share} in {server}")))
        });
        try_join_all(closes).await?;
        Ok(())
    }

    /// Removes the shares that were not published.
    pub async fn abort(&self) {
        join_all(self.writers.iter().map(async |(share, Placed { server, writer })| {
            if let Err(error) = writer.abort().await {
                tracing::warn!(share, server, %error, "cannot remove an unfinished share");
            }
        }))
        .await;
    }
}
