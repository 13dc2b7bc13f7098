//! The disk backend on a real disk, through its trait and by the bytes of its files.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use protocol::StorageIndex;
use runtime::real::RealWorld;
use storage::backend::disk::Disk;
use storage::backend::{Backend, BackendError, Body, Progress, SlotChange, WriteEnabler};
use storage::share::{Prefix, ShareId};
use tempfile::TempDir;

const INDEX: StorageIndex = StorageIndex(*b"storage indexxxx");
const SHARESET: &str = "shares/on/on2g64tbm5ssa2lomrsxq6dypa";
const INCOMING: &str = "shares/incoming/on2g64tbm5ssa2lomrsxq6dypa";
/// Where Tahoe-LAFS keeps its own.
const THEIR_INCOMING: &str = "shares/incoming/on/on2g64tbm5ssa2lomrsxq6dypa";

const ENABLER: WriteEnabler = WriteEnabler { secret: [b'E'; 32], node: [b'N'; 20] };

fn id(share: u32) -> ShareId {
    ShareId { index: INDEX, share }
}

struct Place {
    root: TempDir,
    disk: Disk,
}

impl Place {
    async fn new() -> Place {
        let root = TempDir::new().unwrap();
        let disk = Disk::open(RealWorld::runtime(), root.path()).await.unwrap();
        Place { root, disk }
    }

    /// One that keeps small shares in memory, and one that does not.
    async fn both() -> [Place; 2] {
        let Place { root, disk } = Place::new().await;
        [Place::new().await, Place { root, disk: disk.with_small(0) }]
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn file(&self, share: u32) -> Vec<u8> {
        fs::read(self.path(SHARESET).join(share.to_string())).unwrap()
    }

    fn plant(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(SHARESET)).unwrap();
        fs::write(self.path(SHARESET).join(name), bytes).unwrap();
    }

    async fn upload(&self, share: u32, bytes: &'static [u8]) {
        let incoming = self.disk.create(id(share), bytes.len() as u64, 1).await.unwrap();
        let progress = incoming.write(0, Bytes::from_static(bytes)).await.unwrap();
        assert_eq!(progress, Progress { new: bytes.len() as u64, complete: true });
        assert_eq!(incoming.publish().await.unwrap(), 12 + bytes.len() as u64);
    }

    async fn change(&self, share: u32, writes: &[(u64, &'static [u8])], new_length: Option<u64>) -> u64 {
        let writes = writes.iter().map(|(offset, bytes)| (*offset, Bytes::from_static(bytes))).collect();
        let change = SlotChange { enabler: ENABLER, writes, new_length };
        self.disk.change(id(share), change, 1).await.unwrap()
    }

    async fn body(&self, share: u32) -> Option<Body> {
        self.disk.list(INDEX).await.unwrap().remove(&share)
    }
}

fn everything_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything_below(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[tokio::test]
async fn an_immutable_share_is_published_whole_and_without_leases() {
    let [in_memory, on_disk] = Place::both().await;
    publish_whole_and_without_leases(in_memory, &[]).await;
    publish_whole_and_without_leases(on_disk, &[id(3)]).await;
}

async fn publish_whole_and_without_leases(place: Place, seen: &[ShareId]) {
    let incoming = place.disk.create(id(3), 10, 1).await.unwrap();
    assert_eq!(place.disk.incoming().await.unwrap(), seen.iter().copied().collect());
    let write = async |offset, bytes| incoming.write(offset, Bytes::from_static(bytes)).await;
    assert_eq!(write(6, b"6789").await, Ok(Progress { new: 4, complete: false }));
    assert_eq!(write(4, b"4567").await, Ok(Progress { new: 2, complete: false }));
    assert!(matches!(write(3, b"3x").await, Err(BackendError::Refused(why)) if why.contains("4..5")));
    assert!(matches!(write(8, b"89a").await, Err(BackendError::Refused(why)) if why.contains("do not fit")));
    assert!(matches!(incoming.publish().await, Err(BackendError::Refused(why)) if why.contains("only 6 of")));
    assert_eq!(place.body(3).await, None, "nothing shows before it is published");
    assert_eq!(write(0, b"01234").await, Ok(Progress { new: 4, complete: true }));
    assert_eq!(incoming.publish().await, Ok(22));
    assert_eq!(place.file(3), b"\0\0\0\x02\0\0\0\x0a\0\0\0\x000123456789");
    assert_eq!(place.body(3).await, Some(Body::Immutable { size: 10, used: 22 }));
    assert_eq!(place.disk.read(id(3), 7, 99).await.unwrap(), b"789"[..]);
    assert_eq!(place.disk.read(id(3), 10, 1).await.unwrap(), b""[..]);
    assert_eq!(place.disk.read(id(4), 0, 1).await, Err(BackendError::NoSuchShare(id(4))));
    assert_eq!(place.disk.incoming().await.unwrap(), [].into());
    assert!(matches!(write(0, b"0").await, Err(BackendError::Refused(why)) if why.contains("over")));
    assert_eq!(place.disk.prefixes().await.unwrap(), [Prefix::of(&INDEX)].into());
    assert_eq!(place.disk.files(Prefix::of(&INDEX)).await.unwrap(), [INDEX].into());
    assert_eq!(place.disk.files(Prefix::nth(0).unwrap()).await.unwrap(), [].into());
}

#[tokio::test]
async fn an_empty_share_can_be_completed() {
    let place = Place::new().await;
    place.upload(0, b"").await;
    assert_eq!(place.body(0).await, Some(Body::Immutable { size: 0, used: 12 }));
    let unwritten = place.disk.create(id(1), 0, 1).await.unwrap();
    assert_eq!(unwritten.publish().await, Ok(12));
}

#[tokio::test]
async fn a_settled_upload_takes_nothing_more_and_is_deleted_without_trace() {
    for place in Place::both().await {
        settle_and_delete(place).await;
    }
}

async fn settle_and_delete(place: Place) {
    let before = everything_below(place.root.path());
    let incoming = place.disk.create(id(0), 4, 1).await.unwrap();
    incoming.write(0, Bytes::from_static(b"data")).await.unwrap();
    incoming.settle().await;
    assert!(matches!(incoming.publish().await, Err(BackendError::Refused(_))));
    assert!(matches!(incoming.write(0, Bytes::from_static(b"d")).await, Err(BackendError::Refused(_))));
    place.disk.delete(id(0), 1).await.unwrap();
    assert_eq!(everything_below(place.root.path()), before);
}

#[tokio::test]
async fn deleting_removes_one_share_and_no_other() {
    let place = Place::new().await;
    for share in [1, 10, 11] {
        place.upload(share, b"data").await;
    }
    fs::create_dir_all(place.path(THEIR_INCOMING)).unwrap();
    fs::write(place.path(THEIR_INCOMING).join("1"), b"half").unwrap();
    fs::write(place.path(INCOMING).with_extension("1"), b"half").unwrap();
    assert_eq!(place.disk.incoming().await.unwrap(), [id(1)].into());
    place.disk.delete(id(1), 1).await.unwrap();
    place.disk.delete(id(1), 1).await.unwrap();
    assert_eq!(place.disk.list(INDEX).await.unwrap().into_keys().collect::<Vec<_>>(), [10, 11]);
    assert_eq!(place.disk.incoming().await.unwrap(), [].into());
    fs::create_dir(place.path(SHARESET).join("5")).unwrap();
    for share in [5, 10, 11, 12] {
        place.disk.delete(id(share), 1).await.unwrap();
    }
    assert!(!place.path(SHARESET).exists());
}

#[tokio::test]
async fn what_is_incoming_is_discarded_alone() {
    let [_, place] = Place::both().await;
    place.upload(0, b"data").await;
    // A power failure may leave one file under both names.
    fs::hard_link(place.path(SHARESET).join("0"), place.path(INCOMING).with_extension("0")).unwrap();
    fs::create_dir_all(place.path(THEIR_INCOMING)).unwrap();
    fs::write(place.path(THEIR_INCOMING).join("7"), b"half").unwrap();
    assert_eq!(place.disk.incoming().await.unwrap(), [id(0), id(7)].into());
    place.disk.discard(id(7)).await.unwrap();
    let incoming = place.disk.create(id(0), 4, 1).await.unwrap();
    incoming.write(0, Bytes::from_static(b"DATA")).await.unwrap();
    assert_eq!(place.disk.read(id(0), 0, 4).await.unwrap(), b"data"[..]);
    assert_eq!(place.disk.incoming().await.unwrap(), [id(0)].into());
    incoming.settle().await;
    place.disk.discard(id(0)).await.unwrap();
    place.disk.discard(id(0)).await.unwrap();
    assert_eq!(place.disk.incoming().await.unwrap(), [].into());
    assert_eq!(place.disk.read(id(0), 0, 4).await.unwrap(), b"data"[..]);
}

#[tokio::test]
async fn a_mutable_share_is_made_and_changed() {
    let place = Place::new().await;
    assert_eq!(place.change(2, &[(0, b"0123456789")], Some(99)).await, 468 + 10 + 4);
    let file = place.file(2);
    assert_eq!(&file[..32], b"Tahoe mutable container v2\n\xc3\x55\x21\x99\x25");
    assert_eq!(&file[32..84], [&[b'N'; 20][..], &[b'E'; 32]].concat());
    assert_eq!(&file[84..100], [10u64.to_be_bytes(), 478u64.to_be_bytes()].concat());
    assert_eq!(&file[100..468], [0; 368]);
    assert_eq!(&file[468..], b"0123456789\0\0\0\0");
    assert_eq!(place.body(2).await, Some(Body::Mutable { size: 10, used: 482 }));
    assert!(place.disk.write_enabler(id(2)).await.unwrap() == ENABLER);

    assert_eq!(place.change(2, &[(12, b"cd"), (0, b"ABCD"), (3, b"d")], None).await, 468 + 14 + 4);
    assert_eq!(place.disk.read(id(2), 0, 99).await.unwrap(), b"ABCd456789\0\0cd"[..]);
    assert_eq!(place.change(2, &[(2, b"1234567890")], Some(5)).await, 468 + 5 + 4);
    assert_eq!(place.disk.read(id(2), 1, 99).await.unwrap(), b"B123"[..]);
    assert_eq!(place.change(2, &[], Some(0)).await, 468 + 4);
    assert_eq!(place.change(7, &[], None).await, 472);
    assert_eq!(place.disk.incoming().await.unwrap(), [].into());

    let far =
        SlotChange { enabler: ENABLER, writes: vec![(u64::MAX, Bytes::from_static(b"x"))], new_length: None };
    assert!(matches!(place.disk.change(id(2), far, 1).await, Err(BackendError::Refused(_))));
    assert_eq!(place.disk.incoming().await.unwrap(), [].into());
    assert_eq!(place.file(2).len(), 472);

    place.upload(9, b"data").await;
    let change = SlotChange { enabler: ENABLER, writes: vec![], new_length: None };
    assert!(matches!(place.disk.change(id(9), change, 1).await, Err(BackendError::Refused(_))));
    assert!(matches!(place.disk.write_enabler(id(9)).await, Err(BackendError::Refused(_))));
    assert!(matches!(place.disk.write_enabler(id(8)).await, Err(BackendError::NoSuchShare(_))));
}

#[tokio::test]
async fn a_bad_file_is_corrupted_and_its_siblings_are_not() {
    let place = Place::new().await;
    place.upload(0, b"data").await;
    place.change(1, &[(0, b"data")], None).await;
    let (immutable, mutable) = (place.file(0), place.file(1));
    let damaged = |file: &[u8], at: usize, byte: u8| {
        let mut file = file.to_vec();
        file[at] = byte;
        file
    };
    place.plant("2", &damaged(&immutable, 3, 9));
    place.plant("3", &[]);
    place.plant("4", &immutable[..11]);
    place.plant("5", &damaged(&immutable, 11, 5));
    place.plant("6", &damaged(&mutable, 0, b't'));
    place.plant("7", &mutable[..99]);
    place.plant("8", &mutable[..471]);
    place.plant("9", &damaged(&mutable, 84, 0xff));
    fs::create_dir(place.path(SHARESET).join("10")).unwrap();
    for foreign in ["x", "011", "+12", "-1", "4294967296", ".13", "14~"] {
        place.plant(foreign, &immutable);
    }
    let list = place.disk.list(INDEX).await.unwrap();
    assert_eq!(list.keys().copied().collect::<Vec<_>>(), (0..=10).collect::<Vec<_>>());
    assert_eq!(list[&0], Body::Immutable { size: 4, used: 16 });
    assert_eq!(list[&1], Body::Mutable { size: 4, used: 476 });
    for (share, used, words) in [
        (2, 16, "version 9"),
        (3, 0, "0 bytes is too short"),
        (4, 11, "11 bytes is too short"),
        (5, 16, "5 leases"),
        (6, 476, "neither 1 nor 2"),
        (7, 99, "99 bytes is too short"),
        (8, 471, "4 bytes of data"),
        (9, 476, "bytes of data"),
        (10, 0, "no regular file"),
    ] {
        match &list[&share] {
            Body::Corrupted { used: is, why } => {
                assert!(*is == used && why.contains(words), "{share}: {is} {why}")
            }
            body => panic!("share {share} is {body:?}"),
        }
        let read = place.disk.read(id(share), 0, 1).await;
        assert!(matches!(read, Err(BackendError::Corrupted { .. })), "share {share}: {read:?}");
    }
    assert_eq!(place.disk.read(id(0), 0, 9).await.unwrap(), b"data"[..]);
}

/// A client may write one byte far behind the others: what lies between takes no room, then or when it is changed.
#[tokio::test]
async fn a_hole_stays_one() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new().await;
    let far = 64 << 20;
    place.change(0, &[(0, b"near"), (far / 2, b"half"), (far, b"far")], None).await;
    place.change(0, &[(4, b"er")], None).await;
    let metadata = fs::metadata(place.path(SHARESET).join("0")).unwrap();
    assert_eq!(metadata.len(), 468 + far + 3 + 4);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    for (offset, bytes) in [(0, &b"nearer\0"[..]), (far / 2 - 1, b"\0half\0"), (far - 1, b"\0far")] {
        assert_eq!(place.disk.read(id(0), offset, bytes.len() as u64).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn who_only_looks_makes_nothing() {
    let root = TempDir::new().unwrap();
    let disk = Disk::look(RealWorld::runtime(), &root.path().join("storage"));
    assert!(disk.prefixes().await.is_err(), "there is no such directory, which says nothing about shares");
    assert_eq!(everything_below(root.path()), Vec::<PathBuf>::new());
    let place = Place::new().await;
    place.upload(0, b"data").await;
    fs::remove_dir(place.path("shares/incoming")).unwrap();
    let disk = Disk::look(RealWorld::runtime(), place.root.path());
    assert_eq!(disk.prefixes().await.unwrap(), [Prefix::of(&INDEX)].into());
    assert_eq!(disk.read(id(0), 0, 9).await.unwrap(), &b"data"[..]);
    assert!(!place.path("shares/incoming").exists());
}

/// Below a file there is nothing, which can be deleted.
#[tokio::test]
async fn a_foreign_file_in_the_place_of_a_directory_keeps_nobody_from_deleting() {
    let place = Place::new().await;
    fs::create_dir(place.path("shares/on")).unwrap();
    fs::write(place.path(SHARESET), b"foreign").unwrap();
    place.disk.delete(id(0), 1).await.unwrap();
    fs::remove_dir_all(place.path("shares/on")).unwrap();
    fs::write(place.path("shares/on"), b"foreign").unwrap();
    place.disk.delete(id(0), 1).await.unwrap();
    assert_eq!(fs::read(place.path("shares/on")).unwrap(), b"foreign");
}
