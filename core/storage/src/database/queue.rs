//! Group commit: work waits in one queue, and one background job at a time takes all that is waiting into one
//! transaction. Nobody leads: the job goes on whoever goes away, and a caller only waits for its own answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use redb::Durability;
use runtime::{Runtime, reached, relapse};
use tokio::sync::{Notify, oneshot};

use super::file::write_again;
use super::open::{Live, Unusable};
use super::write::Write;
use super::{DatabaseError, GivenUp, Shared, Slot, closed, failed};
use crate::config::Sync;
use crate::lock::lock;

/// How long a commit may stay without being durable under [`Sync::Normal`].
const SYNC_AFTER: Duration = Duration::from_secs(1);

/// Work that waits for its transaction.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Vec<Work>,
    /// A job is at it, or will be.
    draining: bool,
}

enum Work {
    Change(Change),
    /// Makes everything before it durable.
    Sync(Verdict),
    /// Closes the database. Everything after it fails.
    Close(Verdict),
}

/// A caller's closure. Without a transaction it says why there is none.
type Change = Box<dyn FnOnce(Result<&mut Write<'_>, DatabaseError>) -> Answer + Send>;

/// What a change came to.
struct Answer {
    /// It failed: what it changed must be undone.
    failed: bool,
    verdict: Verdict,
}

/// Tells the caller, once it is known how the transaction ended.
type Verdict = Box<dyn FnOnce(Result<(), DatabaseError>) + Send>;

/// Puts a change into the queue and waits for its commit.
pub(super) async fn update<T: Send + 'static>(
    shared: &Arc<Shared>,
    kind: &'static str,
    work: impl FnOnce(&mut Write<'_>) -> Result<T, DatabaseError> + Send + 'static,
) -> Result<T, DatabaseError> {
    let (tell, told) = oneshot::channel();
    let change = move |write: Result<&mut Write<'_>, DatabaseError>| {
        let result = write.and_then(work);
        // Nobody may be waiting any more: the change is made all the same.
        let failed = result.is_err();
        let verdict = Box::new(move |ended: Result<(), _>| drop(tell.send(ended.and(result))));
        Answer { failed, verdict }
    };
    enqueue(shared, kind, Work::Change(Box::new(change)));
    told.await.map_err(|_| runtime::JobLost(kind))?
}

/// Makes all that was committed durable.
pub(super) async fn sync(shared: &Arc<Shared>) -> Result<(), DatabaseError> {
    let (tell, told) = oneshot::channel();
    enqueue(shared, "sync lease database", Work::Sync(Box::new(move |ended| drop(tell.send(ended)))));
    told.await.map_err(|_| runtime::JobLost("sync lease database"))?
}

/// Closes the database when all work before this has been done.
pub(super) async fn close(shared: &Arc<Shared>) -> Result<(), DatabaseError> {
    let (tell, told) = oneshot::channel();
    enqueue(shared, "close lease database", Work::Close(Box::new(move |ended| drop(tell.send(ended)))));
    told.await.map_err(|_| runtime::JobLost("close lease database"))?
}

/// Makes commits durable that were not at once, a little later.
pub(super) async fn sync_behind(shared: Weak<Shared>, runtime: Runtime, unsynced: Arc<Notify>) {
    loop {
        unsynced.notified().await;
        runtime.sleep(SYNC_AFTER).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = sync(&shared).await {
            tracing::error!(%error, "the last changes of the lease database may not be durable");
        }
    }
}

/// Adds work, and starts a job if none is at it. Nothing can come between the two: callers may be dropped.
fn enqueue(shared: &Arc<Shared>, kind: &'static str, work: Work) {
    let start = {
        let mut queue = lock(&shared.queue);
        queue.waiting.push(work);
        !std::mem::replace(&mut queue.draining, true)
    };
    if start {
        let drain = Drain { shared: shared.clone(), finished: false };
        shared.runtime.start_blocking(kind, move || drain.run());
    }
}

/// The job that empties the queue.
struct Drain {
    shared: Arc<Shared>,
    finished: bool,
}

impl Drain {
    fn run(mut self) {
        let mut panicked = None;
        while let Some(batch) = self.next() {
            panicked = commit(&self.shared, batch).or(panicked);
        }
        if let Some(panic) = panicked {
            // Nothing is wrong with the queue: this is for whoever watches over jobs.
            resume_unwind(panic);
        }
    }

    /// All that is waiting; none ends this job.
    fn next(&mut self) -> Option<Vec<Work>> {
        let mut queue = lock(&self.shared.queue);
        if queue.waiting.is_empty() {
            queue.draining = false;
            self.finished = true;
            return None;
        }
        Some(std::mem::take(&mut queue.waiting))
    }
}

impl Drop for Drain {
    /// A job that is lost takes with it what was waiting; the next work starts another.
    fn drop(&mut self) {
        if !self.finished {
            let lost = std::mem::take(&mut *lock(&self.shared.queue));
            drop(lost);
        }
    }
}

type Panic = Box<dyn Any + Send>;

/// Runs a batch in one transaction and answers everyone in it. Gives back what panicked.
fn commit(shared: &Shared, mut batch: Vec<Work>) -> Option<Panic> {
    let end = batch.iter().position(|work| matches!(work, Work::Close(_)));
    let late = end.map(|end| batch.split_off(end + 1)).unwrap_or_default();
    if batch.len() > 1 {
        reached!("database: several changes shared one commit");
    }
    let mut done = Done::default();
    let mut batch = batch.into_iter();
    let ended = live(shared).and_then(|live| {
        let committed = run(shared, &live, &mut batch, &mut done);
        give_up_if_useless(shared, &live);
        committed
    });
    if end.is_some() {
        *lock(&shared.slot) = Slot::Closed;
    }
    for verdict in done.verdicts {
        verdict(ended.clone());
    }
    let why = ended.err().unwrap_or_else(closed);
    for work in batch.chain(late) {
        refuse(work, why.clone());
    }
    done.panicked
}

/// What has been done of a batch.
#[derive(Default)]
struct Done {
    verdicts: Vec<Verdict>,
    panicked: Option<Panic>,
}

fn run(
    shared: &Shared,
    live: &Live,
    batch: &mut impl Iterator<Item = Work>,
    done: &mut Done,
) -> Result<(), DatabaseError> {
    let mut transaction = live.begin_write()?;
    let mut durable = false;
    let mut write = Write::new(&transaction, live.next_epoch.load(Ordering::Relaxed))?;
    while done.panicked.is_none() {
        let Some(work) = batch.next() else { break };
        match work {
            Work::Sync(verdict) | Work::Close(verdict) => {
                durable = true;
                done.verdicts.push(verdict);
            }
            Work::Change(change) => match catch_unwind(AssertUnwindSafe(|| change(Ok(&mut write)))) {
                Ok(answer) => {
                    done.verdicts.push(answer.verdict);
                    match answer.failed {
                        true => write.undo()?,
                        false => write.keep(),
                    }
                }
                Err(panic) => done.panicked = Some(panic),
            },
        }
    }
    if done.panicked.is_some() {
        // It may have stopped anywhere, inside redb too.
        drop(write);
        let _ = transaction.abort();
        live.sever();
        return Err(DatabaseError::Failed("other work in the same transaction panicked".into()));
    }
    let (changed, next_epoch) = write.end()?;
    if !changed && !durable {
        return transaction.abort().map_err(failed);
    }
    // The first commit carries the epochs that were skipped at the opening: they must not be skipped in vain.
    let first = live.untouched.swap(false, Ordering::Relaxed);
    let lazy = shared.sync == Sync::Normal || relapse!("lease-A11");
    if lazy && !durable && !first {
        transaction.set_durability(Durability::None).map_err(failed)?;
        shared.unsynced.notify_one();
    }
    live.next_epoch.store(next_epoch, Ordering::Relaxed);
    transaction.commit().map_err(failed)
}

/// Answers work that will not be done.
fn refuse(work: Work, why: DatabaseError) {
    match work {
        Work::Change(change) => (change(Err(why.clone())).verdict)(Err(why)),
        Work::Sync(verdict) | Work::Close(verdict) => verdict(Err(why)),
    }
}

/// The open database. One that was given up is opened again: the disk may have recovered.
pub(super) fn live(shared: &Shared) -> Result<Arc<Live>, DatabaseError> {
    let mut slot = lock(&shared.slot);
    match &mut *slot {
        Slot::Open(live) => Ok(live.clone()),
        Slot::Closed => Err(closed()),
        Slot::GivenUp(given_up) => {
            let live = Arc::new(open_again(given_up, shared.runtime.unix_time())?);
            *slot = Slot::Open(live.clone());
            Ok(live)
        }
    }
}

fn open_again(given_up: &mut GivenUp, now: Duration) -> Result<Live, DatabaseError> {
    reached!("database: opened again after a failure");
    if given_up.doubtful {
        write_again(&*given_up.file).map_err(failed)?;
        given_up.doubtful = false;
        reached!("database: written again, as something could not be made durable");
    }
    Live::open(given_up.file.clone(), now, given_up.next_epoch).map_err(|unusable| {
        // It may have failed in making something durable.
        given_up.doubtful = true;
        DatabaseError::Failed(match unusable {
            Unusable::Disk(why) => why,
            Unusable::Damaged(why) => format!("it is damaged ({why}): start the server again"),
            Unusable::Version(found) => format!("it now has version {found}"),
        })
    })
}

/// After a failure of the disk redb refuses everything: the next use has to open the file again.
pub(super) fn give_up_if_useless(shared: &Shared, live: &Arc<Live>) {
    if !live.is_useless() {
        return;
    }
    let mut slot = lock(&shared.slot);
    if matches!(&*slot, Slot::Open(current) if Arc::ptr_eq(current, live)) {
        // Before another is opened on the same file, this one must not touch it any more.
        live.sever();
        *slot = Slot::GivenUp(GivenUp {
            file: live.file(),
            next_epoch: live.next_epoch.load(Ordering::Relaxed),
            doubtful: live.is_doubtful(),
        });
    }
}
