//! Jobs: blocking work on a few of tokio's threads for such.
//!
//! tokio starts another thread for each job that finds none idle, up to hundreds. So many get into each other's way: in
//! the kernel's locks, and in switching from one to the next. Here a job that finds all threads busy waits in a queue, and
//! whichever thread has finished takes it without being woken for it.
//!
//! A brief job is done on the spot, by the task that wants it: to hand it to a thread and to be told of its end costs more
//! than most such jobs do. Should the disk stand still, so does that worker of tokio's; so only half of the workers do
//! such jobs at a time, and what comes then goes to the threads.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

/// How many jobs run at a time: enough for a disk to have something to choose from.
const AT_A_TIME: usize = 8;

/// Blocking work.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The jobs of a world. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Jobs(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Brief jobs that are done on the spot now.
    on_the_spot: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    threads: usize,
}

impl Jobs {
    /// Runs a job as soon as a thread has time.
    pub fn run(&self, job: Job) {
        let mut queue = self.lock();
        queue.waiting.push_back(job);
        if queue.threads < AT_A_TIME {
            queue.threads += 1;
            drop(queue);
            let thread = Thread { jobs: self.clone(), finished: false };
            tokio::task::spawn_blocking(move || thread.work());
        }
    }

    /// Runs a brief job: on the spot if a worker can be spared for it.
    pub fn run_brief(&self, job: Job) {
        let spare = Handle::current().metrics().num_workers() / 2;
        let busy = &self.0.on_the_spot;
        if busy.fetch_add(1, Ordering::Relaxed) < spare {
            run(job);
            busy.fetch_sub(1, Ordering::Relaxed);
        } else {
            busy.fetch_sub(1, Ordering::Relaxed);
            self.run(job);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing here can panic half-way through a change, so a poisoned queue is still whole.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the threads, or the promise of one.
struct Thread {
    jobs: Jobs,
    finished: bool,
}

impl Thread {
    fn work(mut self) {
        while let Some(job) = self.next() {
            run(job);
        }
    }

    fn next(&mut self) -> Option<Job> {
        let mut queue = self.jobs.lock();
        let job = queue.waiting.pop_front();
        if job.is_none() {
            queue.threads -= 1;
            self.finished = true;
        }
        job
    }
}

/// Runs a job. Should it panic, whoever waits for it learns that there is no result, and the panic was reported.
fn run(job: Job) {
    drop(catch_unwind(AssertUnwindSafe(job)));
}

impl Drop for Thread {
    /// tokio has shut down and there will be no thread: with it goes what would wait for ever.
    fn drop(&mut self) {
        if !self.finished {
            let mut queue = self.jobs.lock();
            queue.threads -= 1;
            let lost = std::mem::take(&mut queue.waiting);
            drop(queue);
            drop(lost);
        }
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.lock();
        write!(f, "{} jobs waiting for {} threads", queue.waiting.len(), queue.threads)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn so_many_run_at_a_time_and_no_more() {
        let jobs = Jobs::default();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (meet, (done, all_done)) = (Arc::new(Barrier::new(AT_A_TIME)), channel());
        for _ in 0..3 * AT_A_TIME {
            let (running, most, meet, done) = (running.clone(), most.clone(), meet.clone(), done.clone());
            jobs.run(Box::new(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                meet.wait();
                running.fetch_sub(1, Ordering::SeqCst);
                done.send(()).unwrap();
                panic!("planted: the others go on");
            }));
        }
        drop(done);
        assert_eq!(all_done.iter().count(), 3 * AT_A_TIME);
        assert_eq!(most.load(Ordering::SeqCst), AT_A_TIME);
    }

    /// Where each of so many brief jobs is done, while none of them can end: whether it is on the spot.
    fn on_the_spot(workers: usize, brief: usize) -> Vec<bool> {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).build().unwrap();
        let (jobs, (told, tell)) = (Jobs::default(), channel());
        let gate = Arc::new(Barrier::new(brief + 1));
        let tasks: Vec<_> = (0..brief)
            .map(|_| {
                let (jobs, told, gate) = (jobs.clone(), told.clone(), gate.clone());
                let task = tokio.spawn(async move {
                    let asks = std::thread::current().id();
                    jobs.run_brief(Box::new(move || {
                        told.send(std::thread::current().id() == asks).unwrap();
                        gate.wait();
                    }));
                });
                (task, tell.recv().unwrap())
            })
            .collect();
        gate.wait();
        let (tasks, found): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        tasks.into_iter().for_each(|task| tokio.block_on(task).unwrap());
        assert_eq!(jobs.0.on_the_spot.load(Ordering::SeqCst), 0);
        found
    }

    #[test]
    fn half_of_the_workers_do_brief_jobs_and_threads_do_the_others() {
        assert_eq!(on_the_spot(4, 4), [true, true, false, false]);
        assert_eq!(on_the_spot(1, 2), [false, false], "the only worker has other things to do");
    }

    #[test]
    fn a_job_that_comes_after_the_end_is_given_up() {
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = tokio.handle().clone();
        drop(tokio);
        let _entered = handle.enter();
        let (told, tell) = channel::<()>();
        Jobs::default().run(Box::new(move || told.send(()).unwrap()));
        assert!(tell.recv().is_err(), "whoever waits for it would wait for ever");
    }
}
