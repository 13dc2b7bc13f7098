//! Cancellations: which operation of a run is given up, when, and how.

use serde::{Deserialize, Serialize};

/// One operation that is cancelled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// The operation, by its label: `reader.0/read.2`.
    pub operation: String,
    /// The step after which it happens, as `LABEL#POLLS`; before the operation is polled at all, when absent. An operation
    /// that is not alive then is not cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How.
    pub by: Manner,
}

/// How an operation is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// Its future is dropped there and then, whoever is in the middle of what.
    Drop,
    /// Its task is aborted: the future is dropped when its turn comes, without being polled again.
    Abort,
    /// Its time is up: when its turn comes it is polled once more, and dropped unless that was its end.
    Timeout,
}

impl Manner {
    /// All of them.
    pub const ALL: [Manner; 3] = [Manner::Drop, Manner::Abort, Manner::Timeout];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Manner::Drop => "drop",
            Manner::Abort => "abort",
            Manner::Timeout => "timeout",
        }
    }
}
