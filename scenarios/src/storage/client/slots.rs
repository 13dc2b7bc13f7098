//! Mutable shares: reads, lists and writes of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::server::{ReadTestWrite, ServerError, ShareNumber, SlotServer, SlotTest, TestAndWrite};
use runtime::Instant;
use storage::share::ShareId;

use super::{Ended, StorageClient, renew_secret, write_enabler};
use crate::storage::model::slots::{SlotAnswer, SlotCall, Slots};
use crate::storage::oracle;
use crate::storage::wire::Lost;
use crate::storage::workload::{SLOTS, Step, Test, index_of, text_of};

/// An offset that no mutable share reaches.
const TOO_FAR: u64 = 1 << 60;

impl StorageClient {
    /// Reads, lists or writes mutable shares.
    pub(super) async fn ask_slots(&mut self, step: &Step, call: SlotCall) -> Ended {
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

    pub(super) async fn write(&mut self, step: &Step) -> Ended {
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
    pub(super) fn foreign<T>(&self, step: &Step, answer: Result<Result<T, ServerError>, Lost>) -> Ended {
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

    pub(super) fn has_immutable(&self, step: &Step) -> bool {
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
