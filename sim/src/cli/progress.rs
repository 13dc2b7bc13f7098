//! Progress on a terminal; nothing anywhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how many of how many runs are done; `None` when nobody knows how many there will be.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(what: &str, runs: Option<u64>) -> Progress {
        let bar = ProgressBar::with_draw_target(runs, ProgressDrawTarget::stderr());
        let template = match runs {
            Some(_) => "{msg} {wide_bar} {human_pos} of {human_len} runs, {eta} to go",
            None => "{msg} {spinner} {human_pos} runs in {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_string());
        Progress(bar)
    }

    pub(super) fn at_of(&self, runs: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(runs);
    }

    pub(super) fn at(&self, runs: u64) {
        self.0.set_position(runs);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
