//! A line of progress for a person at a terminal; nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{prefix:>8} {bar:30} {bytes:>11} of {total_bytes} ({binary_bytes_per_sec}, {eta} left)";

#[derive(Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Hidden where standard error is not a terminal.
    pub(crate) fn start(prefix: &'static str, total: u64) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style).with_prefix(prefix);
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(bar)
    }

    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    pub(crate) fn finish(&self) {
        self.0.finish();
    }
}
