//! Settings of a client, and the bounds of time and memory that follow from them.

use std::collections::BTreeSet;
use std::time::Duration;

/// Settings of a [`Client`](crate::Client).
///
/// # How long a read can take
///
/// Whatever servers do, with `abandon` set every fetch of one segment ends within
///
/// ```text
/// find  = ceil(servers / max_outstanding_dyhbs) · dyhb_overdue + abandon
/// block = 6 · block_overdue
/// fetch = find + (shares + 1) · block + 6 · abandon
/// ```
///
/// plus the time of one decoding, where `servers` is how many the node asks and `shares` how many
/// shares they hold. The search asks `max_outstanding_dyhbs` servers at a time, a slot is freed at the
/// latest when its query is overdue, and the last query is given up `abandon` later. Reading one block
/// takes at most six rounds of calls (version, offset table, lengths, URI extension block, hashes, the
/// block); each round ends, becomes overdue or is given up in time. In the worst case each of the shares
/// is tried in turn before it is known to be overdue, and the last of them is waited for to its end.
/// One more fetch is made when the segment size was guessed wrong. A node fetches one segment at a time,
/// so a read also waits for the requests ahead of its own: `requests ahead · fetch`.
///
/// A silent server costs far less than that bound: its shares are tried last once it is overdue, so it
/// costs about one `block_overdue` in the life of a node.
///
/// # How much memory a node uses
///
/// At most k blocks and one decoded segment, what each of the shares being read has received for its
/// current block, `status_events` events of each kind, and the hashes checked so far (two per segment
/// read and tree). Nothing is sized by the number of segments of the file.
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
    /// How many pieces of advice may be under way at one time; more are dropped.
    pub max_advice: usize,
}

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
            max_advice: 256,
        }
    }
}
