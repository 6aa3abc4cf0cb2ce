//! One gather under way: it opens the session and runs each collector as a task of its own, all under one deadline.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use exposition::FamilyBatch;
use exposition::memory::Budget;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::executor::{Executor, Subject};
use super::overdue::{Overdue, Task};
use crate::check::CheckResult;
use crate::exporter::{BoxError, Collector, Target};
use crate::family::Families;
use crate::{declared, memory, process};
use service_kit::error_chain::with_sources;
use service_kit::lock::lock;
use service_kit::panics;

/// What a gather has so far.
#[derive(Default)]
pub(super) struct Progress {
    /// How opening the session ended, and how long it took.
    pub(super) opened: Option<(Result<(), String>, Duration)>,
    pub(super) finished: Vec<Finished>,
    /// What it started. A task that has ended is gone.
    pub(super) tasks: Vec<(Task, Weak<()>)>,
    /// The exporter's own `process_*` families, on pages that have them.
    pub(super) process: Option<Arc<FamilyBatch>>,
}

impl Progress {
    /// What has finished, in the collectors' order, so that their speed does not decide which of two duplicates is
    /// kept.
    pub(super) fn in_order(&self) -> Vec<&Finished> {
        let mut all: Vec<&Finished> = self.finished.iter().collect();
        all.sort_by_key(|finished| finished.collector);
        all
    }

    /// Notes a task. It runs as long as the result lives.
    fn task(&mut self, task: Task) -> Arc<()> {
        let running = Arc::new(());
        self.tasks.push((task, Arc::downgrade(&running)));
        running
    }
}

/// A collector that has ended.
pub(super) struct Finished {
    pub(super) collector: usize,
    pub(super) batch: Arc<FamilyBatch>,
    pub(super) checks: Vec<CheckResult>,
    pub(super) duration: Duration,
    pub(super) error: Option<String>,
}

#[derive(Clone)]
pub(super) struct Limits {
    pub(super) deadline: Instant,
    pub(super) samples_per_family: usize,
    pub(super) memory: Arc<Budget>,
    /// The toolkit's own families, which no collector can write.
    pub(super) own_names: Arc<[String]>,
}

/// A collector and its index.
pub(super) type Indexed<S> = (usize, Arc<dyn Collector<S>>);

/// What to gather, and how.
pub(super) struct Gather<T: Target> {
    pub(super) target: Arc<T>,
    pub(super) address: Arc<str>,
    pub(super) collectors: Vec<Indexed<T::Session>>,
    /// What still runs since an earlier gather, and is not started again.
    pub(super) overdue: Overdue,
    pub(super) limits: Limits,
    pub(super) with_process: bool,
}

/// Opens the session, runs the collectors, and notes each result as it comes.
pub(super) async fn run<T: Target>(gather: Gather<T>, executor: Executor, progress: Arc<Mutex<Progress>>) {
    let Gather { target, address, collectors, overdue, limits, with_process } = gather;
    let started = Instant::now();
    let session = match overdue.error(Task::Open) {
        Some(error) => Err(error),
        None => {
            let _running = lock(&progress).task(Task::Open);
            let memory = memory::share_of_one(&limits.memory);
            bounded(limits.deadline, started, memory::within(&memory, target.open(limits.deadline))).await
        }
    };
    let duration = started.elapsed();
    let session = match session {
        Ok(session) => {
            lock(&progress).opened = Some((Ok(()), duration));
            Arc::new(session)
        }
        Err(error) => {
            lock(&progress).opened = Some((Err(error), duration));
            return;
        }
    };
    // It closes when all tasks have ended.
    let (ends, mut ended) = mpsc::channel::<Infallible>(1);
    for (index, collector) in collectors {
        if let Some(error) = overdue.error(Task::Collector(index)) {
            lock(&progress).finished.push(Finished::failed(index, error));
            continue;
        }
        let running = lock(&progress).task(Task::Collector(index));
        let (session, progress, ends) = (Arc::clone(&session), Arc::clone(&progress), ends.clone());
        let limits = limits.clone();
        let subject = Subject { target: Arc::clone(&address), collector: collector.name() };
        executor.spawn(subject, async move {
            let finished = collect(index, &*collector, &*session, &limits).await;
            // The connection is free before the page is there.
            drop(session);
            drop(running);
            lock(&progress).finished.push(finished);
            drop(ends);
        });
    }
    drop((session, ends));
    if with_process {
        // While the service works on its responses: the collectors send their requests first.
        tokio::task::yield_now().await;
        lock(&progress).process = Some(Arc::new(process::batch()));
    }
    let _closed = ended.recv().await;
}

impl Finished {
    fn failed(collector: usize, error: String) -> Self {
        Self { collector, batch: Arc::default(), checks: Vec::new(), duration: Duration::ZERO, error: Some(error) }
    }
}

async fn collect<S>(index: usize, collector: &dyn Collector<S>, session: &S, limits: &Limits) -> Finished {
    let started = Instant::now();
    let memory = memory::share_of_one(&limits.memory);
    let mut families = Families::bounded(limits.samples_per_family, &memory);
    let mut ended_in_time = true;
    let collecting = async {
        ended_in_time = false;
        let result = collector.collect(session, &mut families).await;
        ended_in_time = Instant::now() <= limits.deadline;
        result
    };
    let mut result = bounded(limits.deadline, started, memory::within(&memory, collecting)).await;
    if !ended_in_time {
        families = Families::default();
    }
    // A mistake of the author, found by any test that scrapes. A release build exports the samples.
    if cfg!(debug_assertions)
        && let Err(undeclared) = declared::verify(collector, &families)
    {
        result = Err(undeclared.to_string());
    }
    let (mut batch, checks) = families.finish();
    batch.remove(limits.own_names.iter());
    Finished { collector: index, batch: Arc::new(batch), checks, duration: started.elapsed(), error: result.err() }
}

/// Runs code of the exporter under the deadline. A panic in it is its own failure and does not end the scrape. A
/// success after the deadline, which only code that blocks its thread can have, is a failure.
async fn bounded<T>(
    deadline: Instant,
    started: Instant,
    work: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, String> {
    match timeout_at(deadline, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(Ok(_))) if Instant::now() > deadline => Err(timed_out(started)),
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(with_sources(&*error)),
        Ok(Err(panic)) => Err(format!("{} (a bug in the exporter)", panics::text(&*panic))),
        Err(_) => Err(timed_out(started)),
    }
}

pub(super) fn timed_out(started: Instant) -> String {
    format!("timed out after {:.2} s", started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_success_after_the_deadline_is_a_failure() {
        let started = Instant::now();
        let blocking = async {
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        };
        let late = bounded(started + Duration::from_millis(10), started, blocking).await;
        assert!(late.unwrap_err().starts_with("timed out after 0.0"));
        assert_eq!(bounded(started + Duration::from_secs(60), started, async { Ok(1) }).await, Ok(1));
    }
}
