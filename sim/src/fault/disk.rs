//! Disks that go wrong: crashes in the middle of an operation, failing calls, silent rot, no room, no haste.
//!
//! A server must survive it because a disk is only as good as its power and its medium, and because a process can end
//! between any two calls: what was acknowledged must be there afterwards, and what was not must be whole or absent
//! (leasedb-and-storage §13). What the medium itself spoils may be lost, and nothing beside it.

use serde::{Deserialize, Serialize};

/// A kind of operation on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskOp {
    /// One that changes the disk, or makes a change durable: creating, writing, setting a length, removing, renaming,
    /// syncing.
    Change,
    /// Any other: opening what exists, reading, listing, asking for a length or for room.
    Read,
}

/// What happens at an operation on a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiskEffect {
    /// The disk's actor goes down in the middle of the operation.
    Crash {
        /// Whether the process alone or the whole machine.
        how: CrashKind,
        /// What survives of that which was not durable: 0 nothing, 1 everything with the operation itself; any other
        /// number is a seed by which it is drawn.
        survivors: u64,
        /// After how many microseconds it is up again; never, when absent, until the scenario restarts it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_us: Option<u64>,
    },
    /// The operation fails, and nothing of it is done. After a sync of a file, what it should have made durable is still to be
    /// seen, but no later sync makes it so, unless it is written again: Linux takes for written what it could not write.
    Fail {
        /// With what.
        with: DiskError,
        /// How many operations of the same kind fail, from this one on.
        times: u32,
    },
    /// A bit of what is stored flips, silently, in the file that the operation is about: in what it reads or writes, or
    /// anywhere in the file when it does neither.
    Rot {
        /// At which byte of that, modulo its length.
        at: u64,
        /// Which bit, 0 to 7.
        bit: u8,
    },
    /// There is no room on the disk any more.
    Full {
        /// For how many microseconds; until the disk is healed, when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        us: Option<u64>,
    },
    /// The disk is slow: the actor's next background jobs begin late.
    Slow {
        /// By how many microseconds each.
        us: u64,
        /// How many jobs.
        jobs: u32,
    },
}

/// How an actor goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashKind {
    /// The process ends and the system lives on: every call that had returned persists, the one in progress may be done,
    /// not done, or (a write) torn.
    Process,
    /// The power goes: any part of what was not synced survives.
    Power,
}

/// An error of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskError {
    /// An input or output error (EIO).
    Io,
    /// No room left on the device (ENOSPC).
    NoSpace,
}

impl CrashKind {
    /// Both.
    pub const ALL: [CrashKind; 2] = [CrashKind::Process, CrashKind::Power];

    /// Its name, for counts.
    pub fn name(self) -> &'static str {
        match self {
            CrashKind::Process => "process-crash",
            CrashKind::Power => "power-loss",
        }
    }
}

impl DiskEffect {
    /// The name of each kind, as it is counted.
    pub const KINDS: [&'static str; 7] =
        ["process-crash", "power-loss", "disk-error", "no-space", "bit-rot", "full-disk", "slow-disk"];

    /// The kinds that take an actor down.
    pub const CRASHES: [&'static str; 2] = ["process-crash", "power-loss"];

    /// Some of each kind: what an exhaustive search tries on every operation.
    pub const SAMPLES: [DiskEffect; 9] = [
        DiskEffect::crash(CrashKind::Process, 0),
        DiskEffect::crash(CrashKind::Process, 1),
        DiskEffect::crash(CrashKind::Power, 0),
        DiskEffect::crash(CrashKind::Power, 1),
        DiskEffect::Fail { with: DiskError::Io, times: 1 },
        DiskEffect::Fail { with: DiskError::NoSpace, times: 1 },
        DiskEffect::Rot { at: 0, bit: 0 },
        DiskEffect::Full { us: None },
        DiskEffect::Slow { us: 11_000_000, jobs: 1 },
    ];

    /// A crash, and a restart a second later.
    pub const fn crash(how: CrashKind, survivors: u64) -> DiskEffect {
        DiskEffect::Crash { how, survivors, restart_us: Some(1_000_000) }
    }

    /// Its name, for counts.
    pub fn name(&self) -> &'static str {
        match self {
            DiskEffect::Crash { how, .. } => how.name(),
            DiskEffect::Fail { with: DiskError::Io, .. } => "disk-error",
            DiskEffect::Fail { with: DiskError::NoSpace, .. } => "no-space",
            DiskEffect::Rot { .. } => "bit-rot",
            DiskEffect::Full { .. } => "full-disk",
            DiskEffect::Slow { .. } => "slow-disk",
        }
    }
}
