//! What can be read: rows, leases, totals, accounts, and what the crawler noted. The same for the committed state
//! ([`Read`]) and inside a write transaction ([`Write`](super::Write)).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use protocol::StorageIndex;
use protocol::server::ShareNumber;
use redb::{ReadOnlyTable, ReadableTable};

use super::records::{
    ACCOUNTS, ATTRIBUTES, CRAWLER, CRAWLER_STATE, HISTORY, LEASES, LeaseKey, LeaseRecord, RowRecord, SHARES,
    ShareKey, lease_from, lease_key, lease_of, row_of, share_key, share_of,
};
use super::{Account, AccountId, DatabaseError, Lease, Row, State, Totals, failed};
use crate::share::{Prefix, ShareId};

/// The committed state, to read.
pub struct Read {
    transaction: redb::ReadTransaction,
    shares: ReadOnlyTable<&'static ShareKey, &'static RowRecord>,
    leases: ReadOnlyTable<&'static LeaseKey, &'static LeaseRecord>,
}

impl Read {
    pub(super) fn new(transaction: redb::ReadTransaction) -> Result<Read, DatabaseError> {
        let shares = transaction.open_table(SHARES).map_err(failed)?;
        let leases = transaction.open_table(LEASES).map_err(failed)?;
        Ok(Read { transaction, shares, leases })
    }

    /// The row of a share.
    pub fn row(&self, id: ShareId) -> Result<Option<Row>, DatabaseError> {
        row(&self.shares, id)
    }

    /// The rows of a file.
    pub fn rows(&self, index: StorageIndex) -> Result<BTreeMap<ShareNumber, Row>, DatabaseError> {
        rows(&self.shares, index)
    }

    /// The rows of a prefix. A row whose record makes no sense is left out; asking for it alone gives the error.
    pub fn prefix(&self, prefix: Prefix) -> Result<BTreeMap<ShareId, Row>, DatabaseError> {
        let mut rows = BTreeMap::new();
        let keys = shares_of(prefix);
        for entry in self.shares.range::<&ShareKey>(keys.start()..=keys.end()).map_err(failed)? {
            let (key, record) = entry.map_err(failed)?;
            let id = share_of(key.value());
            match row_of(id, record.value()) {
                Ok(row) => drop(rows.insert(id, row)),
                Err(error) => tracing::warn!(%error, "a row is left out"),
            }
        }
        Ok(rows)
    }

    /// The prefixes that have any rows.
    pub fn prefixes(&self) -> Result<BTreeSet<Prefix>, DatabaseError> {
        let mut prefixes = BTreeSet::new();
        let mut from = Prefix::nth(0);
        while let Some(prefix) = from {
            let keys = shares_of(prefix);
            let Some(entry) = self.shares.range::<&ShareKey>(keys.start()..).map_err(failed)?.next() else {
                break;
            };
            let (key, _) = entry.map_err(failed)?;
            let found = Prefix::of(&share_of(key.value()).index);
            prefixes.insert(found);
            from = Prefix::nth(found.number() + 1);
        }
        Ok(prefixes)
    }

    /// The leases of a share.
    pub fn leases(&self, id: ShareId) -> Result<BTreeMap<AccountId, Lease>, DatabaseError> {
        leases(&self.leases, id)
    }

    /// The leases of a prefix. Those whose records make no sense are left out.
    pub fn prefix_leases(
        &self,
        prefix: Prefix,
    ) -> Result<BTreeMap<ShareId, BTreeMap<AccountId, Lease>>, DatabaseError> {
        let mut leases: BTreeMap<ShareId, BTreeMap<AccountId, Lease>> = BTreeMap::new();
        let keys = leases_of(prefix);
        for entry in self.leases.range::<&LeaseKey>(keys.start()..=keys.end()).map_err(failed)? {
            let (key, record) = entry.map_err(failed)?;
            let (id, account) = lease_of(key.value());
            match lease_from(id, record.value()) {
                Ok(lease) => drop(leases.entry(id).or_default().insert(account, lease)),
                Err(error) => tracing::warn!(%error, "a lease is left out"),
            }
        }
        Ok(leases)
    }

    /// The STABLE shares of a prefix that have no lease. By the time they are looked at they may have one.
    pub fn unleased(&self, prefix: Prefix) -> Result<Vec<ShareId>, DatabaseError> {
        let leases = self.prefix_leases(prefix)?;
        let stable = self.prefix(prefix)?.into_iter().filter(|(_, row)| row.state == State::Stable);
        Ok(stable.map(|(id, _)| id).filter(|id| !leases.contains_key(id)).collect())
    }

    /// What all accounts hold. Walks the whole database, a prefix at a time.
    pub fn totals(&self) -> Result<Totals, DatabaseError> {
        let mut totals = Totals::default();
        for prefix in Prefix::all() {
            let leases = self.prefix_leases(prefix)?;
            let mut last = None;
            for (id, row) in self.prefix(prefix)? {
                totals.shares += 1;
                totals.files += u64::from(last.replace(id.index) != Some(id.index));
                let Some(holders) = leases.get(&id) else { continue };
                totals.leased_shares += 1;
                totals.leased_space = totals.leased_space.saturating_add(row.used_space);
                for account in holders.keys() {
                    let held = totals.accounts.entry(*account).or_default();
                    held.leases += 1;
                    held.space = held.space.saturating_add(row.used_space);
                }
            }
        }
        Ok(totals)
    }

    /// All accounts.
    pub fn accounts(&self) -> Result<BTreeMap<AccountId, Account>, DatabaseError> {
        let mut accounts = BTreeMap::new();
        for entry in self.transaction.open_table(ACCOUNTS).map_err(failed)?.iter().map_err(failed)? {
            let (id, account) = entry.map_err(failed)?;
            let (public_key, created) = account.value();
            let public_key = public_key.map(str::to_owned);
            accounts.insert(AccountId(id.value()), Account { public_key, created });
        }
        Ok(accounts)
    }

    /// What is noted about an account, by name.
    pub fn attributes(&self, account: AccountId) -> Result<BTreeMap<String, String>, DatabaseError> {
        let table = self.transaction.open_table(ATTRIBUTES).map_err(failed)?;
        let mut attributes = BTreeMap::new();
        for entry in table.range((account.0, "")..).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            let (owner, name) = key.value();
            if owner != account.0 {
                break;
            }
            attributes.insert(name.to_owned(), value.value().to_owned());
        }
        Ok(attributes)
    }

    /// What the crawler noted when it stopped last.
    pub fn crawler_state(&self) -> Result<Option<String>, DatabaseError> {
        let table = self.transaction.open_table(CRAWLER).map_err(failed)?;
        let state = table.get(CRAWLER_STATE).map_err(failed)?;
        Ok(state.map(|state| state.value().to_owned()))
    }

    /// What the last cycles of the crawler found, by their numbers; at most ten.
    pub fn crawler_history(&self) -> Result<BTreeMap<u64, String>, DatabaseError> {
        let table = self.transaction.open_table(HISTORY).map_err(failed)?;
        let entries = table.iter().map_err(failed)?.map(|entry| {
            let (cycle, text) = entry.map_err(failed)?;
            Ok((cycle.value(), text.value().to_owned()))
        });
        entries.collect()
    }
}

pub(super) fn row(
    shares: &impl ReadableTable<&'static ShareKey, &'static RowRecord>,
    id: ShareId,
) -> Result<Option<Row>, DatabaseError> {
    let record = shares.get(&share_key(id)).map_err(failed)?;
    record.map(|record| row_of(id, record.value())).transpose()
}

pub(super) fn rows(
    shares: &impl ReadableTable<&'static ShareKey, &'static RowRecord>,
    index: StorageIndex,
) -> Result<BTreeMap<ShareNumber, Row>, DatabaseError> {
    let [first, last] = [0, ShareNumber::MAX].map(|share| share_key(ShareId { index, share }));
    let mut rows = BTreeMap::new();
    for entry in shares.range::<&ShareKey>(&first..=&last).map_err(failed)? {
        let (key, record) = entry.map_err(failed)?;
        let id = share_of(key.value());
        rows.insert(id.share, row_of(id, record.value())?);
    }
    Ok(rows)
}

pub(super) fn leases(
    leases: &impl ReadableTable<&'static LeaseKey, &'static LeaseRecord>,
    id: ShareId,
) -> Result<BTreeMap<AccountId, Lease>, DatabaseError> {
    let [first, last] = [0, u32::MAX].map(|account| lease_key(id, AccountId(account)));
    let mut found = BTreeMap::new();
    for entry in leases.range::<&LeaseKey>(&first..=&last).map_err(failed)? {
        let (key, record) = entry.map_err(failed)?;
        let (_, account) = lease_of(key.value());
        found.insert(account, lease_from(id, record.value())?);
    }
    Ok(found)
}

/// The keys of all shares of a prefix.
fn shares_of(prefix: Prefix) -> RangeInclusive<ShareKey> {
    let first = ShareId { index: prefix.first(), share: 0 };
    let last = ShareId { index: prefix.last(), share: ShareNumber::MAX };
    share_key(first)..=share_key(last)
}

/// The keys of all leases of a prefix.
pub(super) fn leases_of(prefix: Prefix) -> RangeInclusive<LeaseKey> {
    let first = ShareId { index: prefix.first(), share: 0 };
    let last = ShareId { index: prefix.last(), share: ShareNumber::MAX };
    lease_key(first, AccountId(0))..=lease_key(last, AccountId(u32::MAX))
}
