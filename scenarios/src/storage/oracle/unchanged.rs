//! **unchanged**: another start and another crawl change nothing; and no share is lost with the lease database
//! (leasedb-and-storage, Q6 and Q7).

use crate::storage::look::{Kept, Seen};

/// Checks rows and shares before and after another start and another crawl. Leases may have been collected meanwhile.
pub fn check_again(
    before: &Seen,
    after: &Seen,
    may_be_over: impl Fn(&storage::share::ShareId) -> bool,
) -> Result<(), String> {
    for (id, row) in before.rows.iter().filter(|(id, _)| !may_be_over(id)) {
        match after.rows.get(id) {
            Some(new) if (new.kind, new.used_space, new.state) == (row.kind, row.used_space, row.state) => {}
            other => {
                return Err(format!(
                    "another start and crawl made {other:?} of {row:?}, the row of share {id}"
                ));
            }
        }
    }
    if let Some(id) = after.rows.keys().find(|id| !before.rows.contains_key(id)) {
        return Err(format!("another start and crawl made a row of share {id}"));
    }
    check_rebuilt(before, after, may_be_over)
}

/// Checks that the same shares are there, with the same bytes. What makes no share may be cleared away.
pub fn check_rebuilt(
    before: &Seen,
    after: &Seen,
    may_be_over: impl Fn(&storage::share::ShareId) -> bool,
) -> Result<(), String> {
    let sound = before.kept.iter().filter(|(_, (kept, _))| *kept != Kept::Bad);
    for (id, kept) in sound.filter(|(id, _)| !may_be_over(id)) {
        if after.kept.get(id) != Some(kept) {
            return Err(format!("share {id} is no longer what it was"));
        }
    }
    match after.kept.keys().find(|id| !before.kept.contains_key(id)) {
        Some(id) => Err(format!("share {id} came out of nothing")),
        None => Ok(()),
    }
}
