//! **idle**: an upload that makes no progress for half an hour is given up, and its share can be uploaded again
//! (leasedb-and-storage §3.4; lease-bugs L9).

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::server::ShareNumber;
use runtime::Instant;
use storage::share::ShareId;

/// An upload without new bytes for so long is over, and so is its cleaning up.
pub const IDLE: Duration = Duration::from_secs(1800 + 120);

/// Checks a share that a client asked to upload and that it was neither offered nor told of. `progress` is when it was last
/// allocated by anybody, or came nearer to being complete.
pub fn check_refused(share: ShareNumber, now: Instant, progress: Option<Instant>) -> Result<(), String> {
    match progress {
        Some(last) if last + IDLE >= now => Ok(()),
        Some(last) => {
            Err(format!("share {share} can be uploaded by nobody, {:?} after it last got on", now - last))
        }
        None => Err(format!("share {share} is refused, and nobody ever uploaded it")),
    }
}

/// Checks the uploads that a server keeps room for: each must have got on lately.
pub fn check_open(
    uploads: impl Iterator<Item = ShareId>,
    progress: &BTreeMap<ShareId, Instant>,
    now: Instant,
) -> Result<(), String> {
    for id in uploads {
        if let Some(last) = progress.get(&id).filter(|last| **last + IDLE < now) {
            return Err(format!("an upload of share {id} is kept, {:?} after it last got on", now - *last));
        }
    }
    Ok(())
}
