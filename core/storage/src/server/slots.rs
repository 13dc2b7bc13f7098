//! Mutable slots: protocols C, D and E of leasedb-and-storage §9, and read-test-write as gbs-http §9.1 has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::base32;
use protocol::server::{ReadTestWrite, ReadTestWritten, ServerError, ShareNumber, SlotTest, TestAndWrite};
use runtime::{reached, relapse};

use super::Mode;
use super::allocate::MAX_SHARES;
use super::errors::refused_words;
use super::locks::Held;
use super::reconcile::Sight;
use super::shared::Shared;
use crate::backend::{BackendError, SlotChange, WriteEnabler};
use crate::config::LEASE;
use crate::container::MAX_READ;
use crate::database::{AccountId, DatabaseError, Epoch, Refused, Row, State};
use crate::share::{Kind, ShareId};

/// The most tests of one share.
const MAX_TESTS: usize = 30;

/// The most reads of one call.
const MAX_READS: usize = 30;

/// The most bytes that all reads of one call give together: as many as one read.
const MAX_ANSWER: u64 = MAX_READ;

/// What is to be done to one share.
enum Deed {
    /// C: it is made.
    Make(SlotChange),
    /// D: it is changed.
    Change(SlotChange),
    /// E: it is deleted.
    Delete(Epoch),
    /// Nothing is written, but its lease is renewed.
    Keep,
}

/// What became of the deeds, before the last transaction.
#[derive(Default)]
struct Done {
    written: Vec<(ShareId, Epoch, u64)>,
    kept: Vec<ShareId>,
    deleted: Vec<(ShareId, Epoch)>,
    /// Shares that should have been made and are not.
    unmade: Vec<(ShareId, Epoch)>,
    failure: Option<BackendError>,
}

impl Shared {
    /// The mutable shares of a file.
    pub(super) async fn slots(
        self: &Arc<Self>,
        index: StorageIndex,
    ) -> Result<BTreeSet<ShareNumber>, ServerError> {
        Ok(self.seen(index).await?.mutable().collect())
    }

    /// Bytes of a mutable share. Waits for a change of it to be over.
    pub(super) async fn read_slot(
        self: Arc<Self>,
        id: ShareId,
        range: (u64, u64),
    ) -> Result<Bytes, ServerError> {
        let held = self.lock(id.index).await;
        let mut row = self.row(id).await?;
        let changing = row.is_some_and(|row| row.state == State::Changing);
        if changing || !self.looks.fresh(&id.index, self.runtime.now(), self.config.adopt_interval) {
            row = self.look_or_rows(&held).await?.rows.get(&id.share).copied();
        }
        self.read(id, row, Kind::Mutable, range).await
    }

    /// Tests, reads and writes in one step.
    pub(super) async fn read_test_write(
        self: Arc<Self>,
        request: ReadTestWrite,
    ) -> Result<ReadTestWritten, ServerError> {
        check_counts(&request, self.backend.largest_slot())?;
        let held = self.lock(request.index).await;
        let sight = self.look(&held, Mode::Request).await?;
        if sight.rows.values().any(|row| row.kind == Kind::Immutable) && !relapse!("lease-A13") {
            reached!("storage: an immutable file is not written as a mutable one");
            return Err(ServerError::Refused("the file is immutable".into()));
        }
        // D1
        let here: BTreeSet<_> = sight.mutable().collect();
        self.check_enablers(&request, &here).await?;
        let success = self.all_tests_hold(&request, &here).await?;
        let reads = self.read_all(&request, &here).await?;
        if success {
            let deeds = self.deeds(&request, &sight, &here)?;
            self.carry_out_deeds(&held, deeds).await?;
        }
        Ok(ReadTestWritten { success, reads })
    }

    /// Every share must open to the enabler, also if it is only read.
    async fn check_enablers(
        &self,
        request: &ReadTestWrite,
        here: &BTreeSet<ShareNumber>,
    ) -> Result<(), ServerError> {
        for &share in here {
            let id = ShareId { index: request.index, share };
            let recorded = self.backend.write_enabler(id).await?;
            if !same(&recorded.secret, &request.write_enabler) {
                reached!("storage: a wrong write enabler");
                return Err(ServerError::WriteEnabler { recorded_by: base32::encode(&recorded.node) });
            }
        }
        Ok(())
    }

    async fn all_tests_hold(
        &self,
        request: &ReadTestWrite,
        here: &BTreeSet<ShareNumber>,
    ) -> Result<bool, ServerError> {
        for (&share, wish) in &request.shares {
            let id = ShareId { index: request.index, share };
            for SlotTest { offset, length, specimen } in &wish.tests {
                // One byte more than the specimen has is as unequal as all of them.
                let length = (*length).min(specimen.len() as u64 + 1);
                let found = match here.contains(&share) {
                    true => self.backend.read(id, *offset, length).await?,
                    false => Bytes::new(),
                };
                if found != specimen {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn read_all(
        &self,
        request: &ReadTestWrite,
        here: &BTreeSet<ShareNumber>,
    ) -> Result<BTreeMap<ShareNumber, Vec<Bytes>>, ServerError> {
        let mut reads = BTreeMap::new();
        // All of it is in memory before any of it is sent.
        let mut left = MAX_ANSWER;
        for &share in here {
            let id = ShareId { index: request.index, share };
            let mut answers = Vec::new();
            for &(offset, length) in &request.reads {
                // One byte more than is left is as refused as all of them.
                let bytes = self.backend.read(id, offset, length.min(left + 1)).await?;
                left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                    ServerError::Refused(format!("at most {MAX_ANSWER} bytes are read in one call"))
                })?;
                answers.push(bytes);
            }
            reads.insert(share, answers);
        }
        Ok(reads)
    }

    /// What is to be done to each share. Refused as a whole if one of them cannot be written.
    fn deeds(
        &self,
        request: &ReadTestWrite,
        sight: &Sight,
        here: &BTreeSet<ShareNumber>,
    ) -> Result<Vec<(ShareId, Deed)>, ServerError> {
        let enabler = WriteEnabler { secret: request.write_enabler, node: self.node };
        let mut deeds = Vec::new();
        for (&share, wish) in &request.shares {
            let id = ShareId { index: request.index, share };
            let TestAndWrite { writes, new_length, .. } = wish;
            let row = sight.rows.get(&share).filter(|_| here.contains(&share));
            let change = || SlotChange { enabler, writes: writes.clone(), new_length: *new_length };
            let deed = match row {
                Some(row) if *new_length == Some(0) => Deed::Delete(row.epoch),
                Some(_) if writes.is_empty() && new_length.is_none() => Deed::Keep,
                Some(_) => Deed::Change(change()),
                None if *new_length == Some(0) => continue,
                None if is_free(sight, share) => Deed::Make(change()),
                None => {
                    return Err(ServerError::Refused(format!(
                        "share {share} is damaged, or is being deleted"
                    )));
                }
            };
            deeds.push((id, deed));
        }
        Ok(deeds)
    }

    /// Does the deeds in order, up to the first that fails. What is done by then stays; what is half done is undone.
    async fn carry_out_deeds(
        self: &Arc<Self>,
        held: &Held,
        deeds: Vec<(ShareId, Deed)>,
    ) -> Result<(), ServerError> {
        if deeds.is_empty() {
            return Ok(());
        }
        let epochs = self.begin_deeds(&deeds).await?;
        let mut done = Done::default();
        for ((id, deed), epoch) in deeds.into_iter().zip(epochs) {
            match epoch {
                Ok(epoch) => self.carry_out_deed(id, deed, epoch, &mut done).await,
                // Cannot be, under the lock. But nobody is told that it was done.
                Err(refused) => {
                    done.failure.get_or_insert(BackendError::Refused(refused_words(&refused)));
                }
            }
        }
        let Done { written, kept, deleted, unmade, failure } = done;
        if failure.is_some() {
            // What was written beside a share may still be there.
            self.unfinished.note_recovery(self.runtime.now());
        }
        self.end_deeds(held.index(), written, kept, deleted).await?;
        let Some(failure) = failure else { return Ok(()) };

        reached!("storage: a change of slots fails half-way");
        for (id, epoch) in unmade {
            if relapse!("lease-L6") {
                // What was made stays as it is, and nobody has a lease on it.
                let now = self.now();
                let settle =
                    self.database.update("D4", move |write| write.settle(id, epoch, Kind::Mutable, 0, now));
                let _ = settle.await;
                continue;
            }
            self.delete_coming(held, id, epoch).await;
        }
        // The other shares that were begun are what they are.
        if let Err(error) = self.look(held, Mode::Request).await {
            tracing::warn!(server = %self.id, index = %held.index(), %error, "the shares could not be looked at");
            self.unfinished.note(held.index(), self.runtime.now());
        }
        Err(failure.into())
    }

    /// C1, D2, E1: all rows in one transaction.
    async fn begin_deeds(
        &self,
        deeds: &[(ShareId, Deed)],
    ) -> Result<Vec<Result<Epoch, Refused>>, ServerError> {
        enum Begin {
            Make,
            Change,
            Delete(Epoch),
            Keep,
        }
        let begin = |(id, deed): &(ShareId, Deed)| match deed {
            Deed::Make(_) => (*id, Begin::Make),
            Deed::Change(_) => (*id, Begin::Change),
            Deed::Delete(epoch) => (*id, Begin::Delete(*epoch)),
            Deed::Keep => (*id, Begin::Keep),
        };
        let (begins, now): (Vec<_>, _) = (deeds.iter().map(begin).collect(), self.now());
        let begun = self.database.update("D2", move |write| {
            let mut epochs = Vec::new();
            for (id, begin) in begins {
                epochs.push(match begin {
                    Begin::Make => write.come(id, Kind::Mutable, None, now)?,
                    Begin::Change => write.begin_change(id, now)?,
                    Begin::Delete(epoch) if relapse!("lease-L5") => Ok(epoch),
                    Begin::Delete(epoch) => write.condemn(id, epoch, now)?,
                    Begin::Keep => Ok(0),
                });
            }
            Ok::<_, DatabaseError>(epochs)
        });
        let index = deeds.first().map(|(id, _)| id.index);
        Ok(begun.await.inspect_err(|_| {
            if let Some(index) = index {
                self.unfinished.note(index, self.runtime.now());
            }
        })?)
    }

    /// C2, D3 or E2. After a failure, no more is written.
    async fn carry_out_deed(self: &Arc<Self>, id: ShareId, deed: Deed, epoch: Epoch, done: &mut Done) {
        let making = matches!(deed, Deed::Make(_));
        match deed {
            Deed::Keep => done.kept.push(id),
            Deed::Delete(_) => {
                let deleted = {
                    let _deleting = self.activity.deletion(id);
                    self.backend.delete(id, epoch).await
                };
                match deleted {
                    Ok(()) => done.deleted.push((id, epoch)),
                    // It is gone as far as the client is concerned: E1 is committed.
                    Err(error) => {
                        reached!("storage: a deleted slot is deleted later");
                        tracing::warn!(server = %self.id, share = %id, %error, "a share could not be deleted yet");
                        self.unfinished.note(id.index, self.runtime.now());
                    }
                }
            }
            Deed::Make(_) if done.failure.is_some() => done.unmade.push((id, epoch)),
            Deed::Change(_) if done.failure.is_some() => {}
            Deed::Make(change) | Deed::Change(change) => {
                let changed = {
                    let _writing = self.activity.write(id);
                    if making && relapse!("lease-L6") {
                        // The container first, then what is in it.
                        let empty = SlotChange { writes: Vec::new(), new_length: None, ..change };
                        let _ = self.backend.change(id, empty, epoch).await;
                    }
                    self.backend.change(id, change, epoch).await
                };
                match changed {
                    Ok(used) => done.written.push((id, epoch, used)),
                    Err(error) => {
                        done.failure = Some(error);
                        if making {
                            done.unmade.push((id, epoch));
                        }
                    }
                }
            }
        }
    }

    /// D4 and E3: all rows and leases in one transaction.
    async fn end_deeds(
        &self,
        index: StorageIndex,
        written: Vec<(ShareId, Epoch, u64)>,
        kept: Vec<ShareId>,
        deleted: Vec<(ShareId, Epoch)>,
    ) -> Result<(), ServerError> {
        let now = self.now();
        let ended = self.database.update("D4", move |write| {
            let mut leased = kept;
            for (id, epoch, used) in written {
                if write.settle(id, epoch, Kind::Mutable, used, now)?.is_ok() {
                    leased.push(id);
                }
            }
            for id in leased {
                let _ = write.renew(id, AccountId::ANONYMOUS, now, Some(now.saturating_add(LEASE)))?;
            }
            for (id, mut epoch) in deleted {
                if relapse!("lease-L5")
                    && let Ok(condemned) = write.condemn(id, epoch, now)?
                {
                    epoch = condemned;
                }
                let _ = write.forget(id, epoch)?;
            }
            Ok(())
        });
        Ok(ended.await.inspect_err(|_: &DatabaseError| self.unfinished.note(index, self.runtime.now()))?)
    }
}

/// Whether a mutable share can be made under this number.
fn is_free(sight: &Sight, share: ShareNumber) -> bool {
    match sight.rows.get(&share) {
        None => !sight.bodies.contains_key(&share),
        Some(Row { .. }) => false,
    }
}

/// Bounds what one call may ask for, when a share can have `largest` bytes.
fn check_counts(request: &ReadTestWrite, largest: u64) -> Result<(), ServerError> {
    let refuse = |what: String| Err(ServerError::Refused(what));
    if request.shares.len() > MAX_SHARES {
        return refuse(format!("{} shares; at most {MAX_SHARES} in one call", request.shares.len()));
    }
    if request.reads.len() > MAX_READS {
        return refuse(format!("{} reads; at most {MAX_READS} in one call", request.reads.len()));
    }
    for (share, wish) in &request.shares {
        if wish.tests.len() > MAX_TESTS {
            return refuse(format!("{} tests of share {share}; at most {MAX_TESTS}", wish.tests.len()));
        }
        for (offset, bytes) in &wish.writes {
            let end = offset.checked_add(bytes.len() as u64);
            if end.is_none_or(|end| end > largest) && !relapse!("lease-L6") {
                return refuse(format!(
                    "a write at {offset} of share {share}; a share has at most {largest} bytes"
                ));
            }
        }
    }
    Ok(())
}

/// Compares secrets in a time that says nothing about them.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
