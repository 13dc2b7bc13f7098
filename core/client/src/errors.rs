//! What can go wrong: with opening a file, with reading it, with a single share.

use std::fmt;

use protocol::hash_tree::HashTreeError;
use protocol::layout::LayoutError;
use protocol::server::ServerError;
use protocol::ueb::UebError;

/// Why a file cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The client was closed.
    #[error("the client is closed: open the file with a new one")]
    Closed,
    /// The capability names a file that cannot exist.
    #[error("the capability names an impossible file: {0}")]
    Impossible(String),
}

/// Why a read ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No usable share of the segment was found on any server.
    #[error("no shares (need {needed}). Last failure: {}", Or(last_failure, "none"))]
    NoShares {
        /// How many shares are needed.
        needed: u32,
        /// What went wrong with the last share that failed.
        last_failure: Option<ShareFailure>,
    },
    /// Some shares of the segment were found, and too few.
    #[error("ran out of shares: {tally} need {needed}. Last failure: {}", Or(last_failure, "none"))]
    NotEnoughShares {
        /// How many shares are needed.
        needed: u32,
        /// What had become of the shares that were found.
        tally: Box<Tally>,
        /// What went wrong with the last share that failed.
        last_failure: Option<ShareFailure>,
    },
    /// The file has no such segment.
    #[error("the file has no such segment: segnum={segment}, numsegs={segments}")]
    BadSegmentNumber {
        /// The segment asked for.
        segment: u64,
        /// How many the file has.
        segments: u64,
    },
    /// The blocks of the segment were what the uploader had hashed, yet what they decode to is not.
    #[error("the ciphertext of segment {segment} has the wrong hash: the file was encoded inconsistently")]
    BadCiphertextHash {
        /// The segment.
        segment: u64,
    },
    /// The client, or the node, was closed while the read was under way.
    #[error("the client was closed while the read was under way")]
    Closed,
    /// A defect of this client.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

/// The numbers of the shares of a segment that was given up, by what had become of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Their block arrived.
    pub complete: Vec<u32>,
    /// Their block was still to come.
    pub pending: Vec<u32>,
    /// Their block was overdue.
    pub overdue: Vec<u32>,
    /// They could not be of use: spare copies.
    pub unused: Vec<u32>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { complete, pending, overdue, unused } = self;
        let (complete, pending) = (List(complete), List(pending));
        write!(f, "complete={complete} pending={pending} overdue={} unused={}", List(overdue), List(unused))
    }
}

/// Why a share is not used any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareFailure {
    /// The header makes no sense.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A region or field claims an impossible length.
    #[error("the {region} claims {length} bytes where 1 to {limit} are possible")]
    Length {
        /// The region in question.
        region: &'static str,
        /// What it claims.
        length: u64,
        /// The largest length possible.
        limit: u64,
    },
    /// The share ends before something that it must have.
    #[error("the share has no bytes at {0}, where some are needed")]
    Unavailable(u64),
    /// The URI extension block is not the one that the capability names, or makes no sense.
    #[error(transparent)]
    Ueb(#[from] UebError),
    /// Segments larger than [`Config::max_segment_size`](crate::Config::max_segment_size).
    #[error("segments of {0} bytes are larger than this client accepts")]
    SegmentSize(u64),
    /// Hashes of one of its trees do not belong to the file.
    #[error("bad hashes in the {region}: {error}")]
    BadHash {
        /// Where the hashes came from.
        region: &'static str,
        /// What is wrong with them.
        error: HashTreeError,
    },
    /// The share hash chain does not reach this share.
    #[error("the share hash chain is incomplete")]
    IncompleteChain,
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server was silent for too long.
    #[error("the server did not answer in time")]
    Abandoned,
}

/// Share numbers as Tahoe writes them: `sh0,sh3`.
struct List<'a>(&'a [u32]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, number) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}sh{number}")?;
        }
        Ok(())
    }
}

struct Or<'a, T>(&'a Option<T>, &'static str);

impl<T: fmt::Display> fmt::Display for Or<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str(self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_read_as_tahoes() {
        let none = ReadError::NoShares { needed: 3, last_failure: None };
        assert_eq!(none.to_string(), "no shares (need 3). Last failure: none");
        let few = ReadError::NotEnoughShares {
            needed: 3,
            tally: Box::new(Tally { complete: vec![0, 1], overdue: vec![2], ..Tally::default() }),
            last_failure: Some(ShareFailure::Server(ServerError::Disconnected)),
        };
        assert_eq!(
            few.to_string(),
            "ran out of shares: complete=sh0,sh1 pending= overdue=sh2 unused= need 3. \
             Last failure: the connection to the server is lost"
        );
    }
}
