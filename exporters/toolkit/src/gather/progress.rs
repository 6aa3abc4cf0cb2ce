//! One gather under way: it opens the session and runs the collectors, all under one deadline.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exposition::FamilyBatch;
use futures::FutureExt as _;
use futures::future::{join, join_all};
use tokio::time::{Instant, timeout_at};

use crate::check::CheckResult;
use crate::exporter::{BoxError, Collector, Target};
use crate::family::Families;
use crate::{declared, process};
use service_kit::error_chain::with_sources;
use service_kit::lock::lock;

/// What a gather has so far.
#[derive(Default)]
pub(super) struct Progress {
    /// How opening the session ended, and how long it took.
    pub(super) opened: Option<(Result<(), String>, Duration)>,
    pub(super) finished: Vec<Finished>,
    /// The exporter's own `process_*` families, on pages that have them.
    pub(super) process: Option<Arc<FamilyBatch>>,
}

/// A collector that has ended.
pub(super) struct Finished {
    pub(super) collector: usize,
    pub(super) batch: Arc<FamilyBatch>,
    pub(super) checks: Vec<CheckResult>,
    pub(super) duration: Duration,
    pub(super) error: Option<String>,
}

pub(super) struct Limits {
    pub(super) deadline: Instant,
    pub(super) samples_per_family: usize,
}

/// Runs these collectors, given with their indices, and notes each result as it comes.
pub(super) async fn run<T: Target>(
    target: &T,
    collectors: impl Iterator<Item = (usize, &dyn Collector<T::Session>)>,
    limits: Limits,
    with_process: bool,
    progress: &Mutex<Progress>,
) {
    let started = Instant::now();
    let session = bounded(limits.deadline, started, target.open(limits.deadline)).await;
    let duration = started.elapsed();
    let session = match session {
        Ok(session) => {
            lock(progress).opened = Some((Ok(()), duration));
            session
        }
        Err(error) => {
            lock(progress).opened = Some((Err(error), duration));
            return;
        }
    };
    let collecting = join_all(collectors.map(|(index, collector)| {
        let (session, limits) = (&session, &limits);
        async move {
            let finished = collect(index, collector, session, limits).await;
            lock(progress).finished.push(finished);
        }
    }));
    // While the service works on its responses.
    let meanwhile = async {
        if with_process {
            lock(progress).process = Some(Arc::new(process::batch()));
        }
    };
    join(collecting, meanwhile).await;
}

async fn collect<S>(index: usize, collector: &dyn Collector<S>, session: &S, limits: &Limits) -> Finished {
    let started = Instant::now();
    let mut families = Families::with_limit(limits.samples_per_family);
    let mut ended_in_time = true;
    let mut result = bounded(limits.deadline, started, async {
        ended_in_time = false;
        let result = collector.collect(session, &mut families).await;
        ended_in_time = true;
        result
    })
    .await;
    if !ended_in_time {
        families = Families::default();
    }
    // A mistake of the author, found by any test that scrapes. A release build exports the samples.
    if cfg!(debug_assertions)
        && let Err(undeclared) = declared::verify(collector, &families)
    {
        result = Err(undeclared.to_string());
    }
    let (batch, checks) = families.finish();
    Finished { collector: index, batch: Arc::new(batch), checks, duration: started.elapsed(), error: result.err() }
}

/// Runs code of the exporter under the deadline. A panic in it is its own failure and does not end the scrape.
async fn bounded<T>(
    deadline: Instant,
    started: Instant,
    work: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, String> {
    match timeout_at(deadline, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(with_sources(&*error)),
        Ok(Err(_)) => Err("internal error (a bug in the exporter); its log has the stack trace".to_owned()),
        Err(_) => Err(timed_out(started)),
    }
}

pub(super) fn timed_out(started: Instant) -> String {
    format!("timed out after {:.2} s", started.elapsed().as_secs_f64())
}
