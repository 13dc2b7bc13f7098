//! **counted**: a call adds one lease to a share at the most, and takes none away unless leases end: whatever a crash has cut
//! off, their number is one of the two that it may be (lease-bugs L15).

use storage::share::ShareId;

/// Checks how many lease records there are against how many there may be.
pub fn check_count(id: ShareId, records: u64, [least, most]: [u64; 2]) -> Result<(), String> {
    match (least..=most).contains(&records) {
        true => Ok(()),
        false => Err(format!("share {id} has {records} leases, and should have {least} to {most}")),
    }
}
