//! The suite end to end: the local stack exactly as `make up` runs it, in a directory and on ports of its own.
#![allow(clippy::print_stdout, reason = "the seconds that it took are worth a line")]
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use medassist_stack::{SERVICES, ports, service, services};
use medassist_tests::testbed::{LocalStack, Page, Port, eventually, http};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

/// A stack of ours.
struct Stack(LocalStack);

impl Deref for Stack {
    type Target = LocalStack;
    fn deref(&self) -> &LocalStack {
        &self.0
    }
}

impl Stack {
    fn new() -> Self {
        Self(LocalStack::new().unwrap())
    }

    fn run(&self, args: &[&str]) -> Output {
        self.0.run(args).unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    fn must(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "stack {args:?}: {stdout}{stderr}");
        stdout
    }

    fn url(&self, name: &str, path: &str) -> String {
        self.0.url(name, path).unwrap()
    }

    /// Service to process id.
    fn pids(&self) -> BTreeMap<String, u32> {
        let files = SERVICES.iter().map(|service| (service.name, self.layout().run(&format!("{}.pid", service.name))));
        let pid = |file: &Path| std::fs::read_to_string(file).ok()?.split(' ').next()?.parse().ok();
        files.filter_map(|(name, file)| Some((name.to_owned(), pid(&file)?))).collect()
    }

    /// The newest record that the API has of an alert.
    async fn notified(&self, alert: &str, instance: &str, status: &str) -> Result<(), String> {
        let url = self.url("haproxy", "/api/alerts");
        let reply = http::get(&url).await.map_err(|error| error.to_string())?;
        let body = reply.json();
        let alerts = body.as_array().or_else(|| body["alerts"].as_array()).cloned().unwrap_or_default();
        let wanted = |stored: &&Value| {
            stored["labels"]["alertname"] == alert && (instance.is_empty() || stored["labels"]["instance"] == instance)
        };
        match alerts.iter().find(wanted) {
            Some(stored) if stored["status"] == status => Ok(()),
            Some(stored) => Err(stored["status"].to_string()),
            None => Err(format!("{} {}", reply.status, reply.text())),
        }
    }

    async fn fires(&self, alert: &str) -> Result<(), String> {
        let url = services::prometheus_url(self.layout(), "/api/v1/alerts");
        let body = http::get(&url).await.map_err(|error| error.to_string())?.json();
        let alerts = body["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let fires = |fired: &Value| fired["labels"]["alertname"] == alert && fired["state"] == "firing";
        if alerts.iter().any(fires) { Ok(()) } else { Err(body["data"]["alerts"].to_string()) }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Clients that ask without a pause of more than a few milliseconds, half of them writing.
struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    bad: Arc<Mutex<Vec<String>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(stack: &Stack) -> Self {
        let (stop, good, bad) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Self { stop, good, bad, clients: Vec::new() };
        for number in 0..8 {
            let (stop, good, bad) = (Arc::clone(&load.stop), Arc::clone(&load.good), Arc::clone(&load.bad));
            let (health, payment) = (stack.url("haproxy", "/health"), stack.url("haproxy", "/api/payment"));
            let client = http::client(1).unwrap();
            load.clients.push(tokio::spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let request = if number % 2 == 0 {
                        client.get(&health)
                    } else {
                        let body = json!({"consultation_id": "load", "amount_cents": 100, "currency": "EUR"});
                        client.post(&payment).header("idempotency-key", format!("{number}-{round}")).json(&body)
                    };
                    match request.timeout(10 * SECOND).send().await {
                        Ok(reply) if reply.status().is_success() => {
                            // Read to the end, for the connection to be kept.
                            let _ = reply.bytes().await;
                            good.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(reply) => bad.lock().unwrap().push(reply.status().to_string()),
                        Err(error) => bad.lock().unwrap().push(format!("{error:?}")),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }));
        }
        load
    }

    async fn answered(&self, more: usize) {
        let wanted = self.good.load(Ordering::SeqCst) + more;
        eventually(30 * SECOND, "the load is answered", async || {
            let good = self.good.load(Ordering::SeqCst);
            if good >= wanted { Ok(()) } else { Err(format!("{good} of {wanted}")) }
        })
        .await
        .unwrap();
    }

    /// No request may have failed; returns how many there were.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
        let (good, bad) = (self.good.load(Ordering::SeqCst), self.bad.lock().unwrap());
        assert!(bad.is_empty(), "{} of {} requests failed: {bad:?}", bad.len(), good + bad.len());
        good
    }
}

#[tokio::test]
async fn the_suite_runs_and_reports_failures() {
    let stack = Stack::new();
    let begin = Instant::now();
    stack.must(&["up"]);
    println!("up, every target UP: {:.1?}", begin.elapsed());
    stack.must(&["status"]);

    one_replica_hangs_under_load(&stack).await;
    one_replica_is_killed_under_load(&stack).await;
    the_database_is_stopped_and_the_backup_fails(&stack).await;

    // A second `up` is harmless.
    let before = stack.pids();
    assert_eq!(before.len(), SERVICES.len());
    stack.must(&["up"]);
    assert_eq!(stack.pids(), before);

    stack.must(&["down"]);
    let status = stack.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(text(&status.stdout).matches(" stopped ").count(), SERVICES.len());
    let left: Vec<String> = in_sessions(&before.into_values().collect());
    assert!(left.is_empty(), "still there: {left:?}");
}

/// What HAProxy's checks say.
async fn server_is(stack: &Stack, server: &str, state: &str) {
    let stats = format!("http://127.0.0.1:{}/metrics", stack.layout().port(18404));
    let labels = [("proxy", "be_api"), ("server", server), ("state", state)];
    eventually(20 * SECOND, &format!("{server} is {state} at HAProxy"), async || {
        Page::parse(&http::get(&stats).await?.text())?.expect("haproxy_server_status", &labels, 1.0)
    })
    .await
    .unwrap();
}

async fn one_replica_hangs_under_load(stack: &Stack) {
    let load = Load::start(stack);
    load.answered(200).await;
    stack.must(&["pause", "api3"]);
    server_is(stack, "api3", "DOWN").await;
    load.answered(500).await;
    stack.must(&["resume", "api3"]);
    server_is(stack, "api3", "UP").await;
    println!("one replica hung: {} requests and none failed", load.stop().await);
}

async fn one_replica_is_killed_under_load(stack: &Stack) {
    let load = Load::start(stack);
    load.answered(200).await;
    let begin = Instant::now();
    stack.must(&["kill", "api2"]);
    server_is(stack, "api2", "DOWN").await;
    load.answered(500).await;
    let good = load.stop().await;

    let told = "the API is told that api2 is down";
    eventually(90 * SECOND, told, async || stack.notified("ApiInstanceDown", "api2", "firing").await).await.unwrap();
    println!("ApiInstanceDown: {:.1?} after the kill, {good} requests and none failed", begin.elapsed());
    the_links_of_an_alert_open(stack, "ApiInstanceDown").await;

    let begin = Instant::now();
    stack.must(&["start", "api2"]);
    let told = "the API is told that api2 is back";
    eventually(90 * SECOND, told, async || stack.notified("ApiInstanceDown", "api2", "resolved").await).await.unwrap();
    println!("resolved: {:.1?} after the start", begin.elapsed());
}

async fn the_links_of_an_alert_open(stack: &Stack, name: &str) {
    let alerts = http::get(&stack.url("haproxy", "/api/alerts")).await.unwrap().json();
    let alerts = alerts.as_array().or_else(|| alerts["alerts"].as_array()).unwrap();
    let alert = alerts.iter().find(|alert| alert["labels"]["alertname"] == name).unwrap();
    assert!(alert["labels"].get("links").is_none(), "{alert}");
    let links = format!("http://127.0.0.1:{}", stack.layout().port(18001));
    let runbook = alert["annotations"]["runbook_url"].as_str().unwrap();
    assert_eq!(runbook, format!("{links}/runbooks/{name}.md"));
    assert!(alert["annotations"]["dashboard_url"].as_str().unwrap().starts_with(&format!("{links}/d/medassist-")));
    let page = http::get(runbook).await.unwrap();
    assert_eq!((page.status, page.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(page.text().starts_with(&format!("# {name}\n")));
    // Nothing else of the checkout is served.
    for path in ["/README.md", "/runbooks/../README.md", "/d/../../README.md", "/d/none"] {
        assert_eq!(http::get(&format!("{links}{path}")).await.unwrap().status, 404, "{path}");
    }
}

async fn the_database_is_stopped_and_the_backup_fails(stack: &Stack) {
    let backups = || -> BTreeSet<String> {
        let entries = std::fs::read_dir(stack.layout().data("backups")).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    // The schedule's first run ended well before Prometheus had scraped everything, or we would compare with its half.
    let complete = |names: &BTreeSet<String>| names.iter().filter(|name| name.ends_with(".sql.zst")).count();
    eventually(30 * SECOND, "the first backup", async || match complete(&backups()) {
        0 => Err("none"),
        _ => Ok(()),
    })
    .await
    .unwrap();
    let before = backups();

    stack.must(&["stop", "mysql"]);
    let begin = Instant::now();
    let failed = stack.run(&["backup"]);
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed.stderr));
    let new: Vec<String> = backups().difference(&before).cloned().collect();
    assert!(new.iter().all(|name| name.ends_with(".manifest.json")), "this looks like a backup: {new:?}");

    let fires = "MysqlBackupFailed and MysqlDown fire";
    eventually(90 * SECOND, fires, async || {
        stack.fires("MysqlBackupFailed").await?;
        stack.fires("MysqlDown").await
    })
    .await
    .unwrap();
    println!("MysqlBackupFailed and MysqlDown fire: {:.1?} after the stop", begin.elapsed());

    // It could not be stored without the database; Alertmanager tries until it is.
    stack.must(&["start", "mysql"]);
    let told = "the API is told that the backup failed";
    eventually(90 * SECOND, told, async || stack.notified("MysqlBackupFailed", "", "firing").await).await.unwrap();
}

/// What lives in one of these sessions: a service or what it started.
fn in_sessions(sessions: &BTreeSet<u32>) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let lives_in = |stat: &String| {
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(sessions.contains(&fields.get(3)?.parse().ok()?) && *fields.first()? != "Z")
    };
    stats.filter(|stat| lives_in(stat).unwrap_or_default()).collect()
}

#[test]
fn a_busy_port_stops_the_start_and_names_who_has_it() {
    let stack = Stack::new();
    let port = service("redis").unwrap().port(stack.layout());
    let _busy = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let output = stack.run(&["up"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("port {port} of redis is held by ");
    assert!(error.contains(&expected) && error.contains(&format!("(process {})", std::process::id())), "{error}");
    assert!(stack.pids().is_empty());
}

#[test]
fn a_busy_port_names_its_holder() {
    let leased = Port::lease().unwrap();
    let port = leased.number();
    let listener = std::net::TcpListener::bind(leased.address()).unwrap();
    assert!(!ports::is_free(port));
    let holding = ports::holder(port).unwrap();
    assert!(holding.ends_with(&format!("(process {})", std::process::id())), "{holding}");
    drop(listener);
    assert!(ports::is_free(port));
    assert_eq!(ports::holder(port), None);
}
