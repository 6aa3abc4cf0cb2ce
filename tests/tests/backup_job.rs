//! `mysql-backup` against a real MariaDB: what it leaves when all goes well, and when it doesn't.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use medassist_tests::testbed::program::Finished;
use medassist_tests::testbed::{Database, Page, Port, Program, Pushgateway, eventually, http};
use mysql_async::prelude::Queryable;
use serde_json::Value;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

/// All that an option file or a shell could trip over.
const PASSWORD: &str = r#"p"a's\s#s;w o$rd`%"#;

/// Exactly the grants in README.md.
const GRANTS: &str = "
    GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON medassist.* TO backup@'127.0.0.1';
    GRANT SELECT ON mysql.* TO backup@'127.0.0.1';
";

/// One of each kind, and contents that look like statements of a dump.
const SCHEMA: &str = r"
    CREATE DATABASE medassist CHARACTER SET utf8mb4;
    USE medassist;
    CREATE TABLE account (id INT PRIMARY KEY, note TEXT, secret BLOB);
    INSERT INTO account VALUES (1, 'naïve 🩺\nCREATE TABLE `fake` (\n-- Dump completed', x'00ff0a27'), (2, NULL, '');
    CREATE TABLE `od``d (name` (n INT PRIMARY KEY AUTO_INCREMENT, FOREIGN KEY (n) REFERENCES account (id));
    CREATE TABLE payment (id BIGINT PRIMARY KEY AUTO_INCREMENT, account INT NOT NULL, cents INT NOT NULL);
    INSERT INTO payment (account, cents) SELECT 1 + seq % 2, seq FROM seq_1_to_5000;
    CREATE SEQUENCE ticket START WITH 7;
    CREATE VIEW balance AS SELECT account, SUM(cents) AS cents FROM payment GROUP BY account;
    CREATE TRIGGER no_debt BEFORE INSERT ON payment FOR EACH ROW SET NEW.cents = GREATEST(NEW.cents, 0);
    CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n;
    CREATE PROCEDURE settle() UPDATE payment SET cents = 0;
    CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM payment WHERE cents = 0;
";

/// A server with something to save, and a directory to save it in.
struct Site {
    db: Database,
    home: TempDir,
}

impl Site {
    async fn new() -> Self {
        Self::with_grants(GRANTS).await
    }

    async fn with_grants(grants: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let db = Database::start().await.unwrap();
        db.sql(SCHEMA).unwrap();
        let quoted = PASSWORD.replace('\\', r"\\").replace('\'', "''");
        db.sql(&format!("CREATE USER backup@'127.0.0.1' IDENTIFIED BY '{quoted}'; {grants}")).unwrap();
        std::fs::create_dir(home.path().join("backups")).unwrap();
        std::fs::write(home.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        Self { db, home }
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("backups")
    }

    fn job(&self) -> Program {
        let credentials = self.home.path().join("temporary");
        std::fs::create_dir_all(&credentials).unwrap();
        Program::new("mysql-backup")
            .env("TMPDIR", credentials)
            .arg(format!("--mysql.address={}", self.db.address()))
            .arg("--mysql.user=backup")
            .arg(format!("--mysql.password-file={}", self.home.path().join("password").display()))
            .arg(format!("--backup.directory={}", self.directory().display()))
            .arg("--backup.name=nightly")
            .arg("--backup.databases=medassist")
    }

    async fn run(&self) -> Finished {
        self.job().run(DEADLINE).await.unwrap()
    }

    /// What the directory holds but hidden files, sorted.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    fn manifests(&self) -> Vec<Value> {
        self.files()
            .iter()
            .filter(|name| name.ends_with(".manifest.json"))
            .map(|name| serde_json::from_slice(&std::fs::read(self.directory().join(name)).unwrap()).unwrap())
            .collect()
    }

    /// The only manifest, of a run that failed and left nothing else, not even a login.
    fn failure(&self) -> Value {
        let files = self.files();
        assert!(files.len() == 1 && files[0].ends_with(".manifest.json"), "{files:?}");
        assert_eq!(std::fs::read_dir(self.home.path().join("temporary")).unwrap().count(), 0);
        let manifest = self.manifests().remove(0);
        assert_eq!(manifest["result"], "failed");
        manifest
    }

    /// Holds a table, so that a dump starts, and then waits at it until the connection is closed.
    async fn hold(&self, table: &str) -> mysql_async::Conn {
        let url = format!("mysql://root@{}/medassist?prefer_socket=false", self.db.address());
        let mut connection = mysql_async::Conn::from_url(url).await.unwrap();
        connection.query_drop(format!("LOCK TABLES {table} WRITE")).await.unwrap();
        connection
    }

    async fn dump_is_waiting(&self) {
        self.sessions_of_the_job("AND STATE LIKE 'Waiting for table metadata lock%'", "1").await;
    }

    async fn sessions_of_the_job(&self, condition: &str, count: &str) {
        let query = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'backup' {condition}");
        eventually(DEADLINE, "the dump has reached the expected state", async || {
            match self.db.sql(&query).unwrap().trim() {
                seen if seen == count => Ok(()),
                seen => Err(format!("{seen} of its sessions {condition}, not {count}")),
            }
        })
        .await
        .unwrap();
    }
}

fn shell(script: &str, arguments: &[&Path]) -> String {
    let output =
        Command::new("bash").args(["-euo", "pipefail", "-c", script, "bash"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_good_run_leaves_a_backup_that_restores_to_the_same() {
    let site = Site::new().await;
    let finished = site.run().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("backup complete"), "{}", finished.stderr);

    let files = site.files();
    assert_eq!(files.len(), 2, "{files:?}");
    let manifest = &site.manifests()[0];
    assert_eq!(manifest["result"], "ok");
    assert_eq!(manifest["server"]["flavour"], "mariadb");
    assert_eq!(
        manifest["databases"],
        serde_json::json!([{
            "name": "medassist", "tables": 4, "views": 1, "triggers": 1, "routines": 2, "events": 1, "rows": 5002,
            "contents": [
                { "table": "account", "rows": 2, "sha256": manifest["databases"][0]["contents"][0]["sha256"] },
                { "table": "od`d (name", "rows": 0 },
                { "table": "payment", "rows": 5000, "sha256": manifest["databases"][0]["contents"][2]["sha256"] },
            ],
        }])
    );
    let file = &manifest["file"];
    let path = site.directory().join(file["name"].as_str().unwrap());
    let metadata = path.metadata().unwrap();
    assert_eq!(metadata.len(), file["stored_bytes"].as_u64().unwrap());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(shell(r#"sha256sum < "$1""#, &[&path]).split(' ').next(), file["sha256"].as_str());
    assert_eq!(shell(r#"zstd -dc "$1" | wc -c"#, &[&path]).trim(), file["uncompressed_bytes"].to_string());
    assert!(!std::fs::read_to_string(site.directory().join(&files[0])).unwrap().contains("p\\\"a"), "no password");

    let other = Database::start().await.unwrap();
    shell(r#"zstd -dc "$1" | mariadb --no-defaults --user=root --socket="$2""#, &[&path, other.socket()]);
    for query in [
        "CHECKSUM TABLE medassist.account, medassist.payment, medassist.`od``d (name`",
        "SELECT COUNT(*), SUM(cents) FROM medassist.payment",
        "SELECT * FROM medassist.balance",
        "SELECT HEX(secret), note FROM medassist.account",
        "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'medassist' ORDER BY 1",
        "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'medassist'",
        "SELECT ROUTINE_NAME, ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'medassist' ORDER BY 1",
        "SELECT EVENT_NAME, EVENT_DEFINITION FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'medassist'",
        "SELECT NEXT VALUE FOR medassist.ticket",
    ] {
        let saved = site.db.sql(query).unwrap();
        assert!(!saved.trim().is_empty(), "{query}");
        assert_eq!(other.sql(query).unwrap(), saved, "{query}");
    }
}

#[tokio::test]
async fn a_stopped_server_makes_a_failed_run_and_nothing_like_a_backup() {
    let mut site = Site::new().await;
    site.db.stop().await.unwrap();
    let finished = site.run().await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("reason=server_unreachable"), "{}", finished.stderr);
    assert_eq!(site.failure()["reason"], "server_unreachable");

    // A failure costs nothing that was there, and the next good run is one.
    site.db.restart().await.unwrap();
    let finished = site.run().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let results: Vec<Value> = site.manifests().iter().map(|manifest| manifest["result"].clone()).collect();
    assert_eq!(results, ["failed", "ok"]);
}

#[tokio::test]
async fn a_server_that_hangs_ends_at_the_deadline() {
    let site = Site::new().await;
    site.db.pause().unwrap();
    let finished = site.job().arg("--backup.timeout=1s").run(DEADLINE).await.unwrap();
    site.db.resume().unwrap();
    assert_eq!(finished.code, Some(1));
    assert_eq!(site.failure()["reason"], "timeout");
}

#[tokio::test]
async fn a_dump_that_hangs_is_killed_at_the_deadline() {
    let site = Site::new().await;
    let held = site.hold("payment").await;
    let finished = site.job().arg("--backup.timeout=2s").run(DEADLINE).await.unwrap();
    assert_eq!(finished.code, Some(1));
    assert_eq!(site.failure()["reason"], "timeout");
    held.disconnect().await.unwrap();
    site.sessions_of_the_job("", "0").await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_as_such() {
    let site = Site::new().await;
    std::fs::write(site.home.path().join("password"), "guessed").unwrap();
    let finished = site.run().await;
    assert_eq!(finished.code, Some(1));
    assert_eq!(site.failure()["reason"], "access_denied");
    assert!(!finished.stderr.contains("guessed"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_user_who_would_miss_objects_is_refused_before_the_dump() {
    for (lacking, name) in [
        (GRANTS.replace("TRIGGER, ", ""), "TRIGGER ON `medassist`.*"),
        (GRANTS.replace("SHOW VIEW, ", ""), "SHOW VIEW ON `medassist`.*"),
        (GRANTS.replace(", EVENT", ""), "EVENT ON `medassist`.*"),
        (GRANTS.lines().filter(|line| !line.contains("mysql.*")).collect(), "SELECT ON `mysql`.`proc`"),
    ] {
        let site = Site::with_grants(&lacking).await;
        let finished = site.run().await;
        assert_eq!(finished.code, Some(1), "{name}");
        let failure = site.failure();
        assert_eq!(failure["reason"], "insufficient_privilege", "{name}");
        assert!(failure["message"].as_str().unwrap().contains(name), "{failure}");
    }
}

#[tokio::test]
async fn a_database_that_does_not_exist_fails_the_run() {
    let site = Site::new().await;
    site.db.sql("GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO backup@'127.0.0.1'").unwrap();
    let finished = site.job().arg("--backup.databases=medassit").run(DEADLINE).await.unwrap();
    assert_eq!(finished.code, Some(1));
    let failure = site.failure();
    assert_eq!(failure["reason"], "database_missing");
    assert!(failure["message"].as_str().unwrap().contains("medassit missing"), "{failure}");
}

#[tokio::test]
async fn a_client_that_reports_success_for_a_bad_dump_is_detected() {
    let site = Site::new().await;
    let bin = site.home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (script, reason, message) in [
        // Ends well, with a footer, and one table short.
        (
            r#"exec /usr/bin/mariadb-dump "$1" --ignore-table=medassist.account "${@:2}""#,
            "dump_incomplete",
            "in database `medassist`, table `account` is not in the dump",
        ),
        (
            r#"exec /usr/bin/mariadb-dump "${@/--triggers/--skip-triggers}""#,
            "dump_incomplete",
            "the dump has 0 triggers, and the server has 1",
        ),
        // Cut between two statements: loads without an error.
        (r#"/usr/bin/mariadb-dump "$@" | sed '/^-- Dumping events/,$d'"#, "dump_incomplete", "its last line is not"),
        // The whole dump with its footer, but a status that says otherwise.
        (r#"/usr/bin/mariadb-dump "$@"; echo "ran into trouble" >&2; exit 2"#, "dump_failed", "ran into trouble"),
        ("kill -9 $$", "dump_failed", "signal: 9"),
    ] {
        // A client that answers --version as the real one, so that it is chosen.
        let client = bin.join("mariadb-dump");
        let version = r#"[ "$1" = --version ] && exec /usr/bin/mariadb-dump --version"#;
        std::fs::write(&client, format!("#!/bin/bash\n{version}\n{script}\n")).unwrap();
        std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o755)).unwrap();

        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let finished = site.job().env("PATH", path).run(DEADLINE).await.unwrap();
        assert_eq!(finished.code, Some(1), "{script}");
        let failure = site.failure();
        assert_eq!(failure["reason"], reason, "{script}");
        assert!(failure["message"].as_str().unwrap().contains(message), "{failure}");
        std::fs::remove_file(site.directory().join(&site.files()[0])).unwrap();
    }
    let finished = site.job().env("PATH", "/nowhere").run(DEADLINE).await.unwrap();
    assert_eq!(finished.code, Some(1));
    assert_eq!(site.failure()["reason"], "no_suitable_client");
}

#[tokio::test]
async fn a_killed_run_leaves_nothing_like_a_backup_and_the_next_one_cleans_up() {
    let site = Site::new().await;
    let held = site.hold("payment").await;
    let mut job = site.job().start().await.unwrap();
    site.dump_is_waiting().await;
    job.kill().unwrap();
    let left = site.files();
    assert!(left.len() == 1 && left[0].ends_with(".sql.zst.partial"), "{left:?}");

    held.disconnect().await.unwrap();
    let finished = site.run().await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("removed a file of a killed run"), "{}", finished.stderr);
    assert_eq!(site.files().len(), 2, "{:?}", site.files());
    assert_eq!(site.manifests()[0]["result"], "ok");
}

#[tokio::test]
async fn a_stopped_run_cleans_up_and_takes_the_dump_client_along() {
    let site = Site::new().await;
    let held = site.hold("payment").await;
    let mut job = site.job().start().await.unwrap();
    site.dump_is_waiting().await;
    assert_eq!(job.stop().await.unwrap().code(), Some(1));
    assert_eq!(site.failure()["reason"], "interrupted");
    held.disconnect().await.unwrap();
    site.sessions_of_the_job("", "0").await;
}

#[tokio::test]
async fn a_second_run_at_the_same_time_is_refused() {
    let site = Site::new().await;
    let held = site.hold("payment").await;
    let mut first = site.job().start().await.unwrap();
    site.dump_is_waiting().await;

    let second = site.run().await;
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another mysql-backup is running"), "{}", second.stderr);
    assert!(site.manifests().is_empty(), "the second left a manifest in the first one's place");

    held.disconnect().await.unwrap();
    assert_eq!(first.exited(DEADLINE).await.unwrap().code(), Some(0), "{}", first.log());
    assert_eq!(site.files().len(), 2, "{:?}", site.files());
}

#[tokio::test]
async fn a_migration_during_the_dump_is_retried() {
    let site = Site::new().await;
    let held = site.hold("account").await;
    let mut job = site.job().start().await.unwrap();
    // Its snapshot is taken, and payment is not dumped yet.
    site.dump_is_waiting().await;
    site.db
        .sql("ALTER TABLE medassist.payment ADD COLUMN currency CHAR(3) NOT NULL DEFAULT 'EUR', ALGORITHM=COPY")
        .unwrap();
    held.disconnect().await.unwrap();

    assert_eq!(job.exited(DEADLINE).await.unwrap().code(), Some(0), "{}", job.log());
    assert!(job.log().contains("objects changed during the dump; retrying"), "{}", job.log());
    assert_eq!(site.manifests()[0]["result"], "ok");
}

#[tokio::test]
async fn the_gateway_gets_successes_and_failures_and_keeps_the_last_success() {
    let mut site = Site::new().await;
    let gateway = Pushgateway::start().await.unwrap();
    let group = [("job", "mysql_backup"), ("instance", "")];
    let pushed = async || Page::parse(&http::get(&gateway.url("/metrics")).await.unwrap().text()).unwrap();
    let flag = format!("--pushgateway.url={}", gateway.url(""));

    assert_eq!(site.job().arg(&flag).run(DEADLINE).await.unwrap().code, Some(0));
    let good = pushed().await;
    let size = site.manifests()[0]["file"]["stored_bytes"].as_f64().unwrap();
    assert_eq!(good.value("mysql_backup_status", &group).unwrap(), 1.0);
    assert_eq!(good.value("mysql_backup_size_bytes", &group).unwrap(), size);
    assert!(good.value("mysql_backup_duration_seconds", &group).unwrap() > 0.0);
    let last = good.value("mysql_backup_last_timestamp", &group).unwrap();

    site.db.stop().await.unwrap();
    assert_eq!(site.job().arg(&flag).run(DEADLINE).await.unwrap().code, Some(1));
    let bad = pushed().await;
    assert_eq!(bad.value("mysql_backup_status", &group).unwrap(), 0.0);
    assert_eq!(bad.value("mysql_backup_size_bytes", &group).unwrap(), size);
    assert_eq!(bad.value("mysql_backup_last_success_timestamp_seconds", &group).unwrap(), last);
    assert!(bad.value("mysql_backup_last_timestamp", &group).unwrap() > last);
}

#[tokio::test]
async fn a_dead_gateway_causes_one_warning() {
    let site = Site::new().await;
    let nobody = Port::lease().unwrap();
    let finished = site.job().arg(format!("--pushgateway.url=http://{}", nobody.address()));
    let finished = finished.run(DEADLINE).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let warnings = finished.stderr.lines().filter(|line| line.contains("level=warn")).count();
    assert_eq!(warnings, 1, "{}", finished.stderr);
    assert_eq!(site.manifests()[0]["result"], "ok");
}

#[tokio::test]
async fn a_schedule_repeats_the_run_keeps_the_newest_and_stops_on_sigterm() {
    let site = Site::new().await;
    let mut job = site.job().arg("--schedule.every=1s").arg("--backup.keep=2").start().await.unwrap();
    eventually(DEADLINE, "three runs are done and the first is pruned", async || {
        let done = job.log().matches("backup complete").count();
        let pruned = job.log().contains("removed old backups");
        if done >= 3 && pruned { Ok(()) } else { Err(job.log()) }
    })
    .await
    .unwrap();
    assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());
    let good = site.manifests().iter().filter(|manifest| manifest["result"] == "ok").count();
    assert_eq!(good, 2, "{:?}", site.files());
    let unfinished: Vec<String> =
        site.files().into_iter().filter(|name| name.ends_with(".partial") || name.ends_with(".tmp")).collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
}
