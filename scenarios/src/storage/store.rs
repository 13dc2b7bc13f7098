//! A simulated object store: an actor with a life of its own, which outlives the server's crashes. What it answers may be
//! late, lost or wrong; what it keeps is whole objects (leasedb-and-storage §12, §13: "Cloud store").

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use runtime::{Instant, Runtime};
use seedgrid::world::{Actor, World};
use storage::backend::cloud::{ObjectStore, Page, StoreError};

use super::witness::Watch;

/// What can become of a call.
pub const TROUBLES: &[&str] = &[
    "busy",
    "broken",
    "forbidden",
    "lost-before",
    "lost-after",
    "applied-late",
    "stale-list",
    "short-page",
    "outage",
];

const ON_WRITE: &[&str] =
    &["busy", "broken", "forbidden", "lost-before", "lost-after", "applied-late", "outage"];
const ON_GET: &[&str] = &["busy", "broken", "forbidden", "lost-before", "outage"];
const ON_LIST: &[&str] = &["busy", "broken", "lost-before", "stale-list", "short-page", "outage"];

/// The calls that can come to this, each as often as it should.
pub fn calls(trouble: &str) -> &'static [&'static str] {
    match trouble {
        "lost-after" | "applied-late" => &["put", "put", "delete"],
        "stale-list" | "short-page" => &["list"],
        "forbidden" => &["put", "put", "get", "get", "delete"],
        _ => &["put", "put", "get", "get", "delete", "list"],
    }
}

/// How much later than its retry an attempt may arrive that was reported as failed.
const LATE: Duration = Duration::from_secs(11);
/// How long an outage lasts: longer than all retries of one call.
const OUTAGE: Duration = Duration::from_secs(40);
/// How old a stale listing is, at the most.
pub const STALE: Duration = Duration::from_secs(3);
/// The keys of a page.
const PAGE: usize = 1000;

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct SimStore(Arc<Inner>);

struct Inner {
    world: World,
    actor: Actor,
    runtime: Runtime,
    latency: Duration,
    healed: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Bytes>,
    /// The greatest epoch with which each key was ever written or deleted.
    epochs: BTreeMap<String, u64>,
    /// What was at a key before it last changed, and when that was.
    before: BTreeMap<String, (Instant, Option<u64>)>,
    down_until: Option<Instant>,
}

impl SimStore {
    /// An empty store that takes so long for each call.
    pub fn new(world: World, latency: Duration) -> SimStore {
        let actor = world.actor("store");
        let runtime = actor.runtime();
        let (healed, kept) = (AtomicBool::new(false), Mutex::default());
        SimStore(Arc::new(Inner { world, actor, runtime, latency, healed, kept }))
    }

    /// Ends all trouble.
    pub fn heal(&self) {
        self.0.healed.store(true, Ordering::Relaxed);
        self.0.lock().down_until = None;
    }

    /// Everything that is kept, by key.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.0.lock().objects.clone()
    }

    /// Changes what is kept behind everybody's back, as an operator may; `None` removes.
    pub fn tamper(&self, key: &str, bytes: Option<Bytes>) {
        let now = self.0.runtime.now();
        self.0.lock().set(key, bytes, now);
    }

    /// Has the store carry out a call, as a task of its own.
    async fn call<T: Send + 'static>(
        &self,
        kind: &'static str,
        troubles: &[&'static str],
        work: impl FnOnce(&Inner, Option<&'static str>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.0.clone();
        let healed = inner.healed.load(Ordering::Relaxed);
        let trouble = if healed { None } else { inner.world.fault(kind, 0, troubles) };
        let answer = async move {
            if !inner.latency.is_zero() {
                inner.runtime.sleep(inner.latency).await;
            }
            let now = inner.runtime.now();
            if trouble == Some("outage") {
                inner.lock().down_until = Some(now + OUTAGE);
            }
            match trouble {
                _ if inner.lock().down_until.is_some_and(|until| now < until) => Err(StoreError::Status(503)),
                Some("busy") => Err(StoreError::Status(503)),
                Some("broken") => Err(StoreError::Status(500)),
                Some("forbidden") => Err(StoreError::Status(403)),
                Some("lost-before") => Err(StoreError::Connection("reset by peer".into())),
                Some("lost-after") => {
                    let _ = work(&inner, None);
                    Err(StoreError::Connection("no whole answer".into()))
                }
                Some("applied-late") => {
                    let late = inner.clone();
                    inner.actor.spawn("late", 0, async move {
                        late.runtime.sleep(LATE).await;
                        let _ = work(&late, None);
                    });
                    Err(StoreError::Status(500))
                }
                other => work(&inner, other),
            }
        };
        match self.0.actor.ask(kind, 0, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Connection("the store is gone".into())),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn set(&mut self, key: &str, bytes: Option<Bytes>, now: Instant) {
        let before = self.objects.get(key).map(|bytes| bytes.len() as u64);
        self.before.insert(key.into(), (now, before));
        tracing::debug!(target: "store", key, bytes = bytes.as_ref().map_or(0, |b| b.len() as u64),
            "{}", if bytes.is_some() { "keeps" } else { "removes" });
        match bytes {
            Some(bytes) => _ = self.objects.insert(key.into(), bytes),
            None => _ = self.objects.remove(key),
        }
    }

    /// Takes a change with this epoch, unless a later operation has the key.
    fn take(&mut self, key: &str, epoch: u64) -> Result<(), StoreError> {
        let greatest = self.epochs.entry(key.into()).or_default();
        if epoch < *greatest {
            return Err(StoreError::Stale);
        }
        *greatest = epoch;
        Ok(())
    }

    /// Sizes by key, as they were at some time within the last moments.
    fn sizes(&self, prefix: &str, stale_since: Option<Instant>) -> BTreeMap<String, u64> {
        let here = self.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut sizes: BTreeMap<_, _> = here.map(|(key, bytes)| (key.clone(), bytes.len() as u64)).collect();
        for (key, (changed, before)) in self.before.iter().filter(|(key, _)| key.starts_with(prefix)) {
            if stale_since.is_some_and(|since| *changed >= since) {
                match before {
                    Some(size) => _ = sizes.insert(key.clone(), *size),
                    None => _ = sizes.remove(key),
                }
            }
        }
        sizes
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put(&self, key: &str, bytes: Bytes, epoch: u64) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.call("put", ON_WRITE, move |inner, _| {
            let mut kept = inner.lock();
            kept.take(&key, epoch)?;
            kept.set(&key, Some(bytes), inner.runtime.now());
            Ok(())
        })
        .await
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let key = key.to_owned();
        self.call("get", ON_GET, move |inner, _| {
            let kept = inner.lock();
            let bytes = kept.objects.get(&key).ok_or(StoreError::Status(404))?;
            let cut = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
            let (start, end) = (cut(range.start), cut(range.end));
            Ok(bytes.slice(start..end.max(start)))
        })
        .await
    }

    async fn delete(&self, key: &str, epoch: u64) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.call("delete", ON_WRITE, move |inner, _| {
            let mut kept = inner.lock();
            kept.take(&key, epoch)?;
            if !kept.objects.contains_key(&key) {
                return Err(StoreError::Status(404));
            }
            kept.set(&key, None, inner.runtime.now());
            Ok(())
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(String::from));
        self.call("list", ON_LIST, move |inner, trouble| {
            let stale = (trouble == Some("stale-list")).then(|| {
                Instant::from_nanos(inner.runtime.now().as_nanos().saturating_sub(STALE.as_nanos() as u64))
            });
            let page = if trouble == Some("short-page") { 1 } else { PAGE };
            let sizes = inner.lock().sizes(&prefix, stale);
            let mut rest =
                sizes.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
            let objects = rest.by_ref().take(page).collect();
            Ok(Page { objects, more: rest.next().is_some() })
        })
        .await
    }
}

/// The store as one life of a server sees it, with a witness.
pub struct WatchedStore {
    store: SimStore,
    watch: Arc<Watch>,
}

impl SimStore {
    /// The store for a server with that witness.
    pub fn watched(&self, watch: Arc<Watch>) -> WatchedStore {
        WatchedStore { store: self.clone(), watch }
    }
}

#[async_trait]
impl ObjectStore for WatchedStore {
    async fn put(&self, key: &str, bytes: Bytes, epoch: u64) -> Result<(), StoreError> {
        self.watch.touches(key);
        self.store.put(key, bytes, epoch).await
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.store.get(key, range).await
    }

    async fn delete(&self, key: &str, epoch: u64) -> Result<(), StoreError> {
        self.watch.touches(key);
        self.store.delete(key, epoch).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.store.list(prefix, after).await
    }
}
