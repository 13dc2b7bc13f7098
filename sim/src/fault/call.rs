//! Calls that go wrong: servers that hang, refuse, answer late or wrongly, lose the connection, crash or pause.
//!
//! A client must survive it because all of this is what a grid of other people's machines does every day. One
//! such server must cost a read some time, never its result, while k good shares remain elsewhere.

use serde::{Deserialize, Serialize};

/// A kind of call to a storage server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallKind {
    /// "Do you have block": `get_buckets`.
    Dyhb,
    /// A read of a share.
    Read,
    /// Advice that a share is corrupt.
    Advise,
    /// A call that writes or leases.
    Write,
}

impl CallKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            CallKind::Dyhb => "dyhb",
            CallKind::Read => "read",
            CallKind::Advise => "advise",
            CallKind::Write => "write",
        }
    }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// Never answered, until the grid is healed; then really executed, late.
    Hang,
    /// Answered late.
    Slow {
        /// By how many microseconds more.
        us: u64,
    },
    /// Answered with an error.
    Refuse {
        /// Which.
        with: Refusal,
    },
    /// Executed, and the connection is lost before the answer. Readers over it are dead.
    Disconnect,
    /// Fewer bytes, or fewer shares, than there are.
    Short {
        /// How many are left.
        keep: u64,
    },
    /// More bytes than were asked for, or a share that nobody has.
    Long {
        /// How many more.
        extra: u64,
    },
    /// The right number of wrong bytes, or shares that nobody has.
    Garbage,
    /// Executed twice.
    Duplicate,
    /// The server goes down when the call arrives.
    Crash {
        /// After how many microseconds it is up again; never, when absent, until the grid is healed.
        restart_us: Option<u64>,
    },
    /// The server stops for a while when the call arrives: a process that is not scheduled.
    Pause {
        /// For how many microseconds.
        us: u64,
    },
}

/// An error that a server answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// It failed, in its own words.
    Failed,
    /// Its answer made no sense.
    BadAnswer,
    /// It has no such share.
    NoSuchShare,
    /// Its disk failed.
    Disk,
    /// The connection was lost, and came back at once.
    Disconnected,
}

impl Effect {
    /// The name of each kind.
    pub const KINDS: [&'static str; 10] =
        ["hang", "slow", "refuse", "disconnect", "short", "long", "garbage", "duplicate", "crash", "pause"];

    /// One or two of each kind: what an exhaustive search tries on every call.
    pub const SAMPLES: [Effect; 12] = [
        Effect::Hang,
        Effect::Slow { us: 11_000_000 },
        Effect::Refuse { with: Refusal::Failed },
        Effect::Refuse { with: Refusal::Disconnected },
        Effect::Disconnect,
        Effect::Short { keep: 0 },
        Effect::Short { keep: 1 },
        Effect::Long { extra: 1 },
        Effect::Garbage,
        Effect::Duplicate,
        Effect::Crash { restart_us: None },
        Effect::Pause { us: 11_000_000 },
    ];

    /// Its name, for counts.
    pub fn name(&self) -> &'static str {
        match self {
            Effect::Hang => "hang",
            Effect::Slow { .. } => "slow",
            Effect::Refuse { .. } => "refuse",
            Effect::Disconnect => "disconnect",
            Effect::Short { .. } => "short",
            Effect::Long { .. } => "long",
            Effect::Garbage => "garbage",
            Effect::Duplicate => "duplicate",
            Effect::Crash { .. } => "crash",
            Effect::Pause { .. } => "pause",
        }
    }
}
