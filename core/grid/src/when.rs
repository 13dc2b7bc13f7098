//! Times as people write them: dates, moments and lengths (leasedb-and-storage §18).

const DAY: u64 = 24 * 60 * 60;

/// A moment, in seconds since the Unix epoch, as `2026-01-31 12:00:00` UTC.
pub fn moment(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / DAY);
    let second = seconds % DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Midnight UTC of a date like `2026-01-31`, in seconds since the Unix epoch. For clap.
pub fn date(text: &str) -> Result<u64, String> {
    let wrong = || "a date like 2026-01-31 is expected, 1970 or later".to_owned();
    let parts: Vec<u64> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let [year @ 1970..=9999, month @ 1..=12, day @ 1..=31] = parts[..] else { return Err(wrong()) };
    // The days of a year are few: the one that is called so is looked for.
    let first = (year - 1970) * 365 + (year - 1969) / 4 - (year - 1901) / 100 + (year - 1601) / 400;
    let found = (first..first + 366).find(|days| civil(*days) == (year, month, day));
    found.map(|days| days * DAY).ok_or_else(wrong)
}

/// A length like `31days`, `2mo` or `1 year`, in seconds. A month has 31 days, a year 365. For clap.
pub fn length(text: &str) -> Result<u64, String> {
    let wrong = || "a length like 31days, 2mo or 1year is expected".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "s" | "second" | "seconds" => 1,
        "day" | "days" => DAY,
        "mo" | "month" | "months" => 31 * DAY,
        "year" | "years" => 365 * DAY,
        _ => return Err(wrong()),
    };
    number.parse().ok().and_then(|number: u64| number.checked_mul(unit)).ok_or_else(wrong)
}

/// Year, month and day of a day, counted from 1970-01-01. Years begin in March here, so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00:00");
        assert_eq!(moment(1_700_000_000), "2023-11-14 22:13:20");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00");
        for text in ["1970-01-01", "1999-12-31", "2000-02-29", "2026-03-01", "2100-03-01", "9999-12-31"] {
            assert_eq!(moment(date(text).unwrap()), format!("{text} 00:00:00"));
        }
        for text in
            ["", "2026", "2026-13-01", "2026-02-30", "2100-02-29", "1969-12-31", "2026-1-x", "1-2-3-4"]
        {
            assert!(date(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths() {
        let lengths = [
            ("31day", 31 * DAY),
            ("2mo", 62 * DAY),
            ("2years", 730 * DAY),
            ("1 month", 31 * DAY),
            ("90s", 90),
        ];
        for (text, seconds) in lengths {
            assert_eq!(length(text), Ok(seconds), "{text}");
        }
        for text in
            ["", "31", "days", "-1day", "3 fortnights", "99999999999999999999days", "999999999999999999years"]
        {
            assert!(length(text).is_err(), "{text}");
        }
    }
}
