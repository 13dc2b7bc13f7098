//! The one queue of a node: requests, answers and the node's own notifications, in the order they came.
//!
//! Most bugs in the history of downloaders were bugs of order. So there is one order, and this is it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A handle to the queue: everyone may put events in, the node's task alone takes them out.
pub(crate) struct Inbox<E> {
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    queue: Mutex<Queue<E>>,
    news: Notify,
}

struct Queue<E> {
    events: VecDeque<E>,
    closed: bool,
}

impl<E> Inbox<E> {
    pub fn new() -> Self {
        let queue = Mutex::new(Queue { events: VecDeque::new(), closed: false });
        Inbox { shared: Arc::new(Shared { queue, news: Notify::new() }) }
    }

    /// Puts events at the end. When the node has ended they are dropped, and so is what they carry.
    pub fn put(&self, events: impl IntoIterator<Item = E>) {
        let mut queue = self.lock();
        if !queue.closed {
            queue.events.extend(events);
            self.shared.news.notify_one();
        }
    }

    /// Takes the first event, waiting for one if there is none.
    pub async fn take(&self) -> E {
        loop {
            if let Some(event) = self.lock().events.pop_front() {
                return event;
            }
            self.shared.news.notified().await;
        }
    }

    /// Drops all events, and those that are still to come.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let events = std::mem::take(&mut queue.events);
        // What events carry may want to use the queue when it is dropped.
        drop(queue);
        drop(events);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<E>> {
        // No event is handled under the lock, so a poisoned queue is still whole.
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> Clone for Inbox<E> {
    fn clone(&self) -> Self {
        Inbox { shared: self.shared.clone() }
    }
}

/// Closes the inbox when the node's task ends, in whichever way: nobody must wait for a task that is gone.
pub(crate) struct CloseOnDrop<E>(pub Inbox<E>);

impl<E> Drop for CloseOnDrop<E> {
    fn drop(&mut self) {
        self.0.close();
    }
}
