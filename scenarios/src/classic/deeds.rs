//! What befalls the machine, and what the node does beside its guest.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runtime::files::{FileKind, Files};
use seedgrid::fault::{CrashKind, DiskEffect};
use storage::config::LEASE;
use storage::share::ShareId;

use super::container::{NODE, appended, header};
use super::stage::Stage;
use super::workload::{Deed, Happening};
use crate::storage::look::STATE;
use crate::storage::workload::index_of;

/// The seeds of what survives a power loss are none of the numbers with a meaning.
const SURVIVORS: u64 = 1 << 20;
/// How long the node takes to start.
const START: Duration = Duration::from_secs(2);

/// The name of what happens, as it is counted.
pub fn name(what: Happening) -> &'static str {
    match what {
        Happening::Crash => "process-crash",
        Happening::PowerLoss => "power-loss",
        Happening::NodeStarts => "node-starts",
        Happening::NodeLeases => "node-leases",
        Happening::NodeTears => "node-tears",
        Happening::Spoil => "spoil",
    }
}

/// Does all deeds, one after the other.
pub async fn befall(stage: Arc<Stage>, deeds: Vec<Deed>) {
    for (nth, deed) in deeds.into_iter().enumerate() {
        stage.script.sleep(Duration::from_millis(deed.after_ms)).await;
        if !DiskEffect::CRASHES.contains(&name(deed.what)) {
            stage.world.took_effect(name(deed.what));
        }
        let id = ShareId { index: index_of(deed.file), share: deed.share };
        match deed.what {
            Happening::Crash => stage.server.crash_with(CrashKind::Process, SURVIVORS + nth as u64),
            Happening::PowerLoss => stage.server.crash_with(CrashKind::Power, SURVIVORS + nth as u64),
            Happening::NodeStarts => node_starts(&stage).await,
            Happening::NodeLeases => node_leases(&stage, id, true),
            Happening::NodeTears => node_leases(&stage, id, false),
            Happening::Spoil => spoil(&stage, id),
        }
    }
}

/// The node starts while we are away: it sweeps away what is left of uploads.
pub async fn node_starts(stage: &Stage) {
    stage.stop();
    stage.script.sleep(START).await;
    sweep(stage.server.disk(), &Path::new(STATE).join("shares/incoming"));
    stage.server.disk().sync_all();
    stage.go_on();
}

fn sweep(disk: &dyn Files, directory: &Path) {
    for name in disk.list(directory).unwrap_or_default() {
        let path = directory.join(name);
        match disk.kind(&path) {
            Ok(FileKind::Directory) => sweep(disk, &path),
            _ => _ = disk.remove_file(&path),
        }
    }
    let _ = disk.remove_dir(directory);
}

/// The node adds a lease to a share, or dies before it has counted it.
fn node_leases(stage: &Stage, id: ShareId, counts: bool) {
    let Some(file) = stage.read(id) else { return };
    let (clock, mut model) = (stage.clock(), stage.model());
    // What a node makes of a share whose length nothing tells is its own affair.
    let told = header(&file).is_some_and(|header| header.recorded > 0);
    if model.untouched.contains_key(&id) || !told {
        return;
    }
    match counts {
        true => model.promised(id, NODE, stage.script.now(), clock + LEASE),
        false => model.may_be_leased(id),
    }
    model.count_anew(id);
    drop(model);
    stage.write(id, &appended(&file, clock, counts));
}

fn spoil(stage: &Stage, id: ShareId) {
    let Some(mut file) = stage.read(id) else { return };
    let mut model = stage.model();
    if model.untouched.contains_key(&id) {
        return;
    }
    if let Some(byte) = file.bytes.get_mut(3) {
        *byte ^= 9;
    }
    model.spoil(id, file.clone());
    drop(model);
    stage.write(id, &file);
}
