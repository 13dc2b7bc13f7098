//! **leases**: a client that was told that it has a lease has one that lasts as long, until leases end that are over
//! (leasedb-and-storage §4).

use std::collections::BTreeMap;

use storage::share::ShareId;

use crate::classic::container::{Record, secret, stored};
use crate::classic::model::Promise;

/// Checks the lease records of a container of that version.
pub fn check_promised(
    id: ShareId,
    version: u32,
    records: &[Record],
    promises: &BTreeMap<u64, Promise>,
) -> Result<(), String> {
    for (client, promise) in promises {
        let renew = stored(version, &secret(*client));
        let mut own = records.iter().filter(|record| record.renew == renew).map(|record| record.expires);
        if !own.clone().any(|expires| u64::from(expires) >= promise.until) {
            let ends: Vec<_> = own.by_ref().collect();
            return Err(format!(
                "client {client} has a lease on share {id} until {}, and there is {ends:?}",
                promise.until
            ));
        }
    }
    Ok(())
}
