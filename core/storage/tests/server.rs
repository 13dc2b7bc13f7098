//! The storage server on a real disk, through its public face and by the bytes of its files.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{Allocate, Allocated, ServerError, ServerId, ShareNumber, ShareReader, StorageServer};
use runtime::real::RealWorld;
use storage::config::{Expire, ExpireMode};
use storage::share::{Kind, Prefix};
use storage::{OpenError, ShareDirectory};
use tempfile::TempDir;

const INDEX: StorageIndex = StorageIndex(*b"storage indexxxx");
const SHARESET: &str = "shares/on/on2g64tbm5ssa2lomrsxq6dypa";
const INCOMING: &str = "shares/incoming/on/on2g64tbm5ssa2lomrsxq6dypa";

/// Renew secret and what a version-2 file stores of it (leasedb-and-storage §2.3); the same for cancel.
const RENEW: [u8; 32] = [b'R'; 32];
const CANCEL: [u8; 32] = [b'C'; 32];
const RENEW_STORED: &str = "0666d16d6f9960d32c9e59c59b33800be038644ece4cb3da310b258e6d852204";
const CANCEL_STORED: &str = "f23824449c1860ead7065f1539cca5ada8ddfdf84a5e4f7608634fed82c0eb24";
const DAYS_31: u64 = 2_678_400;

struct Place {
    root: TempDir,
    server: ShareDirectory,
}

impl Place {
    async fn new() -> Place {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("shares")).unwrap();
        let server = ShareDirectory::open(RealWorld::runtime(), root.path(), id()).await.unwrap();
        Place { root, server }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// The bytes of a complete share file.
    fn file(&self, share: ShareNumber) -> Vec<u8> {
        fs::read(self.path(SHARESET).join(share.to_string())).unwrap()
    }

    /// Puts a file among the complete shares.
    fn plant(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(SHARESET)).unwrap();
        fs::write(self.path(SHARESET).join(name), bytes).unwrap();
    }

    async fn allocate(&self, shares: &[ShareNumber], size: u64) -> Allocated {
        let shares = shares.iter().copied().collect();
        let request = Allocate { index: INDEX, shares, size, renew: RENEW, cancel: CANCEL };
        self.server.allocate_buckets(request).await.unwrap()
    }

    async fn upload(&self, share: ShareNumber, bytes: &'static [u8]) {
        let mut allocated = self.allocate(&[share], bytes.len() as u64).await;
        let writer = allocated.writers.remove(&share).unwrap();
        writer.write(0, Bytes::from_static(bytes)).await.unwrap();
        writer.close().await.unwrap();
    }

    async fn shares(&self) -> Vec<ShareNumber> {
        self.server.get_buckets(INDEX).await.unwrap().into_keys().collect()
    }

    async fn reader(&self, share: ShareNumber) -> std::sync::Arc<dyn ShareReader> {
        self.server.get_buckets(INDEX).await.unwrap().remove(&share).unwrap()
    }

    async fn read(&self, share: ShareNumber) -> Bytes {
        self.reader(share).await.read(0, u64::MAX).await.unwrap()
    }
}

fn id() -> ServerId {
    ServerId::new("v0-test", *b"seed")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A share file as another program would have written it.
fn share_file(version: u32, recorded: u32, leases: u32, rest: &[&[u8]]) -> Vec<u8> {
    let header = [version, recorded, leases].map(u32::to_be_bytes).concat();
    [&header, &rest.concat()[..]].concat()
}

fn lease(owner: u32, renew: [u8; 32], expires: u32) -> Vec<u8> {
    [&owner.to_be_bytes()[..], &renew, &CANCEL, &expires.to_be_bytes()].concat()
}

/// The expiry of a file's last lease, in seconds since the epoch.
fn last_expiry(file: &[u8]) -> u64 {
    u64::from(u32::from_be_bytes(*file.last_chunk().unwrap()))
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
async fn an_uploaded_share_is_there_byte_for_byte() {
    let place = Place::new().await;
    let before = RealWorld::runtime().unix_time().as_secs();
    let mut allocated = place.allocate(&[12, 3], 10).await;
    assert!(allocated.already.is_empty());
    let writer = allocated.writers.remove(&3).unwrap();
    writer.write(6, Bytes::from_static(b"6789")).await.unwrap();
    assert!(place.shares().await.is_empty(), "nothing shows before close");
    assert!(place.path(INCOMING).join("3").exists());
    writer.write(0, Bytes::from_static(b"012345")).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(place.shares().await, [3]);

    let file = place.file(3);
    assert_eq!(file.len(), 12 + 10 + 72);
    assert_eq!(hex(&file[..12]), "000000020000000a00000001");
    assert_eq!(&file[12..22], b"0123456789");
    assert_eq!(hex(&file[22..90]), format!("00000000{RENEW_STORED}{CANCEL_STORED}"));
    let expires = last_expiry(&file);
    assert!((before + DAYS_31..before + DAYS_31 + 3600).contains(&expires), "{expires}");

    let other = allocated.writers.remove(&12).unwrap();
    other.write(0, Bytes::from_static(b"9876543210")).await.unwrap();
    other.close().await.unwrap();
    assert_eq!(place.shares().await, [3, 12]);
    assert_eq!(everything_below(&place.path("shares/incoming")), Vec::<PathBuf>::new());

    let again = place.allocate(&[3, 4], 10).await;
    assert_eq!(again.already.into_iter().collect::<Vec<_>>(), [3, 12]);
    assert_eq!(again.writers.keys().collect::<Vec<_>>(), [&4]);
    assert_eq!(place.file(3).len(), 12 + 10 + 72, "the lease is renewed, not doubled");
}

#[tokio::test]
async fn reads_are_cut_at_the_end_of_the_data() {
    let place = Place::new().await;
    place.upload(0, b"0123456789").await;
    let reader = place.reader(0).await;
    for (offset, length, expected) in [
        (0, 10, &b"0123456789"[..]),
        (0, u64::MAX, b"0123456789"),
        (7, 4, b"789"),
        (9, 1, b"9"),
        (9, u64::MAX, b"9"),
        (4, 0, b""),
        (10, 1, b""),
        (22, 72, b""),
        (u64::MAX, u64::MAX, b""),
    ] {
        assert_eq!(reader.read(offset, length).await.unwrap(), expected, "{offset}+{length}");
    }
    fs::remove_file(place.path(SHARESET).join("0")).unwrap();
    assert_eq!(reader.read(0, 1).await, Err(ServerError::NoSuchShare));
}

#[tokio::test]
async fn an_absurd_read_of_an_absurd_share_is_refused_before_it_is_allocated() {
    let place = Place::new().await;
    place.plant("0", &share_file(2, u32::MAX, 0, &[]));
    let file = fs::OpenOptions::new().write(true).open(place.path(SHARESET).join("0")).unwrap();
    file.set_len(1 << 42).unwrap();
    let reader = place.reader(0).await;
    let error = reader.read(0, u64::MAX).await.unwrap_err();
    assert!(matches!(&error, ServerError::Refused(why) if why.contains("268435456")), "{error:?}");
    assert_eq!(reader.read((1 << 42) - 13, 9).await.unwrap(), [0u8; 1][..]);
}

#[tokio::test]
async fn a_bad_share_file_harms_only_itself() {
    let place = Place::new().await;
    place.plant("0", &share_file(1, 4, 1, &[b"good", &lease(1, RENEW, 9)]));
    place.plant("1", &share_file(3, 4, 0, &[b"from the future"]));
    place.plant("2", &share_file(0, 4, 0, &[b"zero"]));
    place.plant("3", b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e and more of it");
    place.plant("4", b"\0\0\0\x02\0\0\0\x04\0\0\0");
    place.plant("5", b"");
    place.plant("6", &share_file(2, 4, 2, &[b"good", &lease(1, RENEW, 9)]));
    place.plant("7", &share_file(2, 4, u32::MAX, &[b"good", &lease(1, RENEW, 9)]));
    fs::create_dir(place.path(SHARESET).join("8")).unwrap();
    // Who opens a pipe that nobody writes to waits for ever.
    let pipe = Command::new("mkfifo").arg(place.path(SHARESET).join("9")).status().unwrap();
    assert!(pipe.success());
    place.plant("10", &share_file(2, 4, 0, &[b"fine"]));
    for name in ["x", "011", "+12", "-1", "4294967296", ".13", "14~"] {
        place.plant(name, &share_file(2, 4, 0, &[b"good"]));
    }
    assert_eq!(place.shares().await, [0, 10]);
    assert_eq!(place.read(0).await, b"good"[..]);
    assert_eq!(place.read(10).await, b"fine"[..]);

    let allocated = place.allocate(&[0, 1, 8, 12], 4).await;
    assert_eq!(allocated.already.into_iter().collect::<Vec<_>>(), [0, 10]);
    assert_eq!(allocated.writers.into_keys().collect::<Vec<_>>(), [12], "what is there is not replaced");
    place.server.add_lease(INDEX, [1; 32], CANCEL).await.unwrap();
    assert_eq!(place.file(1), share_file(3, 4, 0, &[b"from the future"]));
    assert_eq!(place.server.get_buckets(StorageIndex([0; 16])).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_share_that_turns_bad_under_its_reader_is_an_error() {
    let place = Place::new().await;
    place.upload(0, b"0123456789").await;
    let reader = place.reader(0).await;
    place.plant("0", b"\0\0\0\x07 another version");
    assert!(matches!(reader.read(0, 1).await, Err(ServerError::Disk(why)) if why.contains("version 7")));
}

#[tokio::test]
async fn leases_are_renewed_never_shortened_and_added_for_a_new_holder() {
    let place = Place::new().await;
    place.server.add_lease(INDEX, RENEW, CANCEL).await.unwrap();
    assert!(!place.path(SHARESET).exists(), "an unknown file is no error, and makes nothing");

    let now = u32::try_from(RealWorld::runtime().unix_time().as_secs()).unwrap();
    let (late, early) = (u32::MAX, now);
    place.plant("0", &share_file(1, 4, 2, &[b"data", &lease(7, [b'x'; 32], 5), &lease(7, RENEW, late)]));
    place.plant("1", &share_file(1, 4, 1, &[b"data", &lease(7, RENEW, early)]));
    place.upload(2, b"data").await;
    assert_eq!(last_expiry(&place.file(0)), u64::from(late));
    assert!(last_expiry(&place.file(1)) >= u64::from(now) + DAYS_31);
    assert_eq!(place.file(1)[..84], share_file(1, 4, 1, &[b"data", &lease(7, RENEW, 0)])[..84]);

    place.server.add_lease(INDEX, [b'n'; 32], CANCEL).await.unwrap();
    place.server.add_lease(INDEX, [b'n'; 32], CANCEL).await.unwrap();
    let old = place.file(0);
    assert_eq!(hex(&old[..16]), "00000001000000040000000364617461");
    assert_eq!(old.len(), 16 + 3 * 72);
    assert_eq!(old[160..228], lease(1, [b'n'; 32], 0)[..68], "version 1 stores secrets in clear");
    let new = place.file(2);
    assert_eq!(hex(&new[..16]), "00000002000000040000000264617461");
    assert_eq!(new.len(), 16 + 2 * 72);
    assert_eq!(hex(&new[88..92]), "00000001");
    assert_eq!(hex(&new[124..156]), CANCEL_STORED);
    assert_ne!(new[92..124], [b'n'; 32], "version 2 stores hashes");
    for share in 0..3 {
        assert_eq!(place.read(share).await, b"data"[..], "share {share}");
    }
}

#[tokio::test]
async fn a_lease_torn_by_a_crash_is_not_data() {
    let place = Place::new().await;
    let torn = share_file(2, 4, 1, &[b"data", &lease(0, RENEW, 9), &[0; 72]]);
    place.plant("0", &torn);
    assert_eq!(place.read(0).await, b"data"[..]);
    place.server.add_lease(INDEX, [b'n'; 32], CANCEL).await.unwrap();
    assert_eq!(place.file(0).len(), torn.len(), "the next lease takes its place");
    assert_eq!(place.read(0).await, b"data"[..]);
    // Other differences from the recorded length are not a torn lease's: that field has never been read.
    for (share, recorded) in [(1, 0), (2, 5), (3, 145), (4, 216), (5, u32::MAX)] {
        place.plant(&share.to_string(), &share_file(2, recorded, 0, &[&[7; 144]]));
        assert_eq!(place.read(share).await, [7; 144][..], "recorded {recorded}");
    }
}

/// Lease-bugs A5 and L8: what is wrong with the leases of one share harms no other, and hides none.
#[tokio::test]
async fn a_share_with_too_many_leases_harms_only_itself() {
    let place = Place::new().await;
    let crowd = (1 << 16) + 1;
    place.plant("0", &share_file(2, 4, crowd, &[b"data", &vec![0; 72 * crowd as usize]]));
    place.plant("1", &share_file(2, 4, 0, &[b"fine"]));
    let allocated = place.allocate(&[0, 1, 2], 4).await;
    assert_eq!(allocated.already.into_iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(place.file(1).len(), 16 + 72);
    place.server.add_lease(INDEX, [b'n'; 32], CANCEL).await.unwrap();
    assert_eq!(place.file(1).len(), 16 + 2 * 72);
    assert_eq!(place.file(0).len(), 16 + 72 * crowd as usize);
    assert_eq!(place.read(0).await, b"data"[..]);
}

#[tokio::test]
async fn writes_that_conflict_or_do_not_fit_are_refused_and_change_nothing() {
    let place = Place::new().await;
    let writer = place.allocate(&[0], 10).await.writers.remove(&0).unwrap();
    writer.write(2, Bytes::from_static(b"2345")).await.unwrap();
    writer.write(3, Bytes::from_static(b"34567")).await.unwrap();

    let refused = |result: Result<(), ServerError>, why: &str| match result {
        Err(ServerError::Refused(words)) => assert!(words.contains(why), "{words}"),
        other => panic!("{other:?} is not refused because of: {why}"),
    };
    refused(writer.write(0, Bytes::from_static(b"01x")).await, "2..3 were written before");
    refused(writer.write(8, Bytes::from_static(b"89a")).await, "do not fit");
    refused(writer.write(11, Bytes::new()).await, "do not fit");
    refused(writer.write(u64::MAX, Bytes::from_static(b"x")).await, "do not fit");
    refused(writer.close().await, "only 6 of the share's 10 bytes");
    assert!(place.shares().await.is_empty());

    writer.write(0, Bytes::from_static(b"01")).await.unwrap();
    writer.write(8, Bytes::from_static(b"89")).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(place.read(0).await, b"0123456789"[..]);
    refused(writer.write(0, Bytes::from_static(b"0")).await, "over");
    refused(writer.close().await, "over");
    writer.abort().await.unwrap();
    assert_eq!(place.shares().await, [0], "an abort takes nothing back");
}

#[tokio::test]
async fn a_place_is_one_uploaders_until_it_is_given_up() {
    let place = Place::new().await;
    let mut first = place.allocate(&[0, 1], 10).await;
    let second = place.allocate(&[0, 1, 2], 10).await;
    assert_eq!((second.already.len(), second.writers.keys().collect::<Vec<_>>()), (0, vec![&2]));
    drop(second);

    let aborted = first.writers.remove(&0).unwrap();
    aborted.abort().await.unwrap();
    aborted.abort().await.unwrap();
    assert!(!place.path(INCOMING).join("0").exists());
    drop(first);
    assert!(place.path(INCOMING).join("1").exists(), "a dropped upload's file waits for the next allocation");
    assert_eq!(place.allocate(&[], 10).await.writers.len(), 0);
    assert!(!place.path(INCOMING).join("1").exists());
    assert_eq!(place.allocate(&[0, 1, 2], 10).await.writers.len(), 3);
}

#[tokio::test]
async fn what_does_not_fit_gets_no_writer() {
    let place = Place::new().await;
    let version = place.server.version();
    assert_eq!(version.available_space, Some(version.maximum_immutable_share_size));
    for size in [u64::MAX, i64::MAX as u64, u64::MAX - 84] {
        assert_eq!(place.allocate(&[0], size).await.writers.len(), 0);
    }
    // Two uploads of more than half of the room each: the first reserves its own.
    let room = version.available_space.unwrap();
    let mut granted = place.allocate(&[0, 1], room / 8 * 5).await;
    assert_eq!(granted.writers.len(), 1);
    assert_eq!(place.allocate(&[2], room / 8 * 5).await.writers.len(), 0);
    granted.writers.remove(&0).unwrap().abort().await.unwrap();
    let granted = place.allocate(&[1], room / 8 * 5).await;
    assert_eq!(granted.writers.len(), 1, "an aborted upload needs no room");
    drop(granted);
    assert_eq!(place.allocate(&[2], room / 8 * 5).await.writers.len(), 1, "nor does a dropped one");
}

#[tokio::test]
async fn a_clients_report_is_kept_as_tahoe_keeps_it() {
    let place = Place::new().await;
    place.upload(7, b"0123456789").await;
    let reader = place.reader(7).await;
    reader.advise_corrupt_share("corruption in share[0-4): bad").await.unwrap();
    reader.advise_corrupt_share(&"é".repeat(40_000)).await.unwrap();

    let mut reports = everything_below(&place.path("corruption-advisories"));
    reports.sort_by_key(|path| fs::metadata(path).unwrap().len());
    assert_eq!(reports.len(), 2);
    let name = reports[0].file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with("--on2g64tbm5ssa2lomrsxq6dypa-7"), "{name}");
    assert_eq!(
        fs::read_to_string(&reports[0]).unwrap(),
        "report: Share Corruption\ntype: immutable\nstorage_index: on2g64tbm5ssa2lomrsxq6dypa\n\
         share_number: 7\n\ncorruption in share[0-4): bad\n\n"
    );
    assert!(fs::metadata(&reports[1]).unwrap().len() < 33_000, "a client's words are cut");

    fs::remove_file(place.path(SHARESET).join("7")).unwrap();
    assert_eq!(reader.advise_corrupt_share("gone").await, Err(ServerError::NoSuchShare));
}

#[tokio::test]
async fn reading_only_changes_nothing_on_disk() {
    let place = Place::new().await;
    place.upload(0, b"0123456789").await;
    let (files, share) = (everything_below(place.root.path()), place.file(0));

    let server = ShareDirectory::open_read_only(RealWorld::runtime(), place.root.path(), id()).await.unwrap();
    assert_eq!(server.version().available_space, Some(0));
    let reader = server.get_buckets(INDEX).await.unwrap().remove(&0).unwrap();
    assert_eq!(reader.read(0, 99).await.unwrap(), b"0123456789"[..]);
    reader.advise_corrupt_share("bad").await.unwrap();
    let shares = [0, 1].into();
    let request = Allocate { index: INDEX, shares, size: 1, renew: [9; 32], cancel: CANCEL };
    let allocated = server.allocate_buckets(request).await.unwrap();
    assert_eq!((allocated.already.len(), allocated.writers.len()), (1, 0));
    assert!(matches!(server.add_lease(INDEX, [9; 32], CANCEL).await, Err(ServerError::Refused(_))));

    assert_eq!(everything_below(place.root.path()), files);
    assert_eq!(place.file(0), share);
}

#[tokio::test]
async fn what_is_no_storage_directory_is_not_served() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("shares"), b"a file").unwrap();
    for path in [root.path().to_owned(), root.path().join("nowhere")] {
        let opened = ShareDirectory::open(RealWorld::runtime(), &path, id()).await;
        assert!(matches!(opened, Err(OpenError::NoShares(named)) if named == path));
    }
}

/// A mutable share file without leases, as another program would have written it.
fn slot_file(data: &[u8]) -> Vec<u8> {
    let numbers = [data.len() as u64, 468 + data.len() as u64].map(u64::to_be_bytes).concat();
    let magic = b"Tahoe mutable container v1\n\x75\x09\x44\x03\x8e";
    [&magic[..], &[b'N'; 20], &[b'E'; 32], &numbers, &[0; 368], data, &[0; 4]].concat()
}

fn expire(mode: ExpireMode) -> Expire {
    Expire { enabled: true, mode, ..Expire::default() }
}

#[tokio::test]
async fn mutable_shares_are_leased_and_otherwise_left_alone() {
    let place = Place::new().await;
    place.plant("0", &slot_file(b"data"));
    place.plant("1", &[&slot_file(b"data")[..92], &[0xff; 8], &slot_file(b"data")[100..]].concat());
    place.plant("2", &share_file(2, 4, 0, &[b"fine"]));
    assert_eq!(place.shares().await, [2]);
    place.server.add_lease(INDEX, RENEW, CANCEL).await.unwrap();
    place.server.add_lease(INDEX, RENEW, CANCEL).await.unwrap();
    let slot = place.file(0);
    assert_eq!(slot.len(), 476);
    assert_eq!(slot[100..104], [0, 0, 0, 1]);
    assert_eq!(slot[108..192], [&RENEW[..], &CANCEL, &[b'N'; 20]].concat(), "in clear, and its own node's");
    assert_eq!(slot[192..], slot_file(b"data")[192..], "one lease");
    assert_eq!(place.file(2).len(), 16 + 72, "one without a place for leases harms no other");
    let allocated = place.allocate(&[0, 1, 2, 3], 4).await;
    assert_eq!(allocated.already.into_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(allocated.writers.into_keys().collect::<Vec<_>>(), [3], "what is there is not replaced");

    let found = place.server.leases(Prefix::of(&INDEX)).await.unwrap();
    let names: Vec<_> = found.iter().map(|file| file.id.share).collect();
    assert_eq!(names, [0, 1, 2]);
    let held = found[0].found.as_ref().unwrap();
    assert_eq!((held.kind, held.size, held.used), (Kind::Mutable, 4, 476));
    assert_eq!(held.leases.iter().map(|lease| lease.owner).collect::<Vec<_>>(), [1]);
    assert!(u64::from(held.leases[0].expires) >= RealWorld::runtime().unix_time().as_secs() + DAYS_31 - 3600);
    assert!(found[1].found.as_ref().is_err_and(|why| why.contains("extra leases")));
    let held = found[2].found.as_ref().unwrap();
    assert_eq!((held.kind, held.size, held.leases.len()), (Kind::Immutable, 4, 1));
    assert!(place.server.leases(Prefix::nth(3).unwrap()).await.unwrap().is_empty());
}

#[tokio::test]
async fn leases_that_are_over_end_and_so_do_shares_without_any_left() {
    let place = Place::new().await;
    let now = u32::try_from(RealWorld::runtime().unix_time().as_secs()).unwrap();
    let (over, fresh) = (now - 60, now + 31 * 86_400 - 60);
    place.plant("0", &share_file(1, 4, 1, &[b"gone", &lease(7, RENEW, over)]));
    place.plant("1", &share_file(1, 4, 2, &[b"kept", &lease(7, RENEW, over), &lease(8, [1; 32], fresh)]));
    place.plant("2", &share_file(2, 4, 0, &[b"free"]));
    place.plant("3", &share_file(9, 4, 0, &[b"odd!"]));
    let mut slot = slot_file(b"data");
    slot[100..108].copy_from_slice(&[1u32, over].map(u32::to_be_bytes).concat());
    place.plant("4", &slot);
    let prefix = Prefix::of(&INDEX);

    let off = place.server.expire(prefix, Expire::default()).await.unwrap();
    assert_eq!((off.examined, off.leases, off.shares, off.given), (5, 0, 0, 0));
    assert_eq!(place.server.leases(prefix).await.unwrap().len(), 5);

    let spared = Expire { mutable: false, ..expire(ExpireMode::Age(None)) };
    let done = place.server.expire(prefix, spared).await.unwrap();
    assert_eq!((done.examined, done.leases, done.shares, done.bytes, done.given), (5, 2, 1, 88, 1));
    assert_eq!(done.unusable.iter().map(|(id, _)| id.share).collect::<Vec<_>>(), [3]);
    assert_eq!(place.file(1), share_file(1, 4, 1, &[b"kept", &lease(8, [1; 32], fresh)]));
    assert!((u64::from(now) + 60 * 86_400..).contains(&last_expiry(&place.file(2))), "not for ever");
    assert_eq!(place.file(4), slot);
    assert!(!place.path(SHARESET).join("0").exists());

    let done = place.server.expire(prefix, expire(ExpireMode::Age(Some(30)))).await.unwrap();
    assert_eq!((done.examined, done.leases, done.shares), (4, 2, 2), "renewed a minute ago, and long ago");
    let done = place.server.expire(prefix, expire(ExpireMode::CutOff(u64::MAX))).await.unwrap();
    assert_eq!((done.examined, done.leases, done.shares), (2, 1, 1));
    assert_eq!(place.file(3), share_file(9, 4, 0, &[b"odd!"]), "what is no share is no one's to delete");
}
