//! What must happen to one share, given what the database and the backend say of it: the transition table of
//! leasedb-and-storage §15 and the crash matrix of §17, as a function.

use std::fmt;

use runtime::relapse;

use crate::backend::Body;
use crate::database::{Epoch, Row, State};
use crate::share::Kind;

/// What must happen to a share so that database and backend agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// NONE → STABLE with a starter lease (H): the backend has a share that the database does not know.
    Adopt {
        /// What it is.
        kind: Kind,
        /// Bytes that it uses.
        used: u64,
    },
    /// COMING → STABLE with a fresh lease (A5): nobody writes it any more, and it is provably complete.
    RollForward {
        /// The row's.
        epoch: Epoch,
        /// What it is.
        kind: Kind,
        /// Bytes that it uses.
        used: u64,
    },
    /// COMING → GOING → NONE (B): nobody writes it any more, and it is not complete.
    GiveUp {
        /// The row's.
        epoch: Epoch,
    },
    /// A change that was cut off (D): back to STABLE, as whatever is there now. Never deleted.
    EndChange {
        /// The row's.
        epoch: Epoch,
        /// What it is.
        kind: Kind,
        /// Bytes that it uses.
        used: u64,
    },
    /// STABLE → NONE with its leases: all of its objects have disappeared.
    Forget {
        /// The row's.
        epoch: Epoch,
    },
    /// STABLE, of another kind or size than the row says.
    Correct {
        /// The row's.
        epoch: Epoch,
        /// What it is.
        kind: Kind,
        /// Bytes that it uses.
        used: u64,
    },
    /// STABLE → GOING → NONE (F): nobody has a lease on it.
    Collect,
    /// GOING → NONE (F2, F3): a deletion that failed or was cut off.
    FinishDeletion {
        /// The row's.
        epoch: Epoch,
    },
    /// Objects without a row that make no whole share: somebody may be copying one in. Deleted if they are the same a
    /// whole crawl later.
    Watch {
        /// Bytes that they use.
        used: u64,
    },
    /// NONE → GOING → NONE: such objects, a crawl later (§10).
    Clear {
        /// Bytes that they use.
        used: u64,
    },
}

/// The step that a share needs, if any. `live`: an upload of it is in progress. The caller holds the file's lock, so
/// that a change or a deletion which the row tells of is over, one way or the other.
pub(crate) fn step(row: Option<&Row>, body: Option<&Body>, live: bool) -> Option<Step> {
    let Some(row) = row else {
        return match body? {
            Body::Incomplete { used } => Some(Step::Watch { used: *used }),
            body => Some(Step::Adopt { kind: kind(body), used: body.used() }),
        };
    };
    let epoch = row.epoch;
    match (row.state, body) {
        (State::Coming, _) if live || relapse!("lease-L7") => None,
        (State::Coming, Some(body)) if complete(row, body) => {
            Some(Step::RollForward { epoch, kind: row.kind, used: body.used() })
        }
        (State::Coming, _) => Some(Step::GiveUp { epoch }),
        (State::Changing, body) => {
            let kind = body.map_or(Kind::Corrupted, |body| seen(row, body));
            Some(Step::EndChange { epoch, kind, used: body.map_or(0, Body::used) })
        }
        (State::Stable, None) => Some(Step::Forget { epoch }),
        (State::Stable, Some(body)) => {
            let (kind, used) = (seen(row, body), body.used());
            let differs = (kind, used) != (row.kind, row.used_space);
            differs.then_some(Step::Correct { epoch, kind, used })
        }
        (State::Going, _) => (!relapse!("lease-L10")).then_some(Step::FinishDeletion { epoch }),
    }
}

/// True when the body is all of what a COMING row has promised.
fn complete(row: &Row, body: &Body) -> bool {
    match *body {
        Body::Immutable { size, .. } => row.kind == Kind::Immutable && row.expected_size == Some(size),
        Body::Mutable { .. } => row.kind == Kind::Mutable,
        Body::Incomplete { .. } | Body::Corrupted { .. } => false,
    }
}

/// What a share is that the row calls something: a share of the other kind under its name is none (§14).
fn seen(row: &Row, body: &Body) -> Kind {
    match (row.kind, kind(body)) {
        (Kind::Immutable, Kind::Mutable) | (Kind::Mutable, Kind::Immutable) => Kind::Corrupted,
        (_, kind) => kind,
    }
}

fn kind(body: &Body) -> Kind {
    match body {
        Body::Immutable { .. } => Kind::Immutable,
        Body::Mutable { .. } => Kind::Mutable,
        Body::Incomplete { .. } | Body::Corrupted { .. } => Kind::Corrupted,
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let corrupted = |kind| if kind == Kind::Corrupted { ", corrupted" } else { "" };
        match *self {
            Step::Adopt { kind, used } => write!(f, "adopt ({used} bytes{})", corrupted(kind)),
            Step::RollForward { .. } => f.write_str("finish the upload, which is complete"),
            Step::GiveUp { .. } => f.write_str("give up the upload, which is not complete"),
            Step::EndChange { kind, .. } => write!(f, "end a change that was cut off{}", corrupted(kind)),
            Step::Forget { .. } => f.write_str("forget: its files have disappeared"),
            Step::Correct { kind, used, .. } => {
                write!(f, "correct the row ({used} bytes{})", corrupted(kind))
            }
            Step::Collect => f.write_str("delete: nobody has a lease"),
            Step::FinishDeletion { .. } => f.write_str("finish the deletion"),
            Step::Watch { used } => write!(f, "wait: {used} bytes that make no share"),
            Step::Clear { used } => write!(f, "delete {used} bytes that make no share"),
        }
    }
}
