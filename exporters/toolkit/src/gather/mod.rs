//! One scrape: it opens the session, runs the collectors under the deadline, and assembles the page.
//!
//! Scrapes for the same target and collectors share one gather, so that the number of scrapers does not multiply the
//! load on the service. A scraper whose deadline comes first gets the results so far. A scraper with more time than the
//! gather had does not get a failure that a short deadline may have caused. A gather without a waiting scraper ends at
//! its deadline.

mod changes;
mod exposition;
mod own_families;
mod probed;
mod progress;
mod turns;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ::exposition::{Dropped, Snapshot};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use self::changes::Changes;
pub(crate) use self::exposition::Exposition;
use self::exposition::IdleCompressor;
pub(crate) use self::own_families::OwnFamilies;
use self::own_families::Totals;
use self::probed::Probed;
use self::progress::{Finished, Limits, Progress, timed_out};
use self::turns::{MAX_TURNS, Turn, Turns};
use crate::check::{CheckResult, CheckStatus};
use crate::exporter::{BoxError, Collector, Exporter, Target};
use crate::family::Families;
use crate::health::{CollectorOutcome, Report};
use crate::probe::{NotListed, Place, ProbePolicy, ProbeRequest};
use crate::process;
use service_kit::lock::lock;

/// Maximum concurrent gathers of the main target. Further ones get 503. What counts is collector filters, not scrapers.
const MAX_GATHERS: usize = 64;

/// How long a scraper waits for the gather to assemble its result after their common deadline. Well below
/// `--timeout-offset`.
const ASSEMBLY_TIMEOUT: Duration = Duration::from_millis(50);

type Session<E> = <<E as Exporter>::Target as Target>::Session;

/// Scrapes with the same key share a gather.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The target and the parameters that count; `None` for the target of `/metrics`.
    pub(crate) probe: Option<String>,
    /// Indices of the collectors to run.
    pub(crate) collectors: Vec<usize>,
    /// Reloads so far: a scrape after a reload must not use the account before it.
    reloads: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    #[error("{MAX_GATHERS} scrapes of other collectors are running; try again later, or scrape fewer at a time")]
    TooMany,
    #[error("{MAX_TURNS} probes of other targets are running and none of them gave way; scrape fewer at a time")]
    NoTurn,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Target(BoxError),
    #[error("internal error during the scrape (a bug in the exporter); see its log")]
    Aborted,
}

#[derive(Clone)]
struct Running {
    progress: Arc<Mutex<Progress>>,
    address: Arc<str>,
    started: Instant,
    deadline: Instant,
    done: watch::Receiver<Option<Arc<Exposition>>>,
}

impl Running {
    /// Whether the gather failed because of its short deadline, and a scraper with this deadline has more time left
    /// than the gather had. A failure in the first half of the gather's time (a refused connection) would repeat
    /// itself.
    fn failed_on_short_deadline(&self, exposition: &Exposition, deadline: Instant) -> bool {
        let now = Instant::now();
        let time = self.deadline - self.started;
        let failed = !exposition.up || exposition.report.collectors.iter().any(|collector| !collector.success);
        failed && now - self.started >= time / 2 && deadline.saturating_duration_since(now) > time
    }
}

pub(crate) struct Gatherer<E: Exporter> {
    exporter: E,
    collectors: Vec<Box<dyn Collector<Session<E>>>>,
    /// The value of the label `collector` for each of them.
    labels: Vec<String>,
    enabled: Vec<usize>,
    sample_limit: usize,
    own: OwnFamilies,
    running: Mutex<HashMap<Key, Running>>,
    probe_policy: ProbePolicy,
    turns: Arc<Turns>,
    probed: Probed,
    /// Whether `/metrics` has the `process_*` families.
    with_process: bool,
    totals: Mutex<Totals>,
    changes: Changes,
    compressor: IdleCompressor,
}

impl<E: Exporter> Gatherer<E> {
    pub(crate) fn new(
        exporter: E,
        collectors: Vec<Box<dyn Collector<Session<E>>>>,
        enabled: Vec<usize>,
        sample_limit: usize,
    ) -> Self {
        let prefix = E::PEER_COLLECTOR_PREFIX.unwrap_or_default();
        Self {
            exporter,
            labels: collectors.iter().map(|collector| format!("{prefix}{}", collector.name())).collect(),
            collectors,
            enabled,
            sample_limit,
            own: OwnFamilies::of::<E>(),
            running: Mutex::default(),
            probe_policy: ProbePolicy::default(),
            turns: Arc::default(),
            probed: Probed::default(),
            with_process: true,
            totals: Mutex::new(Totals::new()),
            changes: Changes::default(),
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
        self.join(self.key(None, collectors), deadline, ("", true), || Ok(self.exporter.target())).await
    }

    /// Scrapes a target of `/probe`.
    pub(crate) async fn probe(
        self: &Arc<Self>,
        target: &str,
        query: &[(String, String)],
        collectors: Vec<usize>,
        deadline: Instant,
    ) -> Result<Arc<Exposition>, GatherError> {
        let mut parameters: Vec<(String, String)> =
            query.iter().filter(|(name, _)| E::PROBE_PARAMETERS.contains(&name.as_str())).cloned().collect();
        parameters.sort();
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
        let target = self.exporter.probe(request).map_err(|error| match error.downcast_ref::<NotListed>() {
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
        Key { probe, collectors, reloads: lock(&self.totals).reloads }
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
                    let (exposition, _) = self.assemble(&progress, &key, &running.address, running.started);
                    return Ok(Arc::new(exposition));
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
        let running = self.start(key.clone(), target().map_err(GatherError::Target)?, turn, deadline);
        all.insert(key.clone(), running.clone());
        Ok(Some(running))
    }

    fn start(self: &Arc<Self>, key: Key, target: Arc<E::Target>, turn: Option<Turn>, deadline: Instant) -> Running {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (announce, done) = watch::channel(None);
        let started = Instant::now();
        let address: Arc<str> = Arc::from(target.address());
        let running =
            Running { progress: Arc::clone(&progress), address: Arc::clone(&address), started, deadline, done };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            // Removes the entry even if the gather panics. The waiting scrapers then see the channel close.
            let entry = Entry { gatherer: &this, key: &key };
            let collectors = key.collectors.iter().map(|&index| (index, &*this.collectors[index]));
            let limits = Limits { deadline, samples_per_family: this.sample_limit };
            let with_process = key.probe.is_none() && this.with_process;
            let gather = progress::run(&*target, collectors, limits, with_process, &progress);
            match turn {
                Some(turn) => {
                    turn.starts(&progress);
                    turn.run(gather, &progress).await;
                }
                None => gather.await,
            }
            lock(&this.totals).gathers += 1;
            let (exposition, dropped) = this.assemble(&lock(&progress), &key, &address, started);
            lock(&this.totals).dropped.add(dropped);
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

    fn assemble(&self, progress: &Progress, key: &Key, address: &str, started: Instant) -> (Exposition, Dropped) {
        let (opened, connection) = match &progress.opened {
            Some((opened, duration)) => (opened.clone(), *duration),
            None => (Err(timed_out(started)), started.elapsed()),
        };
        let up = opened.is_ok();
        // In the collectors' order, so that their speed does not decide which of two duplicates is kept.
        let mut all_finished: Vec<&Finished> = progress.finished.iter().collect();
        all_finished.sort_by_key(|finished| finished.collector);
        let outcome = |&index: &usize| {
            let finished = all_finished.iter().find(|finished| finished.collector == index);
            CollectorOutcome {
                name: self.collectors[index].name(),
                success: finished.is_some_and(|finished| finished.error.is_none()),
                duration_seconds: finished.map_or(Duration::ZERO, |finished| finished.duration).as_secs_f64(),
                error: match finished {
                    Some(finished) => finished.error.clone(),
                    None => up.then(|| timed_out(started)),
                },
            }
        };
        let outcomes = key.collectors.iter().map(outcome).collect();
        let open_check = CheckResult {
            check: E::OPEN_CHECK,
            status: if up { CheckStatus::Ok } else { CheckStatus::Fail },
            reason: match opened {
                Ok(()) => format!("answered within {:.1} ms", connection.as_secs_f64() * 1000.0),
                Err(error) => error,
            },
        };
        let checks = std::iter::once(open_check)
            .chain(all_finished.iter().flat_map(|finished| finished.checks.iter().cloned()))
            .collect();
        let report = Report::new(address.to_owned(), checks, outcomes);

        let mut out = Families::default();
        out.push(&self.own.up, &[], f64::from(up));
        out.push(&self.own.collector_duration, &["connection"], connection.as_secs_f64());
        for (&index, outcome) in key.collectors.iter().zip(&report.collectors) {
            let label = self.labels[index].as_str();
            out.push(&self.own.collector_success, &[label], f64::from(outcome.success));
            if up {
                out.push(&self.own.collector_duration, &[label], outcome.duration_seconds);
            }
        }
        report.write(E::NAMESPACE, &mut out);
        let mut process = progress.process.clone();
        if key.probe.is_none() {
            self.own.write_totals(&lock(&self.totals), &mut out);
            process = process.or_else(|| self.with_process.then(|| Arc::new(process::batch())));
        }
        let (own, _) = out.finish();
        let batches = all_finished.iter().map(|finished| Arc::clone(&finished.batch));
        let (snapshot, dropped) = Snapshot::assemble(batches.chain(process).chain([Arc::new(own)]));
        (Exposition::new(snapshot, report, up, Arc::clone(&self.compressor)), dropped)
    }
}

/// The entry of a gather among the running ones.
struct Entry<'a, E: Exporter> {
    gatherer: &'a Gatherer<E>,
    key: &'a Key,
}

impl<E: Exporter> Drop for Entry<'_, E> {
    fn drop(&mut self) {
        lock(&self.gatherer.running).remove(self.key);
    }
}

#[cfg(test)]
mod tests;
