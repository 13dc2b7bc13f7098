//! Locks that outlive the process: a file beside each object that is locked says until when it is kept (annex-p2p §6.1).
//!
//! The file has the time since the Unix epoch, in seconds, in decimal. A clock that is set forward while nobody serves
//! the repository ends a retention early: there is nothing else to go by.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use runtime::files::{Files, OpenMode};
use runtime::reached;

use super::guards::{Guards, RETENTION};
use super::if_there;
use super::layout::Layout;
use crate::key::Key;

/// Bytes of the file: 20 digits, and a line feed.
const LENGTH: usize = 21;

/// Writes down, durably, until when the locks of an object keep it, should all their holders be lost now. `now` is the time
/// since the Unix epoch. Called in jobs.
pub fn note(layout: &Layout, files: &dyn Files, guards: &Guards, key: &Key, now: Duration) -> io::Result<()> {
    let _writing = guards.writing.lock().unwrap_or_else(PoisonError::into_inner);
    write(layout, files, key, guards.kept_for(key).map(|left| now + left))
}

/// For how long an object is still kept, as an earlier process wrote down. What cannot be read is taken for a lock that
/// has just been taken; but of one that was not written down to its end nobody was told. Called in jobs.
pub fn left(layout: &Layout, files: &dyn Files, key: &Key, now: Duration) -> io::Result<Option<Duration>> {
    let Some(file) = if_there(files.open(&layout.retention(key), OpenMode::Read))? else { return Ok(None) };
    let mut text = [0; LENGTH];
    if file.read_full_at(0, &mut text)? < LENGTH {
        reached!("repository: a lock was not written down to its end");
        return Ok(None);
    }
    let until = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
    let left = until.map_or(RETENTION, |until| Duration::from_secs(until).saturating_sub(now));
    Ok(Some(left.min(RETENTION)).filter(|left| !left.is_zero()))
}

fn write(layout: &Layout, files: &dyn Files, key: &Key, until: Option<Duration>) -> io::Result<()> {
    let path = layout.retention(key);
    match until {
        Some(until) => {
            let file = files.open(&path, OpenMode::CreateOrOpen)?;
            // Always as long: one that is written again never has a part of the old one behind it.
            file.write_all_at(0, format!("{:020}\n", until.as_secs()).as_bytes())?;
            file.sync_data()?;
        }
        None => {
            if if_there(files.remove_file(&path))?.is_none() {
                return Ok(());
            }
        }
    }
    files.sync_dir(path.parent().unwrap_or(&path))
}
