//! The keys of objects: `shares/<prefix>/<storage index>/<n>` for the first chunk of a share, `….<c>` for chunk `c`.
//!
//! A key is always read whole. That one begins like another says nothing: `…/1` is not `…/10`.

use std::path::Path;

use protocol::StorageIndex;

use crate::layout::{parse_index, parse_share};
use crate::share::{Prefix, ShareId};

/// Which chunk of which share.
pub(super) type ChunkId = (ShareId, u64);

/// The key of a chunk.
pub(super) fn key((id, chunk): ChunkId) -> String {
    match chunk {
        0 => format!("{}{}", of_file(&id.index), id.share),
        _ => format!("{}{}.{chunk}", of_file(&id.index), id.share),
    }
}

/// How the keys of all shares of a file begin.
pub(super) fn of_file(index: &StorageIndex) -> String {
    format!("{}{index}/", of_prefix(Prefix::of(index)))
}

/// How the keys of all files under a prefix begin.
pub(super) fn of_prefix(prefix: Prefix) -> String {
    format!("shares/{prefix}/")
}

/// How the keys of all shares begin.
pub(super) const ALL: &str = "shares/";

/// A key that comes after all those of a prefix, and before those of the next.
pub(super) fn after_prefix(prefix: Prefix) -> String {
    format!("shares/{prefix}0")
}

/// What a key names; none when it is none of ours.
pub(super) fn parse(text: &str) -> Option<ChunkId> {
    let (directory, name) = text.rsplit_once('/')?;
    let index = parse_index(Path::new(directory.rsplit_once('/')?.1))?;
    let (share, chunk) = match name.split_once('.') {
        Some((share, chunk)) => (share, chunk.parse().ok().filter(|chunk| *chunk > 0)?),
        None => (name, 0),
    };
    let id = ShareId { index, share: parse_share(Path::new(share))? };
    // One spelling for each.
    (key((id, chunk)) == text).then_some((id, chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_whole() {
        let id = ShareId { index: StorageIndex(*b"storage indexxxx"), share: 1 };
        assert_eq!(key((id, 0)), "shares/on/on2g64tbm5ssa2lomrsxq6dypa/1");
        assert_eq!(key((id, 12)), "shares/on/on2g64tbm5ssa2lomrsxq6dypa/1.12");
        for chunk in [(id, 0), (id, 1), (ShareId { share: 10, ..id }, 0), (id, u64::MAX)] {
            assert_eq!(parse(&key(chunk)), Some(chunk));
        }
        let file = "shares/on/on2g64tbm5ssa2lomrsxq6dypa/";
        for name in
            ["", "x", "01", "1.", "1.0", "1.01", "1.x", "1.1.1", "-1", "+1", "1.+1", "4294967296", "1/2"]
        {
            assert_eq!(parse(&format!("{file}{name}")), None, "{name}");
        }
        for other in
            ["1", "/1", "shares/oo/on2g64tbm5ssa2lomrsxq6dypa/1", "s/on/on2g64tbm5ssa2lomrsxq6dypa/1"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
