//! A client: goes through its steps, tells the model what it asks and what it is answered, and has the oracles judge that.
//!
//! | room | what it holds |
//! | --- | --- |
//! | `look` | what there is, and leases |
//! | `upload` | immutable shares on their way |
//! | `slots` | mutable shares |

mod look;
mod slots;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::server::{LeaseSecret, ServerError, ShareNumber};
use runtime::Instant;
use storage::database::Row;
use storage::share::ShareId;

use super::model::shares::Share;
use super::model::slots::SlotCall;
use super::oracle;
use super::stage::{CRAWLING, Stage};
use super::workload::{ClientPlan, Step, What, index_of};

/// How often a client tries again.
const TRIES: u32 = 3;
/// How long it waits before that.
const PAUSE: Duration = Duration::from_secs(5);

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
}
