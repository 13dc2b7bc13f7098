//! How shares are filed: `<prefix>/<storage index>/<share number>` (leasedb-and-storage §2). Every name has one spelling;
//! whatever is spelled otherwise is foreign, and ignored.

use std::path::{Path, PathBuf};

use protocol::server::ShareNumber;
use protocol::{StorageIndex, base32};

use crate::share::{Prefix, ShareId};

/// `<prefix>/<storage index>` below `directory`.
pub(crate) fn below(directory: PathBuf, index: &StorageIndex) -> PathBuf {
    let index = index.to_string();
    directory.join(&index[..2]).join(index)
}

/// The prefix that a name spells.
pub(crate) fn parse_prefix(name: &Path) -> Option<Prefix> {
    let name = name.to_str().filter(|name| name.len() == 2)?;
    base32::decode_array(&format!("{name}{:a<24}", "")).map(|index| Prefix::of(&StorageIndex(index)))
}

/// The storage index that a name spells.
pub(crate) fn parse_index(name: &Path) -> Option<StorageIndex> {
    base32::decode_array(name.to_str()?).map(StorageIndex)
}

/// The share that the name of a file in `incoming` spells: `<storage index>.<share number>`.
pub(crate) fn parse_incoming(name: &Path) -> Option<ShareId> {
    let (index, share) = name.to_str()?.split_once('.')?;
    Some(ShareId { index: parse_index(Path::new(index))?, share: parse_share(Path::new(share))? })
}

/// The share number that a name spells.
pub(crate) fn parse_share(name: &Path) -> Option<ShareNumber> {
    let name = name.to_str()?;
    let share: ShareNumber = name.parse().ok()?;
    (share.to_string() == name).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let index = StorageIndex(*b"storage indexxxx");
        let path = below(PathBuf::from("shares"), &index);
        assert_eq!(path, Path::new("shares/on/on2g64tbm5ssa2lomrsxq6dypa"));
        assert_eq!(parse_index(Path::new("on2g64tbm5ssa2lomrsxq6dypa")), Some(index));
        for foreign in
            ["on2g64tbm5ssa2lomrsxq6dypb", "ON2G64TBM5SSA2LOMRSXQ6DYPA", "on2g64tbm5ssa2lomrsxq6dyp", ""]
        {
            assert_eq!(parse_index(Path::new(foreign)), None, "{foreign}");
        }
        for prefix in (0..Prefix::COUNT).filter_map(Prefix::nth) {
            assert_eq!(parse_prefix(Path::new(&prefix.to_string())), Some(prefix));
        }
        for foreign in ["", "o", "onn", "ON", "o1", "é"] {
            assert_eq!(parse_prefix(Path::new(foreign)), None, "{foreign}");
        }
        assert_eq!(parse_share(Path::new("0")), Some(0));
        assert_eq!(parse_share(Path::new("4294967295")), Some(u32::MAX));
        for foreign in ["", "x", "011", "+12", "-1", "4294967296", ".13", "14~", "1.0"] {
            assert_eq!(parse_share(Path::new(foreign)), None, "{foreign}");
        }
    }
}
