//! The report that a client leaves about a damaged share (leasedb-and-storage §3.7, gbs-http §10): a
//! text file of its own in `corruption-advisories`.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::Duration;

use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::files::{File, Files, OpenMode};

/// The most bytes of a client's words that are kept.
const MAX_REASON: usize = 32 << 10;

/// How many reports about one share in one microsecond are kept.
const MAX_SAME_MOMENT: u32 = 100;

/// Writes a report about a share of this kind, `immutable` or `mutable`. `now` counts from the Unix epoch.
pub(crate) fn record(
    files: &dyn Files,
    directory: &Path,
    now: Duration,
    kind: &str,
    index: &StorageIndex,
    share: ShareNumber,
    reason: &str,
) -> io::Result<()> {
    let reason = cut(reason);
    let report = format!(
        "report: Share Corruption\ntype: {kind}\nstorage_index: {index}\nshare_number: {share}\n\n{reason}\n\n"
    );
    files.create_dir_all(directory)?;
    let file = create(files, directory, &format!("{}--{index}-{share}", utc(now)))?;
    file.write_all_at(0, report.as_bytes())?;
    file.sync_data()?;
    // The report's name, and that of the directory, which may be new.
    files.sync_dir(directory)?;
    files.sync_dir(directory.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))
}

/// As much of a client's words as is kept.
pub(crate) fn cut(reason: &str) -> Cow<'_, str> {
    String::from_utf8_lossy(&reason.as_bytes()[..reason.len().min(MAX_REASON)])
}

fn create(files: &dyn Files, directory: &Path, name: &str) -> io::Result<Box<dyn File>> {
    let mut created = files.open(&directory.join(name), OpenMode::CreateNew);
    for again in 1..MAX_SAME_MOMENT {
        match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                created = files.open(&directory.join(format!("{name}.{again}")), OpenMode::CreateNew);
            }
            done => return done,
        }
    }
    created
}

/// The time as Tahoe names its reports: `2026-11-21T091717.252705`.
fn utc(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = since_epoch.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}{minute:02}{second:02}.{micros:06}")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years are counted from the first of March of a year divisible by 400, so that a leap day ends
    // its year, and 400 years are always 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    match month {
        0..10 => (era * 400 + year_of_era, month + 3, day),
        _ => (era * 400 + year_of_era + 1, month - 9, day),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T000000.000000"),
            (951_782_399, "2000-02-28T235959.000000"),
            (951_782_400, "2000-02-29T000000.000000"),
            (951_868_800, "2000-03-01T000000.000000"),
            (1_709_164_800, "2024-02-29T000000.000000"),
            (1_735_689_599, "2024-12-31T235959.000000"),
            (4_107_542_400, "2100-03-01T000000.000000"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), text);
        }
        assert_eq!(utc(Duration::new(1_795_252_637, 252_705_999)), "2026-11-21T091717.252705");
    }
}
