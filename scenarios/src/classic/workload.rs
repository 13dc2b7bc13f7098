//! What a case does: a node's storage directory with what is in it, clients with their steps, and what befalls them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storage::config::{Expire, ExpireMode};
use storage::share::{Prefix, ShareId};

use crate::storage::workload::{DAY, index_of, text_of};
use crate::table::is_default;

/// What a case does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassicWorkload {
    /// Bytes of a share of each file.
    pub sizes: [u64; FILES as usize],
    /// At the end all leases are left to end, and every share with them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub finale: bool,
    /// What the node's own server has left in its directory.
    #[serde(rename = "container", default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Inherited>,
    /// The clients, all at once.
    #[serde(rename = "client", default)]
    pub clients: Vec<ClientPlan>,
    /// What befalls the machine and the directory, one after the other.
    #[serde(rename = "deed", default, skip_serializing_if = "Vec::is_empty")]
    pub deeds: Vec<Deed>,
}

/// A container that is there from the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inherited {
    /// Of which file.
    pub file: u64,
    /// Which of its shares.
    pub share: u32,
    /// It is of version 1, whose lease secrets are in clear.
    #[serde(skip_serializing_if = "is_default")]
    pub old: bool,
    /// A lease of each client in turn, and after how many days of the run it ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<i64>,
    /// In which state it is.
    pub state: Condition,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Sound.
    #[default]
    Sound,
    /// Behind the leases is a record that the count does not know of.
    Torn,
    /// The same, of which the medium kept only the length.
    TornBlank,
    /// The same, of which the medium kept the first half.
    TornHalf,
    /// Behind a torn record is a lease that the node has added since, and counted.
    TornThenLeased,
    /// The header has a version that nobody knows.
    Foreign,
    /// The file ends within the header.
    Short,
    /// The header counts more leases than the file can hold.
    Boastful,
    /// The header counts more leases than anybody looks at, and the file is long enough for them.
    Crowded,
}

/// A client: steps one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// What it does.
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
}

/// A step of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// It waits so many milliseconds first.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ms: u64,
    /// What it does.
    #[serde(rename = "do")]
    pub what: What,
    /// To which file.
    #[serde(skip_serializing_if = "is_default")]
    pub file: u64,
    /// To which of its shares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<u32>,
    /// Where it reads.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// How many bytes it reads.
    #[serde(skip_serializing_if = "is_default")]
    pub length: u64,
    /// In how many pieces it uploads.
    #[serde(skip_serializing_if = "is_default")]
    pub pieces: u64,
    /// How an upload ends.
    #[serde(skip_serializing_if = "End::is_close")]
    pub end: End,
    /// Which leases it has end.
    #[serde(skip_serializing_if = "Policy::is_age")]
    pub policy: Policy,
}

/// What a client does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Uploads shares.
    Upload,
    /// Reads shares.
    #[default]
    Read,
    /// Adds a lease to all shares of the file, or renews it.
    Renew,
    /// Lists the leases of the file's prefix.
    List,
    /// Has leases under the file's prefix end.
    Expire,
}

/// How an upload ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Closed.
    #[default]
    Close,
    /// Aborted.
    Abort,
    /// The client is gone after half of its pieces, and the server notices.
    HangUp,
}

/// Which leases end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Those whose time is over.
    #[default]
    Age,
    /// Those that were renewed longer ago than so many days.
    Days(u64),
    /// Those that were renewed before so many days of the run had passed.
    CutOffDay(u64),
    /// None.
    Off,
}

/// What befalls the machine or the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deed {
    /// So many milliseconds after the last.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ms: u64,
    /// What.
    #[serde(rename = "do")]
    pub what: Happening,
    /// To which file.
    #[serde(skip_serializing_if = "is_default")]
    pub file: u64,
    /// To which of its shares.
    #[serde(skip_serializing_if = "is_default")]
    pub share: u32,
}

/// What happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happening {
    /// The process dies, and is started again.
    #[default]
    Crash,
    /// The power fails.
    PowerLoss,
    /// The process is ended, the node starts, which sweeps unfinished uploads away, and the process is started again.
    NodeStarts,
    /// The node, which is running, adds a lease to a share.
    NodeLeases,
    /// The node dies while it adds a lease: the record is there, and not counted.
    NodeTears,
    /// A header gets a version that nobody knows.
    Spoil,
}

/// How many files there are. The first three have one prefix.
pub const FILES: u64 = 4;

/// The share numbers that are uploaded, and asked for.
pub const SHARES: [u32; 4] = [0, 1, 10, 255];

/// Every share that there may be.
pub fn all_shares() -> impl Iterator<Item = ShareId> {
    (0..FILES).flat_map(|file| SHARES.into_iter().map(move |share| ShareId { index: index_of(file), share }))
}

/// The prefixes of all files.
pub fn prefixes() -> [Prefix; 2] {
    [0, 3].map(|file| Prefix::of(&index_of(file)))
}

impl ClassicWorkload {
    /// Checks what a person may have written: every part must mean something, and not be too much of it.
    pub fn check(&self) -> Result<(), String> {
        let steps = || self.clients.iter().flat_map(|client| &client.steps);
        let shares = steps().flat_map(|step| step.shares.iter().copied());
        let mut shares =
            shares.chain(self.containers.iter().map(|c| c.share)).chain(self.deeds.iter().map(|d| d.share));
        let files = steps().map(|step| step.file);
        let mut files =
            files.chain(self.containers.iter().map(|c| c.file)).chain(self.deeds.iter().map(|d| d.file));
        match () {
            () if self.clients.len() > 20 => Err("more than 20 clients".into()),
            () if steps().count() > 1000 || self.deeds.len() > 1000 || self.containers.len() > 100 => {
                Err("more than 1000 steps, or 100 containers".into())
            }
            () if files.any(|file| file >= FILES) => Err(format!("there are {FILES} files")),
            () if shares.any(|share| !SHARES.contains(&share)) => Err(format!("the shares are {SHARES:?}")),
            // Nothing tells an empty share from one whose length its server did not know.
            () if self.sizes.iter().any(|size| !(1..=1 << 16).contains(size)) => {
                Err("a share has 1 to 65536 bytes".into())
            }
            () if steps().any(|step| step.pieces > 100) => Err("more than 100 pieces".into()),
            () if self.containers.iter().any(|c| c.leases.len() > 20) => Err("more than 20 leases".into()),
            () => Ok(()),
        }
    }

    /// The data of a share, which is the same whoever uploads it.
    pub fn data(&self, id: ShareId) -> Bytes {
        let file = (0..FILES).find(|file| index_of(*file) == id.index).unwrap_or(0);
        text_of(file, id.share, 0, 0, self.sizes[file as usize])
    }
}

impl Policy {
    /// As it is configured. `epoch` is the wall clock at the start of a run, in seconds.
    pub fn expire(self, epoch: u64) -> Expire {
        let mode = match self {
            Policy::Age | Policy::Off => ExpireMode::Age(None),
            Policy::Days(days) => ExpireMode::Age(Some(days.saturating_mul(DAY))),
            Policy::CutOffDay(day) => ExpireMode::CutOff(epoch.saturating_add(day.saturating_mul(DAY))),
        };
        Expire { enabled: self != Policy::Off, mode, ..Expire::default() }
    }

    fn is_age(&self) -> bool {
        *self == Policy::Age
    }
}

impl End {
    fn is_close(&self) -> bool {
        *self == End::Close
    }
}
