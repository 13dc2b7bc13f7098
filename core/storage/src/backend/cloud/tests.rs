//! The cloud backend over a small store in memory, whose failures are told beforehand.

use std::sync::Mutex;
use std::time::Duration;

use runtime::real::RealWorld;

use super::*;
use crate::backend::Progress;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Trouble {
    /// It fails, and is not carried out.
    Fails(u16),
    /// It is carried out, and the answer is lost.
    Lost,
    /// It fails, and is carried out when the test says so.
    Late,
    /// It takes so many seconds.
    Slow(u64),
}

#[derive(Default)]
struct Memory {
    objects: BTreeMap<String, Bytes>,
    epochs: BTreeMap<String, u64>,
    /// Of calls that begin so ("put shares/…"), what becomes of each in turn.
    troubles: Vec<(String, Trouble)>,
    late: Vec<(String, Option<Bytes>, u64)>,
    /// What was called: "put KEY".
    log: Vec<String>,
    running: usize,
    most_running: usize,
    /// Keys in a page.
    page: usize,
    /// Listings tell nothing but this.
    stale: Option<Vec<(String, u64)>>,
}

#[derive(Clone)]
struct Store(Arc<Mutex<Memory>>, Runtime);

impl Store {
    fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    fn trouble(&self, call: &str, troubles: &[Trouble]) {
        self.with(|memory| {
            memory.troubles.extend(troubles.iter().map(|trouble| (call.to_owned(), *trouble)))
        });
    }

    async fn begin(&self, call: String) -> Option<Trouble> {
        let trouble = self.with(|memory| {
            let place = memory.troubles.iter().position(|(expected, _)| call.starts_with(expected));
            memory.log.push(call);
            memory.running += 1;
            memory.most_running = memory.most_running.max(memory.running);
            place.map(|place| memory.troubles.remove(place).1)
        });
        let time = if let Some(Trouble::Slow(seconds)) = trouble {
            Duration::from_secs(seconds)
        } else {
            Duration::from_millis(10)
        };
        self.1.sleep(time).await;
        self.with(|memory| memory.running -= 1);
        trouble
    }

    /// Carries out what is late.
    fn catch_up(&self) {
        self.with(|memory| {
            for (key, bytes, epoch) in std::mem::take(&mut memory.late) {
                let _ = memory.write(&key, bytes, epoch);
            }
        });
    }

    async fn write(&self, call: &str, key: &str, bytes: Option<Bytes>, epoch: u64) -> Result<(), StoreError> {
        match self.begin(format!("{call} {key}")).await {
            Some(Trouble::Fails(status)) => Err(StoreError::Status(status)),
            Some(Trouble::Late) => {
                self.with(|memory| memory.late.push((key.into(), bytes, epoch)));
                Err(StoreError::Connection("planted".into()))
            }
            Some(Trouble::Lost) => {
                let _ = self.with(|memory| memory.write(key, bytes, epoch));
                Err(StoreError::Connection("planted".into()))
            }
            _ => self.with(|memory| memory.write(key, bytes, epoch)),
        }
    }
}

impl Memory {
    fn write(&mut self, key: &str, bytes: Option<Bytes>, epoch: u64) -> Result<(), StoreError> {
        let greatest = self.epochs.entry(key.into()).or_default();
        if epoch < *greatest {
            return Err(StoreError::Stale);
        }
        *greatest = epoch;
        match bytes {
            Some(bytes) => _ = self.objects.insert(key.into(), bytes),
            None => _ = self.objects.remove(key).ok_or(StoreError::Status(404))?,
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put(&self, key: &str, bytes: Bytes, epoch: u64) -> Result<(), StoreError> {
        self.write("put", key, Some(bytes), epoch).await
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        match self.begin(format!("get {key}")).await {
            Some(Trouble::Fails(status)) => return Err(StoreError::Status(status)),
            // The answer is cut off, and nobody says so.
            Some(Trouble::Lost) => return Ok(Bytes::new()),
            _ => {}
        }
        self.with(|memory| {
            let bytes = memory.objects.get(key).ok_or(StoreError::Status(404))?;
            let cut = |place: u64| place.min(bytes.len() as u64) as usize;
            Ok(bytes.slice(cut(range.start)..cut(range.end)))
        })
    }

    async fn delete(&self, key: &str, epoch: u64) -> Result<(), StoreError> {
        self.write("delete", key, None, epoch).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        if let Some(Trouble::Fails(status)) = self.begin(format!("list {prefix}")).await {
            return Err(StoreError::Status(status));
        }
        self.with(|memory| {
            if let Some(objects) = memory.stale.clone() {
                return Ok(Page { objects, more: false });
            }
            let sizes = memory.objects.iter().map(|(key, bytes)| (key.clone(), bytes.len() as u64));
            let mut rest = sizes
                .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| &key[..] > after));
            let objects: Vec<_> = rest.by_ref().take(memory.page).collect();
            Ok(Page { more: rest.next().is_some(), objects })
        })
    }
}

const INDEX: StorageIndex = StorageIndex(*b"storage indexxxx");
const FILE: &str = "shares/on/on2g64tbm5ssa2lomrsxq6dypa/";
const CHUNK: u64 = 128;
const ENABLER: WriteEnabler = WriteEnabler { secret: [b'E'; 32], node: [b'N'; 20] };

fn id(share: ShareNumber) -> ShareId {
    ShareId { index: INDEX, share }
}

/// Bytes that do not repeat with the chunks.
fn bytes(count: usize) -> Bytes {
    (0..count).map(|place| (place % 251) as u8).collect()
}

struct Place {
    store: Store,
    cloud: Cloud,
}

impl Place {
    fn new() -> Place {
        let runtime = RealWorld::runtime();
        let store = Store(Arc::default(), runtime.clone());
        store.with(|memory| memory.page = 1000);
        Place { cloud: Cloud::new(runtime, Arc::new(store.clone()), CHUNK), store }
    }

    /// The same store, and a process that knows nothing of what was done to it.
    fn restart(&mut self) {
        let runtime = RealWorld::runtime();
        self.cloud = Cloud::new(runtime, Arc::new(self.store.clone()), CHUNK);
    }

    async fn upload(&self, share: ShareNumber, data: &Bytes, epoch: u64) -> Result<u64, BackendError> {
        let incoming = self.cloud.create(id(share), data.len() as u64, epoch).await?;
        incoming.write(0, data.clone()).await?;
        incoming.publish().await
    }

    async fn change(
        &self,
        share: ShareNumber,
        offset: u64,
        data: Bytes,
        cut: Option<u64>,
    ) -> Result<u64, BackendError> {
        let change = SlotChange { enabler: ENABLER, writes: vec![(offset, data)], new_length: cut };
        self.cloud.change(id(share), change, 1).await
    }

    async fn read(&self, share: ShareNumber) -> Result<Bytes, BackendError> {
        self.cloud.read(id(share), 0, u64::MAX).await
    }

    async fn body(&self, share: ShareNumber) -> Option<Body> {
        self.cloud.list(INDEX).await.unwrap().remove(&share)
    }

    /// The names of the file's objects, and their sizes.
    fn objects(&self) -> Vec<(String, usize)> {
        let name = |key: &str| key.strip_prefix(FILE).unwrap().to_owned();
        self.store.with(|memory| memory.objects.iter().map(|(key, bytes)| (name(key), bytes.len())).collect())
    }

    fn tamper(&self, name: &str, work: impl FnOnce(&mut Vec<u8>)) {
        self.store.with(|memory| {
            let object = memory.objects.get_mut(&format!("{FILE}{name}")).unwrap();
            let mut bytes = object.to_vec();
            work(&mut bytes);
            *object = bytes.into();
        });
    }

    fn remove(&self, name: &str) {
        self.store.with(|memory| memory.objects.remove(&format!("{FILE}{name}")).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_is_cut_into_chunks_and_read_across_them() {
    let mut place = Place::new();
    let data = bytes(300);
    assert_eq!(place.upload(3, &data, 1).await, Ok(312));
    assert_eq!(place.upload(4, &bytes(0), 1).await, Ok(12));
    assert_eq!(place.upload(5, &bytes(116), 1).await, Ok(128));
    let expected = [("3", 128), ("3.1", 128), ("3.2", 56), ("4", 12), ("5", 128)];
    assert_eq!(place.objects(), expected.map(|(name, size)| (name.to_owned(), size)));
    place.restart();
    assert_eq!(place.body(3).await, Some(Body::Immutable { size: 300, used: 312 }));
    assert_eq!(place.body(4).await, Some(Body::Immutable { size: 0, used: 12 }));
    for (offset, length) in
        [(0, 1), (0, 116), (115, 2), (116, 128), (0, 300), (243, 57), (299, 9), (300, 1), (900, 9)]
    {
        let (start, end) = (offset.min(300), (offset + length).min(300));
        let read = place.cloud.read(id(3), offset as u64, length as u64).await.unwrap();
        assert_eq!(read, data.slice(start..end), "{offset}+{length}");
    }
    assert_eq!(place.read(4).await.unwrap(), b""[..]);
    assert_eq!(place.read(9).await, Err(BackendError::NoSuchShare(id(9))));
    assert_eq!(place.cloud.files(Prefix::of(&INDEX)).await.unwrap(), [INDEX].into());
    assert_eq!(place.cloud.incoming().await.unwrap(), [].into());
    assert_eq!(place.cloud.available_space().await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn writes_in_any_order_within_reach_and_never_two_bytes_for_one_place() {
    let place = Place::new();
    let (size, data) = (3000, bytes(3000));
    let incoming = place.cloud.create(id(0), size, 1).await.unwrap();
    let write = async |start: usize, end: usize| incoming.write(start as u64, data.slice(start..end)).await;
    assert_eq!(write(200, 400).await, Ok(Progress { new: 200, complete: false }));
    assert_eq!(write(100, 250).await, Ok(Progress { new: 100, complete: false }));
    assert_eq!(place.objects(), [], "nothing is put before the first chunk is whole");
    assert!(matches!(write(2100, 2101).await, Err(BackendError::Refused(why)) if why.contains("2100")));
    assert!(matches!(incoming.publish().await, Err(BackendError::Refused(why)) if why.contains("only 300")));
    assert_eq!(write(0, 120).await, Ok(Progress { new: 100, complete: false }));
    let conflict = async |offset: u64| incoming.write(offset, Bytes::from_static(b"\xff")).await;
    for place in [0, 115, 116, 399] {
        let words = format!("{place}..{} were written", place + 1);
        assert!(
            matches!(conflict(place).await, Err(BackendError::Refused(why)) if why.contains(&words)),
            "{words}"
        );
    }
    assert!(matches!(conflict(3000).await, Err(BackendError::Refused(why)) if why.contains("do not fit")));
    assert_eq!(write(0, 401).await, Ok(Progress { new: 1, complete: false }));
    assert_eq!(
        write(401, 3000).await,
        Ok(Progress { new: 2599, complete: true }),
        "a long one is no early one"
    );
    assert_eq!(write(0, 3000).await, Ok(Progress { new: 0, complete: true }));
    assert_eq!(incoming.publish().await, Ok(3012));
    assert_eq!(place.read(0).await.unwrap(), data);
    assert!(matches!(write(0, 1).await, Err(BackendError::Refused(why)) if why.contains("over")));
    assert_eq!(place.store.with(|memory| memory.most_running), PIPELINE as usize);
}

#[tokio::test(start_paused = true)]
async fn a_put_is_tried_four_times_and_its_failure_is_the_shares() {
    let place = Place::new();
    let fails = Trouble::Fails(500);
    place.store.trouble(&format!("put {FILE}0.1"), &[fails, Trouble::Lost, fails]);
    assert_eq!(place.upload(0, &bytes(300), 1).await, Ok(312));
    assert_eq!(place.read(0).await.unwrap(), bytes(300));

    place.store.trouble(&format!("put {FILE}1.1"), &[Trouble::Fails(501), fails, fails, fails]);
    let incoming = place.cloud.create(id(1), 300, 1).await.unwrap();
    incoming.write(0, bytes(300)).await.unwrap();
    let failed = BackendError::Failed("the store answered with status 501".into());
    assert_eq!(incoming.publish().await, Err(failed.clone()));
    assert_eq!(incoming.write(0, bytes(1)).await, Err(failed.clone()));
    assert_eq!(incoming.publish().await, Err(failed));
}

/// What may still be on its way when a share is given up neither survives its deletion nor harms the next one.
#[tokio::test(start_paused = true)]
async fn a_late_put_is_refused_by_its_epoch() {
    let place = Place::new();
    place.store.trouble(&format!("put {FILE}0.2"), &[Trouble::Late; 4]);
    let incoming = place.cloud.create(id(0), 300, 1).await.unwrap();
    incoming.write(0, bytes(300)).await.unwrap();
    incoming.settle().await;
    assert!(matches!(incoming.publish().await, Err(BackendError::Failed(_))));
    place.cloud.delete(id(0), 2).await.unwrap();
    place.store.catch_up();
    assert_eq!(place.objects(), []);

    // Another share of that name, of other bytes; then an old attempt arrives.
    assert_eq!(place.upload(0, &Bytes::from(vec![b'x'; 20]), 3).await, Ok(32));
    place.store.with(|memory| memory.late.push((format!("{FILE}0"), Some(bytes(128)), 1)));
    place.store.catch_up();
    assert_eq!(place.read(0).await.unwrap(), [b'x'; 20][..]);
    assert_eq!(place.upload(0, &bytes(20), 2).await, Err(BackendError::Stale(id(0))));
    assert_eq!(place.cloud.delete(id(0), 2).await, Err(BackendError::Stale(id(0))));
}

/// A share that outgrows its only chunk has that one put twice by one change: the first put does not undo the second.
#[tokio::test(start_paused = true)]
async fn a_late_put_does_not_undo_a_later_one_of_the_same_change() {
    let place = Place::new();
    let change = |data: Bytes| SlotChange { enabler: ENABLER, writes: vec![(0, data)], new_length: None };
    place.cloud.change(id(0), change(bytes(1)), 1).await.unwrap();
    place.store.trouble(&format!("put {FILE}0"), &[Trouble::Late]);
    place.cloud.change(id(0), change(bytes(600)), 2).await.unwrap();
    assert_eq!(place.read(0).await.unwrap(), bytes(600));
    place.store.catch_up();
    assert_eq!(place.read(0).await.unwrap(), bytes(600));
}

#[tokio::test(start_paused = true)]
async fn settling_waits_for_puts_that_are_on_their_way() {
    let place = Place::new();
    place.store.trouble(&format!("put {FILE}0.1"), &[Trouble::Slow(100)]);
    let incoming = place.cloud.create(id(0), 300, 1).await.unwrap();
    incoming.write(0, bytes(300)).await.unwrap();
    let (runtime, start) = (&place.cloud.0.runtime, place.cloud.0.runtime.now());
    incoming.settle().await;
    assert!(runtime.now() - start >= Duration::from_secs(100));
    assert_eq!(place.store.with(|memory| memory.running), 0);
    assert!(matches!(incoming.write(0, bytes(1)).await, Err(BackendError::Refused(_))));
    place.cloud.delete(id(0), 2).await.unwrap();
    assert_eq!(place.objects(), []);
}

/// L12.
#[tokio::test(start_paused = true)]
async fn deleting_share_1_leaves_share_10_alone() {
    let place = Place::new();
    for share in [1, 10, 11, 100] {
        place.upload(share, &bytes(200 + share as usize), 1).await.unwrap();
    }
    assert_eq!(place.read(1).await.unwrap(), bytes(201));
    place.store.trouble(&format!("delete {FILE}1.1"), &[Trouble::Lost]);
    place.cloud.delete(id(1), 2).await.unwrap();
    place.cloud.delete(id(1), 2).await.unwrap();
    assert_eq!(place.read(1).await, Err(BackendError::NoSuchShare(id(1))));
    for share in [10, 11, 100] {
        assert_eq!(place.read(share).await.unwrap(), bytes(200 + share as usize));
    }
}

/// The last two rows of §14 and their neighbours, each alone; the siblings stay.
#[tokio::test(start_paused = true)]
async fn what_is_missing_or_wrong_is_told_from_the_sizes_and_the_header() {
    let data = bytes(500);
    type Spoil = fn(&Place);
    let cases: [(&str, Spoil, &str); 9] = [
        ("the last chunk is missing", |place| place.remove("0.3"), "incomplete"),
        (
            "all but the first are",
            |place| (1..4).for_each(|chunk| place.remove(&format!("0.{chunk}"))),
            "incomplete",
        ),
        ("the last one is cut", |place| place.tamper("0.3", |bytes| bytes.truncate(9)), "incomplete"),
        ("one in the middle is missing", |place| place.remove("0.2"), "chunk 2 of 3 is missing"),
        ("the first one is missing", |place| place.remove("0"), "incomplete"),
        (
            "one in the middle is cut",
            |place| place.tamper("0.1", |bytes| bytes.truncate(9)),
            "chunk 1 has 9 bytes",
        ),
        (
            "the last one is too long",
            |place| place.tamper("0.3", |bytes| bytes.resize(129, 0)),
            "chunk 3 has 129 bytes",
        ),
        ("the version is unknown", |place| place.tamper("0", |bytes| bytes[3] = 9), "version 9"),
        ("the header is cut", |place| place.tamper("0", |bytes| bytes.truncate(11)), "and the first 11"),
    ];
    for (case, spoil, words) in cases {
        let mut place = Place::new();
        place.upload(0, &data, 1).await.unwrap();
        place.upload(7, &data, 1).await.unwrap();
        place.restart();
        spoil(&place);
        match place.body(0).await.unwrap() {
            Body::Incomplete { .. } => assert_eq!(words, "incomplete", "{case}"),
            Body::Corrupted { why, .. } => assert!(why.contains(words), "{case}: {why}"),
            body => panic!("{case}: {body:?}"),
        }
        assert!(matches!(place.read(0).await, Err(BackendError::Corrupted { .. })), "{case}");
        assert_eq!(place.body(7).await, Some(Body::Immutable { size: 500, used: 512 }), "{case}");
        place.cloud.delete(id(0), 2).await.unwrap();
        assert!(place.objects().iter().all(|(name, _)| name.starts_with('7')), "{case}");
    }
}

/// L13: all or an error.
#[tokio::test(start_paused = true)]
async fn a_failure_is_an_error_and_no_absence() {
    let place = Place::new();
    place.upload(0, &bytes(9), 1).await.unwrap();
    place.upload(1, &bytes(200), 1).await.unwrap();
    place.store.with(|memory| memory.page = 1);
    assert_eq!(place.cloud.list(INDEX).await.unwrap().len(), 2, "over several pages");
    let fails = [Trouble::Fails(503); 4];
    for call in [format!("get {FILE}1"), format!("list {FILE}"), "list shares/on".into()] {
        place.store.with(|memory| memory.troubles.clear());
        place.store.trouble(&call, &fails);
        match call.ends_with("/on") {
            true => {
                assert!(matches!(place.cloud.files(Prefix::of(&INDEX)).await, Err(BackendError::Failed(_))))
            }
            false => assert!(matches!(place.cloud.list(INDEX).await, Err(BackendError::Failed(_))), "{call}"),
        }
        assert_eq!(place.cloud.list(INDEX).await.unwrap().len(), 2);
    }
    // An answer that is cut off is none.
    place.store.with(|memory| memory.troubles.clear());
    place.store.trouble(&format!("get {FILE}1.1"), &[Trouble::Lost]);
    assert_eq!(place.read(1).await.unwrap(), bytes(200));
    // Pages that begin anew for ever.
    place.store.with(|memory| memory.page = 0);
    let stuck = place.cloud.list(INDEX).await;
    assert!(matches!(stuck, Err(BackendError::Failed(why)) if why.contains("no further")));
}

/// A listing that lags behind hides nothing that this process did, and nothing of a share that one asks for.
#[tokio::test(start_paused = true)]
async fn a_late_listing_is_made_up_for() {
    let mut place = Place::new();
    place.upload(0, &bytes(500), 1).await.unwrap();
    place.store.with(|memory| memory.stale = Some(vec![(format!("{FILE}9"), 30)]));
    assert_eq!(place.cloud.list(INDEX).await.unwrap().into_keys().collect::<Vec<_>>(), [0]);
    place.restart();
    assert_eq!(place.read(0).await.unwrap(), bytes(500));
    let listed = [("0", 128), ("0.3", 128)].map(|(name, size)| (format!("{FILE}{name}"), size));
    place.store.with(|memory| memory.stale = Some(listed.to_vec()));
    assert_eq!(place.body(0).await, Some(Body::Immutable { size: 500, used: 512 }));
    place.cloud.delete(id(0), 2).await.unwrap();
    assert_eq!(place.body(0).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_mutable_share_grows_over_chunks_and_does_not_shrink() {
    let place = Place::new();
    let mut model = Vec::new();
    // Within chunks of 128, a header of 468 bytes: the share has several chunks from the start.
    for (offset, length, cut) in
        [(0, 5, None), (3, 200, None), (700, 9, None), (0, 1, Some(40)), (50, 300, None), (0, 0, Some(0))]
    {
        let (start, end) = (offset as usize, offset as usize + length);
        model.resize(model.len().max(end), 0);
        model[start..end].copy_from_slice(&bytes(length));
        model.truncate(cut.unwrap_or(u64::MAX) as usize);
        let used = place.change(2, offset, bytes(length), cut).await.unwrap();
        assert_eq!(used, place.objects().iter().map(|(_, size)| *size as u64).sum::<u64>());
        assert_eq!(place.read(2).await.unwrap(), model, "{offset}+{length}");
        assert_eq!(place.body(2).await, Some(Body::Mutable { size: model.len() as u64, used }));
    }
    assert!(place.cloud.write_enabler(id(2)).await.unwrap() == ENABLER);
    place.upload(3, &bytes(9), 1).await.unwrap();
    assert!(matches!(place.change(3, 0, bytes(1), None).await, Err(BackendError::Refused(_))));
    assert!(matches!(place.cloud.write_enabler(id(3)).await, Err(BackendError::Refused(_))));
    assert!(matches!(place.change(2, 1 << 40, bytes(1), None).await, Err(BackendError::Refused(_))));
}

/// Whatever put a change fails at, the share is readable: old bytes, new ones, or at its old length some of each.
#[tokio::test(start_paused = true)]
async fn a_change_that_fails_in_the_middle_leaves_a_share() {
    for outgrows in [true, false] {
        for puts in 0.. {
            let place = Place::new();
            // One that fits into its only chunk, of another size than new ones have.
            let old = bytes(30);
            let first = if outgrows {
                Cloud::new(RealWorld::runtime(), Arc::new(place.store.clone()), 4096)
            } else {
                place.cloud.clone()
            };
            let change =
                |data: Bytes| SlotChange { enabler: ENABLER, writes: vec![(0, data)], new_length: None };
            first.change(id(0), change(old.clone()), 1).await.unwrap();
            let cloud = if outgrows {
                Cloud::new(RealWorld::runtime(), Arc::new(place.store.clone()), 600)
            } else {
                place.cloud.clone()
            };
            let new = Bytes::from(vec![b'n'; 400]);
            for _ in 0..puts {
                place.store.trouble("put", &[Trouble::Slow(0)]);
            }
            place.store.trouble("put", &[Trouble::Fails(403)]);
            let changed = cloud.change(id(0), change(new.clone()), 2).await;
            place.store.with(|memory| memory.troubles.clear());
            let now = place.read(0).await.unwrap();
            match changed {
                Ok(_) => {
                    assert_eq!(now, new);
                    assert!(puts > 1, "it took {puts} puts");
                    break;
                }
                Err(_) => {
                    let mixed = |(place, byte): (usize, &u8)| *byte == b'n' || *byte == old[place];
                    assert!(
                        now.len() == 30 && now.iter().enumerate().all(mixed),
                        "{outgrows} {puts}: {now:?}"
                    );
                }
            }
            cloud.change(id(0), change(new.clone()), 3).await.unwrap();
            assert_eq!(place.read(0).await.unwrap(), new);
        }
    }
}
