//! Looking at a server from outside: what is on its disk or in its store, by a reader of our own, and what is in its
//! database (leasedb-and-storage §2, §12).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::files::{Files, OpenMode};
use storage::database::{AccountId, Database, DatabaseError, Lease, Row};
use storage::share::{Prefix, ShareId};

use super::workload::{FILES, index_of};

/// Where the server keeps everything on its disk.
pub const STATE: &str = "/storage";

/// What is kept under the name of a share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// A sound immutable share: its data.
    Immutable(Bytes),
    /// A sound mutable share: its data.
    Mutable(Bytes),
    /// No sound share.
    Bad,
}

/// What there is on a server: rows and leases from the database, shares from the disk or the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The rows of the database.
    pub rows: BTreeMap<ShareId, Row>,
    /// Its leases, of shares with and without a row.
    pub leases: BTreeMap<ShareId, BTreeMap<AccountId, Lease>>,
    /// What is kept under the names of shares, and how many bytes that takes.
    pub kept: BTreeMap<ShareId, (Kept, u64)>,
    /// Uploads on their way in, where they are kept apart.
    pub incoming: BTreeSet<String>,
}

/// The rows and the leases of a file.
pub async fn look_up(
    database: &Database,
    index: StorageIndex,
    shares: BTreeSet<ShareNumber>,
) -> Result<Seen, DatabaseError> {
    database
        .view("look", move |read| {
            let rows = read.rows(index)?;
            let mut seen = Seen::default();
            for share in shares.iter().copied().chain(rows.keys().copied()) {
                let id = ShareId { index, share };
                seen.leases.insert(id, read.leases(id)?);
            }
            seen.rows = rows.into_iter().map(|(share, row)| (ShareId { index, share }, row)).collect();
            seen.leases.retain(|_, leases| !leases.is_empty());
            Ok(seen)
        })
        .await
}

/// All rows and leases. `shares` are numbers that there may be leases of without a row.
pub async fn look_at_database(
    database: &Database,
    shares: BTreeSet<ShareNumber>,
) -> Result<Seen, DatabaseError> {
    database
        .view("look", move |read| {
            let mut seen = Seen::default();
            for prefix in (0..FILES).map(|file| Prefix::of(&index_of(file))).collect::<BTreeSet<_>>() {
                seen.rows.extend(read.prefix(prefix)?);
            }
            let ids = (0..FILES).map(index_of);
            let ids = ids.flat_map(|index| shares.iter().map(move |share| ShareId { index, share: *share }));
            for id in ids.chain(seen.rows.keys().copied()).collect::<BTreeSet<_>>() {
                let leases = read.leases(id)?;
                if !leases.is_empty() {
                    seen.leases.insert(id, leases);
                }
            }
            Ok(seen)
        })
        .await
}

/// What is on a disk.
pub fn look_at_disk(disk: &dyn Files, seen: &mut Seen) {
    for file in 0..FILES {
        let index = index_of(file);
        let dir = directory_of(&index);
        for name in disk.list(&dir).unwrap_or_default() {
            let Some(share) = number(&name.to_string_lossy()) else { continue };
            let bytes = read_all(disk, &dir.join(&name));
            let used = bytes.len() as u64;
            seen.kept.insert(ShareId { index, share }, (judge(&bytes), used));
        }
    }
    let mut dirs = vec![PathBuf::from(STATE).join("shares/incoming")];
    while let Some(dir) = dirs.pop() {
        for name in disk.list(&dir).unwrap_or_default() {
            match disk.kind(&dir.join(&name)) {
                Ok(runtime::files::FileKind::File) => {
                    seen.incoming.insert(dir.join(&name).to_string_lossy().into_owned());
                }
                _ => dirs.push(dir.join(&name)),
            }
        }
    }
}

/// What is in a store.
pub fn look_at_store(objects: &BTreeMap<String, Bytes>, seen: &mut Seen) {
    let mut chunks = BTreeMap::<ShareId, BTreeMap<u64, Bytes>>::new();
    for (key, bytes) in objects {
        if let Some((id, chunk)) = parse_key(key) {
            chunks.entry(id).or_default().insert(chunk, bytes.clone());
        }
    }
    for (id, chunks) in chunks {
        let used = chunks.values().map(|bytes| bytes.len() as u64).sum();
        let whole = chunks.keys().copied().eq(0..chunks.len() as u64);
        let size = chunks.values().next().map_or(0, Bytes::len);
        let even = chunks.values().rev().skip(1).all(|bytes| bytes.len() == size);
        // Two writers may have met: the last chunk is no larger than the others, and none is empty beside others.
        let last = chunks.values().next_back().map_or(0, Bytes::len);
        let even = even && last <= size && (last > 0 || chunks.len() == 1);
        let all = chunks.values().flat_map(|bytes| bytes.iter().copied()).collect::<Vec<_>>();
        let kept = if whole && even { judge(&all) } else { Kept::Bad };
        // In a store, the last objects may be missing: the length in the header tells.
        let recorded = word(&all, 4).unwrap_or(0) as usize;
        let kept = match kept {
            Kept::Immutable(bytes) if bytes.len() < recorded => Kept::Bad,
            kept => kept,
        };
        seen.kept.insert(id, (kept, used));
    }
}

/// The share and the chunk that a key is of.
pub fn parse_key(key: &str) -> Option<(ShareId, u64)> {
    let mut parts = key.strip_prefix("shares/")?.split('/').skip(1);
    let (index, name) = (parts.next()?, parts.next()?);
    let index = (0..FILES).map(index_of).find(|known| known.to_string() == index)?;
    let (share, chunk) = match name.split_once('.') {
        Some((share, chunk)) => (share, chunk.parse().ok()?),
        None => (name, 0),
    };
    Some((ShareId { index, share: number(share)? }, chunk))
}

/// Where a file's shares are.
pub fn directory_of(index: &StorageIndex) -> PathBuf {
    Path::new(STATE).join("shares").join(Prefix::of(index).to_string()).join(index.to_string())
}

fn number(name: &str) -> Option<ShareNumber> {
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok()).flatten()
}

fn read_all(disk: &dyn Files, path: &Path) -> Vec<u8> {
    let Ok(file) = disk.open(path, OpenMode::Read) else { return Vec::new() };
    let mut bytes = vec![0; file.len().unwrap_or(0) as usize];
    let got = file.read_full_at(0, &mut bytes).unwrap_or(0);
    bytes.truncate(got);
    bytes
}

/// What the bytes of a container are.
pub fn judge(bytes: &[u8]) -> Kept {
    immutable(bytes).or_else(|| mutable(bytes)).unwrap_or(Kept::Bad)
}

fn immutable(bytes: &[u8]) -> Option<Kept> {
    let version = word(bytes, 0)?;
    let (recorded, leases) = (word(bytes, 4)?, word(bytes, 8)?);
    let length = bytes.len().checked_sub(12 + 72 * leases as usize)?;
    // A shorter length in the header may be that of a torn lease; a longer one is a share that was cut.
    let torn = recorded > 0 && length > recorded as usize && (length - recorded as usize).is_multiple_of(72);
    let length = if torn { recorded as usize } else { length };
    let sound = (1..=2).contains(&version);
    sound.then(|| Kept::Immutable(Bytes::copy_from_slice(&bytes[12..12 + length])))
}

fn mutable(bytes: &[u8]) -> Option<Kept> {
    let human = bytes.starts_with(b"Tahoe mutable container v");
    let length = usize::try_from(u64::from_be_bytes(bytes.get(84..92)?.try_into().ok()?)).ok()?;
    let data = bytes.get(468..468usize.checked_add(length)?)?;
    human.then(|| Kept::Mutable(Bytes::copy_from_slice(data)))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
