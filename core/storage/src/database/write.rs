//! A write transaction as one caller of several sees it: what it changes can be undone without the others' changes.

use std::collections::BTreeMap;

use protocol::StorageIndex;
use protocol::server::ShareNumber;
use redb::{ReadableTable, Table, WriteTransaction};

use super::records::{
    LEASES, LeaseKey, LeaseRecord, META, META_EPOCH, RowRecord, SHARES, ShareKey, lease_from, lease_key,
    lease_record, row_record, share_key,
};
use super::{AccountId, DatabaseError, Epoch, Lease, Row, failed, read};
use crate::share::ShareId;

/// A write transaction. Reads see its own writes. Every change checks first and then writes, so that a refusal leaves
/// nothing behind; nor does work that ends with an error.
pub struct Write<'a> {
    pub(super) transaction: &'a WriteTransaction,
    shares: Table<'a, &'static ShareKey, &'static RowRecord>,
    pub(super) leases: Table<'a, &'static LeaseKey, &'static LeaseRecord>,
    next_epoch: Epoch,
    first_epoch: Epoch,
    /// What takes back the changes of the present caller, the last one last.
    undo: Vec<Undo>,
    changed: bool,
}

/// Takes one change back.
pub(super) type Undo = Box<dyn FnOnce(&mut Write<'_>) -> Result<(), DatabaseError> + Send>;

impl<'a> Write<'a> {
    pub(super) fn new(transaction: &'a WriteTransaction, epoch: Epoch) -> Result<Self, DatabaseError> {
        Ok(Write {
            transaction,
            shares: transaction.open_table(SHARES).map_err(failed)?,
            leases: transaction.open_table(LEASES).map_err(failed)?,
            next_epoch: epoch,
            first_epoch: epoch,
            undo: Vec::new(),
            changed: false,
        })
    }

    /// Takes back what was changed since the last [`Self::keep`].
    pub(super) fn undo(&mut self) -> Result<(), DatabaseError> {
        // Taken first: what takes a change back is no change that could be taken back.
        let changes = std::mem::take(&mut self.undo);
        changes.into_iter().rev().try_for_each(|undo| undo(self))
    }

    /// Keeps what was changed.
    pub(super) fn keep(&mut self) {
        self.changed |= !self.undo.is_empty();
        self.undo.clear();
    }

    /// Ends the changes: whether there are any, and the next epoch.
    pub(super) fn end(self) -> Result<(bool, Epoch), DatabaseError> {
        if self.changed && self.next_epoch != self.first_epoch {
            let mut meta = self.transaction.open_table(META).map_err(failed)?;
            meta.insert(META_EPOCH, self.next_epoch).map_err(failed)?;
        }
        Ok((self.changed, self.next_epoch))
    }

    pub(super) fn next_epoch(&mut self) -> Epoch {
        self.next_epoch += 1;
        self.next_epoch - 1
    }

    pub(super) fn can_be_undone_by(&mut self, undo: Undo) {
        self.undo.push(undo);
    }

    /// Sets or removes a row.
    pub(super) fn put_row(&mut self, id: ShareId, row: Option<&Row>) -> Result<(), DatabaseError> {
        let before = self.replace_row(share_key(id), row.map(row_record))?;
        self.undo.push(Box::new(move |write| write.replace_row(share_key(id), before).map(drop)));
        Ok(())
    }

    /// Sets or removes a lease.
    pub(super) fn put_lease(
        &mut self,
        id: ShareId,
        account: AccountId,
        lease: Option<&Lease>,
    ) -> Result<(), DatabaseError> {
        let key = lease_key(id, account);
        let before = self.replace_lease(key, lease.map(lease_record))?;
        self.undo.push(Box::new(move |write| write.replace_lease(key, before).map(drop)));
        Ok(())
    }

    fn replace_row(
        &mut self,
        key: ShareKey,
        record: Option<RowRecord>,
    ) -> Result<Option<RowRecord>, DatabaseError> {
        let before = match record {
            Some(record) => self.shares.insert(&key, &record).map_err(failed)?,
            None => self.shares.remove(&key).map_err(failed)?,
        };
        Ok(before.map(|before| *before.value()))
    }

    fn replace_lease(
        &mut self,
        key: LeaseKey,
        record: Option<LeaseRecord>,
    ) -> Result<Option<LeaseRecord>, DatabaseError> {
        let before = match record {
            Some(record) => self.leases.insert(&key, &record).map_err(failed)?,
            None => self.leases.remove(&key).map_err(failed)?,
        };
        Ok(before.map(|before| *before.value()))
    }

    /// As [`Read::row`](super::Read::row).
    pub fn row(&self, id: ShareId) -> Result<Option<Row>, DatabaseError> {
        read::row(&self.shares, id)
    }

    /// As [`Read::rows`](super::Read::rows).
    pub fn rows(&self, index: StorageIndex) -> Result<BTreeMap<ShareNumber, Row>, DatabaseError> {
        read::rows(&self.shares, index)
    }

    /// The lease of an account on a share.
    pub(super) fn lease(&self, id: ShareId, account: AccountId) -> Result<Option<Lease>, DatabaseError> {
        let record = self.leases.get(&lease_key(id, account)).map_err(failed)?;
        record.map(|record| lease_from(id, record.value())).transpose()
    }

    /// As [`Read::leases`](super::Read::leases).
    pub fn leases(&self, id: ShareId) -> Result<BTreeMap<AccountId, Lease>, DatabaseError> {
        read::leases(&self.leases, id)
    }

    /// Puts a record there that makes no sense.
    #[cfg(test)]
    pub(super) fn spoil_row(&mut self, id: ShareId) -> Result<(), DatabaseError> {
        let before = self.replace_row(share_key(id), Some([9; 35]))?;
        self.undo.push(Box::new(move |write| write.replace_row(share_key(id), before).map(drop)));
        Ok(())
    }
}
