//! Makes database and backend agree about one file: step 2 of the crawler (leasedb-and-storage §10), which is also
//! adoption (H) and recovery (I).
//!
//! Both sides are read under the file's lock, so that nothing is concluded from two snapshots of different moments. An
//! error of either side concludes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::StorageIndex;
use protocol::server::{ServerError, ShareNumber};
use runtime::{reached, relapse};

use super::errors::refused_words;
use super::locks::Held;
use super::shared::Shared;
use super::step::step;
use super::{Finding, Mode, Outcome, ReconcileError, Step};
use crate::backend::{BackendError, Body};
use crate::config::LEASE;
use crate::database::{AccountId, DatabaseError, Epoch, Refused, Row, State, Write};
use crate::share::{Kind, ShareId};

/// What there is of a file, after a look.
pub(super) struct Sight {
    pub index: StorageIndex,
    pub rows: BTreeMap<ShareNumber, Row>,
    pub bodies: BTreeMap<ShareNumber, Body>,
    pub findings: Vec<Finding>,
}

impl Sight {
    /// What the database says, unseen.
    pub fn of_rows(index: StorageIndex, rows: BTreeMap<ShareNumber, Row>) -> Sight {
        Sight { index, rows, bodies: BTreeMap::new(), findings: Vec::new() }
    }

    /// The complete, sound immutable shares.
    pub fn immutable(&self) -> impl Iterator<Item = ShareNumber> {
        let shown = |row: &Row| row.state == State::Stable && row.kind == Kind::Immutable;
        self.rows.iter().filter(move |(_, row)| shown(row)).map(|(share, _)| *share)
    }

    /// The sound mutable shares.
    pub fn mutable(&self) -> impl Iterator<Item = ShareNumber> {
        let shown = |row: &Row| matches!(row.state, State::Stable | State::Changing);
        let shown = move |row: &Row| shown(row) && row.kind == Kind::Mutable;
        self.rows.iter().filter(move |(_, row)| shown(row)).map(|(share, _)| *share)
    }

    /// As if one bad share made the whole file unreadable.
    pub fn all_readable(&self) -> Result<(), ServerError> {
        for (share, body) in &self.bodies {
            if let Body::Corrupted { why, .. } = body {
                return Err(ServerError::Disk(format!("share {share}: {why}")));
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Makes database and backend agree about a file.
    pub(crate) async fn reconcile(
        self: &Arc<Self>,
        index: StorageIndex,
        mode: Mode,
    ) -> Result<Vec<Finding>, ReconcileError> {
        let mut held = self.lock(index).await;
        let mut sight = self.look(&held, mode).await?;
        if mode == Mode::Dry {
            return Ok(sight.findings);
        }
        for finding in sight.findings.iter_mut().filter(|finding| finding.step == Step::Collect) {
            if relapse!("lease-L4") {
                // Between the check and the mark, others have their turn.
                drop(held);
                held = self.lock(index).await;
            }
            finding.outcome = self.collect(&held, finding.id).await?;
        }
        Ok(sight.findings)
    }

    /// Reads both sides, and does what must happen to each share but to collect it. The rows are read again after that for
    /// whoever serves a client.
    pub(super) async fn look(self: &Arc<Self>, held: &Held, mode: Mode) -> Result<Sight, ReconcileError> {
        let index = held.index();
        let (rows, unleased) = self.rows_and_unleased(index, mode).await?;
        let bodies = self.backend.list(index).await?;
        let mut sight = Sight { index, rows, bodies, findings: Vec::new() };
        for share in sight.rows.keys().chain(sight.bodies.keys()).copied().collect::<BTreeSet<_>>() {
            let id = ShareId { index, share };
            let (row, body) = (sight.rows.get(&share), sight.bodies.get(&share));
            let step = step(row, body, self.uploads.has(id));
            if let Some(step) = self.due(id, step, unleased.contains(&share), mode).await {
                sight.findings.push(Finding { id, step, outcome: Outcome::Left });
            }
        }
        if mode == Mode::Dry {
            return Ok(sight);
        }
        if !sight.findings.is_empty() {
            if sight.findings.iter().any(|finding| must_be_durable(finding.step, mode)) {
                self.backend.make_durable(index).await?;
            }
            self.carry_out(held, &mut sight).await?;
            if mode == Mode::Request {
                sight.rows = self.rows(index).await?;
            }
        }
        let incomplete = |share| matches!(sight.bodies.get(&share), Some(Body::Incomplete { .. }));
        self.suspects.keep_only(index, incomplete);
        self.looks.note(index, self.runtime.now());
        Ok(sight)
    }

    /// The rows, and which of the STABLE ones have no lease, if that is asked at all.
    async fn rows_and_unleased(
        &self,
        index: StorageIndex,
        mode: Mode,
    ) -> Result<(BTreeMap<ShareNumber, Row>, BTreeSet<ShareNumber>), DatabaseError> {
        let collects = matches!(mode, Mode::Crawl { .. } | Mode::Dry) && self.config.expire.enabled;
        if !collects {
            return Ok((self.rows(index).await?, BTreeSet::new()));
        }
        let (mutable, immutable) = (self.config.expire.mutable, self.config.expire.immutable);
        let view = self.database.view("rows and leases", move |read| {
            let rows = read.rows(index)?;
            let mut unleased = BTreeSet::new();
            for (&share, row) in &rows {
                let may_go = match row.kind {
                    Kind::Immutable => immutable,
                    Kind::Mutable => mutable,
                    Kind::Corrupted => mutable || immutable,
                };
                if may_go && row.state == State::Stable && read.leases(ShareId { index, share })?.is_empty() {
                    unleased.insert(share);
                }
            }
            Ok((rows, unleased))
        });
        view.await
    }

    /// Of what must happen to a share, what is due in this mode.
    async fn due(&self, id: ShareId, step: Option<Step>, unleased: bool, mode: Mode) -> Option<Step> {
        let crawl = matches!(mode, Mode::Crawl { .. } | Mode::Dry);
        match (step, mode) {
            (Some(Step::Forget { .. }), _) => self.has_vanished(id).await.then_some(step)?,
            (None | Some(Step::Correct { .. }), _) if unleased && crawl => Some(Step::Collect),
            (Some(Step::FinishDeletion { .. }), Mode::Request) => None,
            (Some(Step::Watch { .. }), Mode::Request | Mode::Recover) => None,
            (Some(Step::Watch { used }), Mode::Crawl { cycle })
                if self.suspects.seen_before(id, used, cycle) =>
            {
                Some(Step::Clear { used })
            }
            _ => step,
        }
    }

    /// A second opinion on a share that was not listed: a listing may lag behind, and an outage is no absence.
    async fn has_vanished(&self, id: ShareId) -> bool {
        match self.backend.read(id, 0, 1).await {
            Err(BackendError::NoSuchShare(_)) => true,
            Ok(_) | Err(_) => {
                reached!("storage: a share that was not listed is there all the same");
                false
            }
        }
    }

    /// Does what must happen to each share but to collect it: all transitions in one transaction, then the deletions.
    async fn carry_out(self: &Arc<Self>, held: &Held, sight: &mut Sight) -> Result<(), ReconcileError> {
        let now = self.now();
        let steps: Vec<_> = sight.findings.iter().map(|finding| (finding.id, finding.step)).collect();
        let recorded = self.database.update("reconcile", move |write| {
            steps.iter().map(|(id, step)| record(write, *id, *step, now)).collect::<Result<Vec<_>, _>>()
        });
        let recorded =
            recorded.await.inspect_err(|_| self.unfinished.note(sight.index, self.runtime.now()))?;
        for (finding, recorded) in sight.findings.iter_mut().zip(recorded) {
            let (id, step) = (finding.id, finding.step);
            finding.outcome = match recorded {
                Recorded::Nothing => Outcome::Left,
                Recorded::Done => Outcome::Done,
                Recorded::Refused(refused) => Outcome::Failed(refused_words(&refused)),
                Recorded::Going(epoch) => match self.finish_deletion(held, id, epoch).await {
                    Ok(()) => {
                        sight.bodies.remove(&id.share);
                        Outcome::Done
                    }
                    Err(error) => Outcome::Failed(error.to_string()),
                },
            };
            self.tell(id, step, &finding.outcome);
        }
        Ok(())
    }

    /// Says in the log what became of a step.
    pub(super) fn tell(&self, id: ShareId, step: Step, outcome: &Outcome) {
        let server = &self.id;
        if *outcome == Outcome::Left {
            // A share to be collected has its turn later.
            if let Step::Watch { used } = step {
                reached!("storage: objects that make no share are seen");
                tracing::info!(%server, share = %id, used, "objects that make no share are left for now");
            }
            return;
        }
        mark(step);
        match (step, outcome) {
            (Step::Forget { .. }, Outcome::Done) => {
                tracing::warn!(%server, share = %id, "a share has disappeared, and its leases with it");
            }
            (Step::Adopt { kind: Kind::Corrupted, .. } | Step::Correct { kind: Kind::Corrupted, .. }, _) => {
                tracing::warn!(%server, share = %id, "a share is corrupted");
            }
            (_, Outcome::Failed(why)) => {
                tracing::warn!(%server, share = %id, %step, why, "a share could not be put right");
            }
            _ => tracing::info!(%server, share = %id, %step, "a share was put right"),
        }
    }
}

/// Whether a step promises the share to clients that an earlier process published, and may not have made durable. A
/// crawl promises nobody anything.
fn must_be_durable(step: Step, mode: Mode) -> bool {
    match step {
        Step::RollForward { .. } | Step::EndChange { .. } => true,
        Step::Adopt { .. } => mode == Mode::Request,
        _ => false,
    }
}

/// What the first transaction of a step came to.
pub(super) enum Recorded {
    Nothing,
    Done,
    /// The share is GOING, and to be deleted.
    Going(Epoch),
    Refused(Refused),
}

/// The transaction with which a step begins, and often ends.
pub(super) fn record(
    write: &mut Write<'_>,
    id: ShareId,
    step: Step,
    now: u64,
) -> Result<Recorded, DatabaseError> {
    let done = |result: Result<Epoch, Refused>| match result {
        Ok(_) => Recorded::Done,
        Err(refused) => Recorded::Refused(refused),
    };
    let going = |result: Result<Epoch, Refused>| match result {
        Ok(epoch) => Recorded::Going(epoch),
        Err(refused) => Recorded::Refused(refused),
    };
    Ok(match step {
        Step::Collect | Step::Watch { .. } => Recorded::Nothing,
        // H
        Step::Adopt { kind, used } => done(write.adopt(id, kind, used, now)?),
        // A5
        Step::RollForward { epoch, kind, used } => {
            let settled = write.settle(id, epoch, kind, used, now)?;
            if settled.is_ok() {
                // Cannot be refused: it has just come to be STABLE.
                let _ = write.renew(id, AccountId::ANONYMOUS, now, Some(now.saturating_add(LEASE)))?;
            }
            done(settled)
        }
        // B1
        Step::GiveUp { epoch } => going(write.condemn(id, epoch, now)?),
        // As D4, without a lease: nobody was promised one.
        Step::EndChange { epoch, kind, used } => done(write.settle(id, epoch, kind, used, now)?),
        Step::Forget { epoch } => done(write.forget_vanished(id, epoch)?.map(|()| epoch)),
        Step::Correct { epoch, kind, used } => done(write.correct(id, epoch, kind, used)?),
        // F1 was before.
        Step::FinishDeletion { epoch } => Recorded::Going(epoch),
        Step::Clear { used } => going(write.condemn_leftover(id, used, now)?),
    })
}

/// Coverage: each kind of step, once it was taken.
fn mark(step: Step) {
    match step {
        Step::Adopt { kind: Kind::Corrupted, .. } => reached!("storage: a corrupted share is adopted"),
        Step::Adopt { .. } => reached!("storage: a share is adopted"),
        Step::RollForward { .. } => reached!("storage: a complete upload is rolled forward"),
        Step::GiveUp { .. } => reached!("storage: a left upload is given up"),
        Step::EndChange { .. } => reached!("storage: a change that was cut off is ended"),
        Step::Forget { .. } => reached!("storage: a share that disappeared is forgotten"),
        Step::Correct { kind: Kind::Corrupted, .. } => reached!("storage: a share is found corrupted"),
        Step::Correct { .. } => reached!("storage: a row is corrected"),
        Step::Collect => reached!("storage: a share without a lease is collected"),
        Step::FinishDeletion { .. } => reached!("storage: a deletion is finished later"),
        Step::Watch { .. } => {}
        Step::Clear { .. } => reached!("storage: objects that make no share are deleted"),
    }
}
