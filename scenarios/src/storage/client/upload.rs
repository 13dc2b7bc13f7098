//! Uploads of immutable shares, from their allocation to their end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{Allocate, ServerError, ShareNumber, ShareWriter, StorageServer};
use runtime::Instant;
use storage::share::ShareId;

use super::{Ended, StorageClient, renew_secret};
use crate::storage::model::leases::Asked;
use crate::storage::model::shares::Share;
use crate::storage::oracle;
use crate::storage::stage::{Life, lock};
use crate::storage::wire::{CLIENTS, Lost};
use crate::storage::workload::{End, Order, SLOTS, Step, index_of, text_of};

/// A client that dawdles writes something so often, for so long.
const DAWDLE: (u32, Duration) = (12, Duration::from_secs(1200));

/// An upload of one share that the server has agreed to.
struct Upload {
    id: ShareId,
    /// The life of the server that it belongs to.
    life: u64,
    writer: u64,
    text: Bytes,
    /// When its lease was asked for, if that was at the allocation.
    leased: Option<Asked>,
    /// When it was granted.
    begun: Instant,
    /// When it last got on.
    progress: Mutex<Instant>,
}

impl StorageClient {
    /// Asks for room for shares, and uploads those that it gets room for.
    pub(super) async fn upload(&mut self, step: &Step) -> Ended {
        let (index, secret) = (index_of(step.file), renew_secret(self.number));
        let shares: BTreeSet<ShareNumber> = step.shares.iter().copied().collect();
        let before = self.rows(step.file).await;
        let asked = self.stage.asks();
        let begun = self.stage.script.now();
        for share in &shares {
            let id = ShareId { index, share: *share };
            let replaced = self.stage.plan.replaces_corrupt && self.stage.model().is_wild(id);
            if let Some(life) = self.stage.life().filter(|_| replaced) {
                life.watch.wishes_away(id);
            }
            let mut model = self.stage.model();
            model.progress.entry(id).or_insert(begun);
            *model.allocating.entry(id).or_default() += 1;
        }
        let others = |client: &Self, most: u32| -> BTreeSet<ShareNumber> {
            let model = client.stage.model();
            let busy = |share: &ShareNumber| {
                model.allocating.get(&ShareId { index, share: *share }).is_some_and(|count| *count > most)
            };
            shares.iter().copied().filter(busy).collect()
        };
        let mut met = others(self, 1);
        let question = self.ask(step.file);
        if step.length == 0 {
            // There is nothing to write: such a share is complete at once.
            let mut model = self.stage.model();
            shares
                .iter()
                .for_each(|share| model.shares.may_come(ShareId { index, share: *share }, Bytes::new()));
        }
        let request =
            Allocate { index, shares: shares.clone(), size: step.length, renew: secret, cancel: secret };
        let (client, first) = (self.number, self.next_writer);
        self.next_writer += shares.len() as u64;
        let answer = self.stage.call(client, "allocate", None, move |life| {
            Box::pin(async move {
                let granted = life.server.allocate_buckets(request).await?;
                let mut writers = BTreeMap::new();
                for (nth, (share, writer)) in granted.writers.into_iter().enumerate() {
                    let number = (first + nth as u64) * CLIENTS + client;
                    lock(&life.writers).insert(number, Arc::from(writer));
                    writers.insert(share, number);
                }
                Ok::<_, ServerError>((life.number, granted.already, writers))
            })
        });
        let answer = answer.await;
        let asked = self.stage.since(asked);
        let known = self.asked(question);
        for share in &shares {
            *self.stage.model().allocating.entry(ShareId { index, share: *share }).or_default() -= 1;
        }
        met.extend(others(self, 0));
        let now = self.stage.script.now();
        let (life, already, writers) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.judge_error(&error, begun);
                return Ended::Answered;
            }
            Err(_) => {
                let mut model = self.stage.model();
                shares
                    .iter()
                    .for_each(|share| _ = model.progress.insert(ShareId { index, share: *share }, now));
                return Ended::Unknown;
            }
        };
        tracing::debug!(target: "client", file = step.file, "is granted {:?}, beside {already:?}", writers.keys());
        {
            let mut model = self.stage.model();
            writers.keys().for_each(|share| _ = model.progress.insert(ShareId { index, share: *share }, now));
            // What may have been there is not there, as far as the server sees; what comes is another share.
            writers.keys().for_each(|share| model.leases.forget(ShareId { index, share: *share }));
        }
        self.judge("kept", oracle::kept::check_told(&already, &known));
        self.judge("kept", oracle::kept::check_granted(&writers.keys().copied().collect(), &known));
        if step.length == 0 {
            self.are_there(index, writers.keys().copied(), asked);
        }
        let after = self.rows(step.file).await;
        self.judge("visible", oracle::visible::check_visible(&already, &before, &after));
        let certain = |share: &&ShareNumber| self.stage.model().is_certain(ShareId { index, share: **share });
        let granted = writers.keys().filter(certain).copied();
        self.judge("settled", oracle::settled::check_empty(granted, &after));
        self.check_refused(step, &already, &writers, &known, &met);
        self.noticed(life, step.file, &already);
        {
            self.stage.note_failures();
            let mut model = self.stage.model();
            // What could not be renewed is reported all the same.
            let renewed = oracle::answers::is_calm(begun, model.trouble);
            for share in &already {
                let id = ShareId { index, share: *share };
                if renewed {
                    model.leases.renewed(id, asked);
                }
                if known.get(share).is_some_and(|share| !share.wild) {
                    model.shares.was_seen(id);
                }
            }
        }
        self.stage.check_file(index).await;
        let mut ended = Ended::Answered;
        let allocated = self.stage.script.now();
        for (share, writer) in writers {
            let text = text_of(step.file, share, step.text, 0, step.length);
            let leased = (step.length == 0).then_some(asked);
            let progress = Mutex::new(allocated);
            let upload =
                Upload { id: ShareId { index, share }, life, writer, text, leased, begun: now, progress };
            if self.upload_share(step, &upload).await == Ended::Unknown {
                ended = Ended::Unknown;
                if !self.plan.retries {
                    break;
                }
            }
        }
        ended
    }

    /// Shares of no bytes were granted: they are complete.
    pub(super) fn are_there(
        &self,
        index: StorageIndex,
        shares: impl Iterator<Item = ShareNumber>,
        asked: Asked,
    ) {
        let mut model = self.stage.model();
        for id in shares.map(|share| ShareId { index, share }) {
            model.leases.renewed(id, asked);
            if !model.is_wild(id) {
                model.shares.is_there(id, Bytes::new());
            }
        }
    }

    /// Of the shares that were neither granted nor reported, each must be on its way by somebody.
    fn check_refused(
        &self,
        step: &Step,
        already: &BTreeSet<ShareNumber>,
        writers: &BTreeMap<ShareNumber, u64>,
        known: &BTreeMap<ShareNumber, Share>,
        met: &BTreeSet<ShareNumber>,
    ) {
        if self.stage.plan.read_only || self.stage.plan.reserved > 0 || SLOTS.contains(&step.file) {
            return;
        }
        self.stage.note_failures();
        let now = self.stage.script.now();
        let model = self.stage.model();
        let troubled = model.trouble.is_some_and(|moment| moment + oracle::idle::IDLE * 2 >= now);
        for share in
            step.shares.iter().filter(|share| !already.contains(share) && !writers.contains_key(share))
        {
            let id = ShareId { index: index_of(step.file), share: *share };
            // A share that may be there may also be on its way out.
            let out = known.get(share).is_some_and(|share| share.wild || !share.may.is_empty());
            if !out && !troubled && !met.contains(share) {
                let progress = model.progress.get(&id).copied();
                self.judge("idle", oracle::idle::check_refused(*share, now, progress));
            }
        }
    }

    /// Uploads one share as the step says.
    async fn upload_share(&mut self, step: &Step, upload: &Upload) -> Ended {
        let pieces = pieces(step);
        let half = match step.end {
            End::Close | End::LateAbort => pieces.len(),
            End::Abort | End::Silence => pieces.len() / 2,
            End::Dawdle => pieces.len().div_ceil(2),
        };
        let mut covered: Option<(u64, u64)> = None;
        for (nth, (start, end)) in pieces.iter().take(half).enumerate() {
            if nth + 1 == pieces.len() {
                self.stage.model().shares.may_come(upload.id, upload.text.clone());
            }
            let piece = upload.text.slice(*start as usize..*end as usize);
            match self.write_piece(upload, *start, piece).await {
                Ok(Ok(())) => {
                    let (low, high) = covered.unwrap_or((*start, *start));
                    if *start < low || *end > high {
                        self.got_on(upload);
                    }
                    covered = Some((low.min(*start), high.max(*end)));
                }
                Ok(Err(_)) => return self.give_up(upload).await,
                Err(_) => {
                    self.got_on(upload);
                    return Ended::Unknown;
                }
            }
            if step.order == Order::Conflicting
                && let Some(ended) = self.conflict(upload, *start, *end).await
            {
                return ended;
            }
            if step.gap_ms > 0 {
                self.stage.script.sleep(Duration::from_millis(step.gap_ms)).await;
            }
        }
        match step.end {
            End::Close => self.close(upload).await,
            End::Abort | End::LateAbort => self.give_up(upload).await,
            End::Silence => Ended::Answered,
            End::Dawdle => self.dawdle(upload, pieces.first().copied()).await,
        }
    }

    /// New bytes of the upload have reached the server.
    fn got_on(&self, upload: &Upload) {
        let now = self.stage.script.now();
        *lock(&upload.progress) = now;
        self.stage.model().progress.insert(upload.id, now);
    }

    async fn write_piece(
        &self,
        upload: &Upload,
        offset: u64,
        piece: Bytes,
    ) -> Result<Result<(), ServerError>, Lost> {
        let answer = self.on_writer(upload, "write", move |writer| {
            Box::pin(async move { writer.write(offset, piece).await })
        });
        let answer = answer.await;
        if let Ok(Err(error)) = &answer {
            self.judge_refusal(upload, error);
        }
        answer
    }

    /// Judges an error about an upload: one that got on too slowly was given up, and an empty one was complete at once. What
    /// went wrong while it was under way may have ended it.
    fn judge_refusal(&self, upload: &Upload, error: &ServerError) {
        let late = self.stage.script.now() - *lock(&upload.progress) >= self.stage.config.upload_idle;
        match error {
            // Somebody has meddled with it.
            ServerError::Refused(_) if self.stage.model().is_wild(upload.id) => {}
            ServerError::Refused(_) if late || upload.text.is_empty() => {}
            error => self.judge_error(error, upload.begun),
        }
    }

    /// Writes something else over what was written: the server must refuse that.
    async fn conflict(&self, upload: &Upload, start: u64, end: u64) -> Option<Ended> {
        let other: Bytes = upload.text[start as usize..end as usize].iter().map(|byte| !byte).collect();
        let answer = self.on_writer(upload, "write", move |writer| {
            Box::pin(async move { writer.write(start, other).await })
        });
        match answer.await {
            Ok(Ok(())) => {
                let detail = format!("bytes of share {} were written twice, and differ", upload.id);
                self.judge("kept", Err(detail));
                Some(Ended::Answered)
            }
            Ok(Err(_)) => None,
            Err(_) => Some(Ended::Unknown),
        }
    }

    async fn close(&mut self, upload: &Upload) -> Ended {
        let asked = self.stage.asks();
        let answer = self.on_writer(upload, "close", |writer| Box::pin(async move { writer.close().await }));
        let answer = answer.await;
        let asked = self.stage.since(asked);
        match answer {
            Ok(Ok(())) => {
                {
                    let mut model = self.stage.model();
                    model.leases.renewed(upload.id, upload.leased.unwrap_or(asked));
                    if !model.is_wild(upload.id) {
                        model.shares.is_there(upload.id, upload.text.clone());
                    }
                }
                self.stage.check_file(upload.id.index).await;
                self.forget_writer(upload);
                Ended::Answered
            }
            Ok(Err(error)) => {
                self.judge_refusal(upload, &error);
                self.forget_writer(upload);
                Ended::Answered
            }
            Err(_) => Ended::Unknown,
        }
    }

    async fn give_up(&mut self, upload: &Upload) -> Ended {
        if let Some(life) = self.stage.life() {
            life.watch.wishes_away(upload.id);
        }
        let answer = self.on_writer(upload, "abort", |writer| Box::pin(async move { writer.abort().await }));
        let answer = answer.await;
        match answer {
            Ok(Ok(())) => {
                if !self.stage.plan.lazy_sync {
                    self.stage.model().shares.does_not_come(upload.id, &upload.text);
                }
                self.forget_writer(upload);
                self.stage.check_file(upload.id.index).await;
                Ended::Answered
            }
            Ok(Err(error)) => {
                self.judge_refusal(upload, &error);
                Ended::Answered
            }
            Err(_) => Ended::Unknown,
        }
    }

    /// Writes the same bytes again and again, long after anything new.
    async fn dawdle(&mut self, upload: &Upload, piece: Option<(u64, u64)>) -> Ended {
        let Some((start, end)) = piece else { return Ended::Answered };
        for _ in 0..DAWDLE.0 {
            self.stage.script.sleep(DAWDLE.1).await;
            let other: Bytes = upload.text[start as usize..end as usize].iter().map(|byte| !byte).collect();
            let answer = self.on_writer(upload, "write", move |writer| {
                Box::pin(async move { writer.write(start, other).await })
            });
            let answer = answer.await;
            self.stage.check_uploads();
            if answer.is_err() {
                return Ended::Unknown;
            }
        }
        Ended::Answered
    }

    /// Has the server do something with an upload.
    async fn on_writer(
        &self,
        upload: &Upload,
        kind: &'static str,
        work: impl FnOnce(Arc<dyn ShareWriter>) -> futures::future::BoxFuture<'static, Result<(), ServerError>>
        + Send
        + 'static,
    ) -> Result<Result<(), ServerError>, Lost> {
        let number = upload.writer;
        let answer = self.stage.call(self.number, kind, Some(upload.life), move |life: Arc<Life>| {
            let writer = lock(&life.writers).get(&number).cloned();
            Box::pin(async move {
                match writer {
                    Some(writer) => work(writer).await,
                    None => Err(ServerError::Disconnected),
                }
            })
        });
        answer.await
    }

    /// The client lets go of an upload that is over.
    fn forget_writer(&self, upload: &Upload) {
        let Some(life) = self.stage.life().filter(|life| life.number == upload.life) else { return };
        let writer = lock(&life.writers).remove(&upload.writer);
        self.stage.server.spawn("let go", self.number, async move { drop(writer) });
    }
}

/// Where the pieces of an upload begin and end, in the order in which they are sent.
fn pieces(step: &Step) -> Vec<(u64, u64)> {
    let count = step.pieces.clamp(1, step.length.max(1));
    let size = step.length.div_ceil(count).max(1);
    let overlap = if step.order == Order::Overlapping { size / 2 } else { 0 };
    let piece = |nth: u64| {
        let start = (nth * size).min(step.length);
        (start, (start + size + overlap).min(step.length))
    };
    let mut pieces: Vec<_> = (0..count).map(piece).filter(|(start, end)| start < end).collect();
    if step.order == Order::Backward {
        pieces.reverse();
    }
    pieces
}
