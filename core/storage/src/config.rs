//! Everything about a server that can be set, with the defaults of leasedb-and-storage §18.

use std::time::Duration;

use runtime::relapse;

use crate::share::Kind;

/// How long a client's lease lasts, in seconds: 31 days, fixed (§4).
pub const LEASE: u64 = 31 * 24 * 60 * 60;

/// How long the lease lasts that the server itself gives to a share it finds, in seconds: 60 days (§7).
pub const STARTER_LEASE: u64 = 60 * 24 * 60 * 60;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of the disk that are never given to shares.
    pub reserved_space: u64,
    /// No new immutable shares are taken.
    pub read_only: bool,
    /// When leases end, and whether shares without any are deleted.
    pub expire: Expire,
    /// A full upload may replace a share that is corrupted.
    pub replace_corrupt: bool,
    /// How long the answer "no such objects" of the backend is believed for reads of the same file.
    pub adopt_interval: Duration,
    /// When a committed transaction must be on the disk.
    pub sync: Sync,
    /// An upload without new bytes for so long is given up.
    pub upload_idle: Duration,
    /// The crawler.
    pub crawl: Crawl,
}

/// When leases end (§6, §10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expire {
    /// Off, nothing is ever deleted for want of a lease.
    pub enabled: bool,
    /// Which leases are over.
    pub mode: ExpireMode,
    /// Mutable shares may be deleted.
    pub mutable: bool,
    /// Immutable shares may be deleted.
    pub immutable: bool,
}

/// Which leases are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireMode {
    /// Those whose time is over; with a length, those renewed longer ago than that many seconds.
    Age(Option<u64>),
    /// Those renewed before this time, in seconds since the Unix epoch.
    CutOff(u64),
}

/// When a committed transaction must be on the disk (§13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before it is acknowledged.
    Full,
    /// About a second later. Until then a transaction is in the memory of this process alone: its end by a crash loses the
    /// last ones, as a power failure does, and never tears them; so may a disk that fails, since the database is then opened
    /// again as it is on the disk.
    Normal,
}

/// The accounting crawler's times.
#[derive(Clone, Debug)]
pub struct Crawl {
    /// From the start of the server to that of the first cycle.
    pub delay: Duration,
    /// At least so long from the start of a cycle to that of the next.
    pub cycle: Duration,
    /// How long a slice works, at the most, before it sleeps. Zero makes each prefix a slice.
    pub slice: Duration,
    /// The share of all time that it works, `0.0..=1.0`.
    pub duty: f64,
    /// The longest sleep between two slices.
    pub longest_sleep: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            reserved_space: 0,
            read_only: false,
            expire: Expire::default(),
            replace_corrupt: false,
            adopt_interval: Duration::from_secs(3600),
            sync: Sync::Full,
            upload_idle: Duration::from_secs(1800),
            crawl: Crawl::default(),
        }
    }
}

impl Expire {
    /// Whether a lease on a share of this kind is over: renewed and expiring at these times (none is never), in seconds
    /// since the Unix epoch.
    pub fn is_over(&self, kind: Kind, renewed: u64, expires: Option<u64>, now: u64) -> bool {
        let excepted = match kind {
            Kind::Immutable => !self.immutable,
            Kind::Mutable => !self.mutable,
            Kind::Corrupted => false,
        };
        let Some(expires) = expires.filter(|_| self.enabled && !excepted) else { return false };
        match self.mode {
            // The age of a lease, and a moment in time.
            ExpireMode::Age(None) if relapse!("lease-A1") => now.saturating_sub(renewed) > expires,
            ExpireMode::Age(None) => expires < now,
            ExpireMode::Age(Some(length)) => renewed < now.saturating_sub(length),
            ExpireMode::CutOff(time) => renewed < time,
        }
    }
}

impl Default for Expire {
    fn default() -> Self {
        Expire { enabled: false, mode: ExpireMode::Age(None), mutable: true, immutable: true }
    }
}

impl Default for Crawl {
    fn default() -> Self {
        Crawl {
            delay: Duration::from_secs(600),
            cycle: Duration::from_secs(43_200),
            slice: Duration::from_secs(1),
            duty: 0.1,
            longest_sleep: Duration::from_secs(299),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of leasedb-and-storage §6 and the rules of §10.
    #[test]
    fn leases_end_by_the_mode_and_the_kind() {
        let now = 1_700_000_000;
        let on = |mode| Expire { enabled: true, mode, ..Expire::default() };
        let over =
            |policy: &Expire, renewed| policy.is_over(Kind::Immutable, renewed, Some(renewed + LEASE), now);
        let natural = on(ExpireMode::Age(None));
        assert!(over(&natural, now - LEASE - 1) && !over(&natural, now - LEASE));
        let short = on(ExpireMode::Age(Some(60)));
        assert!(over(&short, now - 61) && !over(&short, now - 60));
        let cut = on(ExpireMode::CutOff(now - 500));
        assert!(over(&cut, now - 501) && !over(&cut, now - 500));
        assert!(!over(&Expire { enabled: false, ..natural.clone() }, 0));
        for policy in [&natural, &short, &cut] {
            assert!(!policy.is_over(Kind::Mutable, 0, None, now), "what never expires never ends");
        }
        let mutable = Expire { immutable: false, ..natural.clone() };
        let immutable = Expire { mutable: false, ..natural };
        for (kind, ends) in
            [(Kind::Immutable, [false, true]), (Kind::Mutable, [true, false]), (Kind::Corrupted, [true; 2])]
        {
            assert_eq!(
                [&mutable, &immutable].map(|policy| policy.is_over(kind, 0, Some(1), now)),
                ends,
                "{kind:?}"
            );
        }
    }
}
