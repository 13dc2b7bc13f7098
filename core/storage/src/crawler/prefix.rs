//! One prefix: leases that are over end, each file is reconciled under its lock, and what is there is counted.
//!
//! Nothing is decided here from what was read here: rows and survey only say which files to look at, and each is read
//! again under its lock. That spares nearly every file the lock and the second look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::StorageIndex;
use protocol::server::ShareNumber;
use runtime::{reached, relapse};

use super::Tally;
use super::state::{Found, State};
use crate::database::{AccountId, DatabaseError, Lease, Row, State as RowState};
use crate::server::{Closed, Finding, Mode, Outcome, ReconcileError, Shared, Step, step};
use crate::share::{Kind, Prefix, ShareId};

const DAY: u64 = 24 * 60 * 60;

/// How many files are reconciled at a time.
const AT_A_TIME: usize = 128;

/// Crawls one prefix. What fails is counted, and no reason to stop.
pub(super) async fn crawl(
    server: &Arc<Shared>,
    prefix: Prefix,
    state: &mut State,
) -> Result<(), DatabaseError> {
    let seen = match see(server, prefix, state).await {
        Ok(seen) => seen,
        Err(error) => {
            reached!("crawler: a prefix could not be crawled");
            tracing::warn!(server = %server.id, %prefix, %error, "a prefix could not be crawled");
            state.found.counts.failed_prefixes += 1;
            return Ok(());
        }
    };
    state.found.counts.files += seen.files;
    let (known, new) = seen.due.iter().partition(|index| has_rows(&seen.snapshot.rows, **index));
    let (mut known, new): (Vec<_>, Vec<_>) = (known, new);
    for files in new.chunks(AT_A_TIME) {
        known.extend(adopt(server, files, &seen.snapshot.rows, state).await?);
    }
    for files in known.chunks(AT_A_TIME) {
        reconcile(server, files, &seen.snapshot.rows, state).await?;
    }
    // What was read before still holds if nothing had to be done.
    let now = if seen.due.is_empty() { Ok(seen.snapshot) } else { Snapshot::read(server, prefix).await };
    match now {
        Ok(snapshot) => count(server, snapshot, &mut state.found),
        Err(error) => {
            tracing::warn!(server = %server.id, %prefix, %error, "a prefix could not be counted");
            state.found.counts.failed_prefixes += 1;
        }
    }
    Ok(())
}

/// The rows of a prefix.
pub(super) async fn rows(server: &Shared, prefix: Prefix) -> Result<BTreeMap<ShareId, Row>, DatabaseError> {
    server.database.view("prefix", move |read| read.prefix(prefix)).await
}

/// Rows and leases of a prefix, at one moment.
struct Snapshot {
    rows: BTreeMap<ShareId, Row>,
    leases: BTreeMap<ShareId, BTreeMap<AccountId, Lease>>,
}

impl Snapshot {
    async fn read(server: &Shared, prefix: Prefix) -> Result<Snapshot, DatabaseError> {
        let view = server.database.view("prefix", move |read| {
            Ok(Snapshot { rows: read.prefix(prefix)?, leases: read.prefix_leases(prefix)? })
        });
        view.await
    }
}

struct Seen {
    snapshot: Snapshot,
    /// How many files there are.
    files: u64,
    /// Those that need a closer look, under their lock.
    due: Vec<StorageIndex>,
}

/// Ends leases, and says which files to look at: those of which rows, leases and backend do not agree already, or of which
/// the backend does not tell. The rows are read before the backend: what comes to be in between is then at worst looked at.
async fn see(server: &Arc<Shared>, prefix: Prefix, state: &mut State) -> Result<Seen, ReconcileError> {
    state.found.counts.ended_leases += expire(server, prefix, state).await?;
    if relapse!("lease-L2") {
        forget_what_is_not_listed(server, prefix).await?;
    }
    let snapshot = Snapshot::read(server, prefix).await?;
    let known: BTreeSet<_> = snapshot.rows.keys().map(|id| id.index).collect();
    let (survey, others) = server.backend.survey(prefix, known.clone()).await?;
    let collects = server.config.expire.enabled;
    let mut files = known;
    files.extend(survey.keys().chain(&others));
    // Shares that have a row and agree with it.
    let mut agree = BTreeSet::new();
    let mut due = others;
    for (id, row) in &snapshot.rows {
        let body = match survey.get(&id.index) {
            Some(Ok(bodies)) => bodies.get(&id.share),
            Some(Err(_)) | None => None,
        };
        let unleased = collects && row.state == RowState::Stable && !snapshot.leases.contains_key(id);
        match step(Some(row), body, server.uploads.has(*id)) {
            None if !unleased => _ = agree.insert(*id),
            _ => _ = due.insert(id.index),
        }
    }
    for (index, bodies) in &survey {
        let known = |share: &ShareNumber| agree.contains(&ShareId { index: *index, share: *share });
        if !bodies.as_ref().is_ok_and(|bodies| bodies.keys().all(known)) {
            due.insert(*index);
        }
    }
    Ok(Seen { snapshot, files: files.len() as u64, due: due.into_iter().collect() })
}

/// Ends the leases under a prefix that are over, in one transaction.
async fn expire(server: &Shared, prefix: Prefix, state: &mut State) -> Result<u64, DatabaseError> {
    let policy = server.config.expire.clone();
    if !policy.enabled {
        return Ok(0);
    }
    if !state.expires() {
        state.found.counts.suspended = true;
        return Ok(0);
    }
    let now = server.now();
    let expire = server.database.update("expire", move |write| {
        write.end_leases(prefix, &|kind, lease| policy.is_over(kind, lease.renewed, lease.expires, now))
    });
    expire.await
}

fn has_rows(rows: &BTreeMap<ShareId, Row>, index: StorageIndex) -> bool {
    let [first, last] = [0, ShareNumber::MAX].map(|share| ShareId { index, share });
    rows.range(first..=last).next().is_some()
}

/// Adopts files of which the database knows nothing, in one transaction. Gives those that need a closer look after all.
async fn adopt(
    server: &Arc<Shared>,
    files: &[StorageIndex],
    rows: &BTreeMap<ShareId, Row>,
    state: &mut State,
) -> Result<Vec<StorageIndex>, DatabaseError> {
    let (shared, all) = (server.clone(), files.to_vec());
    // A task of its own: should it panic, the crawler goes on.
    let adopted = server.operations.start("adopt files", async move { shared.adopt_files(all).await });
    let adopted = match adopted.await {
        Ok(Ok(adopted)) => adopted,
        // What is wrong with one is no reason to give up the others.
        Ok(Err(_)) | Err(_) => return Ok(files.to_vec()),
    };
    let left = files.iter().filter(|index| !adopted.contains_key(index)).copied().collect();
    for (index, findings) in adopted {
        conclude(server, index, Ok(findings), rows, state).await?;
    }
    Ok(left)
}

/// Reconciles files, all at a time: they share commits. An error concludes nothing.
async fn reconcile(
    server: &Arc<Shared>,
    files: &[StorageIndex],
    rows: &BTreeMap<ShareId, Row>,
    state: &mut State,
) -> Result<(), DatabaseError> {
    let mode = Mode::Crawl { cycle: state.cycle };
    let start = |index: &StorageIndex| {
        // A task of its own: should it panic, the crawler goes on.
        let (shared, index) = (server.clone(), *index);
        server.operations.start("crawl file", async move { shared.reconcile(index, mode).await })
    };
    let started: Vec<_> = files.iter().map(|index| (*index, start(index))).collect();
    for (index, reconciled) in started {
        let reconciled = reconciled.await.map_err(|_| Closed.into()).flatten();
        conclude(server, index, reconciled, rows, state).await?;
    }
    Ok(())
}

/// Notes what became of a file.
async fn conclude(
    server: &Arc<Shared>,
    index: StorageIndex,
    reconciled: Result<Vec<Finding>, ReconcileError>,
    rows: &BTreeMap<ShareId, Row>,
    state: &mut State,
) -> Result<(), DatabaseError> {
    match reconciled {
        Ok(findings) => findings.iter().for_each(|finding| tally(finding, rows, &mut state.found)),
        Err(error) => {
            reached!("crawler: a file could not be examined");
            tracing::warn!(server = %server.id, %index, %error, "a file could not be examined");
            state.found.counts.failed_files += 1;
            if relapse!("lease-L11") {
                return Err(DatabaseError::Failed(error.to_string()));
            }
            if relapse!("lease-L13") && matches!(error, ReconcileError::Backend(_)) {
                forget_all_of(server, index).await?;
            }
        }
    }
    Ok(())
}

/// Adds what happened to a share to the counts.
fn tally(finding: &Finding, rows: &BTreeMap<ShareId, Row>, found: &mut Found) {
    let counts = &mut found.counts;
    match (finding.step, &finding.outcome) {
        (_, Outcome::Failed(_)) => counts.failed_steps += 1,
        (Step::Watch { .. }, _) => counts.watched += 1,
        (_, Outcome::Left) => {}
        (Step::Adopt { .. }, _) => counts.adopted += 1,
        (Step::Forget { .. }, _) => counts.vanished += 1,
        (Step::Correct { .. }, _) => counts.corrected += 1,
        (Step::Collect, _) => counts.collected.add(rows.get(&finding.id).map_or(0, |row| row.used_space)),
        (Step::Clear { used }, _) => counts.cleared.add(used),
        (
            Step::RollForward { .. }
            | Step::GiveUp { .. }
            | Step::EndChange { .. }
            | Step::FinishDeletion { .. },
            _,
        ) => counts.ended_operations += 1,
    }
}

/// Counts what is there when all files of the prefix have been reconciled.
fn count(server: &Shared, snapshot: Snapshot, found: &mut Found) {
    let now = server.now();
    let mut ages: BTreeMap<u64, u64> = BTreeMap::new();
    for lease in snapshot.leases.values().flat_map(BTreeMap::values) {
        *ages.entry(now.saturating_sub(lease.renewed) / DAY).or_default() += 1;
    }
    let counts = &mut found.counts;
    counts.prefixes += 1;
    for (days, leases) in ages {
        counts.leases += leases;
        *found.lease_ages.entry(days).or_default() += leases;
    }
    let there = |row: &Row| matches!(row.state, RowState::Stable | RowState::Changing);
    for (id, row) in snapshot.rows.into_iter().filter(|(_, row)| there(row)) {
        let tally: &mut Tally = match row.kind {
            Kind::Immutable => &mut found.counts.immutable,
            Kind::Mutable => &mut found.counts.mutable,
            Kind::Corrupted => &mut found.counts.corrupted,
        };
        tally.add(row.used_space);
        if row.kind == Kind::Corrupted {
            found.name_corrupted(id.to_string());
        }
    }
}

/// The bug of the first accounting crawlers: backend first, rows later, and what is in the one and not in the other is
/// taken to have vanished.
async fn forget_what_is_not_listed(server: &Arc<Shared>, prefix: Prefix) -> Result<(), ReconcileError> {
    let mut listed = BTreeSet::new();
    for index in server.backend.files(prefix).await? {
        let shares = server.backend.list(index).await?.into_keys();
        listed.extend(shares.map(|share| ShareId { index, share }));
    }
    let vanished = rows(server, prefix).await?.into_iter().filter(|(id, _)| !listed.contains(id)).collect();
    Ok(forget(server, vanished).await?)
}

/// The bug that took an outage for an absence.
async fn forget_all_of(server: &Arc<Shared>, index: StorageIndex) -> Result<(), DatabaseError> {
    let rows = server.rows(index).await?;
    let all = rows.into_iter().map(|(share, row)| (ShareId { index, share }, row)).collect();
    forget(server, all).await
}

async fn forget(server: &Arc<Shared>, rows: Vec<(ShareId, Row)>) -> Result<(), DatabaseError> {
    let forget = server.database.update("forget", move |write| {
        rows.iter().try_for_each(|(id, row)| write.forget_vanished(*id, row.epoch).map(drop))
    });
    forget.await
}
