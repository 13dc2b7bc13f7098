//! Several processes that serve one directory: each opens it for itself, and knows of the others what is there.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::fs;
use std::path::Path;

use futures::future::join;
use pool::Peer;
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::peer::{Offer, PeerError, Upload, Verdict};
use pool::repository::{Local, Repository};
use pool::uuid::Uuid;
use runtime::real::RealWorld;
use tempfile::TempDir;

/// The hash of `hello`.
const KEY: &str = "SHA256E-s5--2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824.txt";

/// So many processes that serve one directory.
async fn processes<const N: usize>() -> (TempDir, [Local; N], Key) {
    let root = tempfile::tempdir().unwrap();
    let mut peers = Vec::new();
    for _ in 0..N {
        peers.push(begin(root.path()).await);
    }
    (root, peers.try_into().ok().unwrap(), Key::parse(KEY).unwrap())
}

async fn begin(root: &Path) -> Local {
    Repository::open(RealWorld::runtime(), Uuid::new("node").unwrap(), root).await.unwrap().peer()
}

async fn put<'a>(peer: &'a mut Local, key: &Key) -> Result<Offer<'a>, PeerError> {
    peer.put(&AssociatedFile::default(), key).await
}

async fn upload<'a>(peer: &'a mut Local, key: &Key, offset: u64) -> Box<dyn Upload + 'a> {
    match put(peer, key).await.unwrap() {
        Offer::From(from, upload) if from == offset => upload,
        _ => panic!("it is not wanted from {offset} on"),
    }
}

async fn store(peer: &mut Local, key: &Key) {
    let mut upload = upload(peer, key, 0).await;
    upload.begin(5).await.unwrap();
    upload.write("hello".into()).await.unwrap();
    assert!(upload.finish(Verdict::Valid).await.unwrap().done);
}

async fn is_removed(peer: &mut Local, key: &Key) -> bool {
    peer.remove(key, None).await.unwrap().done
}

fn retention(root: &TempDir) -> String {
    fs::read_to_string(root.path().join("retention").join(KEY)).unwrap_or_default()
}

#[tokio::test]
async fn an_object_is_kept_until_the_last_process_has_unlocked_it() {
    let (root, [mut one, mut two, mut three], key) = processes().await;
    store(&mut one, &key).await;
    let first = one.lock(&key).await.unwrap().unwrap();
    let second = two.lock(&key).await.unwrap().unwrap();
    // A lock that is held outlasts the time that is written down.
    assert_eq!(retention(&root).lines().count(), 2);
    let over = format!("{:020}\n", 1).repeat(2);
    fs::write(root.path().join("retention").join(KEY), over).unwrap();
    assert!(!is_removed(&mut three, &key).await, "both have a lock");
    first.unlock().await.unwrap();
    assert!(!is_removed(&mut three, &key).await, "two has a lock");
    assert!(three.check_present(&key).await.unwrap());
    second.unlock().await.unwrap();
    assert_eq!(retention(&root), "");
    assert!(is_removed(&mut three, &key).await);
    assert!(one.lock(&key).await.unwrap().is_none(), "it is gone");
}

#[tokio::test]
async fn a_lost_process_keeps_what_it_has_locked_whoever_locks_it_meanwhile() {
    let (root, [mut one, mut two, mut three], key) = processes().await;
    store(&mut one, &key).await;
    let early = two.lock(&key).await.unwrap().unwrap();
    let lock = one.lock(&key).await.unwrap().unwrap();
    // What a process has ends with it: its files are closed.
    drop(lock);
    drop(one);
    assert!(!is_removed(&mut three, &key).await);
    // Of those who lock it in the same second, before or after, nobody takes the other one's time away.
    three.lock(&key).await.unwrap().unwrap().unlock().await.unwrap();
    early.unlock().await.unwrap();
    assert!(!is_removed(&mut three, &key).await);
    assert!(!is_removed(&mut two, &key).await);
    // When its time is over, nothing is left of it.
    let over = format!("{:020}\n", 1).repeat(retention(&root).lines().count());
    fs::write(root.path().join("retention").join(KEY), over).unwrap();
    assert!(is_removed(&mut three, &key).await);
    assert_eq!(retention(&root), "");
}

/// Time passes when all wait.
#[tokio::test(start_paused = true)]
async fn one_process_at_a_time_uploads_an_object() {
    let (root, [mut one, mut two], key) = processes().await;
    let mut first = upload(&mut one, &key, 0).await;
    first.begin(5).await.unwrap();
    first.write("hel".into()).await.unwrap();
    assert!(matches!(put(&mut two, &key).await, Err(PeerError::Refused(why)) if why.contains("in progress")));
    first.write("lo".into()).await.unwrap();
    assert!(first.finish(Verdict::Valid).await.unwrap().done);
    assert!(matches!(put(&mut two, &key).await, Ok(Offer::AlreadyHave(_))));
    // One that ends while another waits leaves nothing to do, and what it has stored is nobody's to write to.
    assert!(is_removed(&mut two, &key).await);
    let mut first = upload(&mut one, &key, 0).await;
    let ending = async {
        first.begin(5).await.unwrap();
        first.write("hello".into()).await.unwrap();
        assert!(first.finish(Verdict::Valid).await.unwrap().done);
    };
    let (offer, ()) = join(put(&mut two, &key), ending).await;
    assert!(matches!(offer, Ok(Offer::AlreadyHave(_))));
    assert_eq!(fs::read_dir(root.path().join("incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_upload_of_a_lost_process_is_gone_on_with() {
    let (_root, [mut one, mut two], key) = processes().await;
    let mut first = upload(&mut one, &key, 0).await;
    first.begin(5).await.unwrap();
    first.write("hel".into()).await.unwrap();
    drop(first);
    drop(one);
    let mut second = upload(&mut two, &key, 3).await;
    second.begin(2).await.unwrap();
    second.write("lo".into()).await.unwrap();
    assert!(second.finish(Verdict::Valid).await.unwrap().done);
    assert!(two.check_present(&key).await.unwrap());
}

/// Locks, removals and uploads as fast as can be, in threads of their own: whoever has a lock has the object.
#[test]
fn nothing_comes_between_a_look_at_the_locks_and_a_removal() {
    let root = tempfile::tempdir().unwrap();
    let object: std::path::PathBuf = {
        let [one, two] = Key::parse(KEY).unwrap().lower_directories();
        [root.path(), Path::new(&one), Path::new(&two), Path::new(KEY), Path::new(KEY)].iter().collect()
    };
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (root, object) = (root.path(), &object);
            scope.spawn(move || {
                let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                tokio.block_on(async {
                    let (mut peer, key) = (begin(root).await, Key::parse(KEY).unwrap());
                    for _ in 0..300 {
                        if number == 0 {
                            peer.remove(&key, None).await.unwrap();
                        } else if let Some(lock) = peer.lock(&key).await.unwrap() {
                            assert_eq!(fs::read(object).unwrap(), b"hello", "locked, and not there");
                            lock.unlock().await.unwrap();
                        } else if let Ok(Offer::From(offset, mut upload)) = put(&mut peer, &key).await {
                            upload.begin(5 - offset).await.unwrap();
                            upload
                                .write(bytes::Bytes::from_static(b"hello").slice(offset as usize..))
                                .await
                                .unwrap();
                            assert!(upload.finish(Verdict::Valid).await.unwrap().done);
                        }
                    }
                });
            });
        }
    });
    let left = fs::read_dir(root.path().join("retention")).unwrap();
    assert_eq!(left.count(), 1, "nothing but the file of turns");
}
