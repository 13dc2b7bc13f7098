//! **regular**: a read gives the value of the newest write that was acknowledged before it began, or a newer one; never an
//! older one, and never a value that nobody wrote (Lamport, "On Interprocess Communication", 1986).

use std::collections::{BTreeMap, BTreeSet};

use super::client::Stored;

/// What was written so far.
#[derive(Default)]
pub struct History {
    /// Values of writes that have begun, by key.
    begun: BTreeMap<u64, BTreeSet<u64>>,
    /// The newest version that was acknowledged, by key.
    acknowledged: BTreeMap<u64, u64>,
}

impl History {
    /// A write begins.
    pub fn begin(&mut self, key: u64, value: u64) {
        self.begun.entry(key).or_default().insert(value);
    }

    /// A write was acknowledged.
    pub fn acknowledge(&mut self, key: u64, version: u64) {
        let newest = self.acknowledged.entry(key).or_default();
        *newest = version.max(*newest);
    }

    /// The version that a read which begins now must give at least; 0 when none was acknowledged.
    pub fn floor(&self, key: u64) -> u64 {
        self.acknowledged.get(&key).copied().unwrap_or(0)
    }

    /// Checks what a read gave that began when the floor was `floor`.
    pub fn check_read(&self, key: u64, floor: u64, read: Option<Stored>) -> Result<(), String> {
        let version = read.map_or(0, |read| read.version);
        if version < floor {
            return Err(format!("key {key}: version {floor} was acknowledged, then a read gave {version}"));
        }
        match read {
            Some(Stored { value, .. }) if !self.begun.get(&key).is_some_and(|all| all.contains(&value)) => {
                Err(format!("key {key}: a read gave {value}, which nobody wrote"))
            }
            _ => Ok(()),
        }
    }
}
