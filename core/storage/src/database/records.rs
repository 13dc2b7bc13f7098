//! The tables, and the fixed layouts of their keys and records. All numbers are big-endian, so that the order of keys
//! is the order of prefixes, files and shares.

use protocol::StorageIndex;
use redb::TableDefinition;

use super::{AccountId, DatabaseError, Lease, Row, State};
use crate::share::{Kind, ShareId};

/// The one version that this program knows.
pub(super) const VERSION: u64 = 2;

/// Numbers about the database itself: [`META_VERSION`] and [`META_EPOCH`].
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The version of the layout.
pub(super) const META_VERSION: &str = "version";
/// The next epoch to give.
pub(super) const META_EPOCH: &str = "next epoch";

/// One row for each share.
pub(super) const SHARES: TableDefinition<&ShareKey, &RowRecord> = TableDefinition::new("shares");
/// One for each share and account.
pub(super) const LEASES: TableDefinition<&LeaseKey, &LeaseRecord> = TableDefinition::new("leases");
/// The public key, if the account has one, and when it was made.
pub(super) const ACCOUNTS: TableDefinition<u32, (Option<&str>, u64)> = TableDefinition::new("accounts");
/// The account of each public key.
pub(super) const ACCOUNT_KEYS: TableDefinition<&str, u32> = TableDefinition::new("account keys");
/// Texts about accounts, by account and name.
pub(super) const ATTRIBUTES: TableDefinition<(u32, &str), &str> = TableDefinition::new("account attributes");
/// The crawler's state between two slices, as JSON, under [`CRAWLER_STATE`].
pub(super) const CRAWLER: TableDefinition<&str, &str> = TableDefinition::new("crawler");
/// The one key of [`CRAWLER`].
pub(super) const CRAWLER_STATE: &str = "state";
/// What the last cycles of the crawler found, as JSON, by their numbers.
pub(super) const HISTORY: TableDefinition<u64, &str> = TableDefinition::new("crawler history");

/// Storage index, share number.
pub(super) type ShareKey = [u8; 20];
/// Share, account.
pub(super) type LeaseKey = [u8; 24];
/// State, kind, used space, whether a size was promised, which, since when, epoch.
pub(super) type RowRecord = [u8; 35];
/// Last renewed, whether it ends, when.
pub(super) type LeaseRecord = [u8; 17];

/// The key of a share.
pub(super) fn share_key(id: ShareId) -> ShareKey {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&id.index.0);
    key[16..].copy_from_slice(&id.share.to_be_bytes());
    key
}

/// The share of a key.
pub(super) fn share_of(key: &ShareKey) -> ShareId {
    let mut index = [0; 16];
    index.copy_from_slice(&key[..16]);
    let [.., a, b, c, d] = *key;
    ShareId { index: StorageIndex(index), share: u32::from_be_bytes([a, b, c, d]) }
}

/// The key of a lease.
pub(super) fn lease_key(id: ShareId, account: AccountId) -> LeaseKey {
    let mut key = [0; 24];
    key[..20].copy_from_slice(&share_key(id));
    key[20..].copy_from_slice(&account.0.to_be_bytes());
    key
}

/// The share and the account of a key.
pub(super) fn lease_of(key: &LeaseKey) -> (ShareId, AccountId) {
    let mut share = [0; 20];
    share.copy_from_slice(&key[..20]);
    let [.., a, b, c, d] = *key;
    (share_of(&share), AccountId(u32::from_be_bytes([a, b, c, d])))
}

/// The record of a row.
pub(super) fn row_record(row: &Row) -> RowRecord {
    let mut record = [0; 35];
    record[0] = match row.state {
        State::Coming => 0,
        State::Stable => 1,
        State::Going => 2,
        State::Changing => 3,
    };
    record[1] = match row.kind {
        Kind::Immutable => 0,
        Kind::Mutable => 1,
        Kind::Corrupted => 2,
    };
    record[2..10].copy_from_slice(&row.used_space.to_be_bytes());
    record[10..19].copy_from_slice(&optional_record(row.expected_size));
    record[19..27].copy_from_slice(&row.since.to_be_bytes());
    record[27..].copy_from_slice(&row.epoch.to_be_bytes());
    record
}

/// The row of a record.
pub(super) fn row_of(id: ShareId, record: &RowRecord) -> Result<Row, DatabaseError> {
    let state = match record[0] {
        0 => State::Coming,
        1 => State::Stable,
        2 => State::Going,
        3 => State::Changing,
        _ => return Err(senseless(id)),
    };
    let kind = match record[1] {
        0 => Kind::Immutable,
        1 => Kind::Mutable,
        2 => Kind::Corrupted,
        _ => return Err(senseless(id)),
    };
    Ok(Row {
        state,
        kind,
        used_space: number(&record[2..10]),
        expected_size: optional_of(id, &record[10..19])?,
        since: number(&record[19..27]),
        epoch: number(&record[27..]),
    })
}

/// The record of a lease.
pub(super) fn lease_record(lease: &Lease) -> LeaseRecord {
    let mut record = [0; 17];
    record[..8].copy_from_slice(&lease.renewed.to_be_bytes());
    record[8..].copy_from_slice(&optional_record(lease.expires));
    record
}

/// The lease of a record.
pub(super) fn lease_from(id: ShareId, record: &LeaseRecord) -> Result<Lease, DatabaseError> {
    Ok(Lease { renewed: number(&record[..8]), expires: optional_of(id, &record[8..])? })
}

fn optional_record(value: Option<u64>) -> [u8; 9] {
    let mut record = [0; 9];
    record[0] = value.is_some().into();
    record[1..].copy_from_slice(&value.unwrap_or(0).to_be_bytes());
    record
}

fn optional_of(id: ShareId, record: &[u8]) -> Result<Option<u64>, DatabaseError> {
    match record[0] {
        0 => Ok(None),
        1 => Ok(Some(number(&record[1..]))),
        _ => Err(senseless(id)),
    }
}

/// A big-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn senseless(id: ShareId) -> DatabaseError {
    DatabaseError::Senseless(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ShareId = ShareId { index: StorageIndex(*b"storage indexxxx"), share: 0x0102_0304 };

    #[test]
    fn records_come_back() {
        let states = [State::Coming, State::Changing, State::Stable, State::Going];
        let kinds = [Kind::Immutable, Kind::Mutable, Kind::Corrupted];
        for (number, state) in states.into_iter().enumerate() {
            for kind in kinds {
                for expected_size in [None, Some(0), Some(u64::MAX)] {
                    let used_space = u64::MAX - number as u64;
                    let row = Row { state, kind, used_space, expected_size, since: 1 << 40, epoch: 77 };
                    assert_eq!(row_of(ID, &row_record(&row)), Ok(row));
                }
            }
        }
        for expires in [None, Some(0), Some(u64::MAX)] {
            let lease = Lease { renewed: 1 << 33, expires };
            assert_eq!(lease_from(ID, &lease_record(&lease)), Ok(lease));
        }
        assert_eq!(share_of(&share_key(ID)), ID);
        assert_eq!(lease_of(&lease_key(ID, AccountId(9))), (ID, AccountId(9)));
    }

    #[test]
    fn keys_order_as_shares_do() {
        let id = |first, share| ShareId { index: StorageIndex([first; 16]), share };
        let ids = [id(0, 0), id(0, 1), id(0, 256), id(1, 0), id(0x80, 2), id(0xff, u32::MAX)];
        for pair in ids.windows(2) {
            assert!(pair[0] < pair[1] && share_key(pair[0]) < share_key(pair[1]));
        }
    }

    #[test]
    fn a_record_without_sense_is_an_error() {
        let row = Row {
            state: State::Stable,
            kind: Kind::Mutable,
            used_space: 1,
            expected_size: Some(2),
            since: 3,
            epoch: 4,
        };
        for place in [0, 1, 10] {
            let mut record = row_record(&row);
            record[place] = 9;
            assert_eq!(row_of(ID, &record), Err(DatabaseError::Senseless(ID)), "byte {place}");
        }
        let mut record = lease_record(&Lease { renewed: 1, expires: None });
        record[8] = 2;
        assert_eq!(lease_from(ID, &record), Err(DatabaseError::Senseless(ID)));
    }
}
