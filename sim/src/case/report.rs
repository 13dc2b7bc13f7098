//! What a run came to.

use std::collections::BTreeMap;
use std::fmt;

use crate::schedule::Departure;
use crate::trace::{Recorded, StepDigests, Story, Timeline, WaitGraph};
use crate::world::Points;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All held.
    Pass,
    /// An oracle found what must not be.
    Violated {
        /// Which oracle.
        oracle: String,
        /// The evidence.
        detail: String,
    },
    /// Work is left and nothing can progress, or the bound passed.
    Hung {
        /// Which of the two.
        detail: String,
    },
    /// The operations are over, yet something is left.
    Leaked {
        /// What.
        detail: String,
    },
    /// A poll used up its fuel, or the supervisor's patience.
    Stuck {
        /// Who, and how.
        detail: String,
    },
    /// A task panicked.
    Panicked {
        /// Who, what and where.
        detail: String,
    },
    /// Two runs of one case differed.
    Nondeterministic {
        /// The first difference.
        detail: String,
    },
}

impl Verdict {
    /// The verdict in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Violated { .. } => "violated",
            Verdict::Hung { .. } => "hung",
            Verdict::Leaked { .. } => "leaked",
            Verdict::Stuck { .. } => "stuck",
            Verdict::Panicked { .. } => "panicked",
            Verdict::Nondeterministic { .. } => "nondeterministic",
        }
    }

    /// True when all held.
    pub fn is_pass(&self) -> bool {
        *self == Verdict::Pass
    }

    /// The oracle that found it, if one did.
    pub fn oracle(&self) -> Option<&str> {
        match self {
            Verdict::Violated { oracle, .. } => Some(oracle),
            _ => None,
        }
    }

    /// The evidence; empty for a pass.
    pub fn detail(&self) -> &str {
        match self {
            Verdict::Pass => "",
            Verdict::Violated { detail, .. }
            | Verdict::Hung { detail }
            | Verdict::Leaked { detail }
            | Verdict::Stuck { detail }
            | Verdict::Panicked { detail }
            | Verdict::Nondeterministic { detail } => detail,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.oracle(), self.detail()) {
            (_, "") => f.write_str(self.word()),
            (None, detail) => write!(f, "{}: {detail}", self.word()),
            (Some(oracle), detail) => write!(f, "{} ({oracle}): {detail}", self.word()),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// Equal for two runs that did the same things in the same order.
    pub digest: u64,
    /// Polls.
    pub steps: u64,
    /// Simulated nanoseconds.
    pub sim_ns: u64,
    /// Cancellations that the case wanted and that came about.
    pub cancels: u64,
    /// Crashes in the middle of an operation on a disk that the case wanted and that came about.
    pub crashes: u64,
    /// One bit for each of [`runtime::MARKS`], in order: what the run came by.
    pub reached: Vec<u64>,
    /// How often trouble of each kind took effect, by its name.
    pub effects: BTreeMap<&'static str, u32>,
    /// When the run was recorded in full: what happened.
    pub story: Option<Story>,
    /// When the run was recorded in full: who waits for what at its end.
    pub waits: Option<WaitGraph>,
    /// When the run was recorded in full: everything that happened and lasted.
    pub timeline: Option<Timeline>,
    /// When the run was recorded in full: the steps at which not the first ready task ran.
    pub departures: Vec<Departure>,
    /// When they were asked for: the points at which other runs can part from this one.
    pub points: Option<Points>,
    /// When they were asked for, or the run was recorded in full: the running digest after each step.
    pub step_digests: Option<StepDigests>,
    /// When the run was recorded in full: all of it.
    pub recorded: Option<Recorded>,
}
