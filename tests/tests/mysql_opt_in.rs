//! The collectors of `mysql-exporter` that are off by default, with the grants that the README lists for them.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use medassist_tests::database::Flavour;
use medassist_tests::testbed::{Database, Page, mysql};

const METRICS: &str = include_str!("../../exporters/mysql/METRICS.md");

const COLLECTORS: [&str; 15] = [
    "auto_increment.columns",
    "binlog_size",
    "engine_innodb_status",
    "heartbeat",
    "info_schema.clientstats",
    "info_schema.innodb_metrics",
    "info_schema.innodb_tablespaces",
    "info_schema.processlist",
    "info_schema.replica_host",
    "info_schema.schemastats",
    "info_schema.tables",
    "info_schema.tablestats",
    "info_schema.userstats",
    "mysql.user",
    "slave_hosts",
];

async fn page(db: &Database, flags: &[&str]) -> Page {
    let exporter = mysql::exporter(db.address())
        .args(COLLECTORS.map(|collector| format!("--collect.{collector}")))
        .arg("--collect.sys.user_summary")
        .args(flags)
        .start()
        .await
        .unwrap();
    mysql::scrape(&exporter).await.unwrap()
}

/// The README's user, who may see what the blocks of SQL with these words allow.
fn create_user(db: &Database, blocks: &[&str]) {
    for words in blocks {
        db.sql(&mysql::grants(words).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn every_collector_with_its_grants() {
    let db = Database::start_with(&["--log-bin", "--server-id=1", "--userstat=1"]).await.unwrap();
    db.sql(
        "CREATE DATABASE app; USE app; CREATE TABLE a (id TINYINT UNSIGNED AUTO_INCREMENT PRIMARY KEY); INSERT INTO a VALUES (1), (2);
         SELECT * FROM a; CREATE DATABASE heartbeat;
         CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED NOT NULL PRIMARY KEY);
         INSERT INTO heartbeat.heartbeat VALUES ('2026-11-22T19:00:00.500000', 7)",
    )
    .unwrap();
    create_user(&db, &["CREATE USER", "GRANT SELECT ON performance_schema.*", "GRANT BINLOG MONITOR"]);
    let page = page(&db, &["--collect.mysql.user.privileges"]).await;
    for collector in COLLECTORS.iter().chain(&["sys.user_summary"]) {
        let label = format!("collect.{collector}");
        page.expect("mysql_exporter_collector_success", &[("collector", &label)], 1.0).unwrap();
    }

    let column = [("schema", "app"), ("table", "a"), ("column", "id")];
    page.expect("mysql_info_schema_auto_increment_column", &column, 3.0).unwrap();
    page.expect("mysql_info_schema_auto_increment_column_max", &column, 255.0).unwrap();
    page.expect("mysql_binlog_files", &[], 1.0).unwrap();
    page.expect("mysql_binlog_file_number", &[], 1.0).unwrap();
    let stored = page.value("mysql_heartbeat_stored_timestamp_seconds", &[("server_id", "7")]).unwrap();
    let now = page.value("mysql_heartbeat_now_timestamp_seconds", &[("server_id", "7")]).unwrap();
    assert!(stored.fract() == 0.5 && now > 1_700_000_000.0, "{stored} {now}");
    let table = [("schema", "app"), ("table", "a")];
    page.expect("mysql_info_schema_table_rows", &table, 2.0).unwrap();
    page.expect("mysql_info_schema_table_statistics_rows_changed_total", &table, 2.0).unwrap();
    page.expect("mysql_info_schema_schema_statistics_rows_changed_total", &[("schema", "app")], 2.0).unwrap();
    let sizes = page.matching("mysql_info_schema_table_size", &table);
    assert_eq!(sizes.len(), 3);
    assert!(page.value("mysql_info_schema_user_statistics_bytes_sent_total", &[("user", "root")]).unwrap() > 0.0);
    assert!(page.has("mysql_info_schema_client_statistics_bytes_sent_total"));
    assert!(
        page.value("mysql_info_schema_innodb_tablespace_file_size_bytes", &[("tablespace_name", "app/a")]).unwrap()
            > 0.0
    );
    assert!(page.value("mysql_info_schema_innodb_metrics_transaction_trx_rseg_history_len", &[]).is_ok());
    assert!(page.value("mysql_info_schema_innodb_metrics_buffer_pool_pages", &[("state", "data")]).unwrap() > 0.0);
    assert!(page.value("mysql_engine_innodb_read_views_open_inside_innodb", &[]).is_ok());
    let account = [("mysql_user", "exporter"), ("hostmask", "127.0.0.1")];
    page.expect("mysql_mysql_max_user_connections", &account, 3.0).unwrap();
    page.expect("mysql_mysql_process_priv", &account, 1.0).unwrap();
    page.expect("mysql_mysql_shutdown_priv", &account, 0.0).unwrap();
    // Other servers than Aurora, and servers without replicas.
    assert!(!page.has("mysql_info_schema_replica_host_lag_seconds"));
    assert!(!page.has("mysql_heartbeat_mysql_slave_hosts_info"));

    for family in page.families().keys() {
        let listed = METRICS.contains(&format!("| `{family}` |"));
        let generic = ["mysql_info_schema_innodb_metrics_", "mysql_global_", "mysql_info_schema_user_statistics_"];
        let by_name = generic.iter().any(|beginning| family.starts_with(beginning)) || family.ends_with("_priv");
        assert!(listed || by_name || !family.starts_with("mysql_info_schema_"), "{family} is not in METRICS.md");
    }

    // More rows than the statement allows: what was read stays, and the collector says that it is not all.
    db.sql("USE heartbeat; INSERT INTO heartbeat SELECT '2026-11-22T19:00:00', seq FROM seq_1000_to_2500").unwrap();
    let cut = self::page(&db, &[]).await;
    cut.expect("mysql_exporter_collector_success", &[("collector", "collect.heartbeat")], 0.0).unwrap();
    assert_eq!(cut.matching("mysql_heartbeat_stored_timestamp_seconds", &[]).len(), 1000);
}

#[tokio::test]
async fn disabled_features_are_not_errors_and_databases_can_be_chosen() {
    let db = Database::start_with(&["--skip-log-bin"]).await.unwrap();
    db.sql("CREATE DATABASE app; CREATE TABLE app.a (id INT); CREATE DATABASE other; CREATE TABLE other.b (id INT)")
        .unwrap();
    db.sql("CREATE DATABASE heartbeat; CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26), server_id INT)").unwrap();
    create_user(&db, &["CREATE USER", "GRANT SELECT ON performance_schema.*", "GRANT BINLOG MONITOR"]);
    db.sql("GRANT SELECT ON other.* TO exporter@'127.0.0.1'").unwrap();
    let flags = [
        "--collect.info_schema.tables.databases=app,mysql",
        "--no-collect.info_schema.processlist.processes_by_user",
        "--collect.info_schema.processlist.min_time=1000000",
    ];
    let page = page(&db, &flags).await;
    for collector in ["binlog_size", "info_schema.userstats", "info_schema.clientstats", "info_schema.tablestats"] {
        let label = format!("collect.{collector}");
        page.expect("mysql_exporter_collector_success", &[("collector", &label)], 1.0).unwrap();
    }
    for family in [
        "mysql_binlog_files",
        "mysql_info_schema_user_statistics_bytes_sent_total",
        "mysql_info_schema_table_statistics_rows_read_total",
        "mysql_info_schema_processlist_threads",
        "mysql_info_schema_processlist_processes_by_user",
    ] {
        assert!(!page.has(family), "{family}");
    }
    page.expect("mysql_info_schema_table_rows", &[("schema", "app"), ("table", "a")], 0.0).unwrap();
    assert!(!page.matching("mysql_info_schema_table_rows", &[("schema", "mysql")]).is_empty());
    assert!(page.matching("mysql_info_schema_table_rows", &[("schema", "other")]).is_empty());
}

#[tokio::test]
async fn clients_are_counted_by_ipv6_address() {
    for flavour in [Flavour::MariaDb, Flavour::MariaDb11, Flavour::MySql] {
        let db = mysql::server(flavour, &["--bind-address=*"]).await.unwrap();
        db.sql("CREATE USER client@'::1'; CREATE USER client@'127.0.0.1'").unwrap();
        let mut clients = Vec::new();
        for host in ["::1", "::1", "127.0.0.1"] {
            let options = mysql_async::OptsBuilder::default()
                .ip_or_hostname(host)
                .tcp_port(db.address().port())
                .user(Some("client"))
                .prefer_socket(false);
            clients.push(mysql_async::Conn::new(options).await.unwrap());
        }
        let exporter = mysql::exporter(db.address()).arg("--collect.info_schema.processlist").start().await.unwrap();
        let page = mysql::scrape(&exporter).await.unwrap();
        let by_host = |host| page.value("mysql_info_schema_processlist_processes_by_host", &[("client_host", host)]);
        assert_eq!(by_host("::1").unwrap(), 2.0, "{flavour:?}");
        assert!(by_host("127.0.0.1").unwrap() >= 1.0, "{flavour:?}");
    }
}

/// Both timestamps are seconds since 1970, whatever the server's time zone is.
#[tokio::test]
async fn heartbeats_in_utc_do_not_depend_on_the_time_zone() {
    for flavour in [Flavour::MariaDb, Flavour::MariaDb11, Flavour::MySql] {
        let db = mysql::server(flavour, &["--default-time-zone=+02:00"]).await.unwrap();
        db.sql(
            "CREATE DATABASE heartbeat;
             CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED NOT NULL PRIMARY KEY);
             INSERT INTO heartbeat.heartbeat VALUES ('2026-03-29T02:05:00.500000', 7)",
        )
        .unwrap();
        db.sql("GRANT SELECT ON heartbeat.heartbeat TO exporter@'127.0.0.1'").unwrap();
        let flags = ["--collect.heartbeat", "--collect.heartbeat.utc"];
        let exporter = mysql::exporter(db.address()).args(flags).start().await.unwrap();
        let page = mysql::scrape(&exporter).await.unwrap();
        let value = |name| page.value(name, &[("server_id", "7")]).unwrap();
        assert_eq!(value("mysql_heartbeat_stored_timestamp_seconds"), 1_774_749_900.5, "{flavour:?}");
        let now = db.sql("SELECT UNIX_TIMESTAMP(NOW(6))").unwrap().trim().parse::<f64>().unwrap();
        let age = now - value("mysql_heartbeat_now_timestamp_seconds");
        assert!((0.0..60.0).contains(&age), "{flavour:?}: {age}");
    }
}

/// An answer of 3.8 MB, where a collector can use 3 MiB.
#[tokio::test]
async fn an_answer_larger_than_the_memory_limit_costs_its_collector() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let db = mysql::server(flavour, &[]).await.unwrap();
        db.sql(
            "CREATE DATABASE heartbeat;
             CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26) NOT NULL, server_id VARCHAR(6100) NOT NULL);
             INSERT INTO heartbeat.heartbeat VALUES ('2026-11-22T19:00:00.500000', CONCAT(1, REPEAT('x', 6000)))",
        )
        .unwrap();
        // 640 rows, each of which has 6,000 bytes.
        for rows in [1, 2, 4, 8, 16, 32, 64, 128, 256, 128] {
            db.sql(&format!("INSERT INTO heartbeat.heartbeat SELECT * FROM heartbeat.heartbeat LIMIT {rows}")).unwrap();
        }
        db.sql("GRANT SELECT ON heartbeat.heartbeat TO exporter@'127.0.0.1'").unwrap();
        let start =
            async |flags: &[&str]| mysql::exporter(db.address()).arg("--collect.heartbeat").args(flags).start().await;
        let ample = start(&[]).await.unwrap();
        assert!(mysql::failed(&mysql::scrape(&ample).await.unwrap()).is_empty(), "{flavour:?}");

        let exporter = start(&["--scrape.memory-limit=4"]).await.unwrap();
        for _ in 0..3 {
            assert_eq!(mysql::failed(&mysql::scrape(&exporter).await.unwrap()), ["collect.heartbeat"], "{flavour:?}");
        }
        assert!(exporter.log().contains("no memory for the answer of"), "{}", exporter.log());

        // The memory of the answers that were given up is free again.
        db.sql("DELETE FROM heartbeat.heartbeat LIMIT 600").unwrap();
        assert!(mysql::failed(&mysql::scrape(&exporter).await.unwrap()).is_empty(), "{flavour:?}");
    }
}

/// The collectors of performance_schema, too.
#[tokio::test]
async fn every_collector_with_its_grants_on_mysql() {
    let db = mysql::server(Flavour::MySql, &["--log-bin", "--server-id=1"]).await.unwrap();
    db.sql(
        "CREATE DATABASE app; USE app; CREATE TABLE a (id TINYINT UNSIGNED AUTO_INCREMENT PRIMARY KEY); INSERT INTO a VALUES (1), (2);
         ANALYZE TABLE a; CREATE DATABASE heartbeat;
         CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED NOT NULL PRIMARY KEY);
         INSERT INTO heartbeat.heartbeat VALUES ('2026-11-22T19:00:00.500000', 7)",
    )
    .unwrap();
    create_user(&db, &["GRANT SELECT ON performance_schema.*"]);
    // The README: of these lines MySQL has the first in REPLICATION CLIENT, and the second is REPLICATION SLAVE.
    let further = mysql::grants("GRANT BINLOG MONITOR").unwrap();
    let (_, further) = further.split_once('\n').unwrap();
    db.sql(&further.replace("REPLICATION MASTER ADMIN", "REPLICATION SLAVE")).unwrap();
    let performance_schema: Vec<_> = METRICS
        .lines()
        .filter_map(|line| line.strip_prefix("## Collector `perf_schema.")?.split('`').next())
        .map(|collector| format!("--collect.perf_schema.{collector}"))
        .collect();
    assert_eq!(performance_schema.len(), 12, "{performance_schema:?}");
    let flags: Vec<_> =
        performance_schema.iter().map(String::as_str).chain(["--collect.mysql.user.privileges"]).collect();
    let page = page(&db, &flags).await;
    let collectors = page.matching("mysql_exporter_collector_success", &[]).len();
    assert!(collectors >= 7 + COLLECTORS.len() + 1 + performance_schema.len(), "{collectors}");
    assert!(mysql::failed(&page).is_empty(), "{:?}", mysql::failed(&page));

    let table = [("schema", "app"), ("table", "a")];
    page.expect("mysql_info_schema_table_rows", &table, 2.0).unwrap();
    page.expect("mysql_info_schema_auto_increment_column", &[table.as_slice(), &[("column", "id")]].concat(), 3.0)
        .unwrap();
    page.expect("mysql_binlog_files", &[], 1.0).unwrap();
    page.expect("mysql_mysql_process_priv", &[("mysql_user", "exporter"), ("hostmask", "127.0.0.1")], 1.0).unwrap();
    for family in [
        "mysql_heartbeat_stored_timestamp_seconds",
        "mysql_info_schema_innodb_metrics_buffer_pool_pages",
        "mysql_info_schema_innodb_tablespace_file_size_bytes",
        "mysql_info_schema_processlist_threads",
        "mysql_engine_innodb_read_views_open_inside_innodb",
        "mysql_sys_statements_total",
        "mysql_perf_schema_events_statements_total",
    ] {
        assert!(page.has(family), "{family}");
    }
}
