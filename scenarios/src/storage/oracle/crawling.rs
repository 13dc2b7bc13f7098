//! **crawling**: as long as a server runs, its crawler works or has a timer set (leasedb-and-storage §16, I13).

use std::time::Duration;

use runtime::Instant;
use storage::crawler::Pulse;

/// How long a slice may take: the backend may be slow at each call, and be tried again.
const SLICE: Duration = Duration::from_secs(6 * 3600);
/// How late a timer may be: its task may have to wait for its turn.
const LATE: Duration = Duration::from_secs(1);

/// Checks what the crawler of a running server says of itself, and whether its actor has any timer set.
pub fn check_crawling(pulse: Option<Pulse>, now: Instant, timers: usize) -> Result<(), String> {
    match pulse {
        None => Err("the server runs, and its crawler does not".into()),
        Some(Pulse::SleepsUntil(until)) if until + LATE < now || timers == 0 && until > now => {
            Err(format!("the crawler sleeps until {until:?}, and {now:?} has come"))
        }
        Some(Pulse::WorksSince(since)) if since + SLICE < now => {
            Err(format!("the crawler has been in one slice for {:?}", now - since))
        }
        Some(_) => Ok(()),
    }
}
