//! Uploads that bring no new bytes for too long are given up (leasedb-and-storage §3.4).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};

use runtime::{Instant, Runtime, reached};
use tokio::sync::Notify;

use super::shared::Shared;
use super::upload::Upload;
use crate::lock::lock;
use crate::share::ShareId;

/// What the watch over idle uploads must know.
#[derive(Default)]
pub(crate) struct Idle {
    /// Those that are being given up.
    ending: Mutex<BTreeSet<ShareId>>,
    /// There may be something to watch again.
    changed: Notify,
}

impl Idle {
    /// An upload has begun, and may be the only one.
    pub fn look_again(&self) {
        self.changed.notify_one();
    }
}

/// Gives up what is idle, as long as the server is there. One timer is enough for all: what is to be given up first now
/// can only be put off, and whatever comes later is due later.
pub(super) async fn give_up_idle(runtime: Runtime, idle: Arc<Idle>, server: Weak<Shared>) {
    loop {
        let Some(next) = server.upgrade().map(|server| server.end_idle()) else { return };
        match next {
            Some(deadline) => runtime.sleep_until(deadline).await,
            None => idle.changed.notified().await,
        }
    }
}

impl Shared {
    /// Begins to give up every upload that is idle, and says when the next one may be.
    fn end_idle(self: &Arc<Self>) -> Option<Instant> {
        let now = self.runtime.now();
        let mut next = None;
        for upload in self.uploads.live() {
            let (id, deadline) = (upload.id, upload.progress() + self.config.upload_idle);
            if lock(&self.idle.ending).contains(&id) {
                continue;
            }
            if deadline > now {
                next = Some(next.map_or(deadline, |next: Instant| next.min(deadline)));
                continue;
            }
            lock(&self.idle.ending).insert(id);
            self.operations.spawn("time out", self.clone().time_out(upload));
        }
        next
    }

    async fn time_out(self: Arc<Self>, upload: Arc<Upload>) {
        let held = self.lock(upload.id.index).await;
        // Bytes may have come while this waited for its turn.
        if self.runtime.now() >= upload.progress() + self.config.upload_idle {
            reached!("storage: an idle upload is given up");
            // Whatever comes of it, there is nobody to be told.
            let _ = self.give_up(&held, &upload, "no new bytes came for too long").await;
        }
        lock(&self.idle.ending).remove(&upload.id);
        self.idle.look_again();
    }
}
