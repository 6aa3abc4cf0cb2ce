//! The faults of an exporter's author, on the whole program: what they cost, and what is said about them. The rows of
//! the table in README.md.

#![expect(clippy::expect_used, reason = "a failed test panics")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// For what must come. No test passes by reaching it.
const LIMIT: Duration = Duration::from_secs(60);

/// cargo builds examples next to the tests.
fn program() -> Command {
    let test = std::env::current_exe().expect("the test's path");
    let target: PathBuf = test.ancestors().nth(2).expect("the target directory").to_owned();
    Command::new(target.join("examples/faulty-exporter"))
}

struct Exporter {
    child: Child,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Exporter {
    fn start(args: &[&str]) -> Self {
        let mut child = program()
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example runs");
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let reader = Arc::clone(&log);
        std::thread::spawn(move || {
            while let Some(Ok(line)) = lines.next() {
                reader.lock().expect("the log").push(line);
            }
        });
        let mut exporter = Self { child, address: String::new(), log };
        let started = exporter.logged("\"started\"");
        let (_, listen) = started.split_once("127.0.0.1:").expect("the address");
        let port: String = listen.chars().take_while(char::is_ascii_digit).collect();
        exporter.address = format!("127.0.0.1:{port}");
        exporter
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().expect("the log").clone()
    }

    /// The first log line with this text.
    fn logged(&self, text: &str) -> String {
        let started = Instant::now();
        loop {
            if let Some(line) = self.lines().into_iter().find(|line| line.contains(text)) {
                return line;
            }
            assert!(started.elapsed() < LIMIT, "{text:?} is not in the log: {:#?}", self.lines());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Status line and body.
    fn get(&self, path: &str, timeout: f64) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let address = &self.address;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nX-Prometheus-Scrape-Timeout-Seconds: {timeout}\r\nConnection: close\r\n\r\n"
        )
        .expect("a request");
        let mut response = Vec::new();
        stream.read_to_end(&mut response).expect("a response");
        let response = String::from_utf8_lossy(&response).into_owned();
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    fn page(&self) -> String {
        let (status, page) = self.get("/metrics", 10.0);
        assert_eq!(status, "HTTP/1.1 200 OK", "{page}");
        page
    }

    fn health(&self) -> String {
        self.get("/health", 10.0).1
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            assert!(started.elapsed() < LIMIT, "it does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn has(page: &str, sample: &str) {
    let shown = || page.lines().filter(|line| !line.starts_with("faulty_many")).collect::<Vec<_>>().join("\n");
    assert!(page.lines().any(|line| line == sample), "{sample} is not in\n{}", shown());
}

#[track_caller]
fn has_not(page: &str, text: &str) {
    assert!(!page.contains(text), "{text} is in\n{}", page.get(..5000).unwrap_or(page));
}

/// The exporter does not start. One line says why.
#[track_caller]
fn refused(command: &mut Command, reason: &str) {
    let Output { status, stdout, stderr } = command.output().expect("the example runs");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stdout.is_empty());
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(reason), "{stderr}");
}

#[test]
fn a_collector_that_blocks_its_thread_costs_itself_only() {
    for fault in ["blocks", "parses"] {
        let mut exporter = Exporter::start(&["--faulty.seconds=40", &format!("--faulty.collector={fault}")]);
        let started = Instant::now();
        std::thread::scope(|scope| {
            let scrape = scope.spawn(|| exporter.get("/metrics", 3.0).1);
            exporter.logged("collector blocks its thread");
            // While the scrape still waits.
            assert_eq!(exporter.get("/-/healthy", 1.0).1, "healthy\n");
            let probe = exporter.get("/probe?target=other:1&fault=none", 2.0).1;
            has(&probe, r#"faulty_exporter_collector_success{collector="fault"} 1"#);
            let page = scrape.join().expect("a page");
            has(&page, r#"faulty_exporter_collector_success{collector="fault"} 0"#);
            has(&page, r#"faulty_exporter_collector_success{collector="sound"} 1"#);
            has(&page, "faulty_sound 1");
            has_not(&page, "faulty_before");
        });
        let next = exporter.get("/metrics", 3.0).1;
        has(&next, r#"faulty_exporter_collector_success{collector="fault"} 0"#);
        has(&next, "faulty_sound 1");
        let health = exporter.health();
        assert!(health.contains("collector fault: still running since a scrape "), "{health}");
        assert!(started.elapsed() < Duration::from_secs(40), "the fault has ended, and nothing was tested");
        let line = exporter.logged("collector blocks its thread");
        assert!(line.contains(r#""collector":"fault""#) && line.contains(r#""target":"main:1""#), "{line}");
        let pid = exporter.child.id().to_string();
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").count();
        assert!(threads <= 10, "{threads} threads");
        assert!(Command::new("kill").arg(&pid).status().expect("a signal").success());
        assert!(exporter.wait().success());
        assert!(started.elapsed() < Duration::from_secs(40), "it waited for the fault");
    }
}

#[test]
fn a_success_after_the_deadline_is_a_failure_and_the_next_one_counts() {
    let exporter = Exporter::start(&["--faulty.seconds=2", "--faulty.collector=blocks"]);
    let page = exporter.get("/metrics", 1.0).1;
    has(&page, r#"faulty_exporter_collector_success{collector="fault"} 0"#);
    exporter.logged("blocked thread ended");
    let page = exporter.get("/metrics", 30.0).1;
    has(&page, r#"faulty_exporter_collector_success{collector="fault"} 1"#);
    has(&page, "faulty_before 1");
}

#[test]
fn a_target_that_blocks_while_it_opens_is_down_by_the_deadline() {
    let exporter = Exporter::start(&["--faulty.seconds=40", "--faulty.collector=open-blocks"]);
    has(&exporter.get("/metrics", 1.0).1, "faulty_up 0");
    let health = exporter.get("/health", 1.0).1;
    assert!(health.contains("connect: still running since a scrape "), "{health}");
    exporter.logged("collector blocks its thread");
    has(&exporter.get("/probe?target=other:1", 2.0).1, "faulty_up 1");
}

#[test]
fn blocking_probes_do_not_pile_up_and_leave_the_main_target_alone() {
    let exporter = Exporter::start(&["--faulty.seconds=40"]);
    std::thread::scope(|scope| {
        for number in 0..10 {
            let exporter = &exporter;
            scope.spawn(move || exporter.get(&format!("/probe?target=h{number}&fault=blocks"), 1.0));
        }
    });
    let (status, reason) = exporter.get("/probe?target=next&fault=blocks", 1.0);
    assert_eq!(
        (status.as_str(), reason.contains("block too many threads")),
        ("HTTP/1.1 503 Service Unavailable", true)
    );
    has(&exporter.page(), r#"faulty_exporter_collector_success{collector="fault"} 1"#);
}

#[test]
fn a_panic_is_one_structured_line_and_its_text_is_the_reason() {
    let exporter = Exporter::start(&["--faulty.collector=panics"]);
    for _ in 0..5 {
        let page = exporter.page();
        has(&page, r#"faulty_exporter_collector_success{collector="fault"} 0"#);
        has(&page, "faulty_sound 1");
    }
    let health = exporter.health();
    assert!(
        health.contains("faulty-exporter.rs:") && health.contains(": no such row (a bug in the exporter)"),
        "{health}"
    );
    exporter.logged("collector failing");
    let lines = exporter.lines();
    assert!(lines.iter().all(|line| line.starts_with('{')), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("RUST_BACKTRACE") || line.contains("\"stack\"")).count(), 1);
    let (status, body) = exporter.get("/probe?target=panic", 1.0);
    assert_eq!(status, "HTTP/1.1 500 Internal Server Error");
    assert!(body.contains("no such target"), "{body}");
    let probe = exporter.get("/probe?target=other&fault=open-panics", 1.0).1;
    has(&probe, "faulty_up 0");
}

/// Fault, sample that is there, text that is not, number of dropped samples by reason, reason in `/health`.
#[test]
fn what_a_collector_may_not_write_is_dropped_counted_and_told_on_the_same_page() {
    for (fault, present, absent, dropped, reason) in [
        ("declares-twice", r#"faulty_g{l="1"} 1"#, "l=\"2\"", ("invalid", 2), "the family is declared twice"),
        ("series", "faulty_x_count 3", " 7\n", ("invalid", 4), "the name is a series of the family faulty_x"),
        ("own", "faulty_up 1", " 42\n", ("invalid", 3), "the exporter itself exports a family of this name"),
    ] {
        let exporter = Exporter::start(&[&format!("--faulty.collector={fault}")]);
        let page = exporter.page();
        has(&page, present);
        has_not(&page, absent);
        has_not(&page, "0.5");
        let (counted, number) = dropped;
        has(
            &page,
            &format!(r#"faulty_exporter_dropped_samples_total{{collector="fault",reason="{counted}"}} {number}"#),
        );
        has(&page, r#"faulty_exporter_dropped_samples_total{collector="sound",reason="invalid"} 0"#);
        has(&page, r#"faulty_exporter_collector_success{collector="fault"} 0"#);
        has(&page, "faulty_before 1");
        let health = exporter.health();
        assert!(health.contains(reason), "{health}");
        let line = exporter.logged("samples dropped");
        assert!(line.contains(r#""collector":"fault""#) && line.contains("faulty_"), "{line}");
        // Once, whatever the number of scrapes.
        let before = exporter.lines().iter().filter(|line| line.contains("samples dropped")).count();
        exporter.page();
        let after = exporter.lines().iter().filter(|line| line.contains("samples dropped")).count();
        assert_eq!(before, after);
    }
}

#[test]
fn a_bad_row_does_not_fail_its_collector_and_no_label_value_is_logged() {
    for (fault, number, reasons) in [
        ("counters", 2, ["faulty_nan_total", "a counter is NaN or negative"].as_slice()),
        ("names", 3, &["a-b", "the family's name is invalid", "2 label values for 1 labels"]),
    ] {
        let exporter = Exporter::start(&[&format!("--faulty.collector={fault}")]);
        let page = exporter.page();
        has(&page, r#"faulty_exporter_collector_success{collector="fault"} 1"#);
        has(&page, &format!(r#"faulty_exporter_dropped_samples_total{{collector="fault",reason="invalid"}} {number}"#));
        for reason in reasons {
            exporter.logged(reason);
        }
        assert!(exporter.lines().iter().all(|line| !line.contains("secret")));
    }
}

#[test]
fn a_page_has_bounds_in_samples_families_and_bytes() {
    for (fault, flag, family, limit) in [
        ("samples", "--scrape.sample-limit=1000", "faulty_many", "the limit of 1000 samples"),
        ("samples", "--scrape.memory-limit=4", "faulty_many", "its share of 3 MiB"),
        ("families", "--scrape.memory-limit=8", "further families", "its share of 6 MiB"),
        ("bytes", "--scrape.memory-limit=32", "faulty_large", "its share of 24 MiB"),
    ] {
        let exporter = Exporter::start(&[flag, &format!("--faulty.collector={fault}")]);
        let page = exporter.page();
        has(&page, r#"faulty_exporter_collector_success{collector="fault"} 0"#);
        has(&page, "faulty_sound 1");
        has(&page, r#"faulty_health_status{status="degraded"} 1"#);
        let line = exporter.logged("samples dropped");
        assert!(line.contains(limit) && line.contains(family) && line.contains("raise --scrape."), "{line}");
        let counter = r#"faulty_exporter_dropped_samples_total{collector="fault",reason="limit"} "#;
        let count = page.lines().find_map(|line| line.strip_prefix(counter)).expect("the counter");
        assert!(count.parse::<u64>().expect("a number") > 0);
        let health = exporter.health();
        assert!(health.contains("collector fault: incomplete: "), "{health}");
    }
}

#[test]
fn a_large_family_is_complete_by_default() {
    // 200,000 of one family; ten of them would be 2 million.
    let exporter = Exporter::start(&["--faulty.collector=samples"]);
    let page = exporter.page();
    assert_eq!(page.lines().filter(|line| line.starts_with("faulty_many{")).count(), 200_000);
    has(&page, r#"faulty_exporter_collector_success{collector="fault"} 1"#);
}

#[test]
fn a_mistake_in_the_exporter_stops_the_start_with_one_line() {
    refused(program().arg("--faulty.start=panics"), "faulty-exporter: panicked at ");
    refused(program().arg("--faulty.start=panics"), ": no start (a bug in the exporter)");
    refused(program().env("FAULTY_NAME", "twice"), "collector sound: two collectors have this name");
    refused(program().env("FAULTY_NAME", "odd"), r#"collector "My Col": the name is invalid"#);
    refused(program().env("FAULTY_NAME", "own-family"), "the toolkit itself exports faulty_up");
}

#[test]
fn version_and_revision_are_those_of_the_exporters_crate() {
    let version = program().arg("--version").output().expect("the example runs");
    assert_eq!(String::from_utf8_lossy(&version.stdout), "faulty-exporter 2.3.4 (revision 0123abc)\n");
    // Its own fields have the names of shared flags, which are spelled with one dash here.
    let exporter = Exporter::start(&["-web.telemetry-path=/other", "-log.level=debug"]);
    has(&exporter.get("/other", 10.0).1, r#"faulty_exporter_build_info{version="2.3.4",revision="0123abc"} 1"#);
    assert!(exporter.get("/", 1.0).1.contains("Version 2.3.4, revision 0123abc."));
    let line = exporter.logged("\"started\"");
    assert!(line.contains(r#""version":"2.3.4""#) && line.contains(r#""revision":"0123abc""#), "{line}");
}
