//! The stage: a node's storage directory on a simulated disk, our server as a guest in it through its lives, and what must
//! be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use protocol::StorageIndex;
use protocol::server::{LeaseSecret, ServerError, ServerId};
use runtime::files::{Files, OpenMode};
use runtime::{Runtime, Scope};
use seedgrid::case::Case;
use seedgrid::fault::{DiskEffect, Fault};
use seedgrid::world::{Actor, World};
use storage::ShareDirectory;
use storage::share::ShareId;

use super::container::{Kept, NODE, TORN, header, inherited, records, secret};
use super::model::Model;
use super::oracle;
use super::workload::{ClassicWorkload, Condition, Happening, all_shares};
use crate::storage::look::{STATE, directory_of};
use crate::storage::stage::lock;
use crate::storage::workload::index_of;

/// How long the process is down after a crash, when the case does not say.
const DOWN: Duration = Duration::from_secs(1);
/// As much of a file is looked at.
const MOST: usize = 1 << 17;

/// The directory, its guest, and what is known of them.
pub struct Stage {
    /// The world.
    pub world: World,
    /// The harness's own door.
    pub script: Runtime,
    /// Tasks of the script.
    pub scope: Scope,
    /// The server's machine.
    pub server: Actor,
    /// Every secret that the server is ever told.
    pub secrets: Vec<LeaseSecret>,
    /// The wall clock at the start, in seconds since the Unix epoch.
    pub epoch: u64,
    shares: BTreeMap<ShareId, (PathBuf, Bytes)>,
    sick: bool,
    healed: AtomicBool,
    /// The operator has ended the process: nobody else starts it.
    stopped: AtomicBool,
    guest: Mutex<Option<ShareDirectory>>,
    model: Mutex<Model>,
}

impl Stage {
    /// Sets the stage; the process is not started yet.
    pub fn set(case: &Case, world: World) -> Stage {
        let workload = case.workload.of::<ClassicWorkload>();
        let script = world.actor("script").runtime();
        let server = world.actor("server");
        let fails = |fault: &Fault| {
            matches!(fault, Fault::Disk { effect: DiskEffect::Fail { .. } | DiskEffect::Full { .. }, .. })
        };
        let path = |id: ShareId| directory_of(&id.index).join(id.share.to_string());
        let stage = Stage {
            world,
            scope: script.scope(),
            epoch: script.unix_time().as_secs(),
            server,
            secrets: (0..workload.clients.len() as u64).chain([TORN, NODE]).map(secret).collect(),
            shares: all_shares().map(|id| (id, (path(id), workload.data(id)))).collect(),
            sick: case.faults.iter().any(fails),
            healed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            guest: Mutex::new(None),
            model: Mutex::default(),
            script,
        };
        let _ = stage.server.disk().create_dir_all(&Path::new(STATE).join("shares"));
        workload.containers.iter().for_each(|plan| stage.inherit(plan));
        stage.server.disk().sync_all();
        if workload.deeds.iter().any(|deed| deed.what == Happening::PowerLoss) {
            stage.server.disk().track();
        }
        stage.server.expose_disk(&DiskEffect::CRASHES);
        stage
    }

    /// Puts a container where the node has left it.
    fn inherit(&self, plan: &super::workload::Inherited) {
        let id = ShareId { index: index_of(plan.file), share: plan.share };
        if self.read(id).is_some() {
            return;
        }
        let file = inherited(plan, self.data(id), self.epoch);
        self.write(id, &file);
        let file = self.read(id).unwrap_or(file);
        let mut model = self.model();
        model.is_there(id);
        match plan.state {
            Condition::Foreign | Condition::Short | Condition::Boastful => return model.spoil(id, file),
            Condition::Crowded => {
                model.untouched.insert(id, file);
                return;
            }
            Condition::Torn => model.may_be_leased(id),
            _ => {}
        }
        for (client, days) in plan.leases.iter().enumerate() {
            let until = self.epoch.saturating_add_signed(days.saturating_mul(86_400));
            model.promised(id, client as u64, self.script.now(), until.min(u64::from(u32::MAX)));
        }
        if plan.state == Condition::TornThenLeased {
            model.promised(id, NODE, self.script.now(), self.epoch + storage::config::LEASE);
        }
    }

    /// The model. Keep it no longer than for a moment.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// What the wall clock shows, in seconds since the Unix epoch.
    pub fn clock(&self) -> u64 {
        self.script.unix_time().as_secs()
    }

    /// The data of a share.
    pub fn data(&self, id: ShareId) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.shares.get(&id).map_or(&NONE, |(_, data)| data)
    }

    /// Every share that there may be.
    pub fn ids(&self) -> impl Iterator<Item = ShareId> {
        self.shares.keys().copied()
    }

    /// Every share of a file.
    pub fn of_file(&self, index: StorageIndex) -> impl Iterator<Item = ShareId> {
        self.shares.keys().copied().filter(move |id| id.index == index)
    }

    /// Judges what an oracle found.
    pub fn judge(&self, oracle: &str, found: Result<(), String>) {
        if let Err(detail) = found {
            self.world.violated(oracle, detail);
        }
    }

    /// Judges an error.
    pub fn judge_error(&self, error: &ServerError, excused: bool) {
        let excused = excused || self.is_sick();
        self.judge("answers", oracle::answers::check_error(error, excused, &self.secrets));
    }

    /// The disk fails now and then.
    pub fn is_sick(&self) -> bool {
        self.sick && !self.healed.load(Ordering::Relaxed)
    }

    /// Ends all trouble that may come.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
        self.server.disk().heal();
        self.server.expose_disk(&[]);
    }

    /// Keeps the process up: whenever it is not, it is started.
    pub fn keep_up(self: &Arc<Self>) {
        let stage = self.clone();
        self.scope.spawn("keeper", 0, async move {
            loop {
                let life = stage.server.life();
                if !stage.server.is_up() && !stage.stopped.load(Ordering::Relaxed) {
                    stage.script.sleep(DOWN).await;
                    if !stage.server.is_up() && !stage.stopped.load(Ordering::Relaxed) {
                        stage.server.restart();
                    }
                }
                if stage.server.is_up() && stage.open().await {
                    stage.server.down(life).await;
                    lock(&stage.guest).take();
                    stage.check_all();
                } else {
                    stage.script.sleep(DOWN).await;
                }
            }
        });
    }

    async fn open(&self) -> bool {
        let runtime = self.server.runtime();
        self.server.stage("open");
        let id = ServerId::new("guest", [7; 20]);
        let opened = self.server.ask("open", 0, async move {
            ShareDirectory::open(runtime, Path::new(STATE), id).await.map_err(|error| error.to_string())
        });
        match opened.await {
            Ok(Ok(guest)) => {
                *lock(&self.guest) = Some(guest);
                self.server.recovered();
                true
            }
            Ok(Err(error)) => {
                let excused = if self.is_sick() { Ok(()) } else { Err(error) };
                self.judge("answers", excused);
                false
            }
            Err(_) => false,
        }
    }

    /// Waits until the process is up.
    pub async fn up(&self) {
        while lock(&self.guest).is_none() {
            self.script.sleep(DOWN).await;
        }
    }

    /// Ends the process, which stays down until [`Stage::go_on`].
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.server.crash();
    }

    /// Lets the process be started again.
    pub fn go_on(&self) {
        self.stopped.store(false, Ordering::Relaxed);
    }

    /// Has the server do something. Nothing comes of it when the process is down, or goes down.
    pub async fn call<T: Send + 'static>(
        &self,
        kind: &'static str,
        client: u64,
        work: impl FnOnce(ShareDirectory) -> BoxFuture<'static, Result<T, ServerError>> + Send + 'static,
    ) -> Option<Result<T, ServerError>> {
        let guest = lock(&self.guest).clone()?;
        self.server.stage(kind);
        self.server.ask(kind, client, async move { work(guest).await }).await.ok()
    }

    /// The file of a share as it is on the disk.
    pub fn read(&self, id: ShareId) -> Option<Kept> {
        let (path, _) = self.shares.get(&id)?;
        let file = self.server.disk().open(path, OpenMode::Read).ok()?;
        let length = file.len().ok()?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(MOST).min(MOST)];
        let got = file.read_full_at(0, &mut bytes).ok()?;
        bytes.truncate(got);
        Some(Kept { bytes, length })
    }

    /// Puts a file where a share is, durably.
    pub fn write(&self, id: ShareId, kept: &Kept) {
        let Some((path, _)) = self.shares.get(&id) else { return };
        let disk = self.server.disk();
        let put = || {
            let directory = directory_of(&id.index);
            disk.create_dir_all(&directory)?;
            let file = disk.open(path, OpenMode::CreateOrOpen)?;
            file.write_all_at(0, &kept.bytes)?;
            file.set_len(kept.length)?;
            file.sync_data()?;
            directory.ancestors().take(3).try_for_each(|directory| disk.sync_dir(directory))
        };
        // A disk of the simulation that is full is the scenario's own fault.
        if let Err(error) = put() {
            self.world.violated("harness", format!("a container cannot be put on the disk: {error}"));
        }
    }

    /// Looks at all shares on the disk.
    pub fn check_all(&self) {
        self.ids().for_each(|id| self.check(id));
    }

    /// Looks at the shares of a file.
    pub fn check_file(&self, index: StorageIndex) {
        self.of_file(index).for_each(|id| self.check(id));
    }

    fn check(&self, id: ShareId) {
        let (file, data, clock) = (self.read(id), self.data(id), self.clock());
        let mut model = self.model();
        if let Some(before) = model.untouched.get(&id) {
            return self.judge("untouched", oracle::untouched::check_file(id, before, file.as_ref()));
        }
        let (must, may) = (model.must_be_there(id, clock), model.possible.contains(&id));
        self.judge("kept", oracle::kept::check_disk(id, file.is_some(), must, may));
        let size = data.len() as u64;
        if let Some((records, possible)) = model.count(id, file.as_ref(), size) {
            self.judge("counted", oracle::counted::check_count(id, records, possible));
        }
        let Some(file) = file else { return };
        self.judge("parses", oracle::parses::check_container(id, &file, size));
        self.judge("data", oracle::data::check_disk(id, &file, data));
        let version = header(&file).map_or(0, |header| header.version);
        let (records, promises) = (records(&file, data.len()), model.promises(id, clock));
        self.judge("leases", oracle::leases::check_promised(id, version, &records, &promises));
    }
}
