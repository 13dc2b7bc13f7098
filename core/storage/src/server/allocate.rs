//! Room for new shares: leasedb-and-storage §3.3 and the first step of protocol A.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::StorageIndex;
use protocol::server::{Allocate, Allocated, ServerError, ShareNumber, ShareWriter};
use runtime::{reached, relapse};

use super::Mode;
use super::locks::Held;
use super::reconcile::Sight;
use super::shared::Shared;
use super::upload::{Upload, Writer};
use super::uploads::Promise;
use crate::backend::{Body, Glance};
use crate::database::{DatabaseError, Epoch, Refused, Row, State, Write};
use crate::share::{Kind, ShareId};

/// The most shares that one call may name: a file has no more.
pub(super) const MAX_SHARES: usize = 256;

/// The largest share that a container can hold.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64 - (1 << 20);

/// What a client writes the shares with that it was granted.
type Writers = BTreeMap<ShareNumber, Box<dyn ShareWriter>>;

impl Shared {
    /// Adopts what the backend has, renews the lease on it, and makes a place for each share that can have one.
    pub(super) async fn allocate(self: Arc<Self>, request: Allocate) -> Result<Allocated, ServerError> {
        if request.shares.len() > MAX_SHARES {
            return Err(ServerError::Refused(format!(
                "{} shares were asked for; a file has at most {MAX_SHARES}",
                request.shares.len()
            )));
        }
        let held = self.lock(request.index).await;
        if let Some(writers) = self.open_first_slots(&held, &request).await? {
            return Ok(Allocated { already: BTreeSet::new(), writers });
        }
        let sight = self.look(&held, Mode::Request).await?;
        if sight.rows.values().any(|row| row.kind == Kind::Mutable) {
            return Err(ServerError::Refused("the file is mutable".into()));
        }
        let already = already(&sight)?;
        if relapse!("lease-A5") && (self.config.read_only || self.room().await? < 72) {
            // A lease takes room, too: without any, the whole call fails.
            return Err(ServerError::NoSpace);
        }
        let mut trouble = self.renew_all(&sight).await.err();
        if let Some(error) = &trouble {
            reached!("storage: a lease could not be renewed, and the shares are told of all the same");
            tracing::warn!(server = %self.id, index = %request.index, %error, "the leases could not be renewed");
        }

        let mut writers = Writers::new();
        if !self.config.read_only && trouble.is_none() {
            let wanted = request.shares.iter().copied().filter(|share| !already.contains(share));
            let wanted = wanted.filter(|share| self.may_come(&sight, *share)).collect();
            match self.open_slots(&held, &sight, wanted, request.size).await {
                Ok(opened) => writers = opened,
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if already.is_empty() && writers.is_empty() => Err(error),
            _ => Ok(Allocated { already, writers }),
        }
    }

    /// Whether the number is free (§8.3): in neither answer are shares that come or go, and corrupted ones.
    fn may_come(&self, sight: &Sight, share: ShareNumber) -> bool {
        match sight.rows.get(&share) {
            // Objects without a row make no whole share: somebody may be copying one in.
            None => !sight.bodies.contains_key(&share),
            Some(Row { state: State::Stable, kind: Kind::Corrupted, .. }) => self.config.replace_corrupt,
            Some(Row { state: State::Going, .. }) => relapse!("lease-L3"),
            Some(_) => false,
        }
    }

    /// Makes a place for each share that fits, if neither side knows anything of the file: the ordinary case, which takes
    /// one look at the backend and one transaction. None when there is more to do.
    async fn open_first_slots(
        self: &Arc<Self>,
        held: &Held,
        request: &Allocate,
    ) -> Result<Option<Writers>, ServerError> {
        if self.config.read_only || relapse!("lease-A5") {
            return Ok(None);
        }
        let index = request.index;
        let Glance::Nothing { available } = self.backend.glance(index).await? else { return Ok(None) };
        let promises = self.promises(&request.shares, request.size, self.room_of(available));
        let (numbers, size, now) = (promises.keys().copied().collect::<Vec<_>>(), request.size, self.now());
        // A1
        let come = self.database.update("A1", move |write| match write.rows(index)?.is_empty() {
            true => come(write, index, &numbers, size, now).map(Some),
            false => Ok(None),
        });
        let come = come.await.inspect_err(|_| self.unfinished.note(index, self.runtime.now()))?;
        let Some(come) = come else { return Ok(None) };
        self.looks.note(index, self.runtime.now());
        self.fill_slots(held, promises, come, size).await.map(Some)
    }

    /// Makes a place for each of these shares that fits. One that fails is left out; an error is one for all of them.
    async fn open_slots(
        self: &Arc<Self>,
        held: &Held,
        sight: &Sight,
        wanted: BTreeSet<ShareNumber>,
        size: u64,
    ) -> Result<Writers, ServerError> {
        if wanted.is_empty() {
            return Ok(Writers::new());
        }
        let promises = self.promises(&wanted, size, self.room().await?);
        for &share in promises.keys() {
            let id = ShareId { index: held.index(), share };
            match sight.rows.get(&share) {
                Some(row) if row.kind == Kind::Corrupted && row.state == State::Stable => {
                    reached!("storage: a corrupted share makes way for a new one");
                    self.delete_stable(held, id, row.epoch).await?;
                }
                _ => {}
            }
        }
        // A1
        let (index, now) = (held.index(), self.now());
        let numbers: Vec<_> = promises.keys().copied().collect();
        let come = self.database.update("A1", move |write| come(write, index, &numbers, size, now));
        let come = come.await.inspect_err(|_| self.unfinished.note(index, self.runtime.now()))?;
        self.fill_slots(held, promises, come, size).await
    }

    /// A2 of the shares whose rows are made.
    async fn fill_slots(
        self: &Arc<Self>,
        held: &Held,
        promises: BTreeMap<ShareNumber, Promise>,
        come: Vec<Result<Epoch, Refused>>,
        size: u64,
    ) -> Result<Writers, ServerError> {
        let (mut writers, mut trouble) = (Writers::new(), None);
        for ((share, promise), epoch) in promises.into_iter().zip(come) {
            let Ok(epoch) = epoch else { continue };
            let id = ShareId { index: held.index(), share };
            match self.open_slot(held, id, size, epoch, promise).await {
                Ok(writer) => {
                    writers.insert(share, writer);
                }
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if writers.is_empty() => Err(error),
            _ => Ok(writers),
        }
    }

    /// A2 of a share whose row is made. When that fails, nothing is left.
    async fn open_slot(
        self: &Arc<Self>,
        held: &Held,
        id: ShareId,
        size: u64,
        epoch: u64,
        promise: Promise,
    ) -> Result<Box<dyn ShareWriter>, ServerError> {
        let created = {
            let _writing = self.activity.write(id);
            self.backend.create(id, size, epoch).await
        };
        let incoming = match created {
            Ok(incoming) => Arc::from(incoming),
            Err(error) => {
                reached!("storage: a place for an upload could not be made");
                tracing::warn!(server = %self.id, share = %id, %error, "a place for an upload could not be made");
                self.delete_coming(held, id, epoch).await;
                return Err(error.into());
            }
        };
        let upload = Arc::new(Upload::new(id, size, epoch, Arc::clone(&incoming), self));
        if self.uploads.insert(upload.clone(), promise) {
            self.idle.look_again();
        }
        // From here on, dropping it gives the upload up.
        let writer = Writer::new(self.clone(), upload.clone());
        if size == 0 && !relapse!("lease-L9") {
            self.publish(&upload, &*incoming).await?;
        }
        Ok(Box::new(writer))
    }

    /// Promises room for each of these shares in order; those that do not fit are left out.
    fn promises(
        &self,
        wanted: &BTreeSet<ShareNumber>,
        size: u64,
        room: u64,
    ) -> BTreeMap<ShareNumber, Promise> {
        if size > MAX_SIZE {
            return BTreeMap::new();
        }
        let promises = wanted.iter().map(|&share| (share, self.uploads.promise(size, room)));
        promises.filter_map(|(share, promise)| Some((share, promise?))).collect()
    }
}

/// A1 of some shares of a file.
fn come(
    write: &mut Write<'_>,
    index: StorageIndex,
    numbers: &[ShareNumber],
    size: u64,
    now: u64,
) -> Result<Vec<Result<Epoch, Refused>>, DatabaseError> {
    let mut come = Vec::new();
    for &share in numbers {
        let id = ShareId { index, share };
        if relapse!("lease-L3")
            && let Some(row) = write.row(id)?
            && row.state == State::Going
        {
            // The row is replaced, whatever is being done to the share.
            let _ = write.forget(id, row.epoch)?;
        }
        come.push(write.come(id, Kind::Immutable, Some(size), now)?);
    }
    Ok(come)
}

/// The complete, sound shares of the file.
fn already(sight: &Sight) -> Result<BTreeSet<ShareNumber>, ServerError> {
    if relapse!("lease-L8") {
        sight.all_readable()?;
    }
    if relapse!("lease-L14") {
        // Whatever has a name is there.
        let going = |share| sight.rows.get(share).is_some_and(|row| row.state == State::Going);
        let there = |body: &Body| !matches!(body, Body::Corrupted { .. });
        let named = sight.bodies.iter().filter(|(share, body)| there(body) && !going(*share));
        return Ok(named.map(|(share, _)| *share).collect());
    }
    Ok(sight.immutable().collect())
}
