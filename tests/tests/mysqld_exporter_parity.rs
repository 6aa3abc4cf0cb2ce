//! `mysql-exporter` next to Debian's newest mysqld_exporter, on the same server at the same time, on each flavour: the
//! same series with the same types and values, but for the lists below.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use medassist_tests::Error;
use medassist_tests::database::{Flavour, unpacked_program};
use medassist_tests::launch::{Launch, Ready};
use medassist_tests::testbed::page::Sample;
use medassist_tests::testbed::process::Directory;
use medassist_tests::testbed::{Database, Page, Port, Process, Program, RunningProgram, eventually, http};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Collectors that both have and neither runs by default.
const OPT_IN: &[&str] = &[
    "auto_increment.columns",
    "binlog_size",
    "engine_innodb_status",
    "heartbeat",
    "info_schema.clientstats",
    "info_schema.innodb_metrics",
    "info_schema.innodb_tablespaces",
    "info_schema.processlist",
    "info_schema.schemastats",
    "info_schema.tables",
    "info_schema.tablestats",
    "info_schema.userstats",
    "mysql.user",
    "slave_hosts",
];

/// Those of them that read performance_schema.
const PERF_SCHEMA: &[&str] = &[
    "perf_schema.eventsstatements",
    "perf_schema.eventsstatementssum",
    "perf_schema.tableiowaits",
    "perf_schema.indexiowaits",
    "perf_schema.file_events",
    "perf_schema.file_instances",
    "perf_schema.eventswaits",
    "perf_schema.tablelocks",
    "perf_schema.memory_events",
    "perf_schema.replication_group_members",
    "perf_schema.replication_group_member_stats",
    "perf_schema.replication_applier_status_by_worker",
];

/// What the peer has and ours hasn't, and why: the beginnings of names.
const PEER_ONLY: &[(&str, &str)] = &[
    ("mysql_perf_schema_events_statements_cpu_time_seconds_total", NOT_MEASURED),
    ("mysql_perf_schema_events_statements_latency{", NOT_MEASURED),
];

/// MySQL's are compared, and must be there.
const NOT_MEASURED: &str = "MariaDB has no such column, and the peer exports 0";

/// What ours has and the peer hasn't.
const OURS_ONLY: &[(&str, &str)] = &[
    ("mysql_health_", "the peer has no health checks"),
    ("mysql_exporter_login", "the peer logs in for each scrape"),
    ("mysql_exporter_collector_success{collector=collect.logins}", "the peer logs in for each scrape"),
    ("mysql_exporter_collector_duration_seconds{collector=collect.logins}", "the peer logs in for each scrape"),
    ("mysql_transactions_", "the peer has no such collector"),
    ("mysql_metadata_lock_", "the peer has no such collector"),
    ("mysql_innodb_history_list_length", "under one name on each flavour"),
    ("mysql_replication_own_transactions", "the peer's readers would have to compare sets of GTIDs"),
    ("mysql_replication_lag_seconds", "the peer's lag is absent while replication doesn't run"),
    ("mysql_slave_status_exec_master_", OLD_NAMES),
    ("mysql_slave_status_get_master_", OLD_NAMES),
    ("mysql_slave_status_master_", OLD_NAMES),
    ("mysql_slave_status_read_master_", OLD_NAMES),
    ("mysql_slave_status_seconds_behind_master", OLD_NAMES),
    ("mysql_slave_status_slave_io_running", OLD_NAMES),
    ("mysql_slave_status_slave_sql_running", OLD_NAMES),
    ("mysqld_exporter_config_last_reload_", "the peer declares them and never registers them"),
    ("mysql_exporter_scrapes_total", "the peer's last release with it is 0.14"),
    ("mysql_exporter_dropped_samples_total", "where the peer answers 500"),
    ("mysql_exporter_log_lines_dropped_total", "the peer waits for its log"),
    ("mysql_exporter_collector_success{collector=collect.health}", "the peer has no health checks"),
    ("mysql_exporter_collector_duration_seconds{collector=collect.health}", "the peer has no health checks"),
    ("mysql_exporter_collector_success{collector=collect.transactions}", "the peer has no such collector"),
    ("mysql_exporter_collector_duration_seconds{collector=collect.transactions}", "the peer has no such collector"),
];

const OLD_NAMES: &str = "of MySQL 8.4 and later the peer has the new names alone";

/// Where both have series and the labels differ.
const OTHER_LABELS: &[(&str, &str)] = &[
    ("mysqld_exporter_build_info", "the version of Go and the platform are not those of ours"),
    ("mysql_info_schema_processlist_", "the threads differ from scrape to scrape"),
];

/// Values that depend on the exporter's own connections.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("mysql_exporter_", "of the exporter itself"),
    ("mysql_perf_schema_events_statements_lock_time_seconds_total", "the peer exports 0 for MariaDB"),
    ("mysql_engine_innodb_read_views_open_inside_innodb", "ours runs two statements at once, each in a read view"),
    ("mysql_sys_current_connections{user=exporter}", "the peer's connections are two of them"),
    ("mysql_sys_current_memory_bytes{user=exporter}", "what a connection takes is free once the peer's is closed"),
    ("mysql_perf_schema_memory_events_", "what a connection takes is free once the peer's is closed"),
    (
        "mysql_perf_schema_events_waits_seconds_total{event_name=idle}",
        "the server forgets how long a connection was idle when it is closed; ours is open from scrape to scrape",
    ),
    ("mysql_info_schema_client_statistics_concurrent_connections", "the peer's connection is one of them"),
    ("mysql_info_schema_user_statistics_concurrent_connections", "the peer's connection is one of them"),
    ("mysql_global_status_threads_", "the peer's connection is new and ours is idle"),
    ("mysql_global_status_memory_used", "what a connection takes is free once the peer's is closed"),
];

/// Go's run time, its HTTP library, and what the operating system says about the exporter.
const PROCESS: [&str; 3] = ["go_", "promhttp_", "process_"];

fn listed(list: &[(&str, &str)], series: &str) -> bool {
    list.iter().any(|(beginning, _)| series.starts_with(beginning))
}

type Series<'a> = BTreeMap<String, &'a Sample>;

fn series(page: &Page) -> Series<'_> {
    let spelt = |sample: &Sample| {
        let labels: Vec<_> = sample.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        if labels.is_empty() { sample.name.clone() } else { format!("{}{{{}}}", sample.name, labels.join(",")) }
    };
    let of_the_service = |sample: &&Sample| !PROCESS.iter().any(|beginning| sample.name.starts_with(beginning));
    page.samples().iter().filter(of_the_service).map(|sample| (spelt(sample), sample)).collect()
}

/// All that differs and isn't listed. A value is right if it lies between the peer's before and after ours was read.
fn differences(before: &Page, ours: &Page, after: &Page) -> BTreeSet<String> {
    let (theirs, later, own) = (series(before), series(after), series(ours));
    let mut found = BTreeSet::new();
    for (name, sample) in &theirs {
        match (own.get(name), later.get(name)) {
            (None, _) if listed(PEER_ONLY, name) || listed(OTHER_LABELS, name) => {}
            (None, _) => {
                found.insert(format!("{name} is missing"));
            }
            (Some(own), Some(later)) if !listed(OTHER_VALUES, name) && !listed(OTHER_LABELS, name) => {
                let (low, high) = (sample.value.min(later.value), sample.value.max(later.value));
                if !(low..=high).contains(&own.value) {
                    found.insert(format!("{name} is {}, the peer has {} and {}", own.value, sample.value, later.value));
                }
            }
            _ => {}
        }
    }
    for name in own.keys().filter(|name| !theirs.contains_key(*name)) {
        if !listed(OURS_ONLY, name) && !listed(OTHER_LABELS, name) {
            found.insert(format!("the peer has no {name}"));
        }
    }
    for (family, theirs) in before.families() {
        let own = ours.kind(family);
        let is_process = PROCESS.iter().any(|beginning| family.starts_with(beginning));
        if own.is_some() && !is_process && own != theirs.kind.as_deref() {
            found.insert(format!("{family} is of type {own:?}, in the peer {:?}", theirs.kind));
        }
    }
    found
}

/// The newest of Debian unstable.
fn peer() -> Launch {
    unpacked_program("unstable", "usr/bin/prometheus-mysqld-exporter").unwrap()
}

struct Pair {
    ours: RunningProgram,
    _peer: Process,
    peer_url: String,
}

impl Pair {
    async fn start(address: &str, user: &str, password: &str, collectors: &[&str]) -> Self {
        let flags: Vec<_> = collectors.iter().map(|collector| format!("--collect.{collector}")).collect();
        let ours = Program::exporter("mysql-exporter")
            .arg(format!("--mysqld.address={address}"))
            .arg(format!("--mysqld.username={user}"))
            .args(&flags)
            .env("MYSQLD_EXPORTER_PASSWORD", password)
            .start()
            .await
            .unwrap();
        let port = Port::lease().unwrap();
        let peer = peer()
            .arg(format!("--web.listen-address={}", port.address()))
            .arg(format!("--mysqld.address={address}"))
            .arg(format!("--mysqld.username={user}"))
            .args(&flags)
            .env("MYSQLD_EXPORTER_PASSWORD", password);
        let peer_url = format!("http://{}/metrics", port.address());
        let directory = Directory::new("mysqld_exporter").unwrap();
        let _peer = Process::start("mysqld_exporter", peer, Ready::Http(peer_url.clone()), directory).await.unwrap();
        Self { ours, _peer, peer_url }
    }

    async fn pages(&self) -> Result<[Page; 3], Error> {
        let url = self.ours.url("/metrics");
        let mut pages = Vec::new();
        for url in [&self.peer_url, &url, &self.peer_url] {
            pages.push(Page::parse(&http::get(url).await?.text())?);
        }
        Ok(pages.try_into().unwrap())
    }

    /// A gauge may go up and down between two scrapes. A real difference persists, so one round without any is enough.
    async fn agree(&self) -> [Page; 3] {
        let pages = eventually(TIMEOUT, "no difference", async || {
            let [before, ours, after] = self.pages().await.map_err(|error| error.to_string())?;
            let found = differences(&before, &ours, &after);
            if found.is_empty() { Ok([before, ours, after]) } else { Err(format!("{found:#?}")) }
        })
        .await
        .unwrap();
        // Series that neither could read would not differ.
        for sample in pages[1].matching("mysql_exporter_collector_success", &[]) {
            assert_eq!(sample.value, 1.0, "{:?}", sample.labels);
        }
        pages
    }
}

/// Flags of the peer that ours lacks.
const FLAGS_OF_THE_PEER: &[(&str, &str)] =
    &[("--collect.engine_tokudb_status", "no server that is maintained has TokuDB")];

#[tokio::test]
async fn a_service_file_changes_only_the_binary() {
    let flags = |help: &str| -> BTreeSet<String> {
        let words = help.split(|c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c));
        words.filter(|word| word.starts_with("--")).map(|word| word.trim_end_matches('.').to_owned()).collect()
    };
    // It writes its help to either of the two.
    let output = peer().arg("--help").wrapped(&[]).output().unwrap();
    let theirs = flags(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    assert!(theirs.len() > 40, "{theirs:?}");
    let help = Program::new("mysql-exporter").arg("--help").run(TIMEOUT).await.unwrap();
    let ours = flags(&help.stdout);
    let known = |flag: &&String| FLAGS_OF_THE_PEER.iter().any(|(known, _)| known == flag);
    // `--help-long` and `--help-man` are of the library that reads its flags.
    let missing: Vec<_> = theirs.difference(&ours).filter(|flag| !known(flag) && !flag.starts_with("--help")).collect();
    assert!(missing.is_empty(), "{missing:?}");

    // The negations, of which its help tells nothing.
    let negated = [
        "--no-collect.slave_status",
        "--no-collect.perf_schema.eventsstatements",
        "--no-collect.info_schema.processlist.processes_by_user",
        "--no-collect.info_schema.processlist.processes_by_host",
        "--no-exporter.enable_lock_wait_timeout",
    ];
    let version = Program::new("mysql-exporter").args(negated).arg("--version").run(TIMEOUT).await.unwrap();
    assert_eq!(version.code, Some(0), "{}", version.stderr);
}

/// A server with something for each collector to find, and a user who may see it.
async fn server(flavour: Flavour, args: &[&str]) -> Database {
    let db = Database::start_as(flavour, args).await.unwrap();
    db.sql("CREATE USER exporter@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO exporter@'127.0.0.1'")
        .unwrap();
    db.sql("CREATE DATABASE d; USE d; CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY) ROW_FORMAT=COMPRESSED;
         INSERT INTO t VALUES (1), (2); SELECT * FROM t;
         CREATE DATABASE heartbeat; CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED PRIMARY KEY);
         INSERT INTO heartbeat.heartbeat VALUES ('2026-11-22T19:00:00.5', 1)")
        .unwrap();
    db
}

async fn pair(db: &Database, collectors: &[&str]) -> Pair {
    Pair::start(&db.address().to_string(), "exporter", "secret", collectors).await
}

/// The default collectors and every other one that needs no performance_schema.
async fn a_server_with_a_binary_log(flavour: Flavour) {
    let db = server(flavour, &["--log-bin", "--server-id=1", "--slow-query-log=1"]).await;
    let mut collectors = OPT_IN.to_vec();
    if flavour.is_mariadb() {
        db.sql("SET GLOBAL userstat=ON; INSTALL SONAME 'query_response_time'; SET GLOBAL query_response_time_stats=ON")
            .unwrap();
    } else {
        collectors.push("sys.user_summary");
    }
    let [_, ours, _] = pair(&db, &collectors).await.agree().await;
    let compared = series(&ours).len();
    assert!(compared > 1000, "only {compared} series");
    // Both saw what is there.
    let created = db.sql("SHOW GLOBAL STATUS LIKE 'Com_create_db'").unwrap();
    let created: f64 = created.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(created >= 2.0, "{created}");
    ours.expect("mysql_global_status_commands_total", &[("command", "create_db")], created).unwrap();
    ours.expect("mysql_global_variables_slow_query_log", &[], 1.0).unwrap();
    let response_time = ours.kind("mysql_info_schema_query_response_time_seconds");
    assert_eq!(response_time, flavour.is_mariadb().then_some("histogram"));
}

#[tokio::test]
async fn mariadb_10_11_with_a_binary_log() {
    a_server_with_a_binary_log(Flavour::MariaDb).await;
}

#[tokio::test]
async fn mariadb_11_8_with_a_binary_log() {
    a_server_with_a_binary_log(Flavour::MariaDb11).await;
}

#[tokio::test]
async fn mysql_9_7_with_a_binary_log() {
    a_server_with_a_binary_log(Flavour::MySql).await;
}

async fn a_server_with_performance_schema(flavour: Flavour) {
    let db = server(flavour, &["--performance-schema=ON", "--performance-schema-instrument=%=ON"]).await;
    let [_, ours, _] = pair(&db, PERF_SCHEMA).await.agree().await;
    assert!(ours.has("mysql_perf_schema_events_statements_total"));
    let insert = [("schema", "d"), ("name", "t"), ("operation", "insert")];
    ours.expect("mysql_perf_schema_table_io_waits_total", &insert, 2.0).unwrap();
    for family in ["cpu_time_seconds_total", "latency"] {
        assert_eq!(
            ours.has(&format!("mysql_perf_schema_events_statements_{family}")),
            !flavour.is_mariadb(),
            "{family}"
        );
    }
}

#[tokio::test]
async fn mariadb_10_11_with_performance_schema() {
    a_server_with_performance_schema(Flavour::MariaDb).await;
}

#[tokio::test]
async fn mariadb_11_8_with_performance_schema() {
    a_server_with_performance_schema(Flavour::MariaDb11).await;
}

#[tokio::test]
async fn mysql_9_7_with_performance_schema() {
    a_server_with_performance_schema(Flavour::MySql).await;
}

/// Replication from two servers of which one is not there.
async fn a_replica(flavour: Flavour) {
    let source = server(flavour, &["--log-bin", "--server-id=1"]).await;
    let replica = server(flavour, &["--server-id=2"]).await;
    let port = source.address().port();
    let label = if flavour.is_mariadb() {
        source
            .sql("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'; RESET MASTER")
            .unwrap();
        replica
            .sql(&format!(
                "CHANGE MASTER TO master_host='127.0.0.1', master_port={port}, master_user='repl', master_use_gtid=slave_pos;
                 CHANGE MASTER 'east' TO master_host='127.0.0.2', master_port={port}, master_user='repl';
                 START SLAVE"
            ))
            .unwrap();
        "connection_name"
    } else {
        source.sql("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'; RESET BINARY LOGS AND GTIDS").unwrap();
        let to = |host: &str, channel: &str| {
            format!(
                "CHANGE REPLICATION SOURCE TO source_host='{host}', source_port={port}, source_user='repl', get_source_public_key=1 FOR CHANNEL '{channel}';"
            )
        };
        replica
            .sql(&format!("{}{}START REPLICA FOR CHANNEL ''", to("127.0.0.1", ""), to("127.0.0.2", "east")))
            .unwrap();
        "channel_name"
    };
    let pair = pair(&replica, &[]).await;
    let running = "mysql_slave_status_slave_sql_running";
    let of = |channel| [(label, channel)];
    eventually(TIMEOUT, "the replica runs", async || {
        let [_, ours, _] = pair.pages().await?;
        // Both threads: of one that only tries to connect MySQL 9.7 says that it isn't behind.
        let lag = ours.matching("mysql_replication_lag_seconds", &of(""));
        if lag.len() == 1 && lag[0].value == 0.0 { Ok(()) } else { Err(Error::Series(format!("lag: {lag:?}"))) }
    })
    .await
    .unwrap();
    let [_, ours, _] = pair.agree().await;
    assert_eq!(ours.matching(running, &of(""))[0].value, 1.0);
    assert_eq!(ours.matching(running, &of("east"))[0].value, 0.0);
    replica.sql(if flavour.is_mariadb() { "STOP SLAVE" } else { "STOP REPLICA FOR CHANNEL ''" }).unwrap();
    let [_, ours, _] = pair.agree().await;
    assert_eq!(ours.matching(running, &of(""))[0].value, 0.0);
}

#[tokio::test]
async fn a_mariadb_10_11_replica_with_two_sources() {
    a_replica(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_mariadb_11_8_replica_with_two_sources() {
    a_replica(Flavour::MariaDb11).await;
}

#[tokio::test]
async fn a_mysql_9_7_replica_with_two_sources() {
    a_replica(Flavour::MySql).await;
}
