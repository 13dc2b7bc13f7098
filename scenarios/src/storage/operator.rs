//! The operator: what he does to his server, and what befalls his machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::files::{Files, OpenMode};
use storage::share::ShareId;

use super::look::{STATE, directory_of, judge, parse_key};
use super::stage::Stage;
use super::workload::{Deed, Happening, SLOTS, index_of, text_of};

/// The text of shares that are copied in.
pub const COPIED: u64 = 7;
/// Bytes of a share that is copied in, when the case does not say.
const SIZE: i64 = 700;

/// Does all deeds, one after the other.
pub async fn operate(stage: Arc<Stage>, deeds: Vec<Deed>) {
    for deed in deeds {
        stage.wait(deed.after_ms, deed.crawl_ms).await;
        stage.world.took_effect(name(deed.what));
        tracing::debug!(target: "operator", file = deed.file, share = deed.share, "{:?}", deed.what);
        match deed.what {
            Happening::Restart => {
                stage.stop().await;
                stage.go_on();
            }
            Happening::Crash => stage.crash(false),
            Happening::PowerLoss => stage.crash(true),
            Happening::DropDatabase => drop_database(&stage).await,
            Happening::Outage => stage.outage(Duration::from_secs(deed.by.unsigned_abs())),
            _ => tamper(&stage, &deed),
        }
    }
}

/// The names of all that can happen, for counts.
pub fn name(what: Happening) -> &'static str {
    match what {
        Happening::Restart => "restart",
        Happening::Crash => "server-crash",
        Happening::PowerLoss => "server-power",
        Happening::CopyIn => "copy-in",
        Happening::Remove => "remove",
        Happening::RemoveSome => "remove-some",
        Happening::Truncate => "cut-header",
        Happening::SpoilHeader => "spoil-header",
        Happening::DropDatabase => "drop-database",
        Happening::Outage => "backend-outage",
    }
}

/// Stops the server, deletes the lease database, and starts the server.
pub async fn drop_database(stage: &Arc<Stage>) {
    stage.stop().await;
    let _ = stage.server.disk().remove_file(&Path::new(STATE).join("leasedb.redb"));
    let _ = stage.server.disk().sync_dir(Path::new(STATE));
    let clock = stage.clock();
    let there = stage.look_outside();
    {
        let mut model = stage.model();
        // What was being deleted, or was given up, and is still there, is a share like any other from now on.
        for id in there.kept.into_keys().filter(|id| !model.is_certain(*id)).collect::<Vec<_>>() {
            model.tampered(id);
        }
        model.leases.start_afresh(clock);
        let ids = model.ids();
        model.unnoticed.extend(ids);
    }
    stage.forget_all_leases();
    stage.go_on();
}

/// Changes what is kept behind the server's back.
fn tamper(stage: &Stage, deed: &Deed) {
    let id = ShareId { index: index_of(deed.file), share: deed.share as u32 };
    if deed.what == Happening::CopyIn {
        return copy_in(stage, deed, id);
    }
    let Some(bytes) = take(stage, id) else { return };
    let keep = |length: usize| Some(bytes[..length.min(bytes.len())].to_vec());
    let new = match deed.what {
        Happening::Remove => None,
        Happening::RemoveSome => keep(bytes.len() / 2),
        Happening::Truncate => keep(deed.by.unsigned_abs() as usize),
        _ => {
            let mut bytes = bytes.clone();
            // The version of an immutable container, and the magic of a mutable one.
            if let Some(byte) = bytes.get_mut(3) {
                *byte ^= 9;
            }
            Some(bytes)
        }
    };
    stage.model().tampered(id);
    put(stage, id, new.map(Bytes::from));
}

fn copy_in(stage: &Stage, deed: &Deed, id: ShareId) {
    if SLOTS.contains(&deed.file) || take(stage, id).is_some() {
        return;
    }
    let size = if deed.by > 0 { deed.by } else { SIZE } as u64;
    let text = text_of(deed.file, id.share, COPIED, 0, size);
    let mut bytes = vec![0, 0, 0, 2];
    bytes.extend((size as u32).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(&text);
    debug_assert_eq!(judge(&bytes), super::look::Kept::Immutable(text.clone()));
    let clock = stage.clock();
    let now = stage.script.now();
    {
        let mut model = stage.model();
        // Where somebody has been uploading, two writers meet in one place.
        match model.progress.contains_key(&id) {
            true => model.tampered(id),
            false => {
                model.shares.may_come(id, text);
                model.leases.adopted(id, clock);
                model.unnoticed.insert(id);
            }
        }
        model.progress.insert(id, now);
    }
    put(stage, id, Some(bytes.into()));
}

/// The bytes of a share as they are kept.
fn take(stage: &Stage, id: ShareId) -> Option<Vec<u8>> {
    match &stage.store {
        Some(store) => {
            let objects = store.objects();
            let of = objects.iter().filter_map(|(key, bytes)| {
                let (owner, chunk) = parse_key(key)?;
                (owner == id).then_some((chunk, bytes))
            });
            let chunks: std::collections::BTreeMap<_, _> = of.collect();
            (!chunks.is_empty()).then(|| chunks.values().flat_map(|bytes| bytes.iter().copied()).collect())
        }
        None => {
            let path = directory_of(&id.index).join(id.share.to_string());
            let file = stage.server.disk().open(&path, OpenMode::Read).ok()?;
            let mut bytes = vec![0; file.len().ok()? as usize];
            file.read_full_at(0, &mut bytes).ok()?;
            Some(bytes)
        }
    }
}

/// Keeps these bytes as the share, or nothing.
fn put(stage: &Stage, id: ShareId, bytes: Option<Bytes>) {
    match (&stage.store, stage.plan.cloud) {
        (Some(store), Some(chunk)) => {
            let base = directory_of(&id.index).join(id.share.to_string());
            let base = base.strip_prefix(STATE).unwrap_or(&base).to_string_lossy().into_owned();
            let key = |nth: usize| if nth == 0 { base.clone() } else { format!("{base}.{nth}") };
            let chunks: Vec<Bytes> = match &bytes {
                Some(bytes) => bytes.chunks(chunk as usize).map(Bytes::copy_from_slice).collect(),
                None => Vec::new(),
            };
            let old = store
                .objects()
                .into_keys()
                .filter(|key| parse_key(key).is_some_and(|(owner, _)| owner == id));
            for key in old.collect::<Vec<_>>() {
                store.tamper(&key, None);
            }
            for (nth, chunk) in chunks.into_iter().enumerate() {
                store.tamper(&key(nth), Some(chunk));
            }
        }
        _ => {
            // What fails, the operator would notice, and try again.
            let _ = put_on_disk(stage.server.disk(), id, bytes);
        }
    }
}

fn put_on_disk(disk: &dyn Files, id: ShareId, bytes: Option<Bytes>) -> std::io::Result<()> {
    let dir = directory_of(&id.index);
    let path = dir.join(id.share.to_string());
    match bytes {
        Some(bytes) => {
            disk.create_dir_all(&dir)?;
            let file = disk.open(&path, OpenMode::CreateOrOpen)?;
            file.set_len(0)?;
            file.write_all_at(0, &bytes)?;
            file.sync_data()?;
        }
        None => disk.remove_file(&path)?,
    }
    dir.ancestors().take_while(|dir| *dir != Path::new("")).try_for_each(|dir| disk.sync_dir(dir))
}
