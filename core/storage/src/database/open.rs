//! Opening the file: a new one is made, a damaged one is set aside, one of another version or on a failing disk is left
//! as it is.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTableMetadata, TableError};
use runtime::files::{File, Files, OpenMode};
use runtime::reached;

use super::file::{DatabaseFile, write_again};
use super::overlay::Overlay;
use super::records::{
    ACCOUNT_KEYS, ACCOUNTS, ATTRIBUTES, CRAWLER, HISTORY, LEASES, META, META_EPOCH, META_VERSION, SHARES,
    VERSION,
};
use super::{AccountId, DatabaseError, OpenError, closed, failed};

/// Bytes of the database that are kept in memory, at the most.
const CACHE: usize = 16 << 20;

/// Epochs that are skipped when a database is opened: more than can be given in the time for which commits may be lost
/// to a power failure. So none that was given before is given again, even when the counter fell back.
const EPOCHS_SKIPPED: u64 = 1 << 20;

/// No epoch is ever greater: a floor that says so is spoilt.
const GREATEST_EPOCH: u64 = u64::MAX / 4;

/// More epochs than one opening of the database ever gives.
const EPOCHS_TO_COME: u64 = 1 << 40;

/// An open database. Dropping it closes it.
pub(super) struct Live {
    /// None only while it is dropped.
    redb: Option<redb::Database>,
    file: DatabaseFile,
    /// The next epoch to give.
    pub next_epoch: AtomicU64,
    /// Nothing was committed since it was opened.
    pub untouched: AtomicBool,
}

/// What [`open`] made of a path.
pub(super) struct Found {
    pub live: Live,
    pub set_aside: Option<PathBuf>,
    pub fresh: bool,
}

/// Why a file cannot be used.
pub(super) enum Unusable {
    Disk(String),
    Damaged(String),
    Version(u64),
}

/// Opens the file at `path`, or makes it. Takes its lock. `now` is the time since the Unix epoch.
pub(super) fn open(files: &dyn Files, path: &Path, now: Duration) -> Result<Found, OpenError> {
    let disk = |error: io::Error| OpenError::Disk { path: path.into(), why: error.to_string() };
    let mut set_aside = None;
    loop {
        let file: Arc<dyn File> = files.open(path, OpenMode::CreateOrOpen).map_err(disk)?.into();
        take(&*file, path)?;
        let fresh = file.is_empty().map_err(disk)?;
        if fresh {
            // Before anything is in it: what is acknowledged later must not lose its name.
            files.sync_dir(directory_of(path)).map_err(disk)?;
        } else if !ended_well(&*file).map_err(disk)? {
            // Whoever had it open before may have died of a disk that could not make something durable.
            reached!("database: written again, as it did not end well");
            write_again(&*file).map_err(disk)?;
        }
        let least = read_floor(files, path).map_err(disk)?;
        match Live::open(file, now, least) {
            Ok(live) => {
                raise_floor(files, path, live.next_epoch.load(Ordering::Relaxed)).map_err(disk)?;
                return Ok(Found { live, set_aside, fresh });
            }
            Err(Unusable::Disk(why)) => return Err(OpenError::Disk { path: path.into(), why }),
            Err(Unusable::Version(found)) => return Err(OpenError::Version { path: path.into(), found }),
            Err(Unusable::Damaged(why)) if set_aside.is_some() || fresh => {
                let why = format!("a new one is unusable at once: {why}");
                return Err(OpenError::Disk { path: path.into(), why });
            }
            Err(Unusable::Damaged(why)) => {
                reached!("database: a damaged file was set aside");
                let aside = set_file_aside(files, path).map_err(disk)?;
                tracing::error!(aside = %aside.display(), why, "the lease database is damaged: a new one is made");
                set_aside = Some(aside);
            }
        }
    }
}

/// Whether a database was closed by who had it open last: redb says so in the tenth byte of its file, behind its magic number.
fn ended_well(file: &dyn File) -> io::Result<bool> {
    const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
    const NOT_CLOSED: u8 = 2;
    let mut head = [0; 10];
    let read = file.read_full_at(0, &mut head)?;
    Ok(read == head.len() && head.starts_with(MAGIC) && head[9] & NOT_CLOSED == 0)
}

/// Opens the file at `path`, and changes nothing on the disk then or later.
pub(super) fn look(files: &dyn Files, path: &Path, now: Duration) -> Result<Live, OpenError> {
    let disk = |error: io::Error| OpenError::Disk { path: path.into(), why: error.to_string() };
    let file = Overlay::new(files.open(path, OpenMode::Read).map_err(disk)?).map_err(disk)?;
    take(&file, path)?;
    Live::open(Arc::new(file), now, 0).map_err(|unusable| match unusable {
        Unusable::Disk(why) => OpenError::Disk { path: path.into(), why },
        Unusable::Damaged(why) => OpenError::Damaged { path: path.into(), why },
        Unusable::Version(found) => OpenError::Version { path: path.into(), found },
    })
}

/// The epoch that is greater than all that this or an earlier database at `path` has ever given: in a file beside it, which
/// stays when the database is lost. None, or one that makes no sense, is 0.
fn read_floor(files: &dyn Files, path: &Path) -> io::Result<u64> {
    let file = match files.open(&floor_of(path), OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut text = [0; FLOOR_DIGITS];
    let length = file.read_full_at(0, &mut text)?;
    let floor: Option<u64> = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.parse().ok());
    Ok(floor.filter(|floor| *floor <= GREATEST_EPOCH).unwrap_or(0))
}

/// Writes it down for the next opening, durably, before any epoch is given. `next` is the first to be given now.
fn raise_floor(files: &dyn Files, path: &Path, next: u64) -> io::Result<()> {
    let floor = next.saturating_add(EPOCHS_TO_COME);
    let file = files.open(&floor_of(path), OpenMode::CreateOrOpen)?;
    // Always as long, and within one sector: it is never torn.
    file.write_all_at(0, format!("{floor:0width$}\n", width = FLOOR_DIGITS).as_bytes())?;
    file.sync_data()?;
    files.sync_dir(directory_of(path))
}

/// Digits of the largest epoch.
const FLOOR_DIGITS: usize = 20;

fn floor_of(path: &Path) -> PathBuf {
    path.with_extension("epochs")
}

/// Takes the file for this process alone.
fn take(file: &dyn File, path: &Path) -> Result<(), OpenError> {
    file.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse(path.into()),
        _ => OpenError::Disk { path: path.into(), why: error.to_string() },
    })
}

impl Live {
    /// Opens the database in a file that is ours, and makes one in an empty file. The next epoch is `least` or greater.
    pub fn open(file: Arc<dyn File>, now: Duration, least: u64) -> Result<Live, Unusable> {
        let file = DatabaseFile::new(file);
        // redb does not expect some kinds of damage, and panics.
        let opened = catch_unwind(AssertUnwindSafe(|| open_redb(file.clone(), now, least)));
        let opened = opened.unwrap_or_else(|panic| Err(Unusable::Damaged(message_of(panic))));
        // An error of the disk says nothing about the file, whatever redb makes of it.
        let (redb, next_epoch) = match (opened, file.failure()) {
            (Ok(opened), None) => opened,
            (_, Some(why)) => {
                file.sever();
                return Err(Unusable::Disk(why));
            }
            (Err(unusable), None) => {
                file.sever();
                return Err(unusable);
            }
        };
        Ok(Live {
            redb: Some(redb),
            file,
            next_epoch: AtomicU64::new(next_epoch),
            untouched: AtomicBool::new(true),
        })
    }

    /// Begins to read.
    pub fn begin_read(&self) -> Result<redb::ReadTransaction, DatabaseError> {
        self.redb.as_ref().ok_or_else(closed)?.begin_read().map_err(failed)
    }

    /// Begins to write. Waits while another transaction writes.
    pub fn begin_write(&self) -> Result<redb::WriteTransaction, DatabaseError> {
        let redb = self.redb.as_ref().ok_or_else(closed)?;
        // After some failures of the disk redb does not take any more transactions, and panics.
        let begun = catch_unwind(AssertUnwindSafe(|| redb.begin_write()));
        begun.map(|begun| begun.map_err(failed)).unwrap_or_else(|panic| {
            self.sever();
            Err(failed(message_of(panic)))
        })
    }

    /// The disk failed, or this was severed.
    pub fn is_useless(&self) -> bool {
        self.file.is_useless()
    }

    /// What is read from the file may not be on the disk.
    pub fn is_doubtful(&self) -> bool {
        self.file.is_doubtful()
    }

    /// The file that it is in, still locked.
    pub fn file(&self) -> Arc<dyn File> {
        self.file.file()
    }

    /// Gives the database up: nothing is read or written through it any more.
    pub fn sever(&self) {
        self.file.sever();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let redb = self.redb.take();
        // Closing writes, which may fail in ways that redb does not expect.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(redb)));
    }
}

fn open_redb(file: DatabaseFile, now: Duration, least: u64) -> Result<(redb::Database, u64), Unusable> {
    let repaired = Arc::new(AtomicBool::new(false));
    let repairs = repaired.clone();
    let mut redb = redb::Builder::new()
        .set_cache_size(CACHE)
        .set_repair_callback(move |_| repairs.store(true, Ordering::Relaxed))
        .create_with_backend(file)
        .map_err(damaged)?;
    let transaction = redb.begin_read().map_err(damaged)?;
    let next_epoch = match transaction.open_table(META) {
        // Nobody was told of anything that is in a database without tables.
        Err(TableError::TableDoesNotExist(_)) if no_tables(&transaction)? => {
            drop(transaction);
            return initialise(&redb, now, least).map(|epoch| (redb, epoch));
        }
        Err(error) => return Err(damaged(error)),
        Ok(meta) => {
            let number = |name| Ok(meta.get(name).map_err(damaged)?.map(|number| number.value()));
            match number(META_VERSION)? {
                Some(VERSION) => {}
                Some(found) => return Err(Unusable::Version(found)),
                None => return Err(Unusable::Damaged("it has no version".into())),
            }
            let next = number(META_EPOCH)?
                .and_then(|epoch| epoch.checked_add(EPOCHS_SKIPPED).map(|next| next.max(least)));
            next.ok_or_else(|| Unusable::Damaged("it has no next epoch".into()))?
        }
    };
    check_tables(&transaction)?;
    drop(transaction);
    // After a crash redb has compared every checksum; after a clean end it takes the file's word.
    if !repaired.load(Ordering::Relaxed) {
        let sound = redb.check_integrity().map_err(damaged)?;
        if !sound {
            tracing::error!("the lease database had to be repaired: its last changes may be lost");
        }
    }
    Ok((redb, next_epoch))
}

/// Makes all tables of an empty database, in one transaction.
fn initialise(redb: &redb::Database, now: Duration, least: u64) -> Result<u64, Unusable> {
    // An earlier database of this server may have been lost, and writes with its epochs may still be on their way. Its
    // epochs began at an earlier time, and fewer than one in a microsecond were given; unless the clock was set back.
    let epoch = u64::try_from(now.as_micros()).unwrap_or(u64::MAX).max(least).min(GREATEST_EPOCH);
    let transaction = redb.begin_write().map_err(damaged)?;
    {
        let mut meta = transaction.open_table(META).map_err(damaged)?;
        meta.insert(META_VERSION, VERSION).map_err(damaged)?;
        meta.insert(META_EPOCH, epoch).map_err(damaged)?;
        let mut accounts = transaction.open_table(ACCOUNTS).map_err(damaged)?;
        for account in [AccountId::ANONYMOUS, AccountId::STARTER] {
            accounts.insert(account.0, (None, now.as_secs())).map_err(damaged)?;
        }
        transaction.open_table(SHARES).map_err(damaged)?;
        transaction.open_table(LEASES).map_err(damaged)?;
        transaction.open_table(ACCOUNT_KEYS).map_err(damaged)?;
        transaction.open_table(ATTRIBUTES).map_err(damaged)?;
        transaction.open_table(CRAWLER).map_err(damaged)?;
        transaction.open_table(HISTORY).map_err(damaged)?;
    }
    transaction.commit().map_err(damaged)?;
    Ok(epoch)
}

/// All tables are there, with the layouts that we know.
fn check_tables(transaction: &redb::ReadTransaction) -> Result<(), Unusable> {
    transaction.open_table(SHARES).map_err(damaged)?;
    transaction.open_table(LEASES).map_err(damaged)?;
    transaction.open_table(ACCOUNT_KEYS).map_err(damaged)?;
    transaction.open_table(ATTRIBUTES).map_err(damaged)?;
    transaction.open_table(CRAWLER).map_err(damaged)?;
    transaction.open_table(HISTORY).map_err(damaged)?;
    match transaction.open_table(ACCOUNTS).map_err(damaged)?.len().map_err(damaged)? {
        0 | 1 => Err(Unusable::Damaged("its first accounts are missing".into())),
        _ => Ok(()),
    }
}

fn no_tables(transaction: &redb::ReadTransaction) -> Result<bool, Unusable> {
    Ok(transaction.list_tables().map_err(damaged)?.next().is_none())
}

/// Renames a file to the first free `<name>.unusable-N`, durably.
fn set_file_aside(files: &dyn Files, path: &Path) -> io::Result<PathBuf> {
    for number in 1u32.. {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".unusable-{number}"));
        let aside = PathBuf::from(aside);
        match files.kind(&aside) {
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        files.rename(path, &aside)?;
        files.sync_dir(directory_of(path))?;
        return Ok(aside);
    }
    Err(io::Error::other("there is no free name to set the damaged file aside"))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    }
}

fn damaged(error: impl std::fmt::Display) -> Unusable {
    Unusable::Damaged(error.to_string())
}

/// What a panic of redb said. Panics that are none of its own go on.
fn message_of(panic: Box<dyn Any + Send>) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        _ => resume_unwind(panic),
    }
}
