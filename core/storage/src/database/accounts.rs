//! Accounts, and what is noted about them and by the crawler (leasedb-and-storage §7).

use redb::ReadableTable;

use super::records::{ACCOUNT_KEYS, ACCOUNTS, ATTRIBUTES, CRAWLER, CRAWLER_STATE, HISTORY};
use super::{AccountId, DatabaseError, Write, failed};

/// Cycles of the crawler that are remembered.
const CYCLES: u64 = 10;

impl Write<'_> {
    /// The account with this public key, made if there is none. `now` is in seconds since the Unix epoch.
    pub fn account(&mut self, public_key: &str, now: u64) -> Result<AccountId, DatabaseError> {
        let transaction = self.transaction;
        let mut keys = transaction.open_table(ACCOUNT_KEYS).map_err(failed)?;
        if let Some(known) = keys.get(public_key).map_err(failed)? {
            return Ok(AccountId(known.value()));
        }
        let mut accounts = transaction.open_table(ACCOUNTS).map_err(failed)?;
        let last = accounts.last().map_err(failed)?.map_or(AccountId::STARTER.0, |(last, _)| last.value());
        let id = last.checked_add(1).ok_or_else(|| failed("there are no more accounts to give"))?;
        accounts.insert(id, (Some(public_key), now)).map_err(failed)?;
        keys.insert(public_key, id).map_err(failed)?;
        let public_key = public_key.to_owned();
        self.can_be_undone_by(Box::new(move |write| {
            write.transaction.open_table(ACCOUNTS).map_err(failed)?.remove(id).map_err(failed)?;
            let mut keys = write.transaction.open_table(ACCOUNT_KEYS).map_err(failed)?;
            keys.remove(public_key.as_str()).map(drop).map_err(failed)
        }));
        Ok(AccountId(id))
    }

    /// Notes something about an account, instead of what was noted under the same name.
    pub fn set_attribute(
        &mut self,
        account: AccountId,
        name: &str,
        value: &str,
    ) -> Result<(), DatabaseError> {
        let before = self.replace_attribute(account, name, Some(value))?;
        let name = name.to_owned();
        self.can_be_undone_by(Box::new(move |write| {
            write.replace_attribute(account, &name, before.as_deref()).map(drop)
        }));
        Ok(())
    }

    /// Notes where the crawler is.
    pub fn set_crawler_state(&mut self, state: &str) -> Result<(), DatabaseError> {
        let before = self.replace_crawler_state(Some(state))?;
        self.can_be_undone_by(Box::new(move |write| {
            write.replace_crawler_state(before.as_deref()).map(drop)
        }));
        Ok(())
    }

    /// Notes what a cycle of the crawler found. The last ten are kept.
    pub fn add_crawler_cycle(&mut self, cycle: u64, found: &str) -> Result<(), DatabaseError> {
        self.put_cycle(cycle, Some(found))?;
        let history = self.transaction.open_table(HISTORY).map_err(failed)?;
        let numbers = history.iter().map_err(failed)?;
        let numbers: Result<Vec<u64>, _> =
            numbers.map(|entry| entry.map(|(number, _)| number.value())).collect();
        let numbers = numbers.map_err(failed)?;
        drop(history);
        for number in numbers.iter().rev().skip(CYCLES as usize) {
            self.put_cycle(*number, None)?;
        }
        Ok(())
    }

    fn replace_attribute(
        &mut self,
        account: AccountId,
        name: &str,
        value: Option<&str>,
    ) -> Result<Option<String>, DatabaseError> {
        let mut table = self.transaction.open_table(ATTRIBUTES).map_err(failed)?;
        let before = match value {
            Some(value) => table.insert((account.0, name), value).map_err(failed)?,
            None => table.remove((account.0, name)).map_err(failed)?,
        };
        Ok(before.map(|before| before.value().to_owned()))
    }

    fn replace_crawler_state(&mut self, state: Option<&str>) -> Result<Option<String>, DatabaseError> {
        let mut table = self.transaction.open_table(CRAWLER).map_err(failed)?;
        let before = match state {
            Some(state) => table.insert(CRAWLER_STATE, state).map_err(failed)?,
            None => table.remove(CRAWLER_STATE).map_err(failed)?,
        };
        Ok(before.map(|before| before.value().to_owned()))
    }

    fn put_cycle(&mut self, cycle: u64, found: Option<&str>) -> Result<(), DatabaseError> {
        let before = self.replace_cycle(cycle, found)?;
        self.can_be_undone_by(Box::new(move |write| write.replace_cycle(cycle, before.as_deref()).map(drop)));
        Ok(())
    }

    fn replace_cycle(&mut self, cycle: u64, found: Option<&str>) -> Result<Option<String>, DatabaseError> {
        let mut table = self.transaction.open_table(HISTORY).map_err(failed)?;
        let before = match found {
            Some(found) => table.insert(cycle, found).map_err(failed)?,
            None => table.remove(cycle).map_err(failed)?,
        };
        Ok(before.map(|before| before.value().to_owned()))
    }
}
