//! Ctrl-C: a wish to stop, which long work looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Stopwatch;

/// Signals within this time are one wish: some senders signal a process and its group, and so twice.
const ONE_WISH: Duration = Duration::from_millis(500);

/// Whether somebody wants the work to stop. Clones are the same wish.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A wish that Ctrl-C (or a request to terminate) makes come true. Another one, later, ends the process at
    /// once.
    pub fn on_interrupt() -> Stop {
        let stop = Stop::default();
        let wish = stop.clone();
        let mut first = None;
        // Without a handler, Ctrl-C ends the process, and the workers with it: that will do.
        let _ = ctrlc::set_handler(move || {
            wish.want();
            if first.get_or_insert_with(Stopwatch::start).elapsed() > ONE_WISH {
                std::process::exit(130);
            }
        });
        stop
    }

    /// Asks for the stop.
    pub fn want(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
