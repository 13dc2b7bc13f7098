//! A disk that fails, waits, and shows half-made shares, as it is told: what an object store does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::ShareNumber;
use storage::backend::disk::Disk;
use storage::backend::{Backend, BackendError, Body, Incoming, Progress, SlotChange, WriteEnabler};
use storage::share::{Prefix, ShareId};
use tokio::sync::Semaphore;

/// The calls that can be scripted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    List,
    Read,
    Create,
    Write,
    Publish,
    Delete,
    Change,
    Space,
    MakeDurable,
    Incoming,
    Prefixes,
    Files,
}

#[derive(Clone)]
pub struct Scripted {
    disk: Disk,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// How many more of these calls fail.
    failing: BTreeMap<Call, (u32, Option<BackendError>)>,
    /// The next of these calls are carried out and fail.
    losing: BTreeSet<Call>,
    /// These calls wait for a permit.
    held: BTreeMap<Call, Arc<Semaphore>>,
    /// Bodies that are listed beside, or instead of, what is on the disk; none is not listed.
    shown: BTreeMap<ShareId, Option<Body>>,
    /// Uploads show as half-made shares, as on an object store.
    shows_incoming: bool,
    /// A deletion with this epoch, or an earlier one, is refused.
    outlived: u64,
    /// The next of these calls panics.
    panicking: BTreeSet<Call>,
    calls: BTreeMap<Call, u32>,
    space: Option<u64>,
}

impl Scripted {
    pub fn new(disk: Disk) -> Scripted {
        Scripted { disk, script: Arc::default() }
    }

    /// The next `times` of these calls fail.
    pub fn fail(&self, call: Call, times: u32) {
        self.script.lock().unwrap().failing.insert(call, (times, None));
    }

    /// The next of these calls fails so.
    pub fn fail_with(&self, call: Call, error: BackendError) {
        self.script.lock().unwrap().failing.insert(call, (1, Some(error)));
    }

    /// The next of these calls is carried out, and then fails.
    pub fn lose_answer(&self, call: Call) {
        self.script.lock().unwrap().losing.insert(call);
    }

    /// The next of these calls panics.
    pub fn panic_next(&self, call: Call) {
        self.script.lock().unwrap().panicking.insert(call);
    }

    /// These calls wait until a permit is added to what is returned.
    pub fn hold(&self, call: Call) -> Arc<Semaphore> {
        let permits = Arc::new(Semaphore::new(0));
        self.script.lock().unwrap().held.insert(call, permits.clone());
        permits
    }

    /// Lists this body under the name of a share; `None` hides what is there.
    pub fn show(&self, id: ShareId, body: Option<Body>) {
        self.script.lock().unwrap().shown.insert(id, body);
    }

    /// Lists what is there.
    pub fn show_all(&self) {
        self.script.lock().unwrap().shown.clear();
    }

    /// Deletions with this epoch, or an earlier one, are refused: later operations have been here.
    pub fn outlive(&self, epoch: u64) {
        self.script.lock().unwrap().outlived = epoch;
    }

    pub fn show_incoming(&self) {
        self.script.lock().unwrap().shows_incoming = true;
    }

    /// How many of these calls were made.
    pub fn calls(&self, call: Call) -> u32 {
        self.script.lock().unwrap().calls.get(&call).copied().unwrap_or(0)
    }

    pub fn set_space(&self, bytes: u64) {
        self.script.lock().unwrap().space = Some(bytes);
    }

    async fn begin(&self, call: Call) -> Result<(), BackendError> {
        let held = {
            let mut script = self.script.lock().unwrap();
            *script.calls.entry(call).or_default() += 1;
            let panics = script.panicking.remove(&call);
            let held = script.held.get(&call).cloned();
            drop(script);
            assert!(!panics, "planted");
            held
        };
        if let Some(permits) = held {
            permits.acquire().await.unwrap().forget();
        }
        let mut script = self.script.lock().unwrap();
        match script.failing.get_mut(&call) {
            Some((times, error)) if *times > 0 => {
                *times -= 1;
                Err(error.clone().unwrap_or_else(|| BackendError::Failed("503".into())))
            }
            _ => Ok(()),
        }
    }

    fn end<T>(&self, call: Call, answer: T) -> Result<T, BackendError> {
        match self.script.lock().unwrap().losing.remove(&call) {
            true => Err(BackendError::Failed("no answer".into())),
            false => Ok(answer),
        }
    }

    fn half_made(&self, id: ShareId, is: bool) {
        let mut script = self.script.lock().unwrap();
        if !script.shows_incoming {
            return;
        }
        match is {
            true => script.shown.insert(id, Some(Body::Incomplete { used: 12 })),
            false => script.shown.remove(&id),
        };
    }
}

#[async_trait]
impl Backend for Scripted {
    async fn prefixes(&self) -> Result<BTreeSet<Prefix>, BackendError> {
        self.begin(Call::Prefixes).await?;
        self.disk.prefixes().await
    }

    async fn files(&self, prefix: Prefix) -> Result<BTreeSet<StorageIndex>, BackendError> {
        self.begin(Call::Files).await?;
        self.disk.files(prefix).await
    }

    async fn list(&self, index: StorageIndex) -> Result<BTreeMap<ShareNumber, Body>, BackendError> {
        self.begin(Call::List).await?;
        let mut bodies = self.disk.list(index).await?;
        for (id, body) in self.script.lock().unwrap().shown.iter().filter(|(id, _)| id.index == index) {
            match body {
                Some(body) => bodies.insert(id.share, body.clone()),
                None => bodies.remove(&id.share),
            };
        }
        Ok(bodies)
    }

    async fn read(&self, id: ShareId, offset: u64, length: u64) -> Result<Bytes, BackendError> {
        self.begin(Call::Read).await?;
        self.disk.read(id, offset, length).await
    }

    async fn create(&self, id: ShareId, size: u64, epoch: u64) -> Result<Box<dyn Incoming>, BackendError> {
        self.begin(Call::Create).await?;
        let incoming = self.disk.create(id, size, epoch).await?;
        self.half_made(id, true);
        Ok(Box::new(ScriptedIncoming { scripted: self.clone(), id, incoming }))
    }

    async fn incoming(&self) -> Result<BTreeSet<ShareId>, BackendError> {
        self.begin(Call::Incoming).await?;
        self.disk.incoming().await
    }

    async fn delete(&self, id: ShareId, epoch: u64) -> Result<(), BackendError> {
        self.begin(Call::Delete).await?;
        if epoch <= self.script.lock().unwrap().outlived {
            return Err(BackendError::Stale(id));
        }
        self.disk.delete(id, epoch).await?;
        self.half_made(id, false);
        self.script.lock().unwrap().shown.remove(&id);
        Ok(())
    }

    async fn make_durable(&self, index: StorageIndex) -> Result<(), BackendError> {
        self.begin(Call::MakeDurable).await?;
        self.disk.make_durable(index).await
    }

    async fn discard(&self, id: ShareId) -> Result<(), BackendError> {
        self.disk.discard(id).await
    }

    async fn write_enabler(&self, id: ShareId) -> Result<WriteEnabler, BackendError> {
        self.disk.write_enabler(id).await
    }

    async fn change(&self, id: ShareId, change: SlotChange, epoch: u64) -> Result<u64, BackendError> {
        self.begin(Call::Change).await?;
        self.end(Call::Change, self.disk.change(id, change, epoch).await?)
    }

    fn largest_slot(&self) -> u64 {
        self.disk.largest_slot()
    }

    async fn available_space(&self) -> Result<Option<u64>, BackendError> {
        self.begin(Call::Space).await?;
        match self.script.lock().unwrap().space {
            Some(bytes) => Ok(Some(bytes)),
            None => Ok(Some(1 << 40)),
        }
    }
}

struct ScriptedIncoming {
    scripted: Scripted,
    id: ShareId,
    incoming: Box<dyn Incoming>,
}

#[async_trait]
impl Incoming for ScriptedIncoming {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<Progress, BackendError> {
        self.scripted.begin(Call::Write).await?;
        self.incoming.write(offset, bytes).await
    }

    async fn publish(&self) -> Result<u64, BackendError> {
        self.scripted.begin(Call::Publish).await?;
        let used = self.incoming.publish().await?;
        self.scripted.half_made(self.id, false);
        self.scripted.end(Call::Publish, used)
    }

    async fn settle(&self) {
        self.incoming.settle().await;
    }
}
