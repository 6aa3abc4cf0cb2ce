//! What the collectors of a gather have delivered so far.

use std::sync::Arc;

use ::exposition::{Loss, Snapshot};
use tokio::time::Instant;

use super::losses;
use super::progress::{Finished, Progress, timed_out};
use crate::health::CollectorOutcome;

pub(super) struct Results {
    pub(super) snapshot: Snapshot,
    /// What is not on the page, by collector.
    pub(super) losses: Vec<(usize, Vec<Loss>)>,
    pub(super) outcomes: Vec<CollectorOutcome>,
}

impl Results {
    /// A collector that has not finished timed out, unless the target is down.
    pub(super) fn of(
        progress: &Progress,
        collectors: &[usize],
        name: impl Fn(usize) -> &'static str,
        up: bool,
        started: Instant,
    ) -> Self {
        let all_finished = progress.in_order();
        let (snapshot, lost) = Snapshot::assemble(all_finished.iter().map(|finished| Arc::clone(&finished.batch)));
        let losses_of = |at: usize, finished: &Finished| -> Vec<Loss> {
            let of_others = lost.iter().filter(|(batch, _)| *batch == at).map(|(_, loss)| loss);
            finished.batch.losses().iter().chain(of_others).cloned().collect()
        };
        let losses: Vec<(usize, Vec<Loss>)> = (0..)
            .zip(&all_finished)
            .map(|(at, finished)| (finished.collector, losses_of(at, finished)))
            .filter(|(_, losses)| !losses.is_empty())
            .collect();
        let outcome = |&index: &usize| {
            let finished = all_finished.iter().find(|finished| finished.collector == index);
            let error = match finished {
                Some(finished) => finished.error.clone().or_else(|| losses::error(&losses::of(&losses, index))),
                None => up.then(|| timed_out(started)),
            };
            CollectorOutcome {
                name: name(index),
                success: finished.is_some() && error.is_none(),
                duration_seconds: finished.map_or(started.elapsed(), |finished| finished.duration).as_secs_f64(),
                error,
            }
        };
        let outcomes = collectors.iter().map(outcome).collect();
        Self { snapshot, losses, outcomes }
    }
}
