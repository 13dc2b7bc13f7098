//! The layout of a share (spec §8): a header, then six regions. Where each is, how the header is
//! written and read. The same code places regions for an uploader and for a downloader's first guess.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::hash::Hash;
use crate::hash_tree::Shape;
use crate::segmentation::Segmentation;

/// The two versions of the header: fields of 32 bits, or of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 32-bit sizes and offsets.
    V1,
    /// 64-bit sizes and offsets.
    V2,
}

/// Where the regions of a share start, in bytes from the start of the share. Read from a header
/// nothing ties these to each other or to the share's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Version of the header.
    pub version: Version,
    /// The blocks, one after the other.
    pub data: u64,
    /// Reserved region of zeros, never read.
    pub plaintext_hash_tree: u64,
    /// All nodes of the crypttext tree.
    pub crypttext_hash_tree: u64,
    /// All nodes of this share's block tree.
    pub block_hashes: u64,
    /// This share's chain in the share tree.
    pub share_hashes: u64,
    /// Length of the URI extension block, then the block.
    pub uri_extension: u64,
}

/// What is wrong with a share's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Neither 1 nor 2.
    #[error("share version {0} is neither 1 nor 2")]
    Version(u32),
    /// Fewer bytes than the header, or than the field, has.
    #[error("{have} bytes are too few for a field of {need}")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// A region has a length that is negative or not a multiple of its entries' size.
    #[error("the {region} region, from {start} to {end}, does not hold entries of {entry} bytes")]
    Region {
        /// The region in question.
        region: &'static str,
        /// Its start.
        start: u64,
        /// Start of the next region.
        end: u64,
        /// Size of an entry in bytes.
        entry: u64,
    },
    /// A size or an offset exceeds what the version can hold.
    #[error("the share is too large for its version")]
    TooLarge,
    /// An offset of the header together with a size leads past 64 bits.
    #[error("an offset in the share's header is absurdly large")]
    Absurd,
}

impl Version {
    /// Length of the four bytes at the start of a share that hold its version.
    pub const FIELD: Range<u64> = 0..4;

    /// Reads the version from the first four bytes of a share (more may follow).
    pub fn parse(share: &[u8]) -> Result<Version, LayoutError> {
        match be(field(share, 0, 4)?) {
            1 => Ok(Version::V1),
            2 => Ok(Version::V2),
            other => Err(LayoutError::Version(other as u32)),
        }
    }

    /// Where the table of the six offsets is in a share.
    pub fn table(self) -> Range<u64> {
        match self {
            Version::V1 => 0x0c..0x24,
            Version::V2 => 0x14..0x44,
        }
    }

    /// Length of the header, which is where the data region of a sane share starts.
    pub fn header_len(self) -> u64 {
        self.table().end
    }

    /// Bytes of each size, offset and length field: 4 or 8.
    pub fn field_len(self) -> u64 {
        match self {
            Version::V1 => 4,
            Version::V2 => 8,
        }
    }

    fn number(self) -> u32 {
        match self {
            Version::V1 => 1,
            Version::V2 => 2,
        }
    }

    fn holds(self, number: u64) -> bool {
        self == Version::V2 || u32::try_from(number).is_ok()
    }

    /// Appends `number` as a field of this version, which must be able to hold it.
    pub(crate) fn write(self, out: &mut Vec<u8>, number: u64) {
        let bytes = number.to_be_bytes();
        out.extend_from_slice(&bytes[bytes.len() - self.field_len() as usize..]);
    }
}

impl Layout {
    /// Places the regions for a file, which must not be empty: version 1 if it can hold all sizes and
    /// offsets, else 2, or the version asked for.
    pub fn plan(file: &Segmentation, version: Option<Version>) -> Result<Layout, LayoutError> {
        match version {
            Some(version) => Self::place(file, version),
            None => match Self::place(file, Version::V1) {
                Err(LayoutError::TooLarge) => Self::place(file, Version::V2),
                placed => placed,
            },
        }
    }

    fn place(file: &Segmentation, version: Version) -> Result<Layout, LayoutError> {
        let tree = tree_len(file.segments)?;
        let after = |offset: u64, len: u64| {
            let end = offset.checked_add(len).ok_or(LayoutError::TooLarge)?;
            if version.holds(end) { Ok(end) } else { Err(LayoutError::TooLarge) }
        };
        if !version.holds(file.block_size) {
            return Err(LayoutError::TooLarge);
        }
        let data = version.header_len();
        let plaintext_hash_tree = after(data, file.share_data_size)?;
        let crypttext_hash_tree = after(plaintext_hash_tree, tree)?;
        let block_hashes = after(crypttext_hash_tree, tree)?;
        let share_hashes = after(block_hashes, tree)?;
        let uri_extension = after(share_hashes, CHAIN_ENTRY * chain_entries(file.n))?;
        Ok(Layout {
            version,
            data,
            plaintext_hash_tree,
            crypttext_hash_tree,
            block_hashes,
            share_hashes,
            uri_extension,
        })
    }

    /// The header of a share of `file` with this layout.
    pub fn header(&self, file: &Segmentation) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.version.header_len() as usize);
        out.extend_from_slice(&self.version.number().to_be_bytes());
        for number in [
            file.block_size,
            file.share_data_size,
            self.data,
            self.plaintext_hash_tree,
            self.crypttext_hash_tree,
            self.block_hashes,
            self.share_hashes,
            self.uri_extension,
        ] {
            self.version.write(&mut out, number);
        }
        out
    }

    /// Reads the layout from the start of a share: [`Version::header_len`] bytes (more may follow).
    pub fn parse(share: &[u8]) -> Result<Layout, LayoutError> {
        let version = Version::parse(share)?;
        let table = version.table();
        let table = field(share, table.start as usize, (table.end - table.start) as usize)?;
        Self::parse_table(version, table)
    }

    /// Reads the layout from the bytes at [`Version::table`], by the rules of a downloader: the share
    /// chain and block tree regions have a length that their entries can fill, and nothing else is
    /// required.
    pub fn parse_table(version: Version, table: &[u8]) -> Result<Layout, LayoutError> {
        let width = version.field_len() as usize;
        let offset = |i: usize| Ok(be(field(table, i * width, width)?));
        let layout = Layout {
            version,
            data: offset(0)?,
            plaintext_hash_tree: offset(1)?,
            crypttext_hash_tree: offset(2)?,
            block_hashes: offset(3)?,
            share_hashes: offset(4)?,
            uri_extension: offset(5)?,
        };
        check_region("share hash chain", layout.share_chain(), CHAIN_ENTRY)?;
        check_region("block hash tree", layout.block_hashes..layout.share_hashes, HASH)?;
        Ok(layout)
    }

    /// The bytes of this share's block of `segment`; `None` when the file has no such segment.
    pub fn block(&self, file: &Segmentation, segment: u64) -> Option<Result<Range<u64>, LayoutError>> {
        let block = file.block_range(segment)?;
        Some(at(self.data, block.start, block.end - block.start))
    }

    /// The bytes of node `node` of this share's block tree.
    pub fn block_tree_node(&self, node: u64) -> Result<Range<u64>, LayoutError> {
        tree_node(self.block_hashes, node)
    }

    /// The bytes of node `node` of the crypttext tree.
    pub fn crypttext_tree_node(&self, node: u64) -> Result<Range<u64>, LayoutError> {
        tree_node(self.crypttext_hash_tree, node)
    }

    /// The bytes of the share hash chain.
    pub fn share_chain(&self) -> Range<u64> {
        self.share_hashes..self.uri_extension
    }

    /// The bytes of the field that holds the length of the URI extension block.
    pub fn ueb_length(&self) -> Result<Range<u64>, LayoutError> {
        at(self.uri_extension, 0, self.version.field_len())
    }

    /// Reads the field at [`ueb_length`](Self::ueb_length).
    pub fn parse_ueb_length(&self, bytes: &[u8]) -> Result<u64, LayoutError> {
        Ok(be(field(bytes, 0, self.version.field_len() as usize)?))
    }

    /// The bytes of the URI extension block itself, `len` bytes long.
    pub fn ueb(&self, len: u64) -> Result<Range<u64>, LayoutError> {
        at(self.uri_extension, self.version.field_len(), len)
    }

    /// Length of a whole share whose URI extension block has `ueb_len` bytes.
    pub fn share_len(&self, ueb_len: u64) -> Result<u64, LayoutError> {
        Ok(self.ueb(ueb_len)?.end)
    }
}

/// Number of entries in a share hash chain of a file with `n` shares.
pub fn chain_entries(n: u32) -> u64 {
    u64::from(n.next_power_of_two().ilog2()) + 1
}

/// Reads the entries of a share hash chain: tree node and hash, in whatever order. Of two entries
/// for one node the later one counts. A left-over shorter than an entry is ignored.
pub fn parse_share_chain(bytes: &[u8]) -> BTreeMap<u64, Hash> {
    let entries = bytes.chunks_exact(CHAIN_ENTRY as usize).map(|entry| entry.split_at(2));
    entries.filter_map(|(node, hash)| Some((be(node), hash.try_into().ok()?))).collect()
}

/// Appends an entry of a share hash chain.
pub fn write_chain_entry(out: &mut Vec<u8>, node: u16, hash: &Hash) {
    out.extend_from_slice(&node.to_be_bytes());
    out.extend_from_slice(hash);
}

const HASH: u64 = 32;
const CHAIN_ENTRY: u64 = 2 + HASH;

/// Bytes of a stored tree over `leaves` leaves.
fn tree_len(leaves: u64) -> Result<u64, LayoutError> {
    let nodes = Shape::new(leaves).map_err(|_| LayoutError::TooLarge)?.nodes();
    nodes.checked_mul(HASH).ok_or(LayoutError::TooLarge)
}

fn tree_node(tree: u64, node: u64) -> Result<Range<u64>, LayoutError> {
    at(tree, node.checked_mul(HASH).ok_or(LayoutError::Absurd)?, HASH)
}

fn at(region: u64, offset: u64, len: u64) -> Result<Range<u64>, LayoutError> {
    let start = region.checked_add(offset).ok_or(LayoutError::Absurd)?;
    let end = start.checked_add(len).ok_or(LayoutError::Absurd)?;
    Ok(start..end)
}

fn check_region(region: &'static str, bytes: Range<u64>, entry: u64) -> Result<(), LayoutError> {
    let Range { start, end } = bytes;
    match end.checked_sub(start) {
        Some(len) if len % entry == 0 => Ok(()),
        _ => Err(LayoutError::Region { region, start, end, entry }),
    }
}

fn field(bytes: &[u8], start: usize, len: usize) -> Result<&[u8], LayoutError> {
    bytes
        .get(start..start + len)
        .ok_or(LayoutError::Short { have: bytes.len().saturating_sub(start), need: len })
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
