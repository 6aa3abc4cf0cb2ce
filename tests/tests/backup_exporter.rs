//! `backup-exporter` on real directories: what `mysql-backup` leaves of a real MariaDB, and what goes wrong with files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "an unwrap in a test is its report")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use medassist_tests::testbed::{Database, Page, Program, RunningProgram, eventually, http};
use serde_json::Value;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

fn exporter(args: &[String]) -> Program {
    Program::exporter("backup-exporter").args(args)
}

fn job(name: &str, directory: &Path) -> String {
    format!("--backup.job={name}:{}", directory.display())
}

async fn page(exporter: &RunningProgram) -> Page {
    let reply = http::get(&exporter.url("/metrics")).await.unwrap();
    assert_eq!(reply.status, 200);
    Page::parse(&reply.text()).unwrap()
}

async fn health(exporter: &RunningProgram) -> Value {
    http::get(&exporter.url("/health")).await.unwrap().json()
}

/// The status and the reason of a check.
fn check<'a>(health: &'a Value, name: &str) -> (&'a str, &'a str) {
    let check = health["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    let check = check.unwrap_or_else(|| panic!("no check {name} in {health:#}"));
    (check["status"].as_str().unwrap(), check["reason"].as_str().unwrap())
}

/// The names that end so, sorted.
fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    files.sort();
    files
}

fn promtool_complaints(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    [output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// What begins and ends like a gzip of something, last changed so long ago.
fn archive(path: &Path, age: Duration) {
    file(path, b"\x1f\x8b\x08 and so on, to its end", age);
}

fn file(path: &Path, content: &[u8], age: Duration) {
    fs::write(path, content).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

#[tokio::test]
async fn runs_of_the_backup_job_have_their_results() {
    let home = TempDir::new().unwrap();
    let mut db = Database::start().await.unwrap();
    db.sql(
        "CREATE DATABASE app; CREATE TABLE app.payment (id INT PRIMARY KEY); INSERT INTO app.payment VALUES (1);
         CREATE USER backup@'127.0.0.1' IDENTIFIED BY 'secret';
         GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON app.* TO backup@'127.0.0.1'; GRANT SELECT ON mysql.proc TO backup@'127.0.0.1'",
    )
    .unwrap();
    let password = home.path().join("password");
    fs::write(&password, "secret").unwrap();
    let directory = home.path().join("backups");
    fs::create_dir(&directory).unwrap();
    let address = db.address();
    let backup = || {
        Program::new("mysql-backup")
            .arg(format!("--mysql.address={address}"))
            .arg(format!("--mysql.password-file={}", password.display()))
            .arg(format!("--backup.directory={}", directory.display()))
            .arg("--backup.name=app")
            .arg("--backup.databases=app")
            .run(DEADLINE)
    };
    let exporter = exporter(&[job("app", &directory)]).start().await.unwrap();
    let app = [("backup", "app")];

    // A directory without a backup can be read; there is just nothing to restore from.
    let empty = page(&exporter).await;
    empty.expect("backup_up", &[], 1.0).unwrap();
    empty.expect("backup_complete_files", &app, 0.0).unwrap();
    empty.expect("backup_rpo_target_seconds", &app, 1800.0).unwrap();
    assert!(!empty.has("backup_last_recovery_point_timestamp_seconds") && !empty.has("backup_last_run_success"));
    assert_eq!(check(&health(&exporter).await, "recovery_point").0, "fail");

    let started = SystemTime::now();
    let run = backup().await.unwrap();
    assert_eq!(run.code, Some(0), "{run:?}");
    let good = page(&exporter).await;
    let manifest: Value = serde_json::from_slice(&fs::read(&files(&directory, ".manifest.json")[0]).unwrap()).unwrap();
    let size = fs::metadata(&files(&directory, ".sql.zst")[0]).unwrap().len() as f64;
    good.expect("backup_last_run_success", &app, 1.0).unwrap();
    good.expect("backup_complete_files", &app, 1.0).unwrap();
    good.expect("backup_last_size_bytes", &app, size).unwrap();
    good.expect("backup_size_median_bytes", &app, size).unwrap();
    let uncompressed = manifest["file"]["uncompressed_bytes"].as_f64().unwrap();
    good.expect("backup_last_uncompressed_size_bytes", &app, uncompressed).unwrap();
    let recovery_point = good.value("backup_last_recovery_point_timestamp_seconds", &app).unwrap();
    let finished = good.value("backup_last_complete_timestamp_seconds", &app).unwrap();
    assert!(seconds(started) <= recovery_point && recovery_point <= finished && finished <= seconds(SystemTime::now()));
    assert_eq!(good.value("backup_last_run_timestamp_seconds", &app).unwrap(), finished);
    let duration = good.value("backup_last_duration_seconds", &app).unwrap();
    assert!(duration > 0.0 && duration < finished - seconds(started) + 1.0);
    let well = health(&exporter).await;
    assert_eq!(well["status"], "healthy", "{well:#}");

    // The page as its readers want it, with every family that there can be.
    let text = http::get(&exporter.url("/metrics")).await.unwrap().text();
    assert_eq!(promtool_complaints(&text), "");
    let accept = [("accept", "application/openmetrics-text;version=1.0.0")];
    let open_metrics = http::get_with(&exporter.url("/metrics"), &accept).await.unwrap();
    assert!(open_metrics.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(open_metrics.text().ends_with("# EOF\n"));
    for sample in good.matching("backup_last_size_bytes", &[]) {
        assert!(open_metrics.text().contains(&format!("backup_last_size_bytes{{backup=\"app\"}} {}\n", sample.value)));
    }

    // The server is gone: the run fails, and the backup before it stays what it was.
    db.stop().await.unwrap();
    let run = backup().await.unwrap();
    assert_eq!(run.code, Some(1), "{run:?}");
    let failed = page(&exporter).await;
    failed.expect("backup_last_run_success", &app, 0.0).unwrap();
    failed.expect("backup_complete_files", &app, 1.0).unwrap();
    failed.expect("backup_files", &[("backup", "app"), ("state", "failed")], 1.0).unwrap();
    failed.expect("backup_runs", &[("backup", "app"), ("result", "failed")], 1.0).unwrap();
    failed.expect("backup_last_recovery_point_timestamp_seconds", &app, recovery_point).unwrap();
    assert!(failed.value("backup_last_run_timestamp_seconds", &app).unwrap() > finished);
    let degraded = health(&exporter).await;
    assert_eq!(degraded["status"], "degraded");
    let (status, reason) = check(&degraded, "last_run");
    assert!(status == "fail" && reason.contains("server_unreachable"), "{reason}");

    // A truncated file is not a complete backup, even though its manifest is `ok`.
    let stored = &files(&directory, ".sql.zst")[0];
    File::options().write(true).open(stored).unwrap().set_len(10).unwrap();
    let cut = page(&exporter).await;
    cut.expect("backup_complete_files", &app, 0.0).unwrap();
    cut.expect("backup_files", &[("backup", "app"), ("state", "missing")], 1.0).unwrap();
    assert!(!cut.has("backup_last_recovery_point_timestamp_seconds"));
}

#[tokio::test]
async fn a_missing_directory_loses_its_own_series_only() {
    let home = TempDir::new().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    for directory in [&a, &b] {
        fs::create_dir(directory).unwrap();
        archive(&directory.join("x.tar.gz"), Duration::from_secs(120));
    }
    let pattern = |name: &str, directory: &Path| format!("--backup.pattern={name}:{}/*.gz", directory.display());
    let exporter = exporter(&[pattern("a", &a), pattern("b", &b)]).start().await.unwrap();
    let both = page(&exporter).await;
    both.expect("backup_complete_files", &[("backup", "a")], 1.0).unwrap();
    both.expect("backup_complete_files", &[("backup", "b")], 1.0).unwrap();
    assert_eq!(health(&exporter).await["status"], "healthy");

    let aside = home.path().join("aside");
    fs::rename(&a, &aside).unwrap();
    let one = page(&exporter).await;
    one.expect("backup_up", &[], 1.0).unwrap();
    one.expect("backup_scan_success", &[("backup", "a")], 0.0).unwrap();
    one.expect("backup_scan_success", &[("backup", "b")], 1.0).unwrap();
    one.expect("backup_complete_files", &[("backup", "b")], 1.0).unwrap();
    assert!(one.matching("backup_complete_files", &[("backup", "a")]).is_empty());
    // It does not change while the directory is missing.
    let last_success =
        |page: &Page| page.value("backup_scan_last_success_timestamp_seconds", &[("backup", "a")]).unwrap();
    assert!(last_success(&both) <= last_success(&one));
    assert_eq!(last_success(&page(&exporter).await), last_success(&one));
    let degraded = health(&exporter).await;
    assert_eq!(degraded["status"], "degraded");
    let (status, reason) = check(&degraded, "readable");
    assert!(status == "fail" && reason.contains(a.to_str().unwrap()) && reason.contains("No such file"), "{reason}");

    fs::rename(&b, home.path().join("also-aside")).unwrap();
    let none = page(&exporter).await;
    none.expect("backup_up", &[], 0.0).unwrap();
    assert!(!none.has("backup_complete_files"));
    let down = health(&exporter).await;
    assert_eq!(down["status"], "down");
    let (_, reason) = check(&down, "connect");
    assert!(reason.contains(a.to_str().unwrap()) && reason.contains(b.to_str().unwrap()), "{reason}");

    fs::rename(&aside, &a).unwrap();
    let back = page(&exporter).await;
    back.expect("backup_up", &[], 1.0).unwrap();
    back.expect("backup_complete_files", &[("backup", "a")], 1.0).unwrap();
}

#[tokio::test]
async fn a_file_without_a_manifest_counts_when_it_is_no_longer_written_to() {
    let home = TempDir::new().unwrap();
    let pattern = format!("--backup.pattern=app:{}/app-*.tar.gz", home.path().display());
    let exporter = exporter(&[pattern, "--backup.stable-for=2s".to_owned(), "--backup.rpo=app=1h".to_owned()]);
    let exporter = exporter.start().await.unwrap();
    let app = [("backup", "app")];
    archive(&home.path().join("app-1.tar.gz"), Duration::ZERO);
    archive(&home.path().join("app-2.tar.gz.partial"), Duration::from_secs(7200));
    // Two hours ahead by a wrong clock: it must not count as a fresh backup.
    archive(&home.path().join("app-3.tar.gz"), Duration::ZERO);
    let future = File::options().write(true).open(home.path().join("app-3.tar.gz")).unwrap();
    future.set_modified(SystemTime::now() + Duration::from_secs(7200)).unwrap();
    eventually(DEADLINE, "the file is complete", async || {
        page(&exporter).await.expect("backup_complete_files", &app, 1.0)
    })
    .await
    .unwrap();
    let page = page(&exporter).await;
    page.expect("backup_files", &[("backup", "app"), ("state", "future")], 1.0).unwrap();
    page.expect("backup_files", &[("backup", "app"), ("state", "partial")], 1.0).unwrap();
    page.expect("backup_rpo_target_seconds", &app, 3600.0).unwrap();
    assert!(page.value("backup_last_recovery_point_timestamp_seconds", &app).unwrap() <= seconds(SystemTime::now()));
    assert!(!page.has("backup_last_run_success") && !page.has("backup_runs"));
    assert_eq!(check(&health(&exporter).await, "recovery_point").0, "ok");
}

#[tokio::test]
async fn an_archive_of_nothing_is_not_a_backup() {
    let home = TempDir::new().unwrap();
    let pattern = format!("--backup.pattern=app:{}/db-*", home.path().display());
    let exporter = exporter(&[pattern]).start().await.unwrap();
    let app = [("backup", "app")];
    for number in 1..=5 {
        let age = Duration::from_secs(600 * (7 - number));
        file(&home.path().join(format!("db-{number}.sql")), &[b'x'; 40_000], age);
    }
    let nothing = Command::new("sh").args(["-c", "false | gzip"]).output().unwrap().stdout;
    file(&home.path().join("db-6.sql.gz"), &nothing, Duration::from_secs(300));
    let with_nothing = page(&exporter).await;
    with_nothing.expect("backup_complete_files", &app, 5.0).unwrap();
    with_nothing.expect("backup_files", &[("backup", "app"), ("state", "failed")], 1.0).unwrap();
    with_nothing.expect("backup_last_size_bytes", &app, 40_000.0).unwrap();
    // A dump of its header alone has no archive's marks, but next to none of the usual bytes.
    file(&home.path().join("db-7.sql"), b"-- MySQL dump 10.13\n", Duration::from_secs(120));
    let health = health(&exporter).await;
    let (status, reason) = check(&health, "size");
    assert!(status == "fail" && reason.contains("has 20 bytes, the median is 40000"), "{reason}");
}

#[tokio::test]
async fn a_directory_of_a_dump_tool_is_one_backup() {
    let home = TempDir::new().unwrap();
    let pattern = format!("--backup.pattern=app:{}/dump-*", home.path().display());
    let exporter = exporter(&[pattern, "--backup.stable-for=0s".to_owned()]).start().await.unwrap();
    let app = [("backup", "app")];
    let dump = home.path().join("dump-1");
    fs::create_dir(&dump).unwrap();
    fs::write(dump.join("app.payment.sql"), [b'x'; 1000]).unwrap();
    fs::write(dump.join("metadata.partial"), b"# Started dump at: 2026-11-22 18:09:00\n").unwrap();
    let running = page(&exporter).await;
    running.expect("backup_complete_files", &app, 0.0).unwrap();
    running.expect("backup_files", &[("backup", "app"), ("state", "partial")], 1.0).unwrap();
    fs::rename(dump.join("metadata.partial"), dump.join("metadata")).unwrap();
    let finished = page(&exporter).await;
    finished.expect("backup_complete_files", &app, 1.0).unwrap();
    finished.expect("backup_last_size_bytes", &app, 1039.0).unwrap();
}

#[tokio::test]
async fn many_scrapes_at_once_share_one_scan_for_each_backup() {
    let home = TempDir::new().unwrap();
    let original = home.path().join("original");
    archive(&original, Duration::from_secs(120));
    for number in 0..20_000 {
        fs::hard_link(&original, home.path().join(format!("{number}.gz"))).unwrap();
    }
    let exporter = exporter(&[format!("--backup.pattern=app:{}/*.gz", home.path().display())]).start().await.unwrap();
    let url = exporter.url("/metrics");
    let threads = || fs::read_dir(format!("/proc/{}/task", exporter.pid().unwrap())).unwrap().count();
    // One client: making 200 takes longer than the scrapes.
    let client = http::client(0).unwrap();
    let scrapes = (0..200).map(async |_| client.get(&url).timeout(DEADLINE).send().await?.text().await);
    let scrapes = futures::future::join_all(scrapes);
    let watched = async {
        let mut most = 0;
        let mut scrapes = std::pin::pin!(scrapes);
        let pages = loop {
            tokio::select! {
                pages = &mut scrapes => break pages,
                () = tokio::time::sleep(Duration::from_millis(5)) => most = most.max(threads()),
            }
        };
        (most, pages)
    };
    let (most, pages) = watched.await;
    for page in pages {
        let page = Page::parse(&page.unwrap()).unwrap();
        page.expect("backup_complete_files", &[("backup", "app")], 20_000.0).unwrap();
        page.expect("backup_scan_truncated", &[("backup", "app")], 0.0).unwrap();
    }
    // The program's own thread, the scan's, and the four of the toolkit's pool.
    assert!((2..=6).contains(&most), "{most} threads");
}

#[tokio::test]
async fn a_probe_reaches_what_was_configured_and_nothing_else() {
    let home = TempDir::new().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    fs::create_dir(&a).unwrap();
    fs::create_dir(&b).unwrap();
    let exporter = exporter(&[job("a", &a), job("b", &b)]).start().await.unwrap();
    for target in ["a", a.to_str().unwrap()] {
        let reply = http::get(&exporter.url(&format!("/probe?target={target}"))).await.unwrap();
        assert_eq!(reply.status, 200);
        let page = Page::parse(&reply.text()).unwrap();
        page.expect("backup_up", &[], 1.0).unwrap();
        assert_eq!(page.matching("backup_complete_files", &[]).len(), 1);
    }
    let traversal = format!("{}/../b", a.display());
    for target in ["/etc", "", ".", &traversal, &format!("{}/", a.display()), "%00", "a%0a"] {
        let reply = http::get(&exporter.url(&format!("/probe?target={target}"))).await.unwrap();
        assert_eq!(reply.status, 400, "{target}: {}", reply.text());
    }
}

#[tokio::test]
async fn wrong_flags_stop_the_start_with_one_line() {
    for (args, reason) in [
        (&[][..], "no backup is configured: give --backup.job"),
        (&["--backup.job=/var/backups"], "--backup.job=/var/backups: NAME:DIRECTORY is expected"),
        (&["--backup.job=a:/x", "--backup.rpo=soon"], "--backup.rpo=soon: expected a duration"),
        (&["--backup.job=a:/x", "--backup.stable-for=-1s"], "--backup.stable-for=-1s: expected a duration"),
        (&["--backup.pattern=a:/x*/y"], "--backup.pattern=a:/x*/y: wildcards are allowed in the file's name only"),
    ] {
        let finished = exporter(&[]).args(args).run(DEADLINE).await.unwrap();
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.starts_with(&format!("backup-exporter: {reason}")), "{}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    }
}

#[tokio::test]
async fn environment_variables_replace_flags() {
    let home = TempDir::new().unwrap();
    let jobs = format!("a:{0},b:{0}", home.path().display());
    let exporter = exporter(&[]).env("BACKUP_EXPORTER_BACKUP_JOB", jobs).start().await.unwrap();
    assert_eq!(page(&exporter).await.matching("backup_scan_success", &[]).len(), 2);
}

#[tokio::test]
async fn the_table_of_metrics_is_current() {
    let printed = exporter(&[]).arg("--print-metrics").run(DEADLINE).await.unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../exporters/backup/METRICS.md");
    let committed = fs::read_to_string(committed).unwrap();
    assert!(
        printed.stdout == committed,
        "exporters/backup/METRICS.md is not what `backup-exporter --print-metrics` prints"
    );
}
