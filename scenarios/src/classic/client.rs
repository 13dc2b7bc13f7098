//! A client: goes through its steps, tells the model what it asks and what it is answered, and has the oracles judge that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::server::{Allocate, ServerError, ShareNumber, ShareReader, ShareWriter, StorageServer};
use runtime::Instant;
use storage::config::LEASE;
use storage::share::{Prefix, ShareId};

use super::container::{records, secret};
use super::model::PATIENCE;
use super::oracle;
use super::stage::Stage;
use super::workload::{ClientPlan, End, Step, What};
use crate::storage::workload::index_of;

/// How long a client waits that got no answer.
const PAUSE: Duration = Duration::from_secs(5);

/// A client of the server.
pub struct Client {
    stage: Arc<Stage>,
    number: u64,
    plan: ClientPlan,
}

impl Client {
    /// A client with that plan.
    pub fn new(stage: Arc<Stage>, number: u64, plan: ClientPlan) -> Client {
        Client { stage, number, plan }
    }

    /// Does all its steps.
    pub async fn live(self) {
        for step in &self.plan.steps {
            self.stage.script.sleep(Duration::from_millis(step.after_ms)).await;
            let index = index_of(step.file);
            let done = self.stage.script.timeout(PATIENCE, self.take(step)).await;
            if done.is_err() {
                self.stage.world.violated("answers", format!("{:?} takes more than {PATIENCE:?}", step.what));
            }
            self.stage.check_file(index);
            if let Ok(None) = done {
                self.stage.script.sleep(PAUSE).await;
            }
        }
    }

    /// Nothing, when there was no answer.
    async fn take(&self, step: &Step) -> Option<()> {
        match step.what {
            What::Upload => self.upload(step).await,
            What::Read => self.read(step).await,
            What::Renew => self.renew(step).await,
            What::List => self.list(step).await,
            What::Expire => self.expire(step).await,
        }
    }

    /// The shares of a file that must be there, and that may be.
    fn known(&self, step: &Step) -> (BTreeSet<ShareNumber>, BTreeSet<ShareNumber>) {
        let (index, clock) = (index_of(step.file), self.stage.clock());
        let (stage, model) = (&self.stage, self.stage.model());
        let sound = || stage.of_file(index).filter(|id| !model.spoilt.contains(id));
        let must = sound().filter(|id| model.must_be_there(*id, clock)).map(|id| id.share);
        let may = sound().filter(|id| model.possible.contains(id)).map(|id| id.share);
        (must.collect(), may.collect())
    }

    /// Judges the shares that it was told of; `before` must have been there when it asked.
    fn judge_told(&self, step: &Step, told: &BTreeSet<ShareNumber>, before: &BTreeSet<ShareNumber>) {
        let (after, may) = self.known(step);
        let must = match self.stage.is_sick() {
            true => BTreeSet::new(),
            false => before.intersection(&after).copied().collect(),
        };
        // Who is spoilt meanwhile was none too long ago.
        let spoilt = self.stage.model().spoilt.iter().map(|id| id.share).collect::<BTreeSet<_>>();
        let may = &may | &(&spoilt & before);
        self.stage.judge("kept", oracle::kept::check_told(told, &must, &may));
    }

    async fn upload(&self, step: &Step) -> Option<()> {
        let (index, own) = (index_of(step.file), secret(self.number));
        let size =
            step.shares.first().map_or(0, |share| self.stage.data(ShareId { index, share: *share }).len());
        let shares: BTreeSet<_> = step.shares.iter().copied().collect();
        let request = Allocate { index, shares, size: size as u64, renew: own, cancel: own };
        let (asked, clock) = (self.stage.script.now(), self.stage.clock());
        let before = self.known(step).0;
        self.stage.model().adds(index);
        let answer = self.stage.call("allocate", self.number, move |guest| {
            Box::pin(async move { guest.allocate_buckets(request).await })
        });
        let answer = answer.await;
        let well = matches!(answer, Some(Ok(_))) && !self.stage.is_sick();
        self.stage.model().added(index, well);
        let granted = match answer? {
            Ok(granted) => granted,
            Err(error) => return self.failed(&error),
        };
        self.judge_told(step, &granted.already, &before);
        let places: BTreeSet<_> = granted.writers.keys().copied().collect();
        let must = before.intersection(&self.known(step).0).copied().collect();
        self.stage.judge("kept", oracle::kept::check_granted(&places, &must));
        self.stage.check_file(index);
        let writers = granted.writers.into_iter();
        for (share, writer) in writers.map(|(share, writer)| (share, Arc::<dyn ShareWriter>::from(writer))) {
            self.write(step, ShareId { index, share }, writer, asked, clock + LEASE).await?;
        }
        Some(())
    }

    /// Uploads one share. Its lease was asked for when its place was.
    async fn write(
        &self,
        step: &Step,
        id: ShareId,
        writer: Arc<dyn ShareWriter>,
        asked: Instant,
        until: u64,
    ) -> Option<()> {
        let data = self.stage.data(id).clone();
        let pieces = step.pieces.max(1);
        let piece = data.len().div_ceil(pieces as usize).max(1);
        for (nth, start) in (0..data.len()).step_by(piece).enumerate() {
            if step.end == End::HangUp && nth as u64 >= pieces / 2 {
                break;
            }
            let (bytes, to) = (data.slice(start..data.len().min(start + piece)), writer.clone());
            let written = self.stage.call("write", self.number, move |_| {
                Box::pin(async move { to.write(start as u64, bytes).await })
            });
            if let Err(error) = written.await? {
                self.stage.judge_error(&error, false);
                return Some(());
            }
        }
        match step.end {
            End::Close => {
                self.stage.model().possible.insert(id);
                match self.end("close", async move { writer.close().await }).await? {
                    Ok(()) => self.stage.model().published(id, self.number, asked, until),
                    Err(error) => self.stage.judge_error(&error, false),
                }
            }
            End::Abort => {
                if let Err(error) = self.end("abort", async move { writer.abort().await }).await? {
                    self.stage.judge_error(&error, false);
                }
            }
            End::HangUp => {
                let gone = async move {
                    drop(writer);
                    Ok(())
                };
                let _ = self.end("hang up", gone).await?;
            }
        }
        Some(())
    }

    async fn end(
        &self,
        kind: &'static str,
        end: impl Future<Output = Result<(), ServerError>> + Send + 'static,
    ) -> Option<Result<(), ServerError>> {
        self.stage.call(kind, self.number, move |_| Box::pin(end)).await
    }

    async fn read(&self, step: &Step) -> Option<()> {
        let index = index_of(step.file);
        let before = self.known(step).0;
        let readers = self.stage.call("get buckets", self.number, move |guest| {
            Box::pin(async move { guest.get_buckets(index).await })
        });
        let readers = match readers.await? {
            Ok(readers) => readers,
            Err(error) => return self.failed(&error),
        };
        self.judge_told(step, &readers.keys().copied().collect(), &before);
        for share in &step.shares {
            if let Some(reader) = readers.get(share).cloned() {
                self.read_share(step, ShareId { index, share: *share }, reader).await?;
            }
        }
        Some(())
    }

    async fn read_share(&self, step: &Step, id: ShareId, reader: Arc<dyn ShareReader>) -> Option<()> {
        let (offset, length) = (step.offset, step.length);
        let answer = self
            .stage
            .call("read", self.number, move |_| Box::pin(async move { reader.read(offset, length).await }));
        let answer = answer.await?;
        let (must, spoilt) = {
            let (clock, model) = (self.stage.clock(), self.stage.model());
            (model.must_be_there(id, clock), model.spoilt.contains(&id))
        };
        let data = self.stage.data(id);
        match answer {
            Ok(bytes) => {
                let found = oracle::data::check_answer(id, data, offset, length, &bytes);
                if found.is_err()
                    && let Some(file) = self.stage.read(id)
                {
                    let records = records(&file, data.len());
                    self.stage.judge("area", oracle::area::check_answer(id, &bytes, &records));
                }
                self.stage.judge("data", found);
            }
            Err(ServerError::NoSuchShare) if !must => {}
            Err(error) => self.stage.judge_error(&error, spoilt),
        }
        Some(())
    }

    async fn renew(&self, step: &Step) -> Option<()> {
        let (index, own) = (index_of(step.file), secret(self.number));
        let (asked, clock) = (self.stage.script.now(), self.stage.clock());
        let there = || self.stage.of_file(index).filter(|id| self.stage.read(*id).is_some());
        let before: BTreeSet<_> = there().collect();
        self.stage.model().adds(index);
        let answer = self.stage.call("add lease", self.number, move |guest| {
            Box::pin(async move { guest.add_lease(index, own, own).await })
        });
        let answer = answer.await;
        let well = matches!(answer, Some(Ok(_))) && !self.stage.is_sick();
        self.stage.model().added(index, well);
        match answer? {
            // A promise for every share that was there all the time.
            Ok(()) => {
                for id in there().filter(|id| before.contains(id)) {
                    let mut model = self.stage.model();
                    if !model.untouched.contains_key(&id) && !model.has_expired_since(id, asked) {
                        model.published(id, self.number, asked, clock + LEASE);
                    }
                }
            }
            Err(error) => self.stage.judge_error(&error, false),
        }
        Some(())
    }

    async fn list(&self, step: &Step) -> Option<()> {
        let prefix = Prefix::of(&index_of(step.file));
        let answer = self.stage.call("list leases", self.number, move |guest| {
            Box::pin(async move { guest.leases(prefix).await })
        });
        let files = match answer.await? {
            Ok(files) => files,
            Err(error) => return self.failed(&error),
        };
        for file in files {
            match file.found {
                Ok(held) => {
                    let data = self.stage.data(file.id);
                    self.stage.judge("data", oracle::data::check_length(file.id, data, held.size));
                }
                Err(why) => self.judge_unusable(file.id, why),
            }
        }
        Some(())
    }

    async fn expire(&self, step: &Step) -> Option<()> {
        let prefix = Prefix::of(&index_of(step.file));
        let policy = step.policy.expire(self.stage.epoch);
        let expiry = self.stage.model().expires(prefix, policy.clone());
        let answer = self.stage.call("expire", self.number, move |guest| {
            Box::pin(async move { guest.expire(prefix, policy).await })
        });
        let answer = answer.await;
        let (now, clock) = (self.stage.script.now(), self.stage.clock());
        let well = matches!(answer, Some(Ok(_))) && !self.stage.is_sick();
        self.stage.model().expired(expiry, now, clock, well);
        match answer? {
            Ok(done) => done.unusable.into_iter().for_each(|(id, why)| self.judge_unusable(id, why)),
            Err(error) => self.stage.judge_error(&error, false),
        }
        Some(())
    }

    /// The step ends with an error.
    fn failed(&self, error: &ServerError) -> Option<()> {
        self.stage.judge_error(error, false);
        Some(())
    }

    /// Judges that nothing is known of a share.
    fn judge_unusable(&self, id: ShareId, why: String) {
        let excused = self.stage.model().untouched.contains_key(&id);
        self.stage.judge_error(&ServerError::Disk(why), excused);
    }
}
