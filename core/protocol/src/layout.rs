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
    /// The bytes at the start of a share that hold its version.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: u64 = 1 << 32;

    fn file(size: u64, k: u32, segment_size: u64) -> Segmentation {
        Segmentation::new(size, k, 10, segment_size).unwrap()
    }

    fn layout_at(version: Version, offsets: [u64; 6]) -> Layout {
        let [data, plaintext_hash_tree, crypttext_hash_tree, block_hashes, share_hashes, uri_extension] =
            offsets;
        Layout {
            version,
            data,
            plaintext_hash_tree,
            crypttext_hash_tree,
            block_hashes,
            share_hashes,
            uri_extension,
        }
    }

    #[test]
    fn ranges_in_vector_b() {
        let file = file(300, 3, 129);
        let layout = Layout::plan(&file, None).unwrap();
        assert_eq!(layout, layout_at(Version::V1, [36, 136, 360, 584, 808, 978]));
        assert_eq!(layout.block(&file, 1), Some(Ok(79..122)));
        assert_eq!(layout.block(&file, 2), Some(Ok(122..136)));
        assert_eq!(layout.block(&file, 3), None);
        assert_eq!(layout.crypttext_tree_node(6), Ok(552..584));
        assert_eq!(layout.block_tree_node(0), Ok(584..616));
        assert_eq!(layout.share_chain(), 808..978);
        assert_eq!(layout.ueb_length(), Ok(978..982));
        assert_eq!(layout.ueb(311), Ok(982..1293));
        assert_eq!(layout.share_len(311), Ok(1293));
    }

    /// The largest file of one segment per share tree node that version 1 holds, and one byte more.
    #[test]
    fn version_2_where_version_1_does_not_reach() {
        // One segment: header, data, three trees of one node, chain of five entries.
        let after_data = 3 * 32 + 5 * 34;
        let fits = LIMIT - 1 - after_data - 0x24;
        let layout = Layout::plan(&file(fits, 1, fits), None).unwrap();
        assert_eq!((layout.version, layout.uri_extension), (Version::V1, LIMIT - 1));
        assert_eq!(Layout::plan(&file(fits + 1, 1, fits + 1), Some(Version::V1)), Err(LayoutError::TooLarge));
        assert_eq!(Layout::plan(&file(fits + 1, 1, fits + 1), None).unwrap().version, Version::V2);
        // The block size alone can be too large for version 1.
        assert_eq!(Layout::plan(&file(100, 1, LIMIT - 1), None).unwrap().version, Version::V1);
        assert_eq!(Layout::plan(&file(100, 1, LIMIT), None).unwrap().version, Version::V2);
        assert_eq!(Layout::plan(&file(u64::MAX, 1, 1 << 60), None), Err(LayoutError::TooLarge));
        assert_eq!(Layout::plan(&file(u64::MAX, 1, 1), None), Err(LayoutError::TooLarge));
        assert_eq!(Layout::plan(&file(0, 3, 3), None), Err(LayoutError::TooLarge));
    }

    #[test]
    fn damaged_headers_are_refused() {
        let sane = layout_at(Version::V1, [36, 136, 360, 584, 808, 978]);
        let header = sane.header(&file(300, 3, 129));
        for len in 0..header.len() {
            let cut = Layout::parse(&header[..len]);
            assert!(matches!(cut, Err(LayoutError::Short { .. })), "{len}: {cut:?}");
        }
        let mut other = header.clone();
        other[3] = 3;
        assert_eq!(Layout::parse(&other), Err(LayoutError::Version(3)));
        let mut other = header.clone();
        other[0] = 0xff;
        assert_eq!(Layout::parse(&other), Err(LayoutError::Version(0xff00_0001)));
        for (share_hashes, uri_extension) in [(808, 979), (809, 979), (552, 978), (978, 808)] {
            let odd = Layout { share_hashes, uri_extension, ..sane };
            let read = Layout::parse(&odd.header(&file(300, 3, 129)));
            assert!(matches!(read, Err(LayoutError::Region { .. })), "{read:?}");
        }
        // Everything else goes: regions may overlap or point anywhere.
        let wild = layout_at(Version::V2, [u64::MAX, 0, u64::MAX, 64, 32, 66]);
        assert!(matches!(Layout::parse(&wild.header(&file(300, 3, 129))), Err(LayoutError::Region { .. })));
        let wild = Layout { block_hashes: 0, ..wild };
        assert_eq!(Layout::parse(&wild.header(&file(300, 3, 129))), Ok(wild));
    }

    #[test]
    fn absurd_offsets_give_errors_not_overflows() {
        let wild = layout_at(Version::V2, [u64::MAX; 6]);
        assert_eq!(wild.block(&file(300, 3, 129), 0), Some(Err(LayoutError::Absurd)));
        assert_eq!(wild.block_tree_node(0), Err(LayoutError::Absurd));
        assert_eq!(wild.block_tree_node(1), Err(LayoutError::Absurd));
        assert_eq!(wild.crypttext_tree_node(u64::MAX), Err(LayoutError::Absurd));
        assert_eq!(wild.ueb_length(), Err(LayoutError::Absurd));
        assert_eq!(Layout { uri_extension: 0, ..wild }.ueb(u64::MAX), Err(LayoutError::Absurd));
    }

    #[test]
    fn chains() {
        for (n, entries) in [(1, 1), (2, 2), (3, 3), (7, 4), (8, 4), (10, 5), (100, 8), (255, 9), (256, 9)] {
            assert_eq!(chain_entries(n), entries, "{n}");
        }
        let mut bytes = Vec::new();
        write_chain_entry(&mut bytes, 0x0102, &[1; 32]);
        write_chain_entry(&mut bytes, 4, &[2; 32]);
        write_chain_entry(&mut bytes, 4, &[3; 32]);
        bytes.extend([9; 33]);
        assert_eq!(parse_share_chain(&bytes), BTreeMap::from([(0x0102, [1; 32]), (4, [3; 32])]));
    }

    #[test]
    fn the_length_field_is_as_wide_as_the_version() {
        let layout = layout_at(Version::V1, [0; 6]);
        assert_eq!(layout.parse_ueb_length(&[0, 0, 1, 2, 9]), Ok(258));
        assert_eq!(layout.parse_ueb_length(&[0, 0, 1]), Err(LayoutError::Short { have: 3, need: 4 }));
        let layout = Layout { version: Version::V2, ..layout };
        assert_eq!(layout.parse_ueb_length(&[255; 8]), Ok(u64::MAX));
    }

    proptest! {
        #[test]
        fn round_trip(size in 1u64.., k in 1u32..=10, blocks in 1u64..1 << 40) {
            let file = Segmentation::new(size, k, 10, blocks * u64::from(k)).unwrap();
            for version in [None, Some(Version::V1), Some(Version::V2)] {
                if let Ok(layout) = Layout::plan(&file, version) {
                    let header = layout.header(&file);
                    prop_assert_eq!(header.len() as u64, layout.version.header_len());
                    prop_assert_eq!(Layout::parse(&header), Ok(layout));
                    prop_assert!(version.is_none_or(|version| version == layout.version));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(version in 0u8..4, bytes: Vec<u8>, node: u64, len: u64) {
            let share = [&[0, 0, 0, version], &bytes[..]].concat();
            if let Ok(layout) = Layout::parse(&share) {
                let _ = (layout.block_tree_node(node), layout.ueb(len), layout.ueb_length());
            }
            prop_assert!(parse_share_chain(&bytes).len() <= bytes.len() / 34);
        }
    }
}
