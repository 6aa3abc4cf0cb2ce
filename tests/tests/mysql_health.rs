//! The health checks of `mysql-exporter` on real servers of each flavour, each brought into the state that a check
//! reports.
#![allow(clippy::unwrap_used, clippy::panic, reason = "an unwrap in a test is its report")]

use std::process::Command;
use std::time::Duration;

use medassist_tests::Error;
use medassist_tests::database::Flavour;
use medassist_tests::testbed::mysql::{self, README, TIMEOUT, connection, grants, scrape};
use medassist_tests::testbed::scrape::documented;
use medassist_tests::testbed::{Database, RunningProgram, eventually};
use mysql_async::prelude::Queryable as _;

const FLAVOURS: [Flavour; 3] = [Flavour::MariaDb, Flavour::MariaDb11, Flavour::MySql];

async fn server(flavour: Flavour, args: &[&str]) -> Database {
    mysql::server(flavour, args).await.unwrap()
}

async fn exporter(db: &Database, flags: &[&str]) -> RunningProgram {
    mysql::exporter(db.address()).args(flags).start().await.unwrap()
}

/// The check's status and reason; `None` where it is absent.
async fn check(exporter: &RunningProgram, name: &str) -> Option<(String, String)> {
    let report = mysql::health(exporter).await.unwrap();
    let checks = report["checks"].as_array().unwrap().clone();
    let check = checks.iter().find(|check| check["name"] == name)?;
    Some((check["status"].as_str().unwrap().to_owned(), check["reason"].as_str().unwrap().to_owned()))
}

/// Waits until a check has this status, and returns its reason.
async fn until(exporter: &RunningProgram, name: &str, status: &str) -> String {
    let what = format!("{name} is {status}");
    eventually(TIMEOUT, &what, async || match check(exporter, name).await {
        Some((found, reason)) if found == status => {
            if status != "ok" {
                documented(README, &mysql::health(exporter).await.unwrap(), name);
            }
            Ok(reason)
        }
        other => {
            // InnoDB refreshes its list of transactions only if it was not read for 100 ms.
            tokio::time::sleep(Duration::from_millis(150)).await;
            Err(format!("{other:?}"))
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_healthy_server() {
    for flavour in FLAVOURS {
        let db = server(flavour, &[]).await;
        let exporter = exporter(&db, &[]).await;
        let page = scrape(&exporter).await.unwrap();
        for name in [
            "connect",
            "new_login",
            "ping_query",
            "connections",
            "read_only",
            "transactions",
            "metadata_locks",
            "undo_history",
        ] {
            let (status, reason) = check(&exporter, name).await.unwrap();
            assert_eq!(status, "ok", "{flavour:?}: {name}: {reason}");
        }
        // MySQL makes itself a certificate of ten years.
        let certificate = check(&exporter, "certificate").await;
        assert_eq!(certificate.is_some_and(|(status, _)| status == "ok"), flavour == Flavour::MySql);
        for absent in [
            "replication",
            "errant_transactions",
            "canary_write",
            "galera",
            "group_replication",
            "table_cache",
            "temp_tables",
        ] {
            assert_eq!(check(&exporter, absent).await, None, "{flavour:?}: {absent}");
        }
        page.expect("mysql_health_status", &[("status", "healthy")], 1.0).unwrap();
        page.expect("mysql_metadata_lock_waits", &[], 0.0).unwrap();
        assert!(page.value("mysql_innodb_history_list_length", &[]).unwrap() >= 0.0);
    }
}

#[tokio::test]
async fn a_transaction_that_stays_open() {
    for flavour in FLAVOURS {
        let db = server(flavour, &[]).await;
        db.sql("CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY)").unwrap();
        let exporter = exporter(&db, &["--health.transaction-warn=1", "--health.transaction-fail=2"]).await;
        let mut session = connection(&db).await.unwrap();
        session.query_drop("BEGIN").await.unwrap();
        session.query_drop("INSERT INTO app.t VALUES (1)").await.unwrap();
        let reason = until(&exporter, "transactions", "fail").await;
        let thread = format!("in thread {}: it holds locks", session.id());
        assert!(
            reason.starts_with("1 open transactions, the oldest for ") && reason.contains(&thread),
            "{flavour:?}: {reason}"
        );
        let page = scrape(&exporter).await.unwrap();
        page.expect("mysql_transactions_open", &[], 1.0).unwrap();
        let began = page.value("mysql_transactions_oldest_start_timestamp_seconds", &[]).unwrap();
        let age = db.sql("SELECT UNIX_TIMESTAMP()").unwrap().trim().parse::<f64>().unwrap() - began;
        assert!((2.0..120.0).contains(&age), "{flavour:?}: {age}");
        session.query_drop("ROLLBACK").await.unwrap();
        until(&exporter, "transactions", "ok").await;
    }
}

#[tokio::test]
async fn a_statement_that_waits_for_a_metadata_lock() {
    for flavour in FLAVOURS {
        let db = server(flavour, &[]).await;
        db.sql("CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY)").unwrap();
        let exporter = exporter(&db, &["--health.metadata-lock-warn=1"]).await;
        let (mut reader, mut alter) = (connection(&db).await.unwrap(), connection(&db).await.unwrap());
        reader.query_drop("BEGIN").await.unwrap();
        reader.query_drop("SELECT * FROM app.t").await.unwrap();
        let thread = alter.id();
        let altering = tokio::spawn(async move { alter.query_drop("ALTER TABLE app.t ADD COLUMN a INT").await });
        let reason = until(&exporter, "metadata_locks", "warn").await;
        let expected = format!("1 statements wait for a metadata lock, thread {thread} for ");
        assert!(reason.starts_with(&expected), "{flavour:?}: {reason}");
        scrape(&exporter).await.unwrap().expect("mysql_metadata_lock_waits", &[], 1.0).unwrap();
        reader.query_drop("COMMIT").await.unwrap();
        altering.await.unwrap().unwrap();
        until(&exporter, "metadata_locks", "ok").await;
    }
}

/// A server whose disk is full or hangs must still be looked at, so a scrape needs none of it.
#[tokio::test]
async fn a_scrape_makes_no_temporary_table_on_disk() {
    for flavour in FLAVOURS {
        let db = server(flavour, &[]).await;
        let exporter = exporter(&db, &[]).await;
        scrape(&exporter).await.unwrap();
        let tables = || db.sql("SHOW GLOBAL STATUS LIKE 'Created_tmp_disk_tables'").unwrap();
        let before = tables();
        for _ in 0..3 {
            scrape(&exporter).await.unwrap().expect("mysql_metadata_lock_waits", &[], 0.0).unwrap();
        }
        assert_eq!(tables(), before, "{flavour:?}");
    }
}

#[tokio::test]
async fn a_canary_is_written() {
    for flavour in FLAVOURS {
        let db = server(flavour, &[]).await;
        db.sql(&grants("CREATE TABLE mysql_exporter.canary").unwrap()).unwrap();
        let exporters = [exporter(&db, &["--collector.canary"]).await, exporter(&db, &["--collector.canary"]).await];
        for exporter in &exporters {
            assert_eq!(
                until(exporter, "canary_write", "ok").await.split(' ').take(3).collect::<Vec<_>>(),
                ["canary", "write", "took"]
            );
        }
        let page = scrape(&exporters[0]).await.unwrap();
        let written = page.value("mysql_canary_newest_timestamp_seconds", &[]).unwrap();
        let age = db.sql("SELECT UNIX_TIMESTAMP(NOW(6))").unwrap().trim().parse::<f64>().unwrap() - written;
        assert!((0.0..60.0).contains(&age), "{flavour:?}: {age}");
        // Both are on this host and share its row.
        assert_eq!(db.sql("SELECT COUNT(*) FROM mysql_exporter.canary").unwrap().trim(), "1");

        // Reads go on, writes don't.
        db.sql("SET GLOBAL read_only=ON").unwrap();
        let reason = until(&exporters[0], "canary_write", "fail").await;
        assert!(
            reason.contains("error 1290 (ER_OPTION_PREVENTS_STATEMENT); the server runs with read_only"),
            "{flavour:?}: {reason}"
        );
        let report = mysql::health(&exporters[0]).await.unwrap();
        assert_eq!(report["status"], "down");
        db.sql("SET GLOBAL read_only=OFF").unwrap();
        until(&exporters[0], "canary_write", "ok").await;

        // Somebody holds all rows: the scrape waits no longer than it may.
        let mut holder = connection(&db).await.unwrap();
        holder.query_drop("BEGIN").await.unwrap();
        holder.query_drop("SELECT * FROM mysql_exporter.canary FOR UPDATE").await.unwrap();
        let reason = until(&exporters[0], "canary_write", "fail").await;
        assert!(reason.contains("error 1205 (ER_LOCK_WAIT_TIMEOUT); another session holds"), "{flavour:?}: {reason}");
        holder.query_drop("ROLLBACK").await.unwrap();
        until(&exporters[0], "canary_write", "ok").await;
    }
}

/// A trigger's message can quote the row of a user.
#[tokio::test]
async fn a_statements_error_quotes_no_row() {
    const ROW: &str = "patient@example.org";
    for flavour in FLAVOURS {
        let db = server(flavour, &[]).await;
        db.sql(&grants("CREATE TABLE mysql_exporter.canary").unwrap()).unwrap();
        // With the code of a denied privilege, whose own message would name no row.
        for code in [1644, 1142] {
            db.sql(&format!(
                "DROP TRIGGER IF EXISTS mysql_exporter.reject; CREATE TRIGGER mysql_exporter.reject BEFORE INSERT ON mysql_exporter.canary FOR EACH ROW \
                 SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'Duplicate entry {ROW}'"
            ))
            .unwrap();
            let exporter = exporter(&db, &["--collector.canary", "--log.level=debug"]).await;
            let reason = until(&exporter, "canary_write", "fail").await;
            assert!(reason.contains(&format!("error {code} (ER_")), "{flavour:?}: {reason}");
            assert_eq!(mysql::places_with(&exporter, ROW).await.unwrap(), [""; 0], "{flavour:?}");
            let told = db.sql("INSERT INTO mysql_exporter.canary VALUES (1, NOW())").unwrap_err().to_string();
            assert!(told.contains(ROW), "{told}");
        }
    }
}

/// The exporter's sessions are its own, whatever the server's global values are.
#[tokio::test]
async fn global_settings_do_not_change_the_sessions() {
    for flavour in FLAVOURS {
        let db = server(flavour, &[]).await;
        db.sql(&grants("CREATE TABLE mysql_exporter.canary").unwrap()).unwrap();
        db.sql(
            "SET NAMES utf8mb4; CREATE DATABASE `日本語`; CREATE TABLE `日本語`.t (id INT); \
             GRANT SELECT ON `日本語`.* TO exporter@'127.0.0.1'; SET GLOBAL init_connect='SET NAMES latin1'",
        )
        .unwrap();
        db.sql(
            "SET GLOBAL autocommit=0; SET GLOBAL sql_select_limit=1; SET GLOBAL group_concat_max_len=4; \
             SET GLOBAL sql_big_selects=0; SET GLOBAL max_join_size=1",
        )
        .unwrap();
        let exporter = exporter(&db, &["--collector.canary", "--collect.info_schema.tables"]).await;
        let page = scrape(&exporter).await.unwrap();
        assert!(mysql::failed(&page).is_empty(), "{flavour:?}: {:?}", mysql::failed(&page));
        until(&exporter, "canary_write", "ok").await;
        let count = |from: &str| db.sql(&format!("SET sql_big_selects=1; SELECT COUNT(*) FROM {from}")).unwrap();
        assert_eq!(count("mysql_exporter.canary").trim(), "1", "{flavour:?}");
        let open = "information_schema.innodb_trx JOIN information_schema.processlist ON id = trx_mysql_thread_id \
                    WHERE user = 'exporter'";
        assert_eq!(count(open).trim(), "0", "{flavour:?}");
        let tables = page.matching("mysql_info_schema_table_rows", &[("schema", "日本語")]);
        assert_eq!(tables.len(), 1, "{flavour:?}");
    }
}

#[tokio::test]
async fn a_canary_is_read_on_a_replica_and_what_is_written_there_is_errant() {
    for flavour in FLAVOURS {
        let gtids: &[&str] =
            if flavour.is_mariadb() { &[] } else { &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"] };
        let source = server(flavour, &[&["--log-bin", "--server-id=1"], gtids].concat()).await;
        let replica = server(flavour, &[&["--log-bin", "--server-id=2"], gtids].concat()).await;
        let port = source.address().port();
        if flavour.is_mariadb() {
            source
                .sql("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'; RESET MASTER")
                .unwrap();
            replica
                .sql(&format!(
                    "RESET MASTER; CHANGE MASTER TO master_host='127.0.0.1', master_port={port}, master_user='repl', master_use_gtid=slave_pos; START SLAVE"
                ))
                .unwrap();
        } else {
            source
                .sql("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'; RESET BINARY LOGS AND GTIDS")
                .unwrap();
            replica
                .sql(&format!(
                    "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', source_port={port}, source_user='repl',
                     get_source_public_key=1, source_auto_position=1; START REPLICA"
                ))
                .unwrap();
        }
        source.sql(&grants("CREATE TABLE mysql_exporter.canary").unwrap()).unwrap();
        let at_source = exporter(&source, &["--collector.canary"]).await;
        let at_replica = exporter(&replica, &["--collector.canary"]).await;
        until(&at_source, "canary_write", "ok").await;
        let page = eventually(TIMEOUT, "the canary is replicated", async || {
            let page = scrape(&at_replica).await?;
            page.value("mysql_canary_newest_timestamp_seconds", &[])?;
            Ok::<_, Error>(page)
        })
        .await
        .unwrap();
        assert!(!page.has("mysql_canary_write_duration_seconds"));
        assert_eq!(check(&at_replica, "canary_write").await, None, "{flavour:?}");
        until(&at_replica, "replication", "ok").await;
        assert_eq!(until(&at_replica, "errant_transactions", "ok").await, "no errant transactions");
        page.expect("mysql_replication_own_transactions", &[], 0.0).unwrap();
        assert!(!scrape(&at_source).await.unwrap().has("mysql_replication_own_transactions"));

        replica.sql("CREATE DATABASE errant; CREATE DATABASE errant2").unwrap();
        let reason = until(&at_replica, "errant_transactions", "warn").await;
        assert!(reason.starts_with("2 errant transactions, which originated on this replica"), "{flavour:?}: {reason}");
        scrape(&at_replica).await.unwrap().expect("mysql_replication_own_transactions", &[], 2.0).unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_ends_soon() {
    for flavour in FLAVOURS {
        let directory = tempfile::tempdir().unwrap();
        let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("certificate.pem"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "10",
                "-subj",
                "/CN=db",
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let tls = [format!("--ssl-key={}", key.display()), format!("--ssl-cert={}", certificate.display())];
        let db = server(flavour, &[&tls[0], &tls[1]]).await;
        // MariaDB reports its certificate only to TLS sessions.
        let flags: &[&str] = if flavour.is_mariadb() { &["--tls.insecure-skip-verify"] } else { &[] };
        let exporter = exporter(&db, flags).await;
        let reason = until(&exporter, "certificate", "warn").await;
        assert!(reason.starts_with("the server's TLS certificate expires in 10.0 days ("), "{flavour:?}: {reason}");
    }
}

/// It takes a minute until there is a trend.
#[tokio::test]
async fn what_grows_and_what_is_too_small() {
    // 10 is the least of the cache's size.
    let db = server(Flavour::MariaDb, &["--max-connections=100", "--table-open-cache=10"]).await;
    let tables: String = (0..30).map(|i| format!("CREATE TABLE app.t{i} (id INT, x TEXT);")).collect();
    db.sql(&format!("CREATE DATABASE app; {tables}")).unwrap();
    // A TEXT column takes a temporary table to disk.
    let statements: String =
        (1..30).map(|i| format!("SELECT * FROM app.t{i} UNION SELECT * FROM app.t{};", i - 1)).collect();
    let exporter = exporter(&db, &[]).await;
    let mut sessions = Vec::new();
    for _ in 0..50 {
        sessions.push(connection(&db).await.unwrap());
    }
    for name in ["table_cache", "temp_tables"] {
        assert_eq!(check(&exporter, name).await, None);
    }
    let reasons = eventually(6 * TIMEOUT, "all three warn", async || {
        // The load, which goes on however long it takes.
        sessions.push(connection(&db).await.unwrap());
        db.sql(&statements).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut reasons = Vec::new();
        for name in ["connections", "table_cache", "temp_tables"] {
            match check(&exporter, name).await {
                Some((status, reason)) if status == "warn" => reasons.push(reason),
                other => return Err(format!("{name}: {other:?}")),
            }
        }
        Ok(reasons)
    })
    .await
    .unwrap();
    // At least one of the first connections has been replaced.
    let logins = scrape(&exporter).await.unwrap().value("mysql_exporter_logins_total", &[("result", "ok")]).unwrap();
    assert!(logins >= 3.0, "{logins}");
    let [connections, table_cache, temp_tables] = &reasons[..] else { panic!("{reasons:?}") };
    assert!(connections.contains(" per minute, max_connections is reached in "), "{connections}");
    assert!(table_cache.ends_with("tables opened per second: raise table_open_cache"), "{table_cache}");
    assert!(temp_tables.contains("temporary tables per second created on disk ("), "{temp_tables}");
}
