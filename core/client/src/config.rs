//! Settings of a client, and the bounds of time and memory that follow from them.

use std::collections::BTreeSet;
use std::time::Duration;

/// Settings of a [`Client`](crate::Client).
///
/// # How long a read can take
///
/// Whatever servers do, with `abandon` set every fetch of one segment ends within
/// [`fetch_bound`](Config::fetch_bound), plus the time of one decoding:
///
/// ```text
/// find  = ceil(servers / max_outstanding_dyhbs) · dyhb_overdue + abandon
/// fetch = find + 5 · (shares + 1) · block_overdue + 5 · abandon
/// ```
///
/// The search asks `max_outstanding_dyhbs` servers at a time, a slot is free again at the latest when its
/// query is overdue, and the last query is given up `abandon` later. Reading one block takes at most five
/// rounds of calls: version; offset table; chain and length of the URI extension block; that block; hashes
/// and the block itself. Each call is answered, or overdue after `block_overdue` and given up `abandon`
/// later. In the worst case all the shares there are are tried one after the other, each of them silent in
/// its last round, and the last one is waited for to its end.
///
/// A read makes one fetch for each segment it covers, and one more if the segment size was guessed wrong.
/// A node makes one fetch at a time, first come first served, so a read also waits for the fetches ahead
/// of its own.
///
/// A silent server costs far less than that: once it is overdue its shares are tried last, so it costs
/// about one `block_overdue` in the life of a node.
///
/// # How much memory a node uses
///
/// At most k blocks and one decoded segment, as much again for each decoding that nobody wants any more (it
/// goes on to its end), what each of the shares being read has received for its current block,
/// `status_events` events of each kind, and the hashes checked so far (two per segment read and tree).
/// Nothing is sized by the number of segments of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A "do you have block" query without an answer for this long is overdue: it no longer counts
    /// against `max_outstanding_dyhbs`, and its answer is still welcome. [`Duration::MAX`]: never.
    pub dyhb_overdue: Duration,
    /// A read of a share without an answer for this long is overdue: another share is tried, and the
    /// answer is still welcome. [`Duration::MAX`]: never, as Tahoe-LAFS 1.20 does.
    pub block_overdue: Duration,
    /// A query or a read that has been overdue for this long is given up: the server is taken not to have
    /// the file, the share to be dead. `None` waits for ever, as Tahoe-LAFS 1.20 does.
    pub abandon: Option<Duration>,
    /// Queries that may be unanswered and not yet overdue at one time, at least 1.
    pub max_outstanding_dyhbs: usize,
    /// The segment size that a node guesses before it has seen a URI extension block, in bytes.
    pub guessed_max_segment_size: u64,
    /// The largest segment size, in bytes, that a URI extension block may name. It bounds memory: such
    /// a block is written by whoever made the file.
    pub max_segment_size: u64,
    /// Servers to be asked before all others, by name.
    pub preferred: BTreeSet<String>,
    /// How many events of each kind a node's [`Status`](crate::Status) keeps.
    pub status_events: usize,
    /// How long a server may take to accept advice about a corrupt share before the advice is dropped.
    pub advice_limit: Duration,
    /// How long a server may take to add a lease in a [check](crate::Client::check).
    pub lease_limit: Duration,
    /// How many pieces of advice may be under way at one time; more are dropped.
    pub max_advice: usize,
}

impl Config {
    /// The longest that a fetch of one segment can take, decoding aside, on a grid of so many servers with
    /// so many shares of the file. `None` without `abandon`: there is no bound.
    pub fn fetch_bound(&self, servers: u32, shares: u32) -> Option<Duration> {
        let abandon = self.abandon?;
        let waves = u64::from(servers).div_ceil(self.max_outstanding_dyhbs.max(1) as u64);
        let waves = u32::try_from(waves).unwrap_or(u32::MAX);
        let find = self.dyhb_overdue.saturating_mul(waves).saturating_add(abandon);
        let blocks = self.block_overdue.saturating_mul(ROUNDS.saturating_mul(shares.saturating_add(1)));
        Some(find.saturating_add(blocks).saturating_add(abandon.saturating_mul(ROUNDS)))
    }
}

/// The most rounds of calls that one block takes.
const ROUNDS: u32 = 5;

impl Default for Config {
    fn default() -> Self {
        Config {
            dyhb_overdue: Duration::from_secs(10),
            block_overdue: Duration::from_secs(10),
            abandon: Some(Duration::from_secs(30)),
            max_outstanding_dyhbs: 10,
            guessed_max_segment_size: 1 << 20,
            max_segment_size: 128 << 20,
            preferred: BTreeSet::new(),
            status_events: 256,
            advice_limit: Duration::from_secs(10),
            lease_limit: Duration::from_secs(30),
            max_advice: 256,
        }
    }
}
