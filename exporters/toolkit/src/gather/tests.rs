use std::io::Read as _;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;

use super::*;
use crate::check::CheckDef;
use crate::health::Verdict;

/// An exporter whose target opens after a given time, and whose collectors take a given time, fail or panic.
struct Scripted {
    target: Arc<ScriptedTarget>,
}

#[derive(Default)]
struct ScriptedTarget {
    opened: AtomicUsize,
    open_takes: Duration,
    refuses: bool,
}

struct ScriptedCollector {
    name: &'static str,
    takes: Duration,
    ends: Ends,
    /// Lets others go on before it ends.
    yields: bool,
    /// So many samples, and no others.
    numbers: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Well,
    InError,
    InPanic,
}

const NUMBER: Desc = Desc::gauge("scripted_number", "Many of them.", &["number"]);
const VALUE: Desc = Desc::gauge("scripted_value", "Written before and after the wait.", &["collector", "when"]);
static HEADROOM: CheckDef = CheckDef { name: "headroom", help: "", essential: false };

#[async_trait]
impl Target for ScriptedTarget {
    type Session = ();

    fn address(&self) -> &str {
        "scripted:1"
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

    fn families(&self) -> Vec<Desc> {
        vec![VALUE]
    }

    async fn collect(&self, (): &(), out: &mut Families) -> Result<(), BoxError> {
        (0..self.numbers).for_each(|number| out.push(&NUMBER, &[&number.to_string()], 0.0));
        if self.yields {
            tokio::task::yield_now().await;
        }
        if self.numbers > 0 {
            return Ok(());
        }
        out.push(&VALUE, &[self.name, "before"], 1.0);
        tokio::time::sleep(self.takes).await;
        match self.ends {
            Ends::Well => {}
            Ends::InError => return Err("half of it is missing".into()),
            Ends::InPanic => panic!("a collector's fault"),
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
        let collector = |name, seconds, ends| ScriptedCollector {
            name,
            takes: Duration::from_secs(seconds),
            ends,
            yields: false,
            numbers: 0,
        };
        vec![
            Box::new(collector("quick", 0, Ends::Well)),
            Box::new(collector("slow", 5, Ends::Well)),
            Box::new(collector("failing", 0, Ends::InError)),
            Box::new(collector("panicking", 0, Ends::InPanic)),
            Box::new(ScriptedCollector { numbers: 900, ..collector("large", 0, Ends::Well) }),
            Box::new(ScriptedCollector { yields: true, ..collector("yielding", 0, Ends::Well) }),
        ]
    }

    fn checks() -> &'static [CheckDef] {
        &[]
    }

    fn target(&self) -> Arc<ScriptedTarget> {
        Arc::clone(&self.target)
    }

    fn probe(&self, target: &str, _: &[(String, String)]) -> Result<ScriptedTarget, BoxError> {
        match target {
            "bad" => Err("target=bad: host:port is expected".into()),
            _ => Ok(ScriptedTarget { open_takes: Duration::from_secs(3600), ..ScriptedTarget::default() }),
        }
    }
}

#[derive(clap::Args)]
struct NoArgs {}

fn gatherer(target: ScriptedTarget) -> Arc<Gatherer<Scripted>> {
    Arc::new(Gatherer::new(Scripted { target: Arc::new(target) }, Scripted::collectors(), vec![0, 1, 2, 3], 1000))
}

const FORM: Form = Form { format: Format::Text, compression: Compression::Identity };
const GZIP: Form = Form { format: Format::Text, compression: Compression::Gzip };

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

async fn page(exposition: Arc<Exposition>) -> String {
    let body = exposition.body(FORM).await;
    String::from_utf8(body.to_vec()).unwrap()
}

fn has(page: &str, sample: &str) -> bool {
    page.lines().any(|line| line == sample)
}

#[tokio::test(start_paused = true)]
async fn concurrent_scrapes_share_one_gather() {
    let gatherer = gatherer(ScriptedTarget::default());
    let scrapes = (0..200).map(|_| gatherer.scrape(vec![0, 1], None, within(10)));
    for exposition in join_all(scrapes).await {
        assert!(has(&page(exposition.unwrap()).await, r#"scripted_value{collector="slow",when="after"} 1"#));
    }
    let target = Arc::clone(&gatherer.exporter.target);
    assert_eq!(target.opened.load(Ordering::Relaxed), 1);
    gatherer.scrape(vec![0], None, within(10)).await.unwrap();
    assert_eq!(target.opened.load(Ordering::Relaxed), 2, "a scrape that comes later is not served the old answer");
}

/// Inflates the page, and tells whether a part of it was compressed ahead.
async fn inflated(exposition: Arc<Exposition>) -> (String, bool) {
    let there_ahead = exposition.snapshot.stretches().any(|stretch| stretch.part.ahead.get().is_some());
    let body = exposition.body(GZIP).await;
    let mut page = String::new();
    flate2::bufread::GzDecoder::new(&*body).read_to_string(&mut page).unwrap();
    (page, there_ahead)
}

#[tokio::test(start_paused = true)]
async fn a_large_part_is_compressed_while_others_wait_for_the_service() {
    let gatherer = gatherer(ScriptedTarget::default());
    for (collectors, form, expected) in [
        (vec![1, 4], Some(GZIP), true),
        // None of the others waits for the service, and nobody takes gzip.
        (vec![0, 4], Some(GZIP), false),
        (vec![4, 5], Some(GZIP), false),
        (vec![1, 4], Some(FORM), false),
        (vec![1, 4], None, false),
    ] {
        let exposition = gatherer.scrape(collectors.clone(), form, within(10)).await.unwrap();
        let (inflated, there_ahead) = inflated(Arc::clone(&exposition)).await;
        assert_eq!(there_ahead, expected, "{collectors:?}, {form:?}");
        assert_eq!(inflated, page(exposition).await);
        assert!(has(&inflated, r#"scripted_number{number="899"} 0"#));
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_for_the_slow_collector_gets_what_was_compressed_ahead() {
    let gatherer = gatherer(ScriptedTarget::default());
    let patient = gatherer.scrape(vec![1, 4], Some(GZIP), within(10));
    let hurried = gatherer.scrape(vec![1, 4], Some(GZIP), within(1));
    let (patient, hurried) = futures::future::join(patient, hurried).await;
    for (exposition, success) in [(patient, 1), (hurried, 0)] {
        let (inflated, there_ahead) = inflated(exposition.unwrap()).await;
        assert!(there_ahead);
        assert!(has(&inflated, &format!(r#"scripted_exporter_collector_success{{collector="slow"}} {success}"#)));
        assert!(has(&inflated, r#"scripted_number{number="899"} 0"#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_collector_costs_only_itself() {
    let gatherer = gatherer(ScriptedTarget::default());
    let exposition = gatherer.scrape(vec![0, 1], None, within(2)).await.unwrap();
    assert_eq!(exposition.report.status, Verdict::Degraded);
    assert_eq!(exposition.report.reasons, ["collector slow: no answer within 2.00 s"]);
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
    assert!(!page.contains(r#"collector="slow",when"#), "nothing is kept of a collector that was cut off:\n{page}");
}

#[tokio::test(start_paused = true)]
async fn the_scraper_with_the_shorter_deadline_gets_what_is_there_by_then() {
    let gatherer = gatherer(ScriptedTarget::default());
    let started = Instant::now();
    let patient = gatherer.scrape(vec![0, 1], None, within(10));
    let hurried = async {
        let exposition = gatherer.scrape(vec![0, 1], None, within(1)).await.unwrap();
        (exposition, started.elapsed())
    };
    let (patient, (hurried, took)) = futures::future::join(patient, hurried).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let hurried = page(hurried).await;
    assert!(has(&hurried, r#"scripted_value{collector="quick",when="after"} 1"#));
    assert!(has(&hurried, r#"scripted_exporter_collector_success{collector="slow"} 0"#));
    assert!(has(&page(patient.unwrap()).await, r#"scripted_exporter_collector_success{collector="slow"} 1"#));
    assert_eq!(gatherer.exporter.target.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_scraper_with_the_longer_deadline_does_not_take_the_others_haste() {
    let gatherer = gatherer(ScriptedTarget::default());
    let hurried = gatherer.scrape(vec![0, 1], None, within(1));
    let patient = (0..20).map(|_| gatherer.scrape(vec![0, 1], None, within(10)));
    let (hurried, patient) = futures::future::join(hurried, join_all(patient)).await;
    assert!(has(&page(hurried.unwrap()).await, r#"scripted_exporter_collector_success{collector="slow"} 0"#));
    for exposition in patient {
        assert!(has(&page(exposition.unwrap()).await, r#"scripted_exporter_collector_success{collector="slow"} 1"#));
    }
    assert_eq!(gatherer.exporter.target.opened.load(Ordering::Relaxed), 2, "all patient ones share the second gather");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_not_asked_again_for_a_scraper_that_came_later() {
    let gatherer = gatherer(ScriptedTarget { open_takes: Duration::from_secs(3600), ..ScriptedTarget::default() });
    let later = async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        gatherer.scrape(vec![0], None, within(10)).await
    };
    let (first, later) = futures::future::join(gatherer.scrape(vec![0], None, within(10)), later).await;
    assert_eq!(first.unwrap().report.reasons, later.unwrap().report.reasons);
    assert_eq!(gatherer.exporter.target.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_and_a_panic_cost_only_their_collectors() {
    let gatherer = gatherer(ScriptedTarget::default());
    let page = page(gatherer.scrape(vec![0, 2, 3], None, within(10)).await.unwrap()).await;
    for sample in [
        "scripted_up 1",
        r#"scripted_exporter_collector_success{collector="quick"} 1"#,
        r#"scripted_exporter_collector_success{collector="failing"} 0"#,
        r#"scripted_exporter_collector_success{collector="panicking"} 0"#,
        // What was read before an error is true all the same.
        r#"scripted_value{collector="failing",when="before"} 1"#,
    ] {
        assert!(has(&page, sample), "{sample} is not in\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_is_down_with_the_reason() {
    let gatherer = gatherer(ScriptedTarget { refuses: true, ..ScriptedTarget::default() });
    let exposition = gatherer.scrape(vec![0], None, within(10)).await.unwrap();
    assert_eq!(exposition.report.status, Verdict::Down);
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
async fn a_service_that_hangs_is_down_by_the_deadline() {
    let gatherer = gatherer(ScriptedTarget { open_takes: Duration::from_secs(3600), ..ScriptedTarget::default() });
    let started = Instant::now();
    let exposition = gatherer.scrape(vec![0], None, within(4)).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(exposition.report.reasons, ["connect: no answer within 4.00 s"]);
}

#[tokio::test(start_paused = true)]
async fn gathers_of_different_targets_are_bounded() {
    let gatherer = gatherer(ScriptedTarget::default());
    let probes = (0..MAX_GATHERS + 3).map(|i| {
        let gatherer = Arc::clone(&gatherer);
        async move { gatherer.probe(&format!("host{i}"), &[], vec![0], FORM, within(1)).await }
    });
    let refused =
        join_all(probes).await.into_iter().filter(|result| matches!(result, Err(GatherError::TooMany))).count();
    assert_eq!(refused, 3);
    let probes = (0..MAX_GATHERS).map(|i| {
        let gatherer = Arc::clone(&gatherer);
        async move { gatherer.probe(&format!("host{i}"), &[], vec![0], FORM, within(1)).await }
    });
    let (_, main) = futures::future::join(join_all(probes), gatherer.scrape(vec![0], None, within(1))).await;
    assert!(main.is_ok(), "a flood of probes does not keep the main target from being scraped");
    assert!(matches!(gatherer.probe("bad", &[], vec![0], FORM, within(1)).await, Err(GatherError::Target(_))));
}

#[test]
fn only_changes_are_logged() {
    let gatherer = gatherer(ScriptedTarget::default());
    let changes = |exposition: &Exposition| {
        gatherer.changes(exposition).into_iter().map(|change| change.subject).collect::<Vec<_>>()
    };
    let exposition = |up, failed: Option<&str>| {
        let collector =
            |name| CollectorOutcome { name, success: failed != Some(name), duration_seconds: 0.0, error: None };
        let report = Report::new("scripted:1".to_owned(), Vec::new(), vec![collector("quick"), collector("failing")]);
        Exposition::new(Snapshot::default(), report, up)
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
        "collect[]=nope: no such collector is enabled; enabled are quick, slow, failing, panicking"
    );
}
