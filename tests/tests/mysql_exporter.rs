//! `mysql-exporter` on a real MariaDB, and on targets that are not MySQL.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use medassist_tests::Error;
use medassist_tests::database::Flavour;
use medassist_tests::launch::{self, Launch};
use medassist_tests::testbed::mysql::{self, TIMEOUT, check_status, exporter, get_page, get_within, packet, scrape};
use medassist_tests::testbed::{Behaviour, Database, Fake, Page, Port, Program, RunningProgram, eventually, http};

const METRICS: &str = include_str!("../../exporters/mysql/METRICS.md");

async fn server(args: &[&str]) -> Database {
    mysql::server(Flavour::MariaDb, args).await.unwrap()
}

async fn health(exporter: &RunningProgram) -> serde_json::Value {
    mysql::health(exporter).await.unwrap()
}

async fn up(exporter: &RunningProgram, value: f64) -> Page {
    mysql::up(exporter, value).await.unwrap()
}

#[tokio::test]
async fn a_healthy_server() {
    let db = server(&["--max-connections=77"]).await;
    let exporter = exporter(db.address()).start().await.unwrap();
    let page = scrape(&exporter).await.unwrap();

    page.expect("mysql_up", &[], 1.0).unwrap();
    let collectors = page.matching("mysql_exporter_collector_success", &[]);
    assert_eq!(collectors.len(), 9);
    assert!(collectors.iter().all(|sample| sample.value == 1.0), "{:#}", health(&exporter).await);

    page.expect("mysql_global_variables_max_connections", &[], 77.0).unwrap();
    page.expect("mysql_global_variables_slow_query_log", &[], 0.0).unwrap();
    page.expect("mysql_global_status_commands_total", &[("command", "create_user")], 1.0).unwrap();
    page.expect("mysql_info_schema_innodb_cmp_compress_ops_total", &[("page_size", "1024")], 0.0).unwrap();
    let version = db.sql("SELECT VERSION()").unwrap();
    assert_eq!(page.matching("mysql_version_info", &[("version", version.trim())]).len(), 1);
    page.expect("mysql_transaction_isolation", &[("level", "REPEATABLE-READ")], 1.0).unwrap();
    for (family, kind) in [
        ("mysql_global_status_commands_total", "counter"),
        ("mysql_global_status_buffer_pool_pages", "gauge"),
        ("mysql_global_status_uptime", "untyped"),
        ("mysql_global_variables_max_connections", "gauge"),
        ("mysql_version_info", "gauge"),
        ("mysqld_exporter_build_info", "gauge"),
    ] {
        assert_eq!(page.kind(family), Some(kind), "{family}");
    }
    assert!(!page.has("mysql_slave_status_seconds_behind_master"));

    for (check, status) in [
        ("connect", Some("ok")),
        ("ping_query", Some("ok")),
        ("connections", Some("ok")),
        ("read_only", Some("ok")),
        // It replicates from nobody.
        ("replication", None),
    ] {
        assert_eq!(check_status(&page, check).as_deref(), status, "{check}");
    }
    page.expect("mysql_health_status", &[("status", "healthy")], 1.0).unwrap();

    // promtool reports only names that the server or the peer chose.
    let text = http::get(&exporter.url("/metrics")).await.unwrap().text();
    let mut promtool = Launch::installed(&["promtool"]).unwrap().args(["check", "metrics"]).wrapped(&[]);
    let complaints = match launch::run(&mut promtool, "promtool", &text) {
        Ok(output) => output,
        Err(error) => error.to_string(),
    };
    let ours: Vec<_> = complaints.lines().filter(|line| !line.contains("mysql_global_")).collect();
    assert!(ours.is_empty(), "{ours:#?}");

    let accept = ("accept", "application/openmetrics-text;version=1.0.0");
    let reply = http::get_with(&exporter.url("/metrics"), &[accept]).await.unwrap();
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    assert!(reply.text().ends_with("# EOF\n"));
    assert!(reply.text().contains("\nmysql_global_variables_max_connections 77\n"));
}

#[tokio::test]
async fn a_server_that_ends_and_comes_back() {
    let mut db = server(&[]).await;
    let exporter = exporter(db.address()).start().await.unwrap();
    up(&exporter, 1.0).await;
    db.kill().unwrap();
    let page = up(&exporter, 0.0).await;
    assert!(!page.has("mysql_global_status_uptime"));
    page.expect("mysql_health_status", &[("status", "down")], 1.0).unwrap();
    page.expect("mysql_exporter_collector_success", &[("collector", "collect.global_status")], 0.0).unwrap();
    let report = health(&exporter).await;
    assert_eq!(report["status"], "down");
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.contains(&db.address().to_string()) && reason.contains("refused"), "{reason}");
    db.restart().await.unwrap();
    // The connections of before are dead; that costs no scrape.
    scrape(&exporter).await.unwrap().expect("mysql_up", &[], 1.0).unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_not_shown() {
    let db = server(&[]).await;
    let exporter = exporter(db.address()).env("MYSQLD_EXPORTER_PASSWORD", "a-wrong-one").start().await.unwrap();
    scrape(&exporter).await.unwrap().expect("mysql_up", &[], 0.0).unwrap();
    let report = health(&exporter).await;
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.contains("refuses user \"exporter\"") && reason.contains("--mysqld.username"), "{reason}");
    assert!(exporter.log().contains("refuses user"), "{}", exporter.log());
    assert!(!exporter.log().contains("a-wrong-one") && !report.to_string().contains("a-wrong-one"));
}

#[tokio::test]
async fn a_hung_server_is_reported_within_the_scrape_timeout() {
    let db = server(&[]).await;
    let exporter = exporter(db.address()).start().await.unwrap();
    up(&exporter, 1.0).await;
    db.pause().unwrap();
    // The connection that there is hangs in the first of them, new ones in the others.
    for _ in 0..4 {
        let reply = get_within(&exporter, "/metrics", 1.0).await.unwrap();
        let page = Page::parse(&reply.text()).unwrap();
        page.expect("mysql_up", &[], 0.0).unwrap();
        let waited = page.value("mysql_exporter_collector_duration_seconds", &[("collector", "connection")]).unwrap();
        assert!(waited < 1.0, "{waited} s");
    }
    let report = get_within(&exporter, "/health", 1.0).await.unwrap().json();
    assert_eq!(report["status"], "down");
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.contains("did not complete the connection within"), "{reason}");
    db.resume().unwrap();
    up(&exporter, 1.0).await;
    let mine = "SELECT COUNT(*) FROM information_schema.processlist WHERE user IN ('exporter', 'unauthenticated user')";
    eventually(TIMEOUT, "no connection of the hang is left", async || {
        match db.sql(mine).unwrap().trim().parse::<u32>().unwrap() {
            0..=2 => Ok(()),
            connections => Err(connections),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn two_hundred_scrapes_use_two_connections() {
    let db = server(&[]).await;
    // The server itself refuses a third one.
    db.sql("ALTER USER exporter@'127.0.0.1' WITH MAX_USER_CONNECTIONS 2").unwrap();
    let exporter = exporter(db.address()).start().await.unwrap();
    let filters = ["", "?collect[]=global_status", "?collect[]=global_variables", "?collect[]=info_schema.innodb_cmp"];
    // One client for all: making one takes longer than a scrape.
    let client = http::client(0).unwrap();
    let pages = (0..200).map(|i| {
        let request = client.get(exporter.url(&format!("/metrics{}", filters[i % filters.len()]))).timeout(TIMEOUT);
        async move { Page::parse(&request.send().await.unwrap().text().await.unwrap()).unwrap() }
    });
    for page in join_all(pages).await {
        page.expect("mysql_up", &[], 1.0).unwrap();
        let collectors = page.matching("mysql_exporter_collector_success", &[]);
        assert!(!collectors.is_empty() && collectors.iter().all(|sample| sample.value == 1.0));
    }
    // And they are kept: root and the testbed's readiness probe opened far fewer than one per scrape.
    let connections = db.sql("SHOW GLOBAL STATUS LIKE 'Connections'").unwrap();
    let made: u32 = connections.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(made < 50, "{made} connections for 200 scrapes");
}

#[tokio::test]
async fn targets_that_are_not_mysql() {
    let half_greeting = greeting()[..20].to_vec();
    let fakes = [
        Behaviour::Silence,
        Behaviour::Garbage,
        Behaviour::Close,
        Behaviour::HalfReply(half_greeting),
        Behaviour::HalfReply(greeting()),
        Behaviour::Drip(greeting(), Duration::from_millis(100)),
        // An empty packet where the greeting should be.
        Behaviour::HalfReply(vec![0, 0, 0, 0]),
    ];
    join_all(fakes.map(async |behaviour| {
        let fake = Fake::start(behaviour.clone()).await.unwrap();
        let exporter = exporter(fake.address()).start().await.unwrap();
        for _ in 0..3 {
            let reply = get_within(&exporter, "/metrics", 1.0).await.unwrap();
            let page = Page::parse(&reply.text()).unwrap();
            page.expect("mysql_up", &[], 0.0).unwrap();
            assert_eq!(check_status(&page, "connect").as_deref(), Some("fail"));
        }
        no_connection_is_left(&fake, &behaviour).await;
    }))
    .await;
}

async fn no_connection_is_left(fake: &Fake, behaviour: &Behaviour) {
    eventually(TIMEOUT, "the exporter closes its connections", async || match fake.open() {
        0 => Ok(()),
        open => Err(format!("{open} of {} are open: {behaviour:?}", fake.accepted())),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_in_the_middle_of_an_answer() {
    // A login, the answers to the three statements of a new connection, and then the columns and one row of an answer
    // that never ends.
    let version = [columns(), packet(5, &row("version", "5.5.0")), packet(6, EOF)].concat();
    let half = [columns(), packet(5, &row("Uptime", "1"))].concat();
    let behaviour = Behaviour::Dialogue(vec![greeting(), packet(2, OK), packet(1, OK), version, packet(1, OK), half]);
    let fake = Fake::start(behaviour.clone()).await.unwrap();
    let exporter = exporter(fake.address()).start().await.unwrap();
    for _ in 0..3 {
        let page = Page::parse(&get_within(&exporter, "/metrics", 1.0).await.unwrap().text()).unwrap();
        // It let us in, but no collector read anything to its end.
        page.expect("mysql_up", &[], 1.0).unwrap();
        page.expect("mysql_exporter_collector_success", &[("collector", "collect.global_status")], 0.0).unwrap();
        assert!(!page.has("mysql_global_status_uptime"));
        assert_eq!(check_status(&page, "ping_query").as_deref(), Some("fail"));
        page.expect("mysql_health_status", &[("status", "down")], 1.0).unwrap();
    }
    let report = get_within(&exporter, "/health", 1.0).await.unwrap().json();
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("ping_query: ") && reason.contains("within"), "{reason}");
    // At most two per scrape, and no background task waits for the rest of an answer.
    assert!(fake.accepted() <= 2 * 4, "{} connections in four scrapes", fake.accepted());
    no_connection_is_left(&fake, &behaviour).await;
}

#[tokio::test]
async fn a_replica() {
    let source = server(&["--log-bin", "--server-id=1"]).await;
    let replica = server(&["--server-id=2", "--read-only=1"]).await;
    let exporter = exporter(replica.address()).start().await.unwrap();
    let page = scrape(&exporter).await.unwrap();
    assert_eq!(check_status(&page, "read_only").as_deref(), Some("warn"), "a read-only server that is no replica");
    page.expect("mysql_health_status", &[("status", "degraded")], 1.0).unwrap();

    source
        .sql("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'; RESET MASTER; CREATE DATABASE d")
        .unwrap();
    let port = source.address().port();
    replica
        .sql(&format!(
            "CHANGE MASTER TO master_host='127.0.0.1', master_port={port}, master_user='repl', master_use_gtid=slave_pos;
             START SLAVE"
        ))
        .unwrap();
    let labels = [("master_host", "127.0.0.1"), ("master_uuid", ""), ("channel_name", ""), ("connection_name", "")];
    let page = eventually(TIMEOUT, "the replica runs", async || {
        let page = scrape(&exporter).await?;
        page.expect("mysql_slave_status_slave_io_running", &labels, 1.0)?;
        page.expect("mysql_slave_status_slave_sql_running", &labels, 1.0)?;
        page.expect("mysql_slave_status_seconds_behind_master", &labels, 0.0)?;
        page.expect("mysql_replication_lag_seconds", &labels, 0.0)?;
        page.expect("mysql_slave_status_master_port", &labels, f64::from(port))?;
        let domain = [labels.as_slice(), &[("domain_id", "0"), ("server_id", "1")]].concat();
        page.expect("mysql_slave_status_gtid_io_pos", &domain, 1.0)?;
        page.expect("mysql_slave_status_gtid_slave_pos", &domain, 1.0)?;
        Ok::<_, Error>(page)
    })
    .await
    .unwrap();
    assert_eq!(check_status(&page, "replication").as_deref(), Some("ok"));
    assert_eq!(check_status(&page, "read_only").as_deref(), Some("ok"));
    page.expect("mysql_health_status", &[("status", "healthy")], 1.0).unwrap();

    replica.sql("STOP SLAVE SQL_THREAD").unwrap();
    let page = scrape(&exporter).await.unwrap();
    page.expect("mysql_slave_status_slave_sql_running", &labels, 0.0).unwrap();
    // NULL has no value.
    assert!(!page.has("mysql_slave_status_seconds_behind_master"));
    page.expect("mysql_replication_lag_seconds", &labels, f64::INFINITY).unwrap();
    assert_eq!(check_status(&page, "replication").as_deref(), Some("fail"));
    let report = health(&exporter).await;
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.contains(&format!("127.0.0.1:{port}: SQL thread is in state No")), "{reason}");
}

#[tokio::test]
async fn connections_without_headroom() {
    // 10 is the least that MariaDB takes.
    let db = server(&["--max-connections=10"]).await;
    let exporter = exporter(db.address()).start().await.unwrap();
    up(&exporter, 1.0).await;
    let taken: Vec<_> = join_all((0..8).map(async |_| mysql::connection(&db).await.unwrap())).await;
    let page = scrape(&exporter).await.unwrap();
    let connected = page.value("mysql_global_status_threads_connected", &[]).unwrap();
    let status = if connected >= 10.0 { "fail" } else { "warn" };
    assert_eq!(check_status(&page, "connections").as_deref(), Some(status), "{connected} of 10");
    page.expect("mysql_health_status", &[("status", "degraded")], 1.0).unwrap();
    drop(taken);
}

#[tokio::test]
async fn the_peers_flags_are_understood() {
    let db = server(&[]).await;
    let flags = [
        "--no-collect.slave_status",
        "--no-collector.info_schema.innodb_cmp",
        "--collect.info_schema.innodb_cmpmem",
        "--exporter.lock_wait_timeout=3",
        "--exporter.log_slow_filter",
        "--exporter.max_open_connections=1",
        "--exporter.query_timeout=5",
    ];
    let exporter = exporter(db.address()).args(flags).start().await.unwrap();
    let page = scrape(&exporter).await.unwrap();
    let on = |collector: &str| page.matching("mysql_exporter_collector_success", &[("collector", collector)]).len();
    for (collector, series) in [
        ("collect.global_status", 1),
        ("collect.info_schema.innodb_cmpmem", 1),
        ("collect.slave_status", 0),
        ("collect.info_schema.innodb_cmp", 0),
        ("global_status", 0),
    ] {
        assert_eq!(on(collector), series, "{collector}");
    }
    // One connection: the server refuses a second one.
    db.sql("ALTER USER exporter@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1").unwrap();
    for _ in 0..3 {
        assert!(mysql::failed(&scrape(&exporter).await.unwrap()).is_empty());
    }
    // The filter of `collect[]` is the bare name, in the peer, too.
    let page = get_page(&exporter, "/metrics?collect[]=global_status").await.unwrap();
    assert_eq!(page.matching("mysql_exporter_collector_success", &[]).len(), 1);
    page.expect("mysql_exporter_collector_success", &[("collector", "collect.global_status")], 1.0).unwrap();
}

#[tokio::test]
async fn a_user_without_grants_loses_only_what_needs_them() {
    let db = server(&[]).await;
    db.sql("REVOKE ALL PRIVILEGES, GRANT OPTION FROM exporter@'127.0.0.1'").unwrap();
    let exporter = exporter(db.address()).start().await.unwrap();
    let page = scrape(&exporter).await.unwrap();
    page.expect("mysql_up", &[], 1.0).unwrap();
    for (collector, success) in [
        ("collect.global_status", 1.0),
        ("collect.global_variables", 1.0),
        ("collect.slave_status", 0.0),
        ("collect.info_schema.innodb_cmp", 0.0),
        ("collect.health", 0.0),
    ] {
        page.expect("mysql_exporter_collector_success", &[("collector", collector)], success).unwrap();
    }
    assert_eq!(check_status(&page, "connections").as_deref(), Some("ok"));
    let report = health(&exporter).await;
    assert!(
        report["reasons"].to_string().contains("grant the exporter's user the privileges in exporters/mysql/README.md")
    );
}

#[tokio::test]
async fn probes_take_their_account_from_a_section() {
    let db = server(&[]).await;
    db.sql("CREATE USER exporter@localhost IDENTIFIED BY 'secret'").unwrap();
    let cnf = db.directory().join("exporter.cnf");
    std::fs::write(
        &cnf,
        "[client]\nuser=nobody\npassword=none\n[client.right]\nuser=exporter\npassword=\"${PROBE_PASSWORD}\"\n",
    )
    .unwrap();
    let exporter = Program::exporter("mysql-exporter")
        .arg(format!("--config.my-cnf={}", cnf.display()))
        .arg(format!("--mysqld.address={}", db.address()))
        .arg("--probe.targets=unix:*")
        .env("PROBE_PASSWORD", "secret")
        .start()
        .await
        .unwrap();
    let probe = |target: String, module: &str| format!("/probe?target={target}&auth_module={module}");
    let tcp = db.address().to_string();
    let unix = format!("unix://{}", db.socket().display());
    for target in [tcp.clone(), unix] {
        let page = get_page(&exporter, &probe(target.clone(), "client.right")).await.unwrap();
        page.expect("mysql_up", &[], 1.0).unwrap();
        assert!(page.has("mysql_global_status_uptime"), "{target}");
    }
    get_page(&exporter, &probe(tcp.clone(), "client")).await.unwrap().expect("mysql_up", &[], 0.0).unwrap();
    for (path, reason) in [
        (probe(tcp, "elsewhere"), "no section [elsewhere]"),
        (probe("db:port".to_owned(), "client"), "invalid address"),
        ("/probe".to_owned(), "target"),
    ] {
        let reply = http::get(&exporter.url(&path)).await.unwrap();
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.text().contains(reason), "{path}: {}", reply.text());
    }
}

#[tokio::test]
async fn wrong_configuration_stops_the_start() {
    let nowhere = Port::lease().unwrap();
    let address = format!("--mysqld.address={}", nowhere.address());
    for (args, reason) in [
        (vec![address.as_str()], "no user: set --mysqld.username"),
        (vec!["--mysqld.username=u", "--mysqld.address=db:port"], "invalid address \"db:port\""),
        (vec!["--mysqld.username=u", "--mysqld.password-file=/nowhere"], "cannot read --mysqld.password-file=/nowhere"),
        (vec!["--mysqld.username=u", "--config.my-cnf=/nowhere"], "cannot read --config.my-cnf=/nowhere"),
        (vec!["--mysqld.username=u", "--health.connections-warn=-1"], "--health.connections-warn"),
    ] {
        let finished = Program::new("mysql-exporter").args(args).run(TIMEOUT).await.unwrap();
        assert!(finished.code.is_some_and(|code| code != 0));
        assert!(finished.stderr.contains(reason), "{reason}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn metrics_md_is_what_the_program_prints() {
    let finished = Program::new("mysql-exporter").arg("--print-metrics").run(TIMEOUT).await.unwrap();
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.stdout, METRICS, "run: mysql-exporter --print-metrics > exporters/mysql/METRICS.md");
}

#[tokio::test]
async fn every_series_is_in_metrics_md() {
    let db = server(&[]).await;
    let exporter = exporter(db.address()).start().await.unwrap();
    let page = scrape(&exporter).await.unwrap();
    let listed: BTreeSet<&str> =
        METRICS.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let patterns: Vec<&str> = listed.iter().filter_map(|name| Some(name.split_once('<')?.0)).collect();
    let missing: Vec<_> = page
        .families()
        .keys()
        .filter(|name| !listed.contains(name.as_str()) && !patterns.iter().any(|pattern| name.starts_with(pattern)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Status: autocommit. No rows, no warnings.
const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const EOF: &[u8] = &[0xfe, 0, 0, 2, 0];

/// Protocol 10, a version, a thread's number, a nonce in two parts, and the abilities of a server of that age.
fn greeting() -> Vec<u8> {
    let mut payload = b"\x0a5.5.0-fake\0\x01\0\0\0".to_vec();
    payload.extend(b"abcdefgh\0\x01\x82\x21\x02\0\x08\0\x15");
    payload.extend([0; 10]);
    payload.extend(b"abcdefghijkl\0mysql_native_password\0");
    packet(0, &payload)
}

/// The head of an answer with two columns of text.
fn columns() -> Vec<u8> {
    let column = |sequence, name: &str| {
        let mut payload = text("def");
        payload.extend([0, 0, 0]);
        payload.extend(text(name));
        payload.extend([0, 0x0c, 0x21, 0, 0xff, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        packet(sequence, &payload)
    };
    [packet(1, &[2]), column(2, "Variable_name"), column(3, "Value"), packet(4, EOF)].concat()
}

fn row(name: &str, value: &str) -> Vec<u8> {
    [text(name), text(value)].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}
