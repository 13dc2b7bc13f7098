//! What a case does: the file, the servers that store it, and readers with their reads.

use seedgrid::grid::ServerSpec;
use serde::{Deserialize, Serialize};

use crate::fixtures::FileSpec;
use crate::table::is_default;

/// What a case does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridWorkload {
    /// The segment size that nodes guess before they know, in bytes; the client's own guess when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guess: Option<u64>,
    /// How many queries a node may have under way that are not overdue; the client's own limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_queries: Option<usize>,
    /// How many pieces of advice may be under way; the client's own limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_advice: Option<usize>,
    /// The file.
    pub file: FileSpec,
    /// The servers, by number.
    #[serde(rename = "server")]
    pub servers: Vec<ServerPlan>,
    /// The readers, all at once.
    #[serde(rename = "reader")]
    pub readers: Vec<ReaderPlan>,
}

/// A server, the shares that it starts with, and what it is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerPlan {
    /// The numbers of its shares.
    pub shares: Vec<u32>,
    /// Each call takes at least so many microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latency_us: u64,
    /// And up to so many more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub jitter_us: u64,
    /// It joins the grid so many microseconds after the start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub joins_us: u64,
    /// It answers a read past the end of a share with an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rejects_overrun: bool,
}

/// A reader: reads one after the other, on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderPlan {
    /// Which node it reads on. Readers of one node share what it knows.
    pub node: u32,
    /// When it starts, in microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub starts_us: u64,
    /// What it reads.
    #[serde(rename = "read")]
    pub reads: Vec<ReadPlan>,
}

/// One read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadPlan {
    /// The first byte.
    pub offset: u64,
    /// How many bytes; all to the end when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// It is dropped so many microseconds after its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_after_us: Option<u64>,
    /// It is dropped after so many turns of its reader, the time before not counted; whatever is ready then is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_after_turns: Option<u32>,
    /// It is dropped when it has given so many pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_after_pieces: Option<u64>,
    /// It is paused when it has given so many pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after_pieces: Option<u64>,
    /// For so many microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pause_us: u64,
}

/// The most turns after which a read is dropped: more would be a livelock to the world.
const MOST_TURNS: u32 = 10_000;

impl GridWorkload {
    /// Checks what a person may have written: every part must mean something.
    pub fn check(&self) -> Result<(), String> {
        let file = self.file.load()?;
        if self.servers.len() > 1000 || self.readers.len() > 1000 {
            return Err("more than 1000 servers or readers".into());
        }
        for (number, server) in self.servers.iter().enumerate() {
            if let Some(share) = server.shares.iter().find(|share| **share >= file.cap.n) {
                return Err(format!(
                    "server {number} has share {share} of a file with {} shares",
                    file.cap.n
                ));
            }
        }
        let reads = || self.readers.iter().flat_map(|reader| &reader.reads);
        if reads().any(|read| read.drop_after_turns > Some(MOST_TURNS)) {
            return Err(format!("a read that is dropped after more than {MOST_TURNS} turns"));
        }
        match self.guess {
            Some(0) => Err("a guessed segment size of 0".into()),
            _ => Ok(()),
        }
    }

    /// How many nodes the readers use.
    pub fn nodes(&self) -> u64 {
        let nodes: std::collections::BTreeSet<_> = self.readers.iter().map(|reader| reader.node).collect();
        nodes.len() as u64
    }
}

impl ServerPlan {
    /// What the server is like.
    pub fn spec(&self) -> ServerSpec {
        ServerSpec {
            latency_us: self.latency_us,
            jitter_us: self.jitter_us,
            rejects_overrun: self.rejects_overrun,
        }
    }
}
