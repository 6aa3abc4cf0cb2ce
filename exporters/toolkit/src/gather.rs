//! One scrape: open the session, run the collectors under the deadline, put together what came.
//!
//! Scrapes that ask for the same thing while a gather runs wait for that one, so the number of scrapers never multiplies the load on the
//! service. A waiter whose own deadline comes first takes what is there by then; one that has more time than the gather had does not take a
//! failure that may be only that gather's haste. A gather that nobody waits for any more ends at its deadline.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{join_all, select};
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::check::{CheckResult, CheckStatus};
use crate::encode::Format;
use crate::exporter::{BoxError, Collector, Exporter, Target};
use crate::family::{Desc, Dropped, Families, Kind, Part};
use crate::health::{CollectorOutcome, Report};
use crate::negotiate::{Compression, Form};
use crate::snapshot::Snapshot;
use crate::{compress, process};

/// Gathers under way at the most, of probes and of the main target each, so that probes never keep `/metrics` waiting: different targets and
/// collector filters, not scrapers. More than that is refused with 503.
const MAX_GATHERS: usize = 64;

/// How long a waiter gives the gather to put its result together once the common deadline has passed. Well below `--timeout-offset`.
const ASSEMBLY_GRACE: Duration = Duration::from_millis(50);

type Session<E> = <<E as Exporter>::Target as Target>::Session;

/// Which of the running gathers a scrape can share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The query of a probe, without its collector filter; `None` is the target of `/metrics`.
    pub(crate) probe: Option<String>,
    /// Indices of the collectors to run.
    pub(crate) collectors: Vec<usize>,
    /// Reloads before it: a scrape that comes after one must not be answered with the account before it.
    reloads: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    #[error(
        "{MAX_GATHERS} other scrapes of different targets or collectors are under way; try again, or ask for fewer at once"
    )]
    TooMany,
    #[error("{0}")]
    Target(BoxError),
    #[error("the scrape ended by a fault of the exporter; its log has the details")]
    Aborted,
}

/// The families that the toolkit adds to each scrape.
pub(crate) struct OwnFamilies {
    pub(crate) up: Desc,
    pub(crate) collector_success: Desc,
    pub(crate) collector_duration: Desc,
    pub(crate) scrapes: Desc,
    pub(crate) dropped: Desc,
    pub(crate) build_info: Desc,
    pub(crate) reload_successful: Desc,
    pub(crate) reload_success_time: Desc,
}

impl OwnFamilies {
    pub(crate) fn of<E: Exporter>() -> Self {
        let ns = E::NAMESPACE;
        let program = E::program_prefix();
        Self {
            up: Desc::dynamic(
                Kind::Gauge,
                format!("{ns}_up"),
                "1 if the service let the exporter in and answered in this scrape, 0 if not.",
                &[],
            ),
            collector_success: Desc::dynamic(
                Kind::Gauge,
                format!("{ns}_exporter_collector_success"),
                "1 if the collector read all it should in this scrape, 0 if not; what it could not read is absent.",
                &["collector"],
            ),
            collector_duration: Desc::dynamic(
                Kind::Gauge,
                format!("{ns}_exporter_collector_duration_seconds"),
                "How long the collector took in this scrape; `connection` is opening the session.",
                &["collector"],
            ),
            scrapes: Desc::dynamic(
                Kind::Counter,
                format!("{ns}_exporter_scrapes_total"),
                "Gathers that the exporter has made; scrapes that shared one count once.",
                &[],
            ),
            dropped: Desc::dynamic(
                Kind::Counter,
                format!("{ns}_exporter_dropped_samples_total"),
                "Samples left out: duplicates, invalid names or labels, over the cap of samples in one family.",
                &["reason"],
            ),
            build_info: Desc::dynamic(
                Kind::Info,
                format!("{program}_build_info"),
                "The exporter's version and the revision that it was built from.",
                &["version", "revision"],
            ),
            reload_successful: Desc::dynamic(
                Kind::Gauge,
                format!("{program}_config_last_reload_successful"),
                "1 if the last start or reload put its files in force, 0 if it failed and those before it still are.",
                &[],
            ),
            reload_success_time: Desc::dynamic(
                Kind::Gauge,
                format!("{program}_config_last_reload_success_timestamp_seconds"),
                "When the files in force were read, as a Unix time.",
                &[],
            ),
        }
    }

    pub(crate) fn all(&self) -> [&Desc; 8] {
        [
            &self.up,
            &self.collector_success,
            &self.collector_duration,
            &self.scrapes,
            &self.dropped,
            &self.build_info,
            &self.reload_successful,
            &self.reload_success_time,
        ]
    }
}

/// How the reloads went; the start is the first success.
#[derive(Clone, Copy)]
struct Reloads {
    /// Since the start.
    successes: u64,
    last_successful: bool,
    last_success: SystemTime,
}

/// What a gather has so far.
#[derive(Default)]
struct Progress {
    opened: Option<(Result<(), String>, Duration)>,
    finished: Vec<Finished>,
    /// The exporter's own use of the machine, where the page tells it.
    process: Option<Arc<Part>>,
}

struct Finished {
    collector: usize,
    part: Arc<Part>,
    duration: Duration,
    error: Option<String>,
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
    /// Whether something failed for want of time where a scraper with this deadline still has more of it than the gather had. What fails in the
    /// first half of a gather's time (a refused connection) would fail again.
    fn failed_in_haste(&self, exposition: &Exposition, deadline: Instant) -> bool {
        let now = Instant::now();
        let time = self.deadline - self.started;
        let failed = !exposition.up || exposition.report.collectors.iter().any(|collector| !collector.success);
        failed && now - self.started >= time / 2 && deadline.saturating_duration_since(now) > time
    }
}

/// The result of one gather, and its encoded forms, made when first asked for and shared.
pub(crate) struct Exposition {
    snapshot: Snapshot,
    pub(crate) report: Report,
    up: bool,
    encoded: [OnceCell<Bytes>; 6],
}

impl Exposition {
    fn new(snapshot: Snapshot, report: Report, up: bool) -> Self {
        Self { snapshot, report, up, encoded: Default::default() }
    }

    pub(crate) async fn body(self: Arc<Self>, form: Form) -> Bytes {
        let index = 3 * usize::from(form.format == Format::OpenMetrics)
            + match form.compression {
                Compression::Identity => 0,
                Compression::Gzip => 1,
                Compression::Zstd => 2,
            };
        let make = move |exposition: &Self| Bytes::from(compress::body(&exposition.snapshot, form));
        let encoded = self.encoded[index].get_or_init(async || {
            // 10,000 samples are about a millisecond of encoding and 5 of gzip: more than that would hold up /-/healthy and other scrapes.
            if self.snapshot.sample_count() < 10_000 {
                return make(&self);
            }
            let exposition = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || make(&exposition)).await {
                Ok(bytes) => bytes,
                Err(_) => make(&self),
            }
        });
        encoded.await.clone()
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
    scrapes: AtomicU64,
    dropped: Mutex<Dropped>,
    reloads: Mutex<Reloads>,
    /// What was logged last of the main target, by subject, so that only changes are logged. Bounded by the collectors and checks there are.
    logged: Mutex<HashMap<String, CheckStatus>>,
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
            scrapes: AtomicU64::new(0),
            dropped: Mutex::default(),
            reloads: Mutex::new(Reloads { successes: 0, last_successful: true, last_success: SystemTime::now() }),
            logged: Mutex::default(),
        }
    }

    pub(crate) fn target_address(&self) -> String {
        self.exporter.target().address().to_owned()
    }

    /// Lets the exporter read its files again. It blocks.
    pub(crate) fn reload_exporter(&self) -> Result<(), BoxError> {
        self.exporter.reload()
    }

    /// Notes how a reload ended.
    pub(crate) fn reloaded(&self, successful: bool) {
        let mut reloads = lock(&self.reloads);
        reloads.last_successful = successful;
        if successful {
            reloads.successes += 1;
            reloads.last_success = SystemTime::now();
        }
    }

    pub(crate) fn enabled_names(&self) -> impl Iterator<Item = &'static str> {
        self.enabled.iter().map(|&i| self.collectors[i].name())
    }

    /// The collectors that `collect[]` asks for; all enabled ones where it asks for none. An unknown name is an error that lists the known ones.
    pub(crate) fn choose(&self, names: &[&str]) -> Result<Vec<usize>, String> {
        if names.is_empty() {
            return Ok(self.enabled.clone());
        }
        let mut chosen = Vec::new();
        for name in names {
            match self.enabled.iter().find(|&&i| self.collectors[i].name() == *name) {
                Some(&i) => chosen.push(i),
                None => {
                    let known: Vec<_> = self.enabled_names().collect();
                    return Err(format!(
                        "collect[]={name}: no such collector is enabled; enabled are {}",
                        known.join(", ")
                    ));
                }
            }
        }
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen)
    }

    /// The target of `/metrics`.
    pub(crate) async fn scrape(
        self: &Arc<Self>,
        collectors: Vec<usize>,
        form: Option<Form>,
        deadline: Instant,
    ) -> Result<Arc<Exposition>, GatherError> {
        self.join(self.key(None, collectors), form, deadline, || Ok(self.exporter.target())).await
    }

    /// A target of `/probe`.
    pub(crate) async fn probe(
        self: &Arc<Self>,
        target: &str,
        query: &[(String, String)],
        collectors: Vec<usize>,
        form: Form,
        deadline: Instant,
    ) -> Result<Arc<Exposition>, GatherError> {
        let probe =
            form_urlencoded::Serializer::new(String::new()).append_pair("target", target).extend_pairs(query).finish();
        self.join(self.key(Some(probe), collectors), Some(form), deadline, || {
            self.exporter.probe(target, query).map(Arc::new)
        })
        .await
    }

    fn key(&self, probe: Option<String>, collectors: Vec<usize>) -> Key {
        Key { probe, collectors, reloads: lock(&self.reloads).successes }
    }

    async fn join(
        self: &Arc<Self>,
        key: Key,
        form: Option<Form>,
        deadline: Instant,
        target: impl Fn() -> Result<Arc<E::Target>, BoxError>,
    ) -> Result<Arc<Exposition>, GatherError> {
        loop {
            let mut running = self.running_or_started(&key, &target, form, deadline)?;
            let exposition = match timeout_at(deadline + ASSEMBLY_GRACE, running.done.wait_for(Option::is_some)).await {
                Ok(Ok(exposition)) => exposition.clone().ok_or(GatherError::Aborted)?,
                Ok(Err(_)) => return Err(GatherError::Aborted),
                Err(_) => {
                    let progress = lock(&running.progress);
                    let (exposition, _) = self.assemble(&progress, &key, &running.address, running.started);
                    return Ok(Arc::new(exposition));
                }
            };
            if !running.failed_in_haste(&exposition, deadline) {
                return Ok(exposition);
            }
        }
    }

    fn running_or_started(
        self: &Arc<Self>,
        key: &Key,
        target: impl Fn() -> Result<Arc<E::Target>, BoxError>,
        form: Option<Form>,
        deadline: Instant,
    ) -> Result<Running, GatherError> {
        let mut all = lock(&self.running);
        if let Some(running) = all.get(key) {
            return Ok(running.clone());
        }
        if all.keys().filter(|other| other.probe.is_some() == key.probe.is_some()).count() >= MAX_GATHERS {
            return Err(GatherError::TooMany);
        }
        let running = self.start(key.clone(), target().map_err(GatherError::Target)?, form, deadline);
        all.insert(key.clone(), running.clone());
        Ok(running)
    }

    fn start(self: &Arc<Self>, key: Key, target: Arc<E::Target>, form: Option<Form>, deadline: Instant) -> Running {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (announce, done) = watch::channel(None);
        let started = Instant::now();
        let address: Arc<str> = Arc::from(target.address());
        let running =
            Running { progress: Arc::clone(&progress), address: Arc::clone(&address), started, deadline, done };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            // Removes the entry even when the gather panics; waiters then see the channel close.
            let entry = Entry { gatherer: &this, key: &key };
            this.gather(&key, &*target, form, deadline, &progress).await;
            this.scrapes.fetch_add(1, Ordering::Relaxed);
            let (exposition, dropped) = this.assemble(&lock(&progress), &key, &address, started);
            lock(&this.dropped).add(dropped);
            let exposition = Arc::new(exposition);
            if key.probe.is_none() {
                this.log_changes(&exposition);
            } else if !exposition.up {
                debug!(target = %address, reasons = ?exposition.report.reasons, "probe failed");
            }
            drop(entry);
            announce.send_replace(Some(exposition));
        });
        running
    }

    /// Parts are compressed ahead in the form that the first scraper takes.
    async fn gather(
        &self,
        key: &Key,
        target: &E::Target,
        form: Option<Form>,
        deadline: Instant,
        progress: &Mutex<Progress>,
    ) {
        let started = Instant::now();
        let session = bounded(deadline, started, target.open(deadline)).await;
        let (session, opened) = match session {
            Ok(session) => (Some(session), Ok(())),
            Err(error) => (None, Err(error)),
        };
        lock(progress).opened = Some((opened, started.elapsed()));
        let Some(session) = session else { return };
        let one_finished = Notify::new();
        let collecting = join_all(key.collectors.iter().map(|&index| {
            let (session, one_finished) = (&session, &one_finished);
            async move {
                let started = Instant::now();
                let mut families = Families::with_limit(self.sample_limit);
                let mut finished_in_time = true;
                let result = bounded(deadline, started, async {
                    finished_in_time = false;
                    let result = self.collectors[index].collect(session, &mut families).await;
                    finished_in_time = true;
                    result
                })
                .await;
                if !finished_in_time {
                    families = Families::default();
                }
                let finished = Finished {
                    collector: index,
                    part: Arc::new(families.finish()),
                    duration: started.elapsed(),
                    error: result.err(),
                };
                lock(progress).finished.push(finished);
                one_finished.notify_one();
            }
        }));
        // What can be done while the service works on its answers, and need not be done after them.
        let meanwhile = async {
            if key.probe.is_none() {
                lock(progress).process = Some(Arc::new(process::part()));
            }
            // It never ends: the collectors do.
            let Some(Form { format, compression: Compression::Gzip }) = form else {
                return std::future::pending::<()>().await;
            };
            let mut seen = 0;
            loop {
                one_finished.notified().await;
                let finished: Vec<_> =
                    lock(progress).finished[seen..].iter().map(|finished| Arc::clone(&finished.part)).collect();
                seen += finished.len();
                for part in finished {
                    // The other collectors that can go on now go first: with the last of them there is nothing to wait for any more.
                    tokio::task::yield_now().await;
                    compress::ahead(&part, format);
                }
            }
        };
        select(collecting, pin!(meanwhile)).await;
    }

    fn assemble(&self, progress: &Progress, key: &Key, address: &str, started: Instant) -> (Exposition, Dropped) {
        let unanswered = || format!("no answer within {:.2} s", started.elapsed().as_secs_f64());
        let (opened, connection) = match &progress.opened {
            Some((opened, duration)) => (opened.clone(), *duration),
            None => (Err(unanswered()), started.elapsed()),
        };
        let up = opened.is_ok();
        // In the collectors' order, so that their speed does not decide which of two duplicates stays.
        let mut all_finished: Vec<&Finished> = progress.finished.iter().collect();
        all_finished.sort_by_key(|finished| finished.collector);
        let mut outcomes = Vec::new();
        for &index in &key.collectors {
            let finished = all_finished.iter().find(|finished| finished.collector == index);
            outcomes.push(CollectorOutcome {
                name: self.collectors[index].name(),
                success: finished.is_some_and(|finished| finished.error.is_none()),
                duration_seconds: finished.map_or(Duration::ZERO, |finished| finished.duration).as_secs_f64(),
                error: match finished {
                    Some(finished) => finished.error.clone(),
                    None => up.then(unanswered),
                },
            });
        }
        let open_check = CheckResult {
            check: E::OPEN_CHECK,
            status: if up { CheckStatus::Ok } else { CheckStatus::Fail },
            reason: match opened {
                Ok(()) => format!("answered within {:.1} ms", connection.as_secs_f64() * 1000.0),
                Err(error) => error,
            },
        };
        let checks = std::iter::once(open_check)
            .chain(all_finished.iter().flat_map(|finished| finished.part.checks.iter().cloned()))
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
        // A probe's page is about its target alone.
        if key.probe.is_none() {
            out.push(&self.own.build_info, &[env!("CARGO_PKG_VERSION"), crate::REVISION], 1.0);
            out.push(&self.own.scrapes, &[], self.scrapes.load(Ordering::Relaxed) as f64);
            let reloads = *lock(&self.reloads);
            out.push(&self.own.reload_successful, &[], f64::from(reloads.last_successful));
            if let Ok(since) = reloads.last_success.duration_since(UNIX_EPOCH) {
                out.push(&self.own.reload_success_time, &[], since.as_secs_f64());
            }
            let dropped = *lock(&self.dropped);
            for (reason, count) in
                [("duplicate", dropped.duplicate), ("invalid", dropped.invalid), ("limit", dropped.limit)]
            {
                out.push(&self.own.dropped, &[reason], count as f64);
            }
        }
        let process = match &progress.process {
            Some(part) => Some(Arc::clone(part)),
            None => key.probe.is_none().then(|| Arc::new(process::part())),
        };
        let parts = all_finished.iter().map(|finished| Arc::clone(&finished.part));
        let (snapshot, dropped) = Snapshot::assemble(parts.chain(process).chain([Arc::new(out.finish())]));
        (Exposition::new(snapshot, report, up), dropped)
    }

    /// One log line a change of state, not one a scrape.
    fn log_changes(&self, exposition: &Exposition) {
        let target = &exposition.report.target;
        for Change { subject, status, reason } in self.changes(exposition) {
            match status {
                CheckStatus::Ok => info!(%target, %subject, %reason, "well again"),
                CheckStatus::Warn | CheckStatus::Fail => {
                    warn!(%target, %subject, status = status.as_str(), %reason, "not well")
                }
            }
        }
    }

    /// What differs from the gather before. What is well from the start is no change.
    fn changes(&self, exposition: &Exposition) -> Vec<Change> {
        let report = &exposition.report;
        let checks = report.checks.iter().map(|check| Change {
            subject: format!("check {}", check.name),
            status: check.status,
            reason: check.reason.clone(),
        });
        // While the service is down its collectors don't run: that is one event, and the check tells it.
        let collectors = report.collectors.iter().filter(|_| exposition.up).map(|outcome| Change {
            subject: format!("collector {}", outcome.name),
            status: if outcome.success { CheckStatus::Ok } else { CheckStatus::Fail },
            reason: outcome.error.clone().unwrap_or_default(),
        });
        let mut logged = lock(&self.logged);
        checks
            .chain(collectors)
            .filter(|now| logged.insert(now.subject.clone(), now.status).unwrap_or(CheckStatus::Ok) != now.status)
            .collect()
    }
}

struct Change {
    subject: String,
    status: CheckStatus,
    reason: String,
}

struct Entry<'a, E: Exporter> {
    gatherer: &'a Gatherer<E>,
    key: &'a Key,
}

impl<E: Exporter> Drop for Entry<'_, E> {
    fn drop(&mut self) {
        lock(&self.gatherer.running).remove(self.key);
    }
}

/// Runs something of the exporter's author: under the deadline, and a panic in it is its own failure, not the scrape's.
async fn bounded<T>(
    deadline: Instant,
    started: Instant,
    work: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, String> {
    match timeout_at(deadline, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(with_sources(&*error)),
        Ok(Err(_)) => Err("a fault in the exporter's own code; please report it with the log's stack".to_owned()),
        Err(_) => Err(format!("no answer within {:.2} s", started.elapsed().as_secs_f64())),
    }
}

/// The error and what caused it, each said once: many libraries print their cause in their own text too.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Nothing panics while it holds one of these locks; were it to happen, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
