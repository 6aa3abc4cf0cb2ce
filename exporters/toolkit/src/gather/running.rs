//! The gathers that run, which scrapes with the same key share.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::time::Instant;

use super::exposition::Exposition;
use super::progress::Progress;

/// Maximum concurrent gathers of the main target. Further ones get 503. What counts is collector filters, not scrapers.
pub(super) const MAX_GATHERS: usize = 64;

/// Scrapes with the same key share a gather.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The target and the parameters that count; `None` for the target of `/metrics`.
    pub(crate) probe: Option<String>,
    /// Of `/metrics`: those that the exporter reads.
    pub(super) parameters: Vec<(String, String)>,
    /// Indices of the collectors to run.
    pub(crate) collectors: Vec<usize>,
    /// Reloads so far: a scrape after a reload must not use the account before it.
    pub(super) reloads: u64,
}

/// A gather that runs, for the scrapers that wait for it.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) address: Arc<str>,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) done: watch::Receiver<Option<Arc<Exposition>>>,
}

impl Running {
    /// Whether the gather failed because of its short deadline, and a scraper with this deadline has more time left
    /// than the gather had. A failure in the first half of the gather's time (a refused connection) would repeat
    /// itself.
    pub(super) fn failed_on_short_deadline(&self, exposition: &Exposition, deadline: Instant) -> bool {
        let now = Instant::now();
        let time = self.deadline - self.started;
        let failed = !exposition.up || exposition.report.collectors.iter().any(|collector| !collector.success);
        failed && now - self.started >= time / 2 && deadline.saturating_duration_since(now) > time
    }
}
