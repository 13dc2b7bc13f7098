//! Locks that outlive the process that gave them.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::path::Path;

use pool::Peer;
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::peer::{Offer, Verdict};
use pool::repository::{Local, Repository};
use pool::uuid::Uuid;
use runtime::real::RealWorld;

/// The process begins anew: what the last one knew of locks is on the disk only.
async fn begin(root: &Path) -> Local {
    Repository::open(RealWorld::runtime(), Uuid::new("node").unwrap(), root).await.unwrap().peer()
}

async fn store(peer: &mut Local, key: &Key) {
    let Offer::From(0, mut upload) = peer.put(&AssociatedFile::default(), key).await.unwrap() else {
        panic!("it is not wanted")
    };
    upload.begin(5).await.unwrap();
    upload.write("hello".into()).await.unwrap();
    assert!(upload.finish(Verdict::Valid).await.unwrap().done);
}

async fn is_removed(peer: &mut Local, key: &Key) -> bool {
    peer.remove(key, None).await.unwrap().done
}

#[tokio::test]
async fn a_lock_outlives_its_process_and_later_locks() {
    let root = tempfile::tempdir().unwrap();
    let key = Key::parse("WORM-s5--hello").unwrap();
    let mut peer = begin(root.path()).await;
    store(&mut peer, &key).await;
    // A process dies with a lock; dropped, a lock is one whose holder was lost.
    drop(peer.lock(&key).await.unwrap().unwrap());
    let mut peer = begin(root.path()).await;
    // In the next one somebody locks the same object, and unlocks it.
    peer.lock(&key).await.unwrap().unwrap().unlock().await.unwrap();
    assert!(!is_removed(&mut peer, &key).await, "here");
    let mut peer = begin(root.path()).await;
    assert!(!is_removed(&mut peer, &key).await, "and in the one after that");
    assert!(peer.check_present(&key).await.unwrap());
}

#[tokio::test]
async fn a_lock_that_was_ended_outlives_nothing() {
    let root = tempfile::tempdir().unwrap();
    let key = Key::parse("WORM-s5--hello").unwrap();
    let mut peer = begin(root.path()).await;
    store(&mut peer, &key).await;
    peer.lock(&key).await.unwrap().unwrap().unlock().await.unwrap();
    let mut peer = begin(root.path()).await;
    assert!(is_removed(&mut peer, &key).await);
    assert!(peer.lock(&key).await.unwrap().is_none(), "it is gone");
}

#[tokio::test]
async fn a_lock_that_cannot_be_written_down_keeps_nothing() {
    let root = tempfile::tempdir().unwrap();
    let key = Key::parse("WORM-s5--hello").unwrap();
    let mut peer = begin(root.path()).await;
    store(&mut peer, &key).await;
    // There is nothing to be read there, and nothing can be written.
    let retention = root.path().join("retention");
    std::fs::remove_dir_all(&retention).unwrap();
    assert!(peer.lock(&key).await.is_err());
    std::fs::create_dir(&retention).unwrap();
    assert!(is_removed(&mut peer, &key).await, "nobody was told of the lock");
}

/// As it is when the disk is full, or the power fails: the file was made, and nothing or a part of it written.
#[tokio::test]
async fn a_lock_that_was_not_written_down_to_its_end_keeps_nothing() {
    let root = tempfile::tempdir().unwrap();
    let key = Key::parse("WORM-s5--hello").unwrap();
    for written in ["", "0000000000179"] {
        let mut peer = begin(root.path()).await;
        store(&mut peer, &key).await;
        std::fs::write(root.path().join("retention/WORM-s5--hello"), written).unwrap();
        assert!(is_removed(&mut peer, &key).await, "{written:?}");
    }
}

#[tokio::test]
async fn a_lock_that_cannot_be_read_keeps_its_object_once() {
    let root = tempfile::tempdir().unwrap();
    let key = Key::parse("WORM-s5--hello").unwrap();
    let mut peer = begin(root.path()).await;
    store(&mut peer, &key).await;
    let retention = root.path().join("retention/WORM-s5--hello");
    std::fs::write(&retention, "0000000000x794672000\n").unwrap();
    assert!(!is_removed(&mut peer, &key).await);
    // From now on it can be read when the time is over.
    let until: u64 = std::fs::read_to_string(&retention).unwrap().trim_end().parse().unwrap();
    let now = RealWorld::runtime().unix_time().as_secs();
    assert!((now + 590..=now + 601).contains(&until), "{until}");
}
