//! What a case does: one storage server, clients with their steps, an operator with his.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::ShareNumber;
use serde::{Deserialize, Serialize};
use storage::config::{self, Config};

use crate::table::is_default;

/// What a case does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageWorkload {
    /// The server.
    pub server: ServerPlan,
    /// The clients, all at once.
    #[serde(rename = "client", default)]
    pub clients: Vec<ClientPlan>,
    /// What the server's operator does, and what befalls his machine, one after the other.
    #[serde(rename = "operator", default, skip_serializing_if = "Vec::is_empty")]
    pub operator: Vec<Deed>,
    /// What is tried at the end, when all is quiet.
    #[serde(default)]
    pub finale: Finale,
}

/// A storage server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerPlan {
    /// Shares are objects of a store, of chunks of so many bytes; files of a disk, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<u64>,
    /// On a disk, containers of up to so many bytes are in memory until they are published.
    #[serde(skip_serializing_if = "is_default")]
    pub in_memory: u64,
    /// Committed transactions may be on the disk some time later.
    #[serde(skip_serializing_if = "is_default")]
    pub lazy_sync: bool,
    /// When leases end.
    pub expiry: Expiry,
    /// From the start of the server to its first crawl.
    pub crawl_after_s: u64,
    /// From the start of a crawl to that of the next.
    pub crawl_every_s: u64,
    /// Each prefix is a slice of its own.
    #[serde(skip_serializing_if = "is_default")]
    pub small_slices: bool,
    /// Bytes of the disk that are kept free; all of it, for a server that takes nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub reserved: u64,
    /// No new immutable shares are taken.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// A full upload may replace a corrupted share.
    #[serde(skip_serializing_if = "is_default")]
    pub replaces_corrupt: bool,
    /// Each message takes at least so many microseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub latency_us: u64,
    /// Each call of the backend takes up to so many microseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub backend_us: u64,
}

impl Default for ServerPlan {
    fn default() -> Self {
        ServerPlan {
            cloud: None,
            in_memory: 0,
            lazy_sync: false,
            expiry: Expiry::Never,
            crawl_after_s: 600,
            crawl_every_s: 43_200,
            small_slices: false,
            reserved: 0,
            read_only: false,
            replaces_corrupt: false,
            latency_us: 0,
            backend_us: 0,
        }
    }
}

/// When leases end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// When their time is over.
    Age,
    /// So many days after they were renewed.
    Days(u64),
    /// If they were renewed before so many days had passed since the run began.
    CutOffDay(u64),
}

/// A client: steps one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// What it tries again when it does not know what became of a call; it goes away for good, when false.
    #[serde(default)]
    pub retries: bool,
    /// What it does.
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
}

/// A step of a client. What a field means depends on what is done; those that mean nothing there are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// It waits so many milliseconds first.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ms: u64,
    /// Then for the crawler to set to work, and so many milliseconds longer; or less long, when negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crawl_ms: Option<i64>,
    /// What it does.
    #[serde(rename = "do")]
    pub what: What,
    /// To which file.
    #[serde(skip_serializing_if = "is_default")]
    pub file: u64,
    /// To which of its shares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<ShareNumber>,
    /// Where: of a read or a write.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// How many bytes: of a share, a read or a write.
    #[serde(skip_serializing_if = "is_default")]
    pub length: u64,
    /// Which of several texts is written.
    #[serde(skip_serializing_if = "is_default")]
    pub text: u64,
    /// An upload comes in so many pieces.
    #[serde(skip_serializing_if = "is_default")]
    pub pieces: u64,
    /// With so many milliseconds between them.
    #[serde(skip_serializing_if = "is_default")]
    pub gap_ms: u64,
    /// In which order.
    #[serde(skip_serializing_if = "Order::is_forward")]
    pub order: Order,
    /// How an upload ends.
    #[serde(skip_serializing_if = "End::is_close")]
    pub end: End,
    /// What must hold for a write.
    #[serde(skip_serializing_if = "Test::is_nothing")]
    pub test: Test,
    /// The share is cut to this length by a write; zero deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// With the wrong write enabler.
    #[serde(skip_serializing_if = "is_default")]
    pub stranger: bool,
    /// A write has one more byte, where no share can have any: the server must refuse all of it.
    #[serde(skip_serializing_if = "is_default")]
    pub too_far: bool,
}

/// What a client does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Uploads immutable shares.
    Upload,
    /// Asks which immutable shares there are.
    #[default]
    List,
    /// Reads an immutable share.
    Read,
    /// Adds a lease to all shares of the file, or renews it.
    Renew,
    /// Asks for room for no share, which renews leases.
    Touch,
    /// Writes to mutable shares.
    Write,
    /// Asks which mutable shares there are.
    Slots,
    /// Reads a mutable share.
    ReadSlot,
    /// Complains of a share.
    Advise,
}

/// The order of the pieces of an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// From the first to the last.
    #[default]
    Forward,
    /// From the last to the first.
    Backward,
    /// Each piece with some of the next.
    Overlapping,
    /// Some of it twice, and differently the second time: the server must refuse that.
    Conflicting,
}

/// How an upload ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Closed.
    #[default]
    Close,
    /// Aborted after half of its pieces.
    Abort,
    /// Aborted when all is written.
    LateAbort,
    /// The client says nothing more, after half of its pieces.
    Silence,
    /// The client keeps writing the same byte, after half of its pieces, and never gets on.
    Dawdle,
}

/// What must hold for a write to mutable shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// Nothing.
    #[default]
    Nothing,
    /// The share is not there.
    Absent,
    /// The share is as this client read it last.
    Same,
    /// What never holds.
    Wrong,
}

/// What the operator does, or what befalls his machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deed {
    /// So many milliseconds after the last.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ms: u64,
    /// Then when the crawler has set to work, and so many milliseconds later; or earlier, when negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crawl_ms: Option<i64>,
    /// What.
    #[serde(rename = "do")]
    pub what: Happening,
    /// To which file.
    #[serde(skip_serializing_if = "is_default")]
    pub file: u64,
    /// To which of its shares.
    #[serde(skip_serializing_if = "is_default")]
    pub share: u64,
    /// How much: bytes, or seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub by: i64,
}

/// What happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happening {
    /// The server is stopped and started.
    #[default]
    Restart,
    /// The server's process dies; it is started again after `by` seconds.
    Crash,
    /// The power fails; it is started again after `by` seconds.
    PowerLoss,
    /// A sound share is copied into the storage directory, or into the store.
    CopyIn,
    /// All of a share is removed behind the server's back.
    Remove,
    /// The last object of a share is removed, or half of its file.
    RemoveSome,
    /// A share's file is cut to `by` bytes: its header.
    Truncate,
    /// The version in a share's header becomes one that nobody knows.
    SpoilHeader,
    /// The server is stopped, the lease database deleted, and the server started.
    DropDatabase,
    /// The backend is out of reach for `by` seconds.
    Outage,
}

/// What is tried at the end, when all is quiet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finale {
    /// Nothing more.
    #[default]
    Plain,
    /// Another start and another crawl: nothing may change.
    Again,
    /// The lease database is deleted: no share may be lost.
    Rebuild,
}

/// How many files there are.
pub const FILES: u64 = 5;

/// The longest outage, in seconds.
const OUTAGE: i64 = 3600;

/// The files whose shares are mutable; those of the others are immutable.
pub const SLOTS: [u64; 2] = [2, 4];

/// The storage index of a file. The first three have one prefix.
pub fn index_of(file: u64) -> StorageIndex {
    let prefix = if file < 3 { 0x1d } else { 0x50 + file as u8 };
    let mut index = [file as u8; 16];
    (index[0], index[1]) = (prefix, 0x40);
    StorageIndex(index)
}

/// `length` bytes of a text of a share, from `offset`: different at every place, and for every share and text.
pub fn text_of(file: u64, share: ShareNumber, text: u64, offset: u64, length: u64) -> Bytes {
    let salt = file << 32 ^ u64::from(share) << 16 ^ text << 8;
    let byte = |place: u64| ((place ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8;
    (offset..offset + length).map(byte).collect()
}

impl StorageWorkload {
    /// Checks what a person may have written: every part must mean something, and not be too much of it.
    pub fn check(&self) -> Result<(), String> {
        let steps = || self.clients.iter().flat_map(|client| &client.steps);
        let numbers: BTreeSet<ShareNumber> = steps().flat_map(|step| step.shares.iter().copied()).collect();
        match () {
            () if self.clients.len() > 20 => Err("more than 20 clients".into()),
            () if steps().count() > 1000 || self.operator.len() > 1000 => Err("more than 1000 steps".into()),
            () if steps().any(|step| step.file >= FILES) => Err(format!("there are {FILES} files")),
            () if self.operator.iter().any(|deed| deed.file >= FILES) => {
                Err(format!("there are {FILES} files"))
            }
            () if steps().any(|step| step.shares.len() > 8 || step.pieces > 100) => {
                Err("more than 8 shares or 100 pieces in one step".into())
            }
            () if numbers.iter().any(|share| *share > 255) => Err("a share number above 255".into()),
            () if self.operator.iter().any(|deed| deed.share > 255) => Err("a share number above 255".into()),
            () if steps().any(|step| step.offset.max(step.length) > 1 << 16) => {
                Err("an offset or a length above 65536".into())
            }
            () if self.operator.iter().any(|deed| deed.what == Happening::Outage && deed.by > OUTAGE) => {
                Err(format!("an outage of more than {OUTAGE} seconds"))
            }
            () if self.server.cloud == Some(0) => Err("chunks of 0 bytes".into()),
            () if self.server.crawl_every_s < 2 => Err("a crawl in less than two seconds".into()),
            () => Ok(()),
        }
    }
}

impl ServerPlan {
    /// The server's configuration. `epoch` is the wall clock at the start of a run, in seconds.
    pub fn config(&self, epoch: u64) -> Config {
        let mode = match self.expiry {
            Expiry::Never | Expiry::Age => config::ExpireMode::Age(None),
            Expiry::Days(days) => config::ExpireMode::Age(Some(days * DAY)),
            Expiry::CutOffDay(day) => config::ExpireMode::CutOff(epoch + day * DAY),
        };
        Config {
            reserved_space: self.reserved,
            read_only: self.read_only,
            expire: config::Expire {
                enabled: self.expiry != Expiry::Never,
                mode,
                ..config::Expire::default()
            },
            replace_corrupt: self.replaces_corrupt,
            sync: if self.lazy_sync { config::Sync::Normal } else { config::Sync::Full },
            crawl: config::Crawl {
                delay: Duration::from_secs(self.crawl_after_s),
                cycle: Duration::from_secs(self.crawl_every_s),
                slice: if self.small_slices { Duration::ZERO } else { Duration::from_secs(1) },
                ..config::Crawl::default()
            },
            ..Config::default()
        }
    }
}

/// Seconds of a day.
pub const DAY: u64 = 86_400;

impl Step {
    /// The protocol of §9 that it sets going.
    pub fn protocol(&self) -> &'static str {
        match (self.what, self.end, self.test, self.cut) {
            (What::Upload, End::Close, ..) => "A: create immutable",
            (What::Upload, ..) => "B: abort",
            (What::Write, _, _, Some(0)) => "E: delete mutable",
            (What::Write, _, Test::Absent, _) => "C: create mutable",
            (What::Write, ..) => "D: modify mutable",
            (What::Renew | What::Touch, ..) => "G: renew a lease",
            _ => "H: look and adopt",
        }
    }
}

impl Happening {
    /// Whether the machine goes down without warning.
    pub fn takes_down(self) -> bool {
        matches!(self, Happening::Crash | Happening::PowerLoss)
    }

    /// Whether it damages a share that is there.
    pub fn damages(self) -> bool {
        use Happening::{RemoveSome, SpoilHeader, Truncate};
        matches!(self, RemoveSome | SpoilHeader | Truncate)
    }
}

impl Order {
    fn is_forward(&self) -> bool {
        *self == Order::Forward
    }
}

impl End {
    fn is_close(&self) -> bool {
        *self == End::Close
    }
}

impl Test {
    fn is_nothing(&self) -> bool {
        *self == Test::Nothing
    }
}
