//! One scrape: it opens the session, runs the collectors under the deadline, and assembles the page.
//!
//! Scrapes for the same target and collectors share one gather, so that the number of scrapers does not multiply the
//! load on the service. A scraper whose deadline comes first gets the results so far. A scraper with more time than the
//! gather had does not get a failure that a short deadline may have caused. A gather without a waiting scraper ends at
//! its deadline.
//!
//! The scrapers wait on the thread that serves HTTP, and the collectors run on another one. So the deadline holds and
//! the page has the results of the others when a collector blocks its thread.

mod changes;
mod error;
mod executor;
mod exposition;
mod losses;
mod overdue;
mod own_families;
mod probed;
mod progress;
mod results;
mod running;
mod turns;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ::exposition::Loss;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use self::changes::Changes;
pub(crate) use self::error::GatherError;
pub(crate) use self::executor::Executor;
use self::executor::{CHECK_INTERVAL, Subject};
pub(crate) use self::exposition::Exposition;
use self::exposition::IdleCompressor;
use self::losses::LoggedLosses;
use self::overdue::{AllOverdue, Overdue};
pub(crate) use self::own_families::OwnFamilies;
use self::own_families::Totals;
use self::probed::Probed;
use self::progress::{Gather, Limits, Progress, timed_out};
use self::results::Results;
pub(crate) use self::running::Key;
use self::running::{MAX_GATHERS, Running};
use self::turns::{Turn, Turns};
use crate::build::Build;
use crate::check::{CheckResult, CheckStatus};
use crate::exporter::{BoxError, Collector, Exporter, Target};
use crate::family::Families;
use crate::health::Report;
use crate::memory::Budgets;
use crate::probe::{NotListed, Place, ProbePolicy, ProbeRequest};
use crate::process;
use service_kit::lock::lock;
use service_kit::panics;

/// How long a scraper waits for the gather to assemble its result after their common deadline. Well below
/// `--timeout-offset`.
const ASSEMBLY_TIMEOUT: Duration = Duration::from_millis(50);

/// How long a gather waits after its deadline for its tasks to note that they timed out.
const END_TIMEOUT: Duration = Duration::from_millis(25);

/// The label `collector` for opening the session.
const OPEN: &str = "connection";

type Session<E> = <<E as Exporter>::Target as Target>::Session;

/// The limits of one page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimits {
    /// Samples of one family.
    pub(crate) samples: usize,
    /// Bytes of what all running gathers read and write, and twice as many of encoded pages.
    pub(crate) memory: usize,
}

pub(crate) struct Gatherer<E: Exporter> {
    exporter: E,
    collectors: Vec<Arc<dyn Collector<Session<E>>>>,
    executor: Executor,
    /// The value of the label `collector` for each of them.
    labels: Vec<String>,
    enabled: Vec<usize>,
    limits: PageLimits,
    memory: Budgets,
    probes_memory: Budgets,
    own: OwnFamilies,
    own_names: Arc<[String]>,
    running: Mutex<HashMap<Key, Running>>,
    overdue: AllOverdue,
    probe_policy: ProbePolicy,
    turns: Arc<Turns>,
    probed: Probed,
    /// Whether `/metrics` has the `process_*` families.
    with_process: bool,
    totals: Mutex<Totals>,
    changes: Changes,
    logged_losses: LoggedLosses,
    compressor: IdleCompressor,
}

impl<E: Exporter> Gatherer<E> {
    pub(crate) fn new(
        exporter: E,
        collectors: Vec<Box<dyn Collector<Session<E>>>>,
        enabled: Vec<usize>,
        limits: PageLimits,
        executor: Executor,
        build: Build,
    ) -> Self {
        let own = OwnFamilies::of::<E>();
        let (memory, probes_memory) = Budgets::new(limits.memory);
        let prefix = E::PEER_COLLECTOR_PREFIX.unwrap_or_default();
        Self {
            exporter,
            totals: Mutex::new(Totals::new(build, collectors.len())),
            labels: collectors.iter().map(|collector| format!("{prefix}{}", collector.name())).collect(),
            collectors: collectors.into_iter().map(Arc::from).collect(),
            executor,
            enabled,
            limits,
            memory,
            probes_memory,
            own_names: own.names::<E>(),
            own,
            running: Mutex::default(),
            overdue: AllOverdue::default(),
            probe_policy: ProbePolicy::default(),
            turns: Arc::default(),
            probed: Probed::default(),
            with_process: true,
            changes: Changes::default(),
            logged_losses: LoggedLosses::default(),
            compressor: IdleCompressor::default(),
        }
    }

    pub(crate) fn with_probe_policy(self, probe_policy: ProbePolicy) -> Self {
        Self { probe_policy, ..self }
    }

    pub(crate) fn with_process(self, with_process: bool) -> Self {
        Self { with_process, ..self }
    }

    pub(crate) fn target_address(&self) -> String {
        self.exporter.target().address().to_owned()
    }

    /// The exporter reads its files again. This blocks.
    pub(crate) fn reload_exporter(&self) -> Result<(), BoxError> {
        let _entered = self.executor.enter();
        self.exporter.reload()
    }

    /// Records the result of a reload.
    pub(crate) fn reloaded(&self, successful: bool) {
        let mut totals = lock(&self.totals);
        totals.last_reload_successful = successful;
        if successful {
            totals.reloads += 1;
            totals.last_reload_success = SystemTime::now();
        }
    }

    pub(crate) fn enabled_names(&self) -> impl Iterator<Item = &'static str> {
        self.enabled.iter().map(|&i| self.collectors[i].name())
    }

    /// The collectors of these `collect[]` parameters, or all enabled ones without any. A collector that is not enabled
    /// here is left out, so that one job of Prometheus can have exporters with different flags. An unknown name is an
    /// error that lists the enabled ones.
    pub(crate) fn choose(&self, names: &[&str]) -> Result<Vec<usize>, String> {
        if names.is_empty() {
            return Ok(self.enabled.clone());
        }
        let mut chosen = Vec::new();
        for name in names {
            match self.collectors.iter().position(|collector| collector.name() == *name) {
                Some(index) if self.enabled.contains(&index) => chosen.push(index),
                Some(_) => {}
                None => {
                    let known: Vec<_> = self.enabled_names().collect();
                    return Err(format!(
                        "collect[]={name}: no collector has this name; enabled are {}",
                        known.join(", ")
                    ));
                }
            }
        }
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen)
    }

    /// Scrapes the target of `/metrics`.
    pub(crate) async fn scrape(
        self: &Arc<Self>,
        collectors: Vec<usize>,
        deadline: Instant,
    ) -> Result<Arc<Exposition>, GatherError> {
        self.scrape_selected(collectors, &[], deadline).await
    }

    /// The same with the query of the request, of which the exporter may read a part.
    pub(crate) async fn scrape_selected(
        self: &Arc<Self>,
        collectors: Vec<usize>,
        query: &[(String, String)],
        deadline: Instant,
    ) -> Result<Arc<Exposition>, GatherError> {
        let key = Key { parameters: parameters::<E>(query), ..self.key(None, collectors) };
        let target = || match key.parameters.as_slice() {
            [] => Ok(self.exporter.target()),
            parameters => self.exporter.target_for(parameters),
        };
        self.join(key.clone(), deadline, ("", true), target).await
    }

    /// Scrapes a target of `/probe`.
    pub(crate) async fn probe(
        self: &Arc<Self>,
        target: &str,
        query: &[(String, String)],
        collectors: Vec<usize>,
        deadline: Instant,
    ) -> Result<Arc<Exposition>, GatherError> {
        let parameters = parameters::<E>(query);
        let request = ProbeRequest { target, parameters: &parameters, policy: &self.probe_policy };
        let probed = Arc::new(self.probe_target(&request)?);
        let probe = form_urlencoded::Serializer::new(String::new())
            .append_pair("target", target)
            .extend_pairs(&parameters)
            .finish();
        let key = self.key(Some(probe), collectors);
        let place = match probed.place() {
            Place::Tcp { host, port } => format!("{host} {port:?}"),
            Place::Socket(path) => path,
            Place::Configured | Place::Other => probed.address().to_owned(),
        };
        let answered = self.probed.answered(probed.address());
        self.join(key, deadline, (&place, answered), || Ok(Arc::clone(&probed))).await
    }

    fn probe_target(&self, request: &ProbeRequest<'_>) -> Result<E::Target, GatherError> {
        let probe = || {
            let _entered = self.executor.enter();
            self.exporter.probe(request)
        };
        let target = catch_unwind(AssertUnwindSafe(probe))
            .map_err(|panic| GatherError::Panicked(panics::text(&*panic)))?
            .map_err(|error| match error.downcast_ref::<NotListed>() {
                Some(refused) => GatherError::Refused(refused.to_string()),
                None => GatherError::Target(error),
            })?;
        if target.address() == self.exporter.target().address() && !self.probe_policy.off {
            return Ok(target);
        }
        let permitted = self.probe_policy.check(&target.place());
        permitted.map_err(|refused| GatherError::Refused(refused.to_string()))?;
        Ok(target)
    }

    fn key(&self, probe: Option<String>, collectors: Vec<usize>) -> Key {
        Key { probe, parameters: Vec::new(), collectors, reloads: lock(&self.totals).reloads }
    }

    async fn join(
        self: &Arc<Self>,
        key: Key,
        deadline: Instant,
        (place, answered): (&str, bool),
        target: impl Fn() -> Result<Arc<E::Target>, BoxError>,
    ) -> Result<Arc<Exposition>, GatherError> {
        let mut turn = None;
        loop {
            let Some(mut running) = self.running_or_started(&key, &target, turn.take(), deadline)? else {
                turn = Some(self.turns.next(place, answered, deadline).await.ok_or(GatherError::NoTurn)?);
                continue;
            };
            let exposition = match timeout_at(deadline + ASSEMBLY_TIMEOUT, running.done.wait_for(Option::is_some)).await
            {
                Ok(Ok(exposition)) => exposition.clone().ok_or(GatherError::Aborted)?,
                Ok(Err(_)) => return Err(GatherError::Aborted),
                Err(_) => {
                    let progress = lock(&running.progress);
                    let assembled = self.assemble(&progress, &key, &running.address, running.started);
                    return Ok(Arc::new(assembled.exposition));
                }
            };
            if !running.failed_on_short_deadline(&exposition, deadline) {
                return Ok(exposition);
            }
        }
    }

    /// `None` if a gather must start and needs a turn. Scrapers that share a gather need none of their own.
    fn running_or_started(
        self: &Arc<Self>,
        key: &Key,
        target: impl Fn() -> Result<Arc<E::Target>, BoxError>,
        turn: Option<Turn>,
        deadline: Instant,
    ) -> Result<Option<Running>, GatherError> {
        let mut all = lock(&self.running);
        if let Some(running) = all.get(key) {
            return Ok(Some(running.clone()));
        }
        if key.probe.is_some() && turn.is_none() {
            return Ok(None);
        }
        // The turns bound the probes.
        if key.probe.is_none() && all.keys().filter(|other| other.probe.is_none()).count() >= MAX_GATHERS {
            return Err(GatherError::TooMany);
        }
        let overdue = self.overdue.of(key.probe.as_ref()).ok_or(GatherError::TooManyBlocked)?;
        let target = catch_unwind(AssertUnwindSafe(target));
        let target = target.map_err(|panic| GatherError::Panicked(panics::text(&*panic)))?;
        let target = target.map_err(GatherError::Target)?;
        let running = self.start(key.clone(), target, overdue, turn, deadline);
        all.insert(key.clone(), running.clone());
        Ok(Some(running))
    }

    fn budgets(&self, key: &Key) -> &Budgets {
        if key.probe.is_some() { &self.probes_memory } else { &self.memory }
    }

    fn start(
        self: &Arc<Self>,
        key: Key,
        target: Arc<E::Target>,
        overdue: Overdue,
        turn: Option<Turn>,
        deadline: Instant,
    ) -> Running {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (announce, done) = watch::channel(None);
        let (end, ended) = oneshot::channel();
        let started = Instant::now();
        let address: Arc<str> = Arc::from(target.address());
        let running =
            Running { progress: Arc::clone(&progress), address: Arc::clone(&address), started, deadline, done };
        let gather = Gather {
            target,
            address: Arc::clone(&address),
            collectors: key.collectors.iter().map(|&index| (index, Arc::clone(&self.collectors[index]))).collect(),
            overdue,
            limits: Limits {
                deadline,
                samples_per_family: self.limits.samples,
                memory: Arc::clone(&self.budgets(&key).gather),
                own_names: Arc::clone(&self.own_names),
            },
            with_process: key.probe.is_none() && self.with_process,
        };
        let gathering = progress::run(gather, self.executor.clone(), Arc::clone(&progress));
        let gathered = Arc::clone(&progress);
        self.executor.spawn(Subject { target: Arc::clone(&address), collector: OPEN }, async move {
            match turn {
                Some(turn) => {
                    turn.starts(&gathered);
                    turn.run(gathering, &gathered).await;
                }
                None => gathering.await,
            }
            let _ = end.send(());
        });
        let this = Arc::clone(self);
        tokio::spawn(async move {
            // Removes the entry even if the gather panics. The waiting scrapers then see the channel close.
            let entry = Entry { gatherer: &this, key: &key };
            if !this.wait_for_end(ended, deadline + END_TIMEOUT).await {
                return;
            }
            lock(&this.totals).gathers += 1;
            let Assembled { exposition, losses } = {
                let progress = lock(&progress);
                this.overdue.add(key.probe.as_ref(), started, &progress.tasks);
                this.assemble(&progress, &key, &address, started)
            };
            for (index, losses) in losses {
                let losses: Vec<&Loss> = losses.iter().collect();
                lock(&this.totals).dropped[index].add(losses::total(&losses));
                this.logged_losses.log(this.collectors[index].name(), &address, &losses);
            }
            let exposition = Arc::new(exposition);
            if key.probe.is_none() {
                this.changes.log(&exposition);
            } else {
                this.probed.ended(&exposition);
            }
            drop(entry);
            announce.send_replace(Some(exposition));
        });
        running
    }

    /// Waits until the gather has ended or its deadline has passed. `false` after an internal error.
    async fn wait_for_end(&self, mut ended: oneshot::Receiver<()>, deadline: Instant) -> bool {
        loop {
            let next_check = Instant::now() + CHECK_INTERVAL;
            match timeout_at(deadline.min(next_check), &mut ended).await {
                Ok(result) => return result.is_ok(),
                Err(_) => self.executor.leave_blocked_thread(),
            }
            if Instant::now() >= deadline {
                return true;
            }
        }
    }

    fn assemble(&self, progress: &Progress, key: &Key, address: &str, started: Instant) -> Assembled {
        let (opened, connection) = match &progress.opened {
            Some((opened, duration)) => (opened.clone(), *duration),
            None => (Err(timed_out(started)), started.elapsed()),
        };
        let up = opened.is_ok();
        let Results { mut snapshot, losses, outcomes } =
            Results::of(progress, &key.collectors, |index| self.collectors[index].name(), up, started);
        let open_check = CheckResult {
            check: E::OPEN_CHECK,
            status: if up { CheckStatus::Ok } else { CheckStatus::Fail },
            reason: match opened {
                Ok(()) => format!("answered within {:.1} ms", connection.as_secs_f64() * 1000.0),
                Err(error) => error,
            },
        };
        let checks = std::iter::once(open_check)
            .chain(progress.in_order().into_iter().flat_map(|finished| finished.checks.iter().cloned()))
            .collect();
        let report = Report::new(address.to_owned(), checks, outcomes);

        let mut out = Families::default();
        out.push(&self.own.up, &[], f64::from(up));
        out.push(&self.own.collector_duration, &[OPEN], connection.as_secs_f64());
        for (&index, outcome) in key.collectors.iter().zip(&report.collectors) {
            let label = self.labels[index].as_str();
            out.push(&self.own.collector_success, &[label], f64::from(outcome.success));
            if up {
                out.push(&self.own.collector_duration, &[label], outcome.duration_seconds);
            }
        }
        report.write(E::NAMESPACE, &mut out);
        if key.probe.is_none() {
            let totals = lock(&self.totals);
            self.own.write_totals(&totals, &mut out);
            for &index in &self.enabled {
                // With those of this page, so that the page that lacks them says so.
                let mut dropped = totals.dropped[index];
                dropped.add(losses::total(&losses::of(&losses, index)));
                self.own.write_dropped(&self.labels[index], dropped, &mut out);
            }
            drop(totals);
            if self.with_process {
                snapshot.add(progress.process.clone().unwrap_or_else(|| Arc::new(process::batch())));
            }
        }
        let (own, _) = out.finish();
        snapshot.add(Arc::new(own));
        let exposition =
            Exposition::new(snapshot, report, up, Arc::clone(&self.compressor), Arc::clone(&self.budgets(key).page));
        Assembled { exposition, losses }
    }
}

/// A page, and what is not on it, by collector.
struct Assembled {
    exposition: Exposition,
    losses: Vec<(usize, Vec<Loss>)>,
}

/// The entry of a gather among the running ones.
struct Entry<'a, E: Exporter> {
    gatherer: &'a Gatherer<E>,
    key: &'a Key,
}

/// Those parameters of a query that the exporter reads, in one order: others must not multiply gathers.
fn parameters<E: Exporter>(query: &[(String, String)]) -> Vec<(String, String)> {
    let mut parameters: Vec<_> =
        query.iter().filter(|(name, _)| E::PARAMETERS.contains(&name.as_str())).cloned().collect();
    parameters.sort();
    parameters
}

impl<E: Exporter> Drop for Entry<'_, E> {
    fn drop(&mut self) {
        lock(&self.gatherer.running).remove(self.key);
    }
}

#[cfg(test)]
mod tests;
