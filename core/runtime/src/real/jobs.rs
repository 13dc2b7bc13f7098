//! Jobs: blocking work on a few of tokio's threads for such.
//!
//! tokio starts another thread for each job that finds none idle, up to hundreds. So many get into each other's way: in
//! the kernel's locks, and in switching from one to the next. Here a job that finds all threads busy waits in a queue, and
//! whichever thread has finished takes it without being woken for it.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many jobs run at a time: enough for a disk to have something to choose from.
const AT_A_TIME: usize = 8;

/// Blocking work.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The jobs of a world. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Jobs(Arc<Mutex<Queue>>);

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

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing here can panic half-way through a change, so a poisoned queue is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            // Whoever waits for it learns that there is no result, and the panic was reported.
            drop(catch_unwind(AssertUnwindSafe(job)));
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
