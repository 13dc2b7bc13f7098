//! Ctrl-C: a wish to stop, which long work looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody wants the work to stop. Clones are the same wish.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A wish that Ctrl-C (or a request to terminate) makes come true. The second one ends the process at once.
    pub fn on_interrupt() -> Stop {
        let stop = Stop::default();
        let wish = stop.clone();
        // Without a handler, Ctrl-C ends the process, and the workers with it: that will do.
        let _ = ctrlc::set_handler(move || {
            if wish.is_wanted() {
                std::process::exit(130);
            }
            wish.want();
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
