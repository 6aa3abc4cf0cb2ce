use std::sync::atomic::{AtomicUsize, Ordering};

use ::exposition::{Compression, Desc, Form, Format, Snapshot};
use async_trait::async_trait;
use futures::future::join_all;

use super::turns::MAX_TURNS;
use super::*;
use crate::check::CheckDef;
use crate::health::{CollectorOutcome, HealthStatus};

/// An exporter whose target opens after a given time, and whose collectors take a given time, fail or panic.
struct Scripted {
    target: Arc<ScriptedTarget>,
}

#[derive(Default)]
struct ScriptedTarget {
    /// Of a probe.
    address: Option<String>,
    opened: AtomicUsize,
    open_takes: Duration,
    refuses: bool,
}

struct ScriptedCollector {
    name: &'static str,
    takes: Duration,
    ends: Ends,
}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Well,
    InError,
    InPanic,
    /// Writes a family that it does not declare.
    Undeclared,
}

const UNDECLARED: Desc = Desc::gauge("scripted_undeclared", "Not in families().", &[]);
const VALUE: Desc = Desc::gauge("scripted_value", "Written before and after the wait.", &["collector", "when"]);
const HEADROOM: CheckDef = CheckDef { name: "headroom", help: "", essential: false };

#[async_trait]
impl Target for ScriptedTarget {
    type Session = ();

    fn address(&self) -> &str {
        self.address.as_deref().unwrap_or("scripted:1")
    }

    async fn open(&self, _: Instant) -> Result<(), BoxError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.open_takes).await;
        if self.refuses { Err("access denied".into()) } else { Ok(()) }
    }
}

#[async_trait]
impl Collector<()> for ScriptedCollector {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        "Scripted."
    }

    fn source(&self) -> &'static str {
        "the script"
    }

    fn families(&self) -> Vec<Desc> {
        vec![VALUE]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&HEADROOM]
    }

    async fn collect(&self, (): &(), out: &mut Families) -> Result<(), BoxError> {
        out.push(&VALUE, &[self.name, "before"], 1.0);
        tokio::time::sleep(self.takes).await;
        match self.ends {
            Ends::Well => {}
            Ends::InError => return Err("half of it is missing".into()),
            Ends::InPanic => panic!("a collector's fault"),
            Ends::Undeclared => out.push(&UNDECLARED, &[], 1.0),
        }
        out.push(&VALUE, &[self.name, "after"], 1.0);
        out.check(&HEADROOM, CheckStatus::Ok, "plenty");
        Ok(())
    }
}

impl Exporter for Scripted {
    const PROGRAM: &'static str = "scripted-exporter";
    const NAMESPACE: &'static str = "scripted";
    const ABOUT: &'static str = "For tests.";
    const DEFAULT_PORT: u16 = 1;
    type Args = NoArgs;
    type Target = ScriptedTarget;

    fn new(NoArgs {}: NoArgs) -> Result<Self, BoxError> {
        Ok(Self { target: Arc::default() })
    }

    fn collectors() -> Vec<Box<dyn Collector<()>>> {
        let collector = |name, seconds, ends| ScriptedCollector { name, takes: Duration::from_secs(seconds), ends };
        vec![
            Box::new(collector("quick", 0, Ends::Well)),
            Box::new(collector("slow", 5, Ends::Well)),
            Box::new(collector("failing", 0, Ends::InError)),
            Box::new(collector("panicking", 0, Ends::InPanic)),
            Box::new(collector("careless", 0, Ends::Undeclared)),
        ]
    }

    fn target(&self) -> Arc<ScriptedTarget> {
        Arc::clone(&self.target)
    }

    fn probe(&self, request: &ProbeRequest<'_>) -> Result<ScriptedTarget, BoxError> {
        let address = Some(request.target.to_owned());
        match request.target {
            "bad" => Err("target=bad: host:port is expected".into()),
            "alive" => Ok(ScriptedTarget { address, ..ScriptedTarget::default() }),
            _ => Ok(ScriptedTarget { address, open_takes: Duration::from_secs(3600), ..ScriptedTarget::default() }),
        }
    }
}

#[derive(clap::Args)]
struct NoArgs {}

fn gatherer(target: ScriptedTarget) -> Arc<Gatherer<Scripted>> {
    gatherer_on(Executor::current(), target)
}

fn gatherer_on(executor: Executor, target: ScriptedTarget) -> Arc<Gatherer<Scripted>> {
    let limits = PageLimits { samples: 1000, memory: 1 << 20 };
    let exporter = Scripted { target: Arc::new(target) };
    Arc::new(Gatherer::new(exporter, Scripted::collectors(), vec![0, 1, 2, 3], limits, executor, crate::build!()))
}

const FORM: Form = Form { format: Format::Text, compression: Compression::Identity };

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

async fn page(exposition: Arc<Exposition>) -> String {
    let body = exposition.body(FORM).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn has(page: &str, sample: &str) -> bool {
    page.lines().any(|line| line == sample)
}

#[tokio::test(start_paused = true)]
async fn concurrent_scrapes_share_one_gather() {
    let gatherer = gatherer(ScriptedTarget::default());
    let scrapes = (0..200).map(|_| gatherer.scrape(vec![0, 1], within(10)));
    for exposition in join_all(scrapes).await {
        assert!(has(&page(exposition.unwrap()).await, r#"scripted_value{collector="slow",when="after"} 1"#));
    }
    let target = Arc::clone(&gatherer.exporter.target);
    assert_eq!(target.opened.load(Ordering::Relaxed), 1);
    gatherer.scrape(vec![0], within(10)).await.unwrap();
    assert_eq!(target.opened.load(Ordering::Relaxed), 2, "a later scrape does not get the old page");
}

#[tokio::test(start_paused = true)]
async fn a_slow_collector_fails_alone() {
    let gatherer = gatherer(ScriptedTarget::default());
    let exposition = gatherer.scrape(vec![0, 1], within(2)).await.unwrap();
    assert_eq!(exposition.report.status, HealthStatus::Degraded);
    assert_eq!(exposition.report.reasons, ["collector slow: timed out after 2.00 s"]);
    let page = page(exposition).await;
    for sample in [
        "scripted_up 1",
        r#"scripted_value{collector="quick",when="after"} 1"#,
        r#"scripted_exporter_collector_success{collector="quick"} 1"#,
        r#"scripted_exporter_collector_success{collector="slow"} 0"#,
        r#"scripted_health_status{status="degraded"} 1"#,
        r#"scripted_health_check_status{check="headroom",status="ok"} 1"#,
    ] {
        assert!(has(&page, sample), "{sample} is not in\n{page}");
    }
    assert!(!page.contains(r#"collector="slow",when"#), "no sample of a collector that timed out is kept:\n{page}");
}

#[tokio::test(start_paused = true)]
async fn a_scraper_with_a_short_deadline_gets_the_results_so_far() {
    let gatherer = gatherer(ScriptedTarget::default());
    let started = Instant::now();
    let long = gatherer.scrape(vec![0, 1], within(10));
    let short = async {
        let exposition = gatherer.scrape(vec![0, 1], within(1)).await.unwrap();
        (exposition, started.elapsed())
    };
    let (long, (short, took)) = futures::future::join(long, short).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let short = page(short).await;
    assert!(has(&short, r#"scripted_value{collector="quick",when="after"} 1"#));
    assert!(has(&short, r#"scripted_exporter_collector_success{collector="slow"} 0"#));
    assert!(has(&page(long.unwrap()).await, r#"scripted_exporter_collector_success{collector="slow"} 1"#));
    assert_eq!(gatherer.exporter.target.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_on_a_short_deadline_is_not_shared_with_a_longer_one() {
    let gatherer = gatherer(ScriptedTarget::default());
    let short = gatherer.scrape(vec![0, 1], within(1));
    let long = (0..20).map(|_| gatherer.scrape(vec![0, 1], within(10)));
    let (short, long) = futures::future::join(short, join_all(long)).await;
    assert!(has(&page(short.unwrap()).await, r#"scripted_exporter_collector_success{collector="slow"} 0"#));
    for exposition in long {
        assert!(has(&page(exposition.unwrap()).await, r#"scripted_exporter_collector_success{collector="slow"} 1"#));
    }
    assert_eq!(
        gatherer.exporter.target.opened.load(Ordering::Relaxed),
        2,
        "all scrapes with the long deadline share the second gather"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hung_service_is_not_scraped_again_for_a_later_scraper() {
    let gatherer = gatherer(ScriptedTarget { open_takes: Duration::from_secs(3600), ..ScriptedTarget::default() });
    let later = async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        gatherer.scrape(vec![0], within(10)).await
    };
    let (first, later) = futures::future::join(gatherer.scrape(vec![0], within(10)), later).await;
    assert_eq!(first.unwrap().report.reasons, later.unwrap().report.reasons);
    assert_eq!(gatherer.exporter.target.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_and_a_panic_fail_only_their_collectors() {
    let gatherer = gatherer(ScriptedTarget::default());
    let page = page(gatherer.scrape(vec![0, 2, 3], within(10)).await.unwrap()).await;
    for sample in [
        "scripted_up 1",
        r#"scripted_exporter_collector_success{collector="quick"} 1"#,
        r#"scripted_exporter_collector_success{collector="failing"} 0"#,
        r#"scripted_exporter_collector_success{collector="panicking"} 0"#,
        // Samples from before an error are kept.
        r#"scripted_value{collector="failing",when="before"} 1"#,
    ] {
        assert!(has(&page, sample), "{sample} is not in\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_family_that_is_not_declared_fails_its_collector() {
    let gatherer = gatherer(ScriptedTarget::default());
    let exposition = gatherer.scrape(vec![0, 4], within(10)).await.unwrap();
    assert_eq!(
        exposition.report.reasons,
        [
            "collector careless: the collector careless wrote the family scripted_undeclared, which is not in its families()"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_down_with_the_reason() {
    let gatherer = gatherer(ScriptedTarget { refuses: true, ..ScriptedTarget::default() });
    let exposition = gatherer.scrape(vec![0], within(10)).await.unwrap();
    assert_eq!(exposition.report.status, HealthStatus::Down);
    assert_eq!(exposition.report.reasons, ["connect: access denied"]);
    let page = page(exposition).await;
    for sample in [
        "scripted_up 0",
        r#"scripted_exporter_collector_success{collector="quick"} 0"#,
        r#"scripted_health_status{status="down"} 1"#,
    ] {
        assert!(has(&page, sample), "{sample} is not in\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_service_is_down_by_the_deadline() {
    let gatherer = gatherer(ScriptedTarget { open_takes: Duration::from_secs(3600), ..ScriptedTarget::default() });
    let started = Instant::now();
    let exposition = gatherer.scrape(vec![0], within(4)).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(exposition.report.reasons, ["connect: timed out after 4.00 s"]);
}

#[tokio::test(start_paused = true)]
async fn dead_targets_do_not_keep_a_live_one_or_the_main_target_from_an_answer() {
    let gatherer = gatherer(ScriptedTarget::default());
    let dead = (0..500).map(|i| {
        let gatherer = Arc::clone(&gatherer);
        tokio::spawn(async move { gatherer.probe(&format!("dead{i}"), &[], vec![0], within(10)).await })
    });
    let dead: Vec<_> = dead.collect();
    // The clock moves when all of them wait.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(lock(&gatherer.running).len(), MAX_TURNS);
    for _ in 0..10 {
        let alive = gatherer.probe("alive", &[], vec![0], within(10)).await.unwrap();
        assert!(alive.up);
        assert!(gatherer.scrape(vec![0], within(1)).await.unwrap().up);
    }
    // The others end by their deadlines, down or without a turn.
    let mut gave_way = 0;
    for probe in dead {
        match probe.await.unwrap() {
            Ok(exposition) => gave_way += usize::from(exposition.report.reasons[0].contains("gave way")),
            Err(error) => assert!(matches!(error, GatherError::NoTurn), "{error}"),
        }
    }
    assert!(gave_way > 0);
    assert!(lock(&gatherer.running).is_empty());
    assert!(matches!(gatherer.probe("bad", &[], vec![0], within(1)).await, Err(GatherError::Target(_))));
}

#[tokio::test(start_paused = true)]
async fn parameters_that_no_exporter_reads_share_a_gather() {
    let gatherer = gatherer(ScriptedTarget::default());
    let probes = (0..64).map(|i| {
        let gatherer = Arc::clone(&gatherer);
        let query = vec![("target".to_owned(), "dead".to_owned()), ("n".to_owned(), i.to_string())];
        tokio::spawn(async move { gatherer.probe("dead", &query, vec![0], within(1)).await.is_ok() })
    });
    let probes: Vec<_> = probes.collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(lock(&gatherer.running).len(), 1);
    for probe in probes {
        assert!(probe.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_listed_is_refused_before_a_connection() {
    let policy = ProbePolicy { off: false, targets: vec!["listed".parse().unwrap()] };
    let gatherer = Arc::into_inner(gatherer(ScriptedTarget::default())).unwrap();
    let gatherer = Arc::new(gatherer.with_probe_policy(policy));
    let refused = gatherer.probe("alive", &[], vec![0], within(1)).await.err().unwrap();
    assert!(matches!(&refused, GatherError::Refused(reason) if reason.contains("--probe.targets")), "{refused}");
}

#[test]
fn only_changes_are_logged() {
    let gatherer = gatherer(ScriptedTarget::default());
    let changes = |exposition: &Exposition| {
        gatherer.changes.of(exposition).into_iter().map(|change| change.subject).collect::<Vec<_>>()
    };
    let exposition = |up, failed: Option<&str>| {
        let collector =
            |name| CollectorOutcome { name, success: failed != Some(name), duration_seconds: 0.0, error: None };
        let report = Report::new("scripted:1".to_owned(), Vec::new(), vec![collector("quick"), collector("failing")]);
        Exposition::new(Snapshot::default(), report, up, IdleCompressor::default(), crate::memory::Budget::new(0))
    };
    assert!(changes(&exposition(true, None)).is_empty());
    assert_eq!(changes(&exposition(true, Some("failing"))), ["collector failing"]);
    assert!(changes(&exposition(true, Some("failing"))).is_empty());
    assert!(changes(&exposition(false, None)).is_empty(), "collectors of a service that is down did not run");
    assert_eq!(changes(&exposition(true, None)), ["collector failing"]);
}

#[test]
fn an_unknown_collector_is_refused_with_the_known_ones() {
    let gatherer = gatherer(ScriptedTarget::default());
    assert_eq!(gatherer.choose(&[]).unwrap(), [0, 1, 2, 3]);
    assert_eq!(gatherer.choose(&["slow", "quick", "slow"]).unwrap(), [0, 1]);
    assert_eq!(
        gatherer.choose(&["quick", "nope"]).unwrap_err(),
        "collect[]=nope: no collector has this name; enabled are quick, slow, failing, panicking"
    );
    // Known, but not enabled here.
    assert_eq!(gatherer.choose(&["quick", "careless"]).unwrap(), [0]);
    assert_eq!(gatherer.choose(&["careless"]).unwrap(), [0; 0]);
}
