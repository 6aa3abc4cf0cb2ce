//! `mysql-backup schedule --binlog.stream` and `restore --at`: any time comes back, on all three servers, or the restore
//! is refused.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use medassist_tests::database::Flavour;
use medassist_tests::testbed::backup::{DEADLINE, NAME, Site, stream_grants};
use medassist_tests::testbed::{Database, RunningProgram, eventually};
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
async fn stream(site: &Site, args: &[&str]) -> RunningProgram {
    let job = site.job("schedule").unwrap().args(["--schedule.every=1h", "--binlog.stream"]).args(args.iter().copied());
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
    eventually(Duration::from_secs(60), "everything is received", async || match state(site) {
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
    let mut job = stream(&site, &[]).await;
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
