//! Locks that all processes know of which serve the directory, and that outlive them: a file for each object that is locked
//! (annex-p2p §6.1).
//!
//! `retention/KEY` has a line for each lock: until when it keeps the object should its holder be lost, in seconds since the Unix
//! epoch, in decimal, rounded up. Who holds a lock has the file open, and shares it with others who do. So who can take it for
//! himself alone knows that all holders have unlocked or are lost, and then the lines count. A line never moves; who unlocks
//! fills his with zeros, or takes the file away when no other line counts.
//!
//! Who changes that, and who removes an object since there is no lock, does so when it is his turn: he takes the file
//! `retention/.turn` for a few operations, none of which waits for the disk.
//!
//! A clock that is set forward ends the retention of lost locks early: there is nothing else to go by. Where the file system
//! knows no locks of files, nothing is locked or removed: nobody could know who else does.

use std::io;
use std::path::Path;
use std::time::Duration;

use runtime::files::{File, Files, OpenMode};
use runtime::reached;

use super::flock::{self, if_free};
use super::guards::RETENTION;
use super::if_there;
use super::layout::Layout;
use crate::key::Key;

/// Bytes of a line: 20 digits, and a line feed.
const LENGTH: usize = 21;
/// How many lines there can be. No server has so many locks.
const MOST: usize = 100_000;

/// A lock that is written down. Dropped, it keeps its object until the time that is written there.
pub struct Line {
    file: Box<dyn File>,
    number: usize,
}

/// Writes down, durably, that an object is locked. `now` is the time since the Unix epoch. Called in jobs.
pub fn lock(layout: &Layout, files: &dyn Files, key: &Key, now: Duration) -> io::Result<Line> {
    let path = layout.retention(key);
    let (line, written) = {
        let _turn = turn(layout, files)?;
        let file = files.open(&path, OpenMode::CreateOrOpen)?;
        flock::must(&path, file.lock_shared())?;
        let lines = read(&*file)?;
        let number = lines.iter().position(|until| *until == Some(0)).unwrap_or(lines.len());
        let written = write(&*file, number, until(now));
        (Line { file, number }, written)
    };
    let durable = written.and_then(|()| line.file.sync_data()).and_then(|()| sync_entry(files, &path));
    match durable {
        Ok(()) => Ok(line),
        Err(error) => {
            // Nobody will be told of it. What is there of it goes, if the disk can do that.
            let _ = unlock(layout, files, key, line, now);
            Err(error)
        }
    }
}

/// Ends a lock, and all that it kept. What other locks keep is still written down. Called in jobs.
pub fn unlock(layout: &Layout, files: &dyn Files, key: &Key, line: Line, now: Duration) -> io::Result<()> {
    let (path, Line { file, number }) = (layout.retention(key), line);
    let turn = turn(layout, files)?;
    let alone = if_free(&path, file.lock())?;
    let mut others = read(&*file)?.into_iter().enumerate().filter(|(other, _)| *other != number);
    if !alone || others.any(|(_, until)| keeps(until, now)) {
        reached!("repository: somebody else has locked what is unlocked");
        return write(&*file, number, 0);
    }
    if if_there(files.remove_file(&path))?.is_none() {
        return Ok(());
    }
    drop(turn);
    sync_entry(files, &path)
}

/// Does something to an object that must not be done while a lock keeps it, and not at all if one does. It must not take long,
/// since nobody else can lock anything meanwhile. Called in jobs.
pub fn unless_locked<T>(
    layout: &Layout,
    files: &dyn Files,
    key: &Key,
    now: Duration,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<Option<T>> {
    let path = layout.retention(key);
    let _turn = turn(layout, files)?;
    let Some(file) = if_there(files.open(&path, OpenMode::Write))? else { return act().map(Some) };
    if !if_free(&path, file.lock())? {
        reached!("repository: a lock of another process keeps an object");
        return Ok(None);
    }
    let lines = read(&*file)?;
    if lines.iter().any(|until| keeps(*until, now)) {
        reached!("repository: a lock of a lost process keeps an object");
        set_right(&*file, &lines, now)?;
        return Ok(None);
    }
    let done = act()?;
    if_there(files.remove_file(&path))?;
    Ok(Some(done))
}

/// It is our turn until this is dropped.
fn turn(layout: &Layout, files: &dyn Files) -> io::Result<Box<dyn File>> {
    let path = layout.turn();
    let file = files.open(&path, OpenMode::CreateOrOpen)?;
    flock::must(&path, file.lock_in_turn())?;
    Ok(file)
}

/// The lines: until when each lock keeps the object; 0 when it was ended, none when that cannot be read. Of a lock that was not
/// written down to its end nobody was told.
fn read(file: &dyn File) -> io::Result<Vec<Option<u64>>> {
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if length % LENGTH != 0 {
        reached!("repository: a lock was not written down to its end");
    }
    if length / LENGTH > MOST {
        return Err(io::Error::other("there are too many locks of the object"));
    }
    let mut text = vec![0; length / LENGTH * LENGTH];
    let length = file.read_full_at(0, &mut text)?;
    let until = |line: &[u8]| std::str::from_utf8(line).ok().and_then(|line| line.trim_end().parse().ok());
    Ok(text[..length].chunks_exact(LENGTH).map(until).collect())
}

fn write(file: &dyn File, number: usize, until: u64) -> io::Result<()> {
    file.write_all_at((number * LENGTH) as u64, format!("{until:020}\n").as_bytes())
}

/// Whether a lock keeps its object though its holder is lost.
fn keeps(until: Option<u64>, now: Duration) -> bool {
    until.is_none_or(|until| Duration::from_secs(until) > now)
}

/// Until when a lock keeps its object that is taken now.
fn until(now: Duration) -> u64 {
    let until = now + RETENTION;
    until.as_secs() + u64::from(until.subsec_nanos() > 0)
}

/// What cannot be read is taken for a lock that has just been taken, and so is what no clock that is right can have written; but
/// not each time.
fn set_right(file: &dyn File, lines: &[Option<u64>], now: Duration) -> io::Result<()> {
    let latest = until(now);
    let wrong = |until: &Option<u64>| until.is_none_or(|until| until > latest);
    for (number, _) in lines.iter().enumerate().filter(|(_, until)| wrong(until)) {
        write(file, number, latest)?;
    }
    file.sync_data()
}

/// Makes the entry of a file durable.
fn sync_entry(files: &dyn Files, path: &Path) -> io::Result<()> {
    files.sync_dir(path.parent().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_no_earlier_than_it_should() {
        let at = |millis| Duration::from_millis(millis);
        for (now, ends) in [(1_000, 601), (1_001, 602), (1_900, 602)] {
            assert_eq!(until(at(now)), ends);
            assert!(keeps(Some(until(at(now))), at(now) + RETENTION - at(1)));
            assert!(!keeps(Some(until(at(now))), at(now) + RETENTION + at(1_000)));
        }
        assert!(keeps(None, at(1)) && !keeps(Some(0), at(1)));
    }
}
