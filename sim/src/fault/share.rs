//! Damage to stored shares: bit rot, truncation, loss, and shares that are not what they claim to be.
//!
//! A client must survive it because it asks servers that it does not trust: every byte is checked against the
//! capability's hash, and any k good shares are enough (tahoe-immutable §12.7).

use std::ops::Range;

use protocol::layout::{Layout, Version};
use protocol::segmentation::Segmentation;
use serde::{Deserialize, Serialize};

/// What happened to a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Damage {
    /// One bit is flipped.
    Flip {
        /// In which region.
        region: Region,
        /// At which byte of it, modulo its length.
        at: u64,
        /// Which bit, 0 to 7.
        bit: u8,
    },
    /// The share ends early.
    Truncate {
        /// Bytes that are left.
        length: u64,
    },
    /// The share is gone.
    Missing,
    /// The share is offered under another number.
    WrongNumber {
        /// The number that it claims.
        claims: u32,
    },
    /// The share's bytes are those of another file's share.
    OtherFile,
    /// An offset in the header points elsewhere.
    StaleOffset {
        /// Which offset.
        field: OffsetField,
        /// By how many bytes it is off; wraps around.
        by: i64,
    },
}

/// A region of a share (tahoe-immutable §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Region {
    /// The version field.
    Version,
    /// Block size and data size, which nobody reads.
    Sizes,
    /// The six offsets.
    Offsets,
    /// The blocks.
    Data,
    /// The reserved region of zeros, which nobody reads.
    PlaintextTree,
    /// The crypttext hash tree.
    CrypttextTree,
    /// This share's block hash tree.
    BlockTree,
    /// This share's chain in the share tree.
    ShareChain,
    /// The length of the URI extension block.
    UebLength,
    /// The URI extension block.
    Ueb,
}

/// An offset in a share's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OffsetField {
    /// The blocks.
    Data,
    /// The reserved region.
    PlaintextTree,
    /// The crypttext hash tree.
    CrypttextTree,
    /// The block hash tree.
    BlockTree,
    /// The share chain.
    ShareChain,
    /// The URI extension block.
    Ueb,
}

impl Damage {
    /// The name of each kind.
    pub const KINDS: [&'static str; 6] =
        ["flip", "truncate", "missing", "wrong-number", "other-file", "stale-offset"];

    /// Some of each kind: what an exhaustive search tries on every share.
    pub const SAMPLES: [Damage; 11] = [
        Damage::Missing,
        Damage::Truncate { length: 0 },
        Damage::Truncate { length: 200 },
        Damage::Flip { region: Region::Offsets, at: 0, bit: 0 },
        Damage::Flip { region: Region::Data, at: 0, bit: 0 },
        Damage::Flip { region: Region::CrypttextTree, at: 0, bit: 0 },
        Damage::Flip { region: Region::BlockTree, at: 0, bit: 0 },
        Damage::Flip { region: Region::ShareChain, at: 2, bit: 0 },
        Damage::Flip { region: Region::Ueb, at: 0, bit: 0 },
        Damage::WrongNumber { claims: 0 },
        Damage::OtherFile,
    ];

    /// Its name, for counts.
    pub fn name(&self) -> &'static str {
        match self {
            Damage::Flip { .. } => "flip",
            Damage::Truncate { .. } => "truncate",
            Damage::Missing => "missing",
            Damage::WrongNumber { .. } => "wrong-number",
            Damage::OtherFile => "other-file",
            Damage::StaleOffset { .. } => "stale-offset",
        }
    }
}

impl Region {
    /// All regions.
    pub const ALL: [Region; 10] = [
        Region::Version,
        Region::Sizes,
        Region::Offsets,
        Region::Data,
        Region::PlaintextTree,
        Region::CrypttextTree,
        Region::BlockTree,
        Region::ShareChain,
        Region::UebLength,
        Region::Ueb,
    ];

    /// Where the region is in an undamaged share of that layout and length.
    pub fn range(self, layout: &Layout, file: &Segmentation, share_len: u64) -> Range<u64> {
        let table = layout.version.table();
        match self {
            Region::Version => Version::FIELD,
            Region::Sizes => Version::FIELD.end..table.start,
            Region::Offsets => table,
            Region::Data => layout.data..layout.data + file.share_data_size,
            Region::PlaintextTree => layout.plaintext_hash_tree..layout.crypttext_hash_tree,
            Region::CrypttextTree => layout.crypttext_hash_tree..layout.block_hashes,
            Region::BlockTree => layout.block_hashes..layout.share_hashes,
            Region::ShareChain => layout.share_hashes..layout.uri_extension,
            Region::UebLength => layout.uri_extension..layout.uri_extension + layout.version.field_len(),
            Region::Ueb => layout.uri_extension + layout.version.field_len()..share_len,
        }
    }
}

impl OffsetField {
    /// All offsets, in the order of the header.
    pub const ALL: [OffsetField; 6] = [
        OffsetField::Data,
        OffsetField::PlaintextTree,
        OffsetField::CrypttextTree,
        OffsetField::BlockTree,
        OffsetField::ShareChain,
        OffsetField::Ueb,
    ];

    /// Where the field is in a share of that version.
    pub fn range(self, version: Version) -> Range<u64> {
        let start = version.table().start + self as u64 * version.field_len();
        start..start + version.field_len()
    }
}
