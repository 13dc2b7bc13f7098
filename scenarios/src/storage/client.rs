//! A client: goes through its steps, tells the model what it asks and what it is answered, and has the oracles judge that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{
    Allocate, LeaseSecret, ReadTestWrite, ServerError, ShareNumber, ShareReader, ShareWriter, SlotServer,
    SlotTest, StorageServer, TestAndWrite,
};
use runtime::Instant;
use storage::database::Row;
use storage::share::ShareId;

use super::model::leases::Asked;
use super::model::shares::Share;
use super::model::slots::{SlotAnswer, SlotCall, Slots};
use super::oracle;
use super::stage::{CRAWLING, Life, Stage, lock};
use super::wire::{CLIENTS, Lost};
use super::workload::{ClientPlan, End, Order, SLOTS, Step, Test, What, index_of, text_of};

/// How often a client tries again.
const TRIES: u32 = 3;
/// How long it waits before that.
const PAUSE: Duration = Duration::from_secs(5);
/// A client that dawdles writes something so often, for so long.
const DAWDLE: (u32, Duration) = (12, Duration::from_secs(1200));

/// An offset that no mutable share reaches.
const TOO_FAR: u64 = 1 << 60;

/// Who waits so long waits for a crawl.
const LONG: Duration = Duration::from_secs(3600);

/// A client of the server.
pub struct StorageClient {
    stage: Arc<Stage>,
    number: u64,
    plan: ClientPlan,
    next_writer: u64,
    /// What it read last of each mutable share.
    read: BTreeMap<ShareId, Bytes>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// With an answer.
    Answered,
    /// Nobody knows.
    Unknown,
}

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

/// The secrets with which a client renews its leases on all files.
pub fn renew_secret(client: u64) -> LeaseSecret {
    secret(0xA1, client)
}

/// What opens the mutable shares of a file; with the wrong one for strangers.
pub fn write_enabler(file: u64, stranger: bool) -> LeaseSecret {
    secret(if stranger { 0xB3 } else { 0xB2 }, file)
}

fn secret(kind: u8, number: u64) -> LeaseSecret {
    let byte = |place: usize| kind ^ (place as u8).wrapping_mul(37) ^ (number as u8).wrapping_mul(11);
    std::array::from_fn(byte)
}

impl StorageClient {
    /// A client with that plan.
    pub fn new(stage: Arc<Stage>, number: u64, plan: ClientPlan) -> StorageClient {
        StorageClient { stage, number, plan, next_writer: 0, read: BTreeMap::new() }
    }

    /// Does all its steps, or as many as come before it goes away.
    pub async fn live(mut self) {
        let files: BTreeSet<u64> = self.plan.steps.iter().map(|step| step.file).collect();
        for step in std::mem::take(&mut self.plan.steps) {
            let wait = Duration::from_millis(step.after_ms);
            if wait > LONG || step.crawl_ms.is_some() {
                self.stage.server.stage(CRAWLING);
            }
            self.stage.wait(step.after_ms, step.crawl_ms).await;
            self.stage.server.stage(step.protocol());
            if wait > LONG || step.crawl_ms.is_some() {
                // What crawls have left of its leases, before it renews them.
                for file in &files {
                    self.stage.check_file(index_of(*file)).await;
                }
            }
            let mut tries = 0;
            while self.take(&step).await == Ended::Unknown {
                tries += 1;
                self.stage.note_failures();
                if !self.plan.retries {
                    self.stage.hang_up(self.number);
                    return;
                }
                if tries == TRIES {
                    break;
                }
                self.stage.script.sleep(PAUSE).await;
            }
        }
        self.stage.hang_up(self.number);
    }

    async fn take(&mut self, step: &Step) -> Ended {
        if self.stage.model().mixed.contains(&index_of(step.file)) {
            return Ended::Answered;
        }
        match step.what {
            What::Upload => self.upload(step).await,
            What::Touch => self.upload(&Step { shares: Vec::new(), ..step.clone() }).await,
            What::List => self.list(step).await.map_or(Ended::Unknown, |_| Ended::Answered),
            What::Read => self.read(step).await,
            What::Renew => self.renew(step).await,
            What::Write => self.write(step).await,
            What::Slots => self.ask_slots(step, SlotCall::List).await,
            What::ReadSlot => {
                let share = step.shares.first().copied().unwrap_or(0);
                self.ask_slots(step, SlotCall::Read { share, offset: step.offset, length: step.length }).await
            }
            What::Advise => self.advise(step).await,
        }
    }

    fn judge(&self, oracle: &str, found: Result<(), String>) {
        self.stage.judge(oracle, found);
    }

    /// Judges an error. `begun` is when the call began.
    fn judge_error(&self, error: &ServerError, begun: Instant) {
        self.stage.note_failures();
        let (trouble, mixed) = {
            let model = self.stage.model();
            (model.trouble, !model.mixed.is_empty())
        };
        self.judge(
            "secrets",
            oracle::secrets::check_secrets(&format!("{error} {error:?}"), &self.stage.secrets),
        );
        if mixed {
            return;
        }
        self.judge("answers", oracle::answers::check_error(error, begun, trouble));
    }

    fn ask(&self, file: u64) -> u64 {
        self.stage.clock();
        let mut model = self.stage.model();
        let question = model.next_call();
        model.shares.ask(question, index_of(file));
        question
    }

    fn asked(&self, question: u64) -> BTreeMap<ShareNumber, Share> {
        self.stage.clock();
        self.stage.model().shares.asked(question)
    }

    async fn rows(&self, file: u64) -> BTreeMap<ShareNumber, Row> {
        let seen = self.stage.look_up(index_of(file)).await.unwrap_or_default();
        seen.rows.into_iter().map(|(id, row)| (id.share, row)).collect()
    }

    /// Asks for the immutable shares of a file.
    async fn list(&mut self, step: &Step) -> Option<(u64, BTreeMap<ShareNumber, Arc<dyn ShareReader>>)> {
        let index = index_of(step.file);
        let before = self.rows(step.file).await;
        let begun = self.stage.script.now();
        let question = self.ask(step.file);
        let answer = self.stage.call(self.number, "list", None, move |life| {
            Box::pin(
                async move { life.server.get_buckets(index).await.map(|readers| (life.number, readers)) },
            )
        });
        let answer = answer.await;
        let shares = self.asked(question);
        let (life, readers) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                if !SLOTS.contains(&step.file) {
                    self.judge_error(&error, begun);
                }
                return Some((0, BTreeMap::new()));
            }
            Err(_) => return None,
        };
        let told: BTreeSet<_> = readers.keys().copied().collect();
        tracing::debug!(target: "client", file = step.file, "is told of {told:?}");
        if !SLOTS.contains(&step.file) {
            self.judge("kept", oracle::kept::check_told(&told, &shares));
        }
        let after = self.rows(step.file).await;
        self.judge("visible", oracle::visible::check_visible(&told, &before, &after));
        self.noticed(life, step.file, &told);
        Some((life, readers))
    }

    /// The server, in this life of it, has told of shares that somebody had copied in: they have leases now.
    fn noticed(&self, life: u64, file: u64, told: &BTreeSet<ShareNumber>) {
        if self.stage.life().is_none_or(|present| present.number != life) {
            // It may have lost its database since.
            return;
        }
        let mut model = self.stage.model();
        for share in told {
            let id = ShareId { index: index_of(file), share: *share };
            if model.unnoticed.remove(&id) && !model.is_wild(id) {
                model.shares.was_seen(id);
            }
        }
    }

    async fn read(&mut self, step: &Step) -> Ended {
        let Some((life, readers)) = self.list(step).await else { return Ended::Unknown };
        for share in &step.shares {
            let Some(reader) = readers.get(share).cloned() else { continue };
            let (offset, length) = (step.offset, step.length);
            let question = self.ask(step.file);
            let begun = self.stage.script.now();
            let answer = self.stage.call(self.number, "read", Some(life), move |_| {
                Box::pin(async move { reader.read(offset, length).await })
            });
            let answer = answer.await;
            let known = self.asked(question).remove(share).unwrap_or_default();
            match answer {
                Ok(Ok(bytes)) => {
                    self.judge("kept", oracle::kept::check_read(&known, offset, length, Some(&bytes)));
                }
                Ok(Err(ServerError::NoSuchShare)) => {
                    self.judge("kept", oracle::kept::check_read(&known, offset, length, None));
                }
                Ok(Err(error)) if !known.wild => self.judge_error(&error, begun),
                Ok(Err(_)) => {}
                Err(_) => return Ended::Unknown,
            }
        }
        Ended::Answered
    }

    async fn advise(&mut self, step: &Step) -> Ended {
        let Some((life, readers)) = self.list(step).await else { return Ended::Unknown };
        let Some((_, reader)) = readers.into_iter().next() else { return Ended::Answered };
        let begun = self.stage.script.now();
        let answer = self.stage.call(self.number, "advise", Some(life), move |_| {
            Box::pin(async move { reader.advise_corrupt_share("a block hash does not match").await })
        });
        match answer.await {
            Ok(Err(error)) if error != ServerError::NoSuchShare => self.judge_error(&error, begun),
            Ok(_) => {}
            Err(_) => return Ended::Unknown,
        }
        Ended::Answered
    }

    async fn renew(&mut self, step: &Step) -> Ended {
        let (index, secret) = (index_of(step.file), renew_secret(self.number));
        let certain = |client: &Self| -> BTreeSet<ShareId> {
            let model = client.stage.model();
            model.ids().into_iter().filter(|id| id.index == index && model.is_certain(*id)).collect()
        };
        let begun = self.stage.script.now();
        let asked = self.stage.asks();
        let (before, question) = (certain(self), self.ask(step.file));
        let answer = self.stage.call(self.number, "add lease", None, move |life| {
            Box::pin(async move { life.server.add_lease(index, secret, secret).await })
        });
        let answer = answer.await;
        let asked = self.stage.since(asked);
        let shares = self.asked(question);
        let after = certain(self);
        match answer {
            Ok(Ok(())) => {
                let mut model = self.stage.model();
                for id in before.intersection(&after) {
                    model.leases.renewed(*id, asked);
                }
                // Success means that there was a share; when only one comes into question, it was that one.
                let mut possible = shares.iter().filter(|(_, share)| share.wild || !share.may.is_empty());
                if let (Some((share, state)), None) = (possible.next(), possible.next())
                    && !state.wild
                {
                    let id = ShareId { index, share: *share };
                    model.leases.renewed(id, asked);
                    model.shares.was_seen(id);
                }
            }
            Ok(Err(ServerError::NoSuchShare)) => {
                if let Some(id) = before.intersection(&after).next() {
                    let detail =
                        format!("a lease on share {id} was asked for, and there is none, it was answered");
                    self.judge("kept", Err(detail));
                }
            }
            Ok(Err(error)) => self.judge_error(&error, begun),
            Err(_) => return Ended::Unknown,
        }
        self.stage.check_file(index).await;
        Ended::Answered
    }

    /// Asks for room for shares, and uploads those that it gets room for.
    async fn upload(&mut self, step: &Step) -> Ended {
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
    fn are_there(&self, index: StorageIndex, shares: impl Iterator<Item = ShareNumber>, asked: Asked) {
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

    /// Reads, lists or writes mutable shares.
    async fn ask_slots(&mut self, step: &Step, call: SlotCall) -> Ended {
        let index = index_of(step.file);
        if !SLOTS.contains(&step.file) {
            return Ended::Answered;
        }
        let begun = self.stage.script.now();
        let (number, wild) = self.begin_slots(step.file, call.clone());
        let own = call.clone();
        let answer = self.stage.call(self.number, "slots", None, move |life| {
            Box::pin(async move {
                match own {
                    SlotCall::Read { share, offset, length } => {
                        life.server.read_slot(index, share, offset, length).await.map(SlotAnswer::Bytes)
                    }
                    _ => life.server.slots(index).await.map(SlotAnswer::Listed),
                }
            })
        });
        let answer = answer.await;
        if let (SlotCall::Read { share, offset: 0, .. }, Ok(Ok(SlotAnswer::Bytes(bytes)))) = (&call, &answer)
        {
            self.read.insert(ShareId { index, share: *share }, bytes.clone());
        }
        if let Ok(Ok(SlotAnswer::Listed(told))) = &answer {
            let rows = self.rows(step.file).await;
            self.judge("visible", oracle::visible::check_visible(told, &BTreeMap::new(), &rows));
        }
        self.end_slots(step.file, number, answer, begun, wild)
    }

    fn begin_slots(&self, file: u64, call: SlotCall) -> (u64, bool) {
        self.stage.clock();
        let mut model = self.stage.model();
        let number = model.next_call();
        let Some(slots) = model.slots.get_mut(&index_of(file)) else { return (number, false) };
        let wild = slots.has_wild();
        slots.begin(number, call);
        (number, wild)
    }

    /// Tells the model what was answered, and judges that.
    fn end_slots(
        &self,
        file: u64,
        number: u64,
        answer: Result<Result<SlotAnswer, ServerError>, Lost>,
        begun: Instant,
        wild: bool,
    ) -> Ended {
        self.stage.clock();
        let tampered = |slots: &Slots| slots.has_wild();
        let wild = wild || self.stage.model().slots.get(&index_of(file)).is_some_and(tampered);
        let answer = match answer {
            Err(Lost::Reply) => {
                self.stage.note_failures();
                let mut model = self.stage.model();
                let torn = model.chunked && !oracle::answers::is_calm(begun, model.trouble);
                if let Some(slots) = model.slots.get_mut(&index_of(file)) {
                    if torn {
                        slots.may_be_torn();
                    }
                    slots.lost(number);
                }
                return Ended::Unknown;
            }
            Err(Lost::Request) => None,
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(ServerError::NoSuchShare)) => Some(SlotAnswer::NoShare),
            Ok(Err(ServerError::WriteEnabler { .. })) => Some(SlotAnswer::WrongEnabler),
            Ok(Err(error)) => {
                if !wild {
                    self.judge_error(&error, begun);
                }
                self.stage.note_failures();
                let mut model = self.stage.model();
                let calm = oracle::answers::is_calm(begun, model.trouble);
                let torn = model.chunked && !calm;
                if let Some(slots) = model.slots.get_mut(&index_of(file)) {
                    if torn {
                        slots.may_be_torn();
                    }
                    // What failed with the disk or the backend may be finished yet, when they are well again.
                    if calm { slots.failed(number) } else { slots.lost(number) }
                }
                return Ended::Answered;
            }
        };
        let mut model = self.stage.model();
        let Some(slots) = model.slots.get_mut(&index_of(file)) else { return Ended::Answered };
        let Some(answer) = answer else {
            slots.never_came(number);
            return Ended::Unknown;
        };
        let found = slots.answered(number, &answer);
        drop(model);
        self.judge("slots", found);
        Ended::Answered
    }

    async fn write(&mut self, step: &Step) -> Ended {
        let index = index_of(step.file);
        if !SLOTS.contains(&step.file) && !self.has_immutable(step) {
            return Ended::Answered;
        }
        if step.too_far {
            return self.write_too_far(step).await;
        }
        let enabler = write_enabler(step.file, step.stranger);
        let secret = renew_secret(self.number);
        let work: BTreeMap<_, _> =
            step.shares.iter().map(|share| (*share, self.test_and_write(step, *share))).collect();
        let reads = vec![(0, 64)];
        let deletes = step.cut == Some(0);
        if deletes {
            for share in &step.shares {
                let id = ShareId { index, share: *share };
                self.stage.begin_deletion(id);
                if let Some(life) = self.stage.life() {
                    life.watch.wishes_away(id);
                }
            }
        }
        let (begun, asked) = (self.stage.script.now(), self.stage.asks());
        let call = SlotCall::Write { enabler, shares: work.clone(), reads: reads.clone() };
        let (number, wild) = self.begin_slots(step.file, call);
        let request = ReadTestWrite {
            index,
            write_enabler: enabler,
            renew: secret,
            cancel: secret,
            shares: work,
            reads,
        };
        let answer = self.stage.call(self.number, "write slots", None, move |life| {
            Box::pin(async move { life.server.read_test_write(request).await })
        });
        let answer = answer.await;
        if deletes && !matches!(answer, Err(Lost::Reply)) {
            step.shares.iter().for_each(|share| self.stage.end_deletion(ShareId { index, share: *share }));
        }
        if !SLOTS.contains(&step.file) {
            return self.foreign(step, answer);
        }
        let asked = self.stage.since(asked);
        let success = matches!(&answer, Ok(Ok(written)) if written.success);
        let answer =
            answer.map(|answer| answer.map(|written| SlotAnswer::Written(written.success, written.reads)));
        let ended = self.end_slots(step.file, number, answer, begun, wild);
        if success && !deletes {
            let mut model = self.stage.model();
            for share in &step.shares {
                model.leases.renewed(ShareId { index, share: *share }, asked);
            }
        }
        if success {
            self.stage.check_file(index).await;
        }
        ended
    }

    /// A write with one byte too many: as far as the model is concerned, nothing happens.
    async fn write_too_far(&self, step: &Step) -> Ended {
        let begun = self.stage.script.now();
        let with_one_more = |share: &ShareNumber| {
            let mut work = self.test_and_write(step, *share);
            work.writes.push((TOO_FAR, Bytes::from_static(b"!")));
            (*share, work)
        };
        let secret = renew_secret(self.number);
        let request = ReadTestWrite {
            index: index_of(step.file),
            write_enabler: write_enabler(step.file, step.stranger),
            renew: secret,
            cancel: secret,
            shares: step.shares.iter().map(with_one_more).collect(),
            reads: Vec::new(),
        };
        let answer = self.stage.call(self.number, "write slots", None, move |life| {
            Box::pin(async move { life.server.read_test_write(request).await })
        });
        match answer.await {
            Ok(Ok(written)) if written.success => {
                self.judge("slots", Err(format!("a byte was written at {TOO_FAR}, where no share has any")));
            }
            Ok(Ok(_) | Err(ServerError::Refused(_) | ServerError::WriteEnabler { .. })) => {}
            Ok(Err(error)) => self.judge_error(&error, begun),
            Err(_) => return Ended::Unknown,
        }
        Ended::Answered
    }

    /// A write to a file whose shares are immutable: it must fail, and make nothing.
    fn foreign<T>(&self, step: &Step, answer: Result<Result<T, ServerError>, Lost>) -> Ended {
        if !matches!(answer, Ok(Err(_)) | Err(Lost::Request)) {
            let detail =
                format!("mutable shares of file {} were written, whose shares are immutable", step.file);
            if answer.is_ok() && self.has_immutable(step) {
                self.judge("kinds", Err(detail));
            }
            let mut model = self.stage.model();
            model.mixed.insert(index_of(step.file));
            step.shares
                .iter()
                .for_each(|share| model.tampered(ShareId { index: index_of(step.file), share: *share }));
        }
        Ended::Answered
    }

    fn has_immutable(&self, step: &Step) -> bool {
        self.stage.clock();
        let model = self.stage.model();
        let index = index_of(step.file);
        model
            .ids()
            .into_iter()
            .any(|id| id.index == index && model.is_certain(id) && !model.unnoticed.contains(&id))
    }

    fn test_and_write(&self, step: &Step, share: ShareNumber) -> TestAndWrite {
        let id = ShareId { index: index_of(step.file), share };
        let test = |offset, length, specimen| vec![SlotTest { offset, length, specimen }];
        let tests = match step.test {
            Test::Nothing => Vec::new(),
            Test::Absent => test(0, 1, Bytes::new()),
            Test::Same => match self.read.get(&id) {
                Some(bytes) => test(0, bytes.len() as u64, bytes.clone()),
                None => Vec::new(),
            },
            Test::Wrong => test(0, 4, Bytes::from_static(b"none")),
        };
        let text = text_of(step.file, share, step.text, step.offset, step.length);
        let writes = if step.length > 0 { vec![(step.offset, text)] } else { Vec::new() };
        TestAndWrite { tests, writes, new_length: step.cut }
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
