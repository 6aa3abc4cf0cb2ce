//! `mysql-backup schedule --binlog.stream` and `restore --at`: any time comes back, on all three servers, or the
//! restore is refused.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use medassist_tests::database::Flavour;
use medassist_tests::testbed::backup::{DEADLINE, NAME, Site, stream_grants};
use medassist_tests::testbed::{Database, Forwarder, RunningProgram, eventually};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

const LOGGED: [&str; 2] = ["--log-bin=binlog", "--server-id=1"];
const DATA: &str = "CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY, x VARCHAR(100) CHARACTER SET utf8mb4);
    INSERT INTO a.t VALUES (1, 'one'), (2, 'two'); CREATE DATABASE b; CREATE TABLE b.t (id INT PRIMARY KEY)";

async fn site(flavour: Flavour, args: &[&str]) -> Site {
    let site = Site::start(flavour, &[&LOGGED[..], args].concat(), DATA).await.unwrap();
    site.db.sql(&stream_grants().unwrap()).unwrap();
    site
}

/// A job that has made a backup, and receives.
async fn stream(site: &Site) -> RunningProgram {
    stream_at(site, site.db.address()).await
}

async fn stream_at(site: &Site, address: SocketAddr) -> RunningProgram {
    let job = site.job_at("schedule", address).unwrap().args(["--schedule.every=1h", "--binlog.stream"]);
    let job = job.start().await.unwrap();
    eventually(DEADLINE, "there is a backup", async || match site.manifests().len() {
        0 => Err(job.log()),
        _ => Ok(()),
    })
    .await
    .unwrap();
    received(site).await;
    job
}

fn state(site: &Site) -> Value {
    let path = site.directory().join(format!("{NAME}.binlog.json"));
    serde_json::from_slice(&fs::read(path).unwrap_or_default()).unwrap_or_default()
}

/// Waits until all that is committed now has been received. Returns the state.
async fn received(site: &Site) -> Value {
    let now: jiff::Timestamp = std::time::SystemTime::now().try_into().unwrap();
    eventually(Duration::from_secs(100), "everything is received", async || match state(site) {
        state if state["recovery_point"].as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().unwrap() > now) => {
            Ok(state)
        }
        state => Err(state),
    })
    .await
    .unwrap()
}

fn seconds(db: &Database) -> i64 {
    db.sql("SELECT UNIX_TIMESTAMP()").unwrap().trim().parse().unwrap()
}

/// Waits until the server's clock shows a later second than all statements so far, and the one after it.
async fn next_second(db: &Database) -> i64 {
    let before = seconds(db);
    eventually(Duration::from_secs(10), "the clock goes on", async || match seconds(db) {
        now if now >= before + 2 => Ok(now),
        now => Err(now),
    })
    .await
    .unwrap()
}

fn at(seconds: i64) -> String {
    format!("--at={}", jiff::Timestamp::from_second(seconds).unwrap())
}

fn binlogs(site: &Site) -> Vec<PathBuf> {
    let directory = site.directory().join(format!("{NAME}.binlog"));
    let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

const ROWS: &str = "SELECT GROUP_CONCAT(CONCAT(id, x) ORDER BY id) FROM a.t";

async fn a_deleted_row_comes_back(flavour: Flavour, args: &[&str]) {
    let site = site(flavour, args).await;
    let mut job = stream(&site).await;
    // All kinds of changes, over several files, by a client of another character set and mode.
    site.db
        .sql(
            "SET NAMES latin1; INSERT INTO a.t VALUES (3, 'it''s /*!*/;\n'); SET NAMES utf8mb4; \
             FLUSH LOGS; SET sql_mode = 'NO_BACKSLASH_ESCAPES'; INSERT INTO a.t VALUES (4, '\\'); \
             ALTER TABLE a.t ADD COLUMN y INT DEFAULT 7; UPDATE a.t SET x = 'TWO' WHERE id = 2; FLUSH LOGS; \
             CREATE USER somebody@localhost; GRANT SELECT ON a.* TO somebody@localhost; \
             CREATE DATABASE c; CREATE TABLE c.t (id INT PRIMARY KEY); INSERT INTO c.t VALUES (1); \
             USE a; CREATE FUNCTION a.f() RETURNS INT NO SQL RETURN 5; INSERT INTO a.t VALUES (5, 'ü', 5); \
             START TRANSACTION; INSERT INTO a.t VALUES (6, 'gone', 6); ROLLBACK",
        )
        .unwrap();
    let rows = site.db.sql(ROWS).unwrap();
    let deleted = next_second(&site.db).await;
    site.db.sql("DELETE FROM a.t WHERE id IN (1, 3); TRUNCATE b.t; INSERT INTO b.t VALUES (9)").unwrap();
    let state = received(&site).await;
    assert_eq!((&state["gaps"], &state["covers_newest_backup"]), (&0.into(), &true.into()), "{state}");
    assert_eq!(state["files"], 3);
    assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());

    // On a server with a binary log of its own and the accounts of a new one.
    let target = Database::start_as(flavour, &["--log-bin=binlog", "--server-id=2"]).await.unwrap();
    let restored = site.restore(target.socket(), &[&at(deleted - 1)]).await.unwrap();
    assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
    assert_eq!(target.sql(ROWS).unwrap(), rows);
    assert_eq!(target.sql("SELECT a.f(), (SELECT COUNT(*) FROM c.t)").unwrap().trim(), "5\t1");
    let point = jiff::Timestamp::from_second(deleted - 1).unwrap().to_string();
    assert!(restored.stdout.contains(&format!("recovery point: {point}")), "{}", restored.stdout);
    assert!(restored.stdout.contains("changes of users and grants"), "{}", restored.stdout);

    let newest = site.restore(target.socket(), &["--at=latest", "--overwrite"]).await.unwrap();
    assert_eq!(newest.code, Some(1), "the table of a newer database is there: {} {}", newest.stdout, newest.stderr);
    target.sql("DROP DATABASE c").unwrap();
    let newest = site.restore(target.socket(), &["--at=latest", "--overwrite"]).await.unwrap();
    assert_eq!(newest.code, Some(0), "{} {}", newest.stdout, newest.stderr);
    assert_eq!(target.sql(ROWS).unwrap(), site.db.sql(ROWS).unwrap());
    assert_eq!(target.sql("SELECT * FROM b.t").unwrap().trim(), "9");

    // One database: nothing of the others.
    target.sql("DROP DATABASE a; DROP DATABASE b; DROP DATABASE c").unwrap();
    let one = site.restore(target.socket(), &["--at=latest", "--database=b"]).await.unwrap();
    assert_eq!(one.code, Some(0), "{} {}", one.stdout, one.stderr);
    assert!(one.stdout.contains("changes of other databases are not replayed: `a`"), "{}", one.stdout);
    let there =
        "SELECT GROUP_CONCAT(SCHEMA_NAME) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ('a', 'b', 'c')";
    assert_eq!(target.sql(there).unwrap().trim(), "b");
    assert_eq!(target.sql("SELECT * FROM b.t").unwrap().trim(), "9");

    // Later than what was received.
    let later = site.restore(target.socket(), &[&at(deleted + 100_000), "--overwrite"]).await.unwrap();
    assert_eq!(later.code, Some(4), "{}", later.stderr);
    assert!(later.stderr.contains("use --at=latest"), "{}", later.stderr);
}

#[tokio::test]
async fn a_deleted_row_comes_back_on_mariadb_10() {
    a_deleted_row_comes_back(Flavour::MariaDb, &[]).await;
}

#[tokio::test]
async fn a_deleted_row_comes_back_on_mariadb_11_from_a_log_of_rows() {
    a_deleted_row_comes_back(Flavour::MariaDb11, &["--binlog-format=ROW"]).await;
}

#[tokio::test]
async fn a_deleted_row_comes_back_on_mysql() {
    a_deleted_row_comes_back(Flavour::MySql, &[]).await;
}

#[tokio::test]
async fn a_deleted_row_comes_back_on_mysql_with_gtid() {
    a_deleted_row_comes_back(Flavour::MySql, &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]).await;
}

/// Restores the newest state, and compares all rows with the live server's.
async fn comes_back(site: &Site) {
    let target = Database::start_as(site.db.flavour(), &["--server-id=2"]).await.unwrap();
    let restored = site.restore(target.socket(), &["--at=latest"]).await.unwrap();
    assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
    assert_eq!(target.sql(ROWS).unwrap(), site.db.sql(ROWS).unwrap());
}

#[tokio::test]
async fn a_server_and_a_job_that_die_leave_no_gap() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let mut site = site(flavour, &[]).await;
        let mut job = stream(&site).await;
        site.db.sql("INSERT INTO a.t VALUES (10, 'before')").unwrap();
        site.db.kill().unwrap();
        eventually(DEADLINE, "the state says it", async || match state(&site)["error"].as_str() {
            Some(_) => Ok(()),
            None => Err(job.log()),
        })
        .await
        .unwrap();
        site.db.restart().await.unwrap();
        site.db.sql("INSERT INTO a.t VALUES (11, 'after'); FLUSH LOGS; INSERT INTO a.t VALUES (12, 'after')").unwrap();
        let state = received(&site).await;
        assert_eq!((&state["gaps"], &state["covers_newest_backup"]), (&0.into(), &true.into()), "{state}");

        // The job is killed, and with it its client.
        let client = || {
            fs::read_dir("/proc").unwrap().flatten().any(|process| {
                let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(&format!("--result-file={}", site.directory().display()))
            })
        };
        assert!(client());
        job.kill().unwrap();
        eventually(DEADLINE, "the client is gone", async || if client() { Err("it runs") } else { Ok(()) })
            .await
            .unwrap();
        site.db
            .sql("INSERT INTO a.t VALUES (13, 'unseen'); FLUSH LOGS; INSERT INTO a.t VALUES (14, 'unseen')")
            .unwrap();
        let mut job = stream(&site).await;
        assert_eq!(self::state(&site)["gaps"], 0);
        assert!(binlogs(&site).iter().all(|path| !path.to_string_lossy().ends_with(".previous")));
        comes_back(&site).await;
        assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());
    }
}

#[tokio::test]
async fn a_gap_and_a_reset_are_recorded_and_no_replay_crosses_them() {
    for (flavour, reset) in [(Flavour::MariaDb, "RESET MASTER"), (Flavour::MySql, "RESET BINARY LOGS AND GTIDS")] {
        let site = site(flavour, &[]).await;
        let mut job = stream(&site).await;
        assert_eq!(job.stop().await.unwrap().code(), Some(0));
        // The server removes what the job has not received.
        site.db.sql("INSERT INTO a.t VALUES (10, 'lost'); FLUSH LOGS").unwrap();
        // Which it does not while it sends one to the client that has just gone.
        eventually(DEADLINE, "the server removes them", async || {
            site.db.sql("PURGE BINARY LOGS TO 'binlog.000002'").unwrap();
            match site.db.sql("SHOW BINARY LOGS").unwrap() {
                logs if logs.lines().count() == 1 => Ok(()),
                logs => Err(logs),
            }
        })
        .await
        .unwrap();
        site.db.sql("INSERT INTO a.t VALUES (11, 'there')").unwrap();
        let mut job = stream(&site).await;
        let state = state(&site);
        assert_eq!((&state["gaps"], &state["covers_newest_backup"]), (&1.into(), &false.into()), "{state}");
        assert!(job.log().contains("gap in the binary log"), "{}", job.log());
        let target = Database::start_as(flavour, &["--server-id=2"]).await.unwrap();
        let refused = site.restore(target.socket(), &["--at=latest"]).await.unwrap();
        assert_eq!(refused.code, Some(4), "{} {}", refused.stdout, refused.stderr);
        assert!(refused.stderr.contains("files of the binary log are missing after 20"), "{}", refused.stderr);
        assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
        site.db.sql("INSERT INTO a.t VALUES (12, 'after the gap')").unwrap();
        assert_eq!(received(&site).await["covers_newest_backup"], true);
        comes_back(&site).await;

        // The names begin again.
        next_second(&site.db).await;
        site.db.sql(&format!("{reset}; FLUSH LOGS; INSERT INTO a.t VALUES (20, 'after the reset')")).unwrap();
        eventually(DEADLINE, "the reset is noticed", async || match job.log() {
            log if log.contains("binary log was reset") => Ok(()),
            log => Err(log),
        })
        .await
        .unwrap();
        let state = received(&site).await;
        assert_eq!(state["covers_newest_backup"], false, "{state}");
        // The backup's file has the name of another one now.
        let refused = site.restore(target.socket(), &["--at=latest"]).await.unwrap();
        assert_eq!(refused.code, Some(4), "{} {}", refused.stdout, refused.stderr);
        assert!(refused.stderr.contains("was reset in between"), "{}", refused.stderr);
        assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
        site.db.sql("INSERT INTO a.t VALUES (21, 'and a backup')").unwrap();
        assert_eq!(received(&site).await["covers_newest_backup"], true);
        comes_back(&site).await;
        assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());
    }
}

#[tokio::test]
async fn a_firewall_that_drops_the_stream_holds_it_for_a_minute() {
    let site = site(Flavour::MariaDb, &[]).await;
    let firewall = Forwarder::start(site.db.address()).await.unwrap();
    let mut job = stream_at(&site, firewall.address()).await;
    // Neither the stream nor the connection for questions is told. New connections pass.
    firewall.freeze();
    site.db.sql("INSERT INTO a.t VALUES (10, 'behind the firewall')").unwrap();
    let state = received(&site).await;
    assert_eq!((&state["gaps"], &state["covers_newest_backup"]), (&0.into(), &true.into()), "{state}");
    assert!(job.log().contains("the connection is dead"), "{}", job.log());
    comes_back(&site).await;
    assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());
}

/// MySQL cannot tell the position of a snapshot without stalling the application.
#[tokio::test]
async fn rows_written_during_the_snapshot_come_back_once() {
    let site = site(Flavour::MySql, &[]).await;
    site.db.sql("CREATE TABLE a.busy (id INT PRIMARY KEY AUTO_INCREMENT, n INT)").unwrap();
    let mut job = stream(&site).await;
    let writing = std::sync::atomic::AtomicBool::new(true);
    let write = async {
        let options =
            mysql_async::OptsBuilder::default().user(Some("root")).socket(Some(site.db.socket().display().to_string()));
        let mut connection = mysql_async::Conn::new(options).await.unwrap();
        while writing.load(std::sync::atomic::Ordering::Relaxed) {
            for statement in [
                "INSERT INTO a.busy (n) VALUES (1), (2)",
                "UPDATE a.busy SET n = n + 1 ORDER BY id DESC LIMIT 3",
                "DELETE FROM a.busy ORDER BY id LIMIT 1",
            ] {
                connection.query_drop(statement).await.unwrap();
            }
        }
        connection.disconnect().await.unwrap();
    };
    let back_up = async {
        assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(write, back_up);
    let manifest = site.manifests().pop().unwrap();
    assert_eq!(manifest["coordinates"]["exact"], false, "{manifest}");
    assert!(manifest["coordinates"]["settled"]["binlog_position"].is_u64(), "{manifest}");
    received(&site).await;
    let target = Database::start_as(Flavour::MySql, &["--server-id=2"]).await.unwrap();
    let restored = site.restore(target.socket(), &["--at=latest"]).await.unwrap();
    assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
    let sums = "SELECT COUNT(*), SUM(id), SUM(n), SUM(id * n) FROM a.busy";
    assert_eq!(target.sql(sums).unwrap(), site.db.sql(sums).unwrap());
    assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());
}

#[tokio::test]
async fn what_cannot_be_received_or_replayed_is_said_without_data() {
    let site = Site::start(Flavour::MariaDb, &LOGGED, DATA).await.unwrap();
    let args = ["--schedule.every=1h", "--binlog.stream"];
    let start = || site.job("schedule").unwrap().args(args);
    let mut job = start().start().await.unwrap();
    job.logged("binary log not received", 1).await.unwrap();
    let state = self::state(&site);
    assert!(state["error"].as_str().unwrap().contains("backup/README.md lists the grants"), "{state}");
    assert_eq!(job.stop().await.unwrap().code(), Some(0));

    let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let refused = start().arg(format!("--encrypt.recipients={key}")).run(DEADLINE).await.unwrap();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("without encryption"), "{}", refused.stderr);

    // A table that is in no dump and no log.
    site.db.sql(&stream_grants().unwrap()).unwrap();
    let mut job = stream(&site).await;
    site.db.sql("USE a; INSERT INTO a.t VALUES (4711, 'secret of a patient')").unwrap();
    received(&site).await;
    let target = Database::start().await.unwrap();
    site.db
        .sql(
            "SET sql_log_bin = 0; CREATE TABLE a.unlogged (x INT); SET sql_log_bin = 1; \
        USE a; INSERT INTO a.unlogged SELECT id FROM a.t WHERE x = 'secret of a patient'",
        )
        .unwrap();
    received(&site).await;
    let failed = site.restore(target.socket(), &["--at=latest", "--overwrite"]).await.unwrap();
    assert_eq!(failed.code, Some(1), "{} {}", failed.stdout, failed.stderr);
    assert!(failed.stderr.contains("the replay of the binary log stopped at binlog.00000"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("patient") && !failed.stdout.contains("patient"), "{}", failed.stderr);
    assert_eq!(target.sql("SELECT COUNT(*) FROM a.t WHERE id = 4711").unwrap().trim(), "1");

    // A backup alone, and it says that it is one.
    assert_eq!(job.stop().await.unwrap().code(), Some(0));
    fs::remove_dir_all(site.directory().join(format!("{NAME}.binlog"))).unwrap();
    let alone = site.restore(target.socket(), &["--at=latest", "--overwrite"]).await.unwrap();
    assert_eq!(alone.code, Some(0), "{} {}", alone.stdout, alone.stderr);
    assert!(alone.stdout.contains("not that of --at"), "{}", alone.stdout);
}

#[tokio::test]
async fn a_deleted_row_comes_back_from_compressed_logs() {
    a_deleted_row_comes_back(Flavour::MySql, &["--binlog-transaction-compression=ON", "--binlog-row-image=MINIMAL"])
        .await;
    let compressed = ["--log-bin-compress=ON", "--log-bin-compress-min-len=10", "--binlog-format=ROW"];
    a_deleted_row_comes_back(Flavour::MariaDb, &compressed).await;
}
