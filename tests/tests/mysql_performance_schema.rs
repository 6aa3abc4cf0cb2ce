//! `mysql-exporter`'s collectors of `performance_schema` on a real MariaDB; `mysqld_exporter_parity` compares MySQL's,
//! too.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::collections::BTreeSet;

use medassist_tests::testbed::{Database, Page, Program, RunningProgram, http};

const README: &str = include_str!("../../exporters/mysql/README.md");
const METRICS: &str = include_str!("../../exporters/mysql/METRICS.md");

/// What MariaDB has, and what only MySQL has: it isn't asked for there.
const COLLECTORS: [&str; 9] = [
    "perf_schema.eventsstatements",
    "perf_schema.eventsstatementssum",
    "perf_schema.tableiowaits",
    "perf_schema.indexiowaits",
    "perf_schema.file_events",
    "perf_schema.file_instances",
    "perf_schema.eventswaits",
    "perf_schema.tablelocks",
    "perf_schema.memory_events",
];
const OF_MYSQL: [&str; 3] = [
    "perf_schema.replication_group_members",
    "perf_schema.replication_group_member_stats",
    "perf_schema.replication_applier_status_by_worker",
];

/// The README's user: with the grants of all collectors, or with those of the default ones only.
async fn server(args: &[&str], grants: &[&str]) -> Database {
    let db = Database::start_with(args).await.unwrap();
    for beginning in [["CREATE USER"].as_slice(), grants].concat() {
        let block = README.split("```sql\n").find(|block| block.starts_with(beginning)).unwrap();
        db.sql(&block.split("```").next().unwrap().replace("'a-password'", "'secret'")).unwrap();
    }
    db
}

const GRANT: &str = "GRANT SELECT ON performance_schema.*";

async fn start(db: &Database, flags: &[String]) -> RunningProgram {
    let collectors = COLLECTORS.iter().chain(&OF_MYSQL).map(|collector| format!("--collect.{collector}"));
    Program::exporter("mysql-exporter")
        .arg(format!("--mysqld.address={}", db.address()))
        .arg("--mysqld.username=exporter")
        .args(collectors)
        .args(flags)
        .env("MYSQLD_EXPORTER_PASSWORD", "secret")
        .start()
        .await
        .unwrap()
}

async fn scrape(exporter: &RunningProgram) -> Page {
    Page::parse(&http::get(&exporter.url("/metrics")).await.unwrap().text()).unwrap()
}

fn expect_success(page: &Page, collector: &str, success: f64) {
    let label = format!("collect.{collector}");
    page.expect("mysql_exporter_collector_success", &[("collector", &label)], success).unwrap();
}

#[tokio::test]
async fn what_a_workload_did() {
    let db = server(&["--performance-schema=ON", "--performance-schema-instrument=%=ON"], &[GRANT]).await;
    db.sql(
        "CREATE DATABASE shop; USE shop; CREATE TABLE item (id INT PRIMARY KEY, price INT, KEY (price)) ENGINE=InnoDB;
         INSERT INTO item VALUES (1, 10), (2, 20), (3, 30); UPDATE item SET price = 11 WHERE id = 1; DELETE FROM item WHERE id = 3;
         SELECT price FROM item WHERE id = 1; SELECT price FROM item WHERE id = 2;
         CREATE DATABASE hidden; USE hidden; CREATE TABLE secret (id INT); SELECT id FROM secret WHERE id = 1",
    )
    .unwrap();
    let data = db.directory().join("data");
    let exporter = start(
        &db,
        &[
            "--collect.perf_schema.eventsstatements.exclude_schemas=hidden".to_owned(),
            "--collect.perf_schema.eventsstatements.digest_text_limit=19".to_owned(),
            "--collect.perf_schema.file_instances.filter=/shop/item\\.(ibd|frm)$".to_owned(),
            format!("--collect.perf_schema.file_instances.remove_prefix={}/", data.display()),
        ],
    )
    .await;
    let page = scrape(&exporter).await;
    for collector in COLLECTORS.iter().chain(&OF_MYSQL) {
        expect_success(&page, collector, 1.0);
    }

    // Twice the same digest, whose text the flag cuts off.
    let statement = [("schema", "shop"), ("digest_text", "SELECT `price` FROM")];
    let digest = &page.matching("mysql_perf_schema_events_statements_total", &statement)[0].labels["digest"].clone();
    let labels = [statement.as_slice(), &[("digest", digest)]].concat();
    for (family, wanted) in [("total", 2.0), ("rows_sent_total", 2.0), ("errors_total", 0.0), ("latency_count", 2.0)] {
        page.expect(&format!("mysql_perf_schema_events_statements_{family}"), &labels, wanted).unwrap();
    }
    let seconds = page.value("mysql_perf_schema_events_statements_seconds_total", &labels).unwrap();
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds} s");
    assert!(!page.has("mysql_perf_schema_events_statements_cpu_time_seconds_total"), "MariaDB has none");
    assert!(page.matching("mysql_perf_schema_events_statements_total", &[("schema", "hidden")]).is_empty());
    assert!(page.value("mysql_perf_schema_events_statements_sum_total", &[]).unwrap() > 10.0);

    let table = |operation| [("schema", "shop"), ("name", "item"), ("operation", operation)];
    for (operation, rows) in [("insert", 3.0), ("update", 1.0), ("delete", 1.0), ("fetch", 4.0)] {
        page.expect("mysql_perf_schema_table_io_waits_total", &table(operation), rows).unwrap();
    }
    let primary = [table("fetch").as_slice(), &[("index", "PRIMARY")]].concat();
    page.expect("mysql_perf_schema_index_io_waits_total", &primary, 4.0).unwrap();
    let none = [table("insert").as_slice(), &[("index", "NONE")]].concat();
    page.expect("mysql_perf_schema_index_io_waits_total", &none, 3.0).unwrap();
    assert!(page.value("mysql_perf_schema_external_lock_waits_total", &table("write")).unwrap() >= 3.0);

    let files: BTreeSet<_> = page
        .matching("mysql_perf_schema_file_instances_total", &[])
        .iter()
        .map(|sample| sample.labels["file_name"].as_str())
        .collect();
    assert_eq!(files, BTreeSet::from(["shop/item.frm", "shop/item.ibd"]));
    assert!(!page.matching("mysql_perf_schema_file_events_bytes_total", &[("mode", "write")]).is_empty());
    assert!(page.has("mysql_perf_schema_events_waits_total"));
    let memory = page.matching("mysql_perf_schema_memory_events_alloc_bytes_total", &[]);
    assert!(memory.iter().any(|sample| sample.labels["event_name"].starts_with("sql/") && sample.value > 0.0));

    for (family, kind) in [
        ("mysql_perf_schema_events_statements_latency", "summary"),
        ("mysql_perf_schema_events_statements_sum_total", "counter"),
        ("mysql_perf_schema_file_instances_bytes", "counter"),
        ("mysql_perf_schema_memory_events_used_bytes", "gauge"),
    ] {
        assert_eq!(page.kind(family), Some(kind), "{family}");
    }
    for family in page.families().keys().filter(|family| family.starts_with("mysql_perf_schema_")) {
        assert!(METRICS.contains(&format!("| `{family}` |")), "{family} is not in METRICS.md");
    }
}

#[tokio::test]
async fn without_performance_schema_there_are_no_series() {
    let db = server(&["--performance-schema=OFF"], &[GRANT]).await;
    let page = scrape(&start(&db, &[]).await).await;
    for collector in COLLECTORS.iter().chain(&OF_MYSQL) {
        expect_success(&page, collector, 1.0);
    }
    let families: Vec<_> = page.families().keys().filter(|name| name.starts_with("mysql_perf_schema_")).collect();
    assert!(families.is_empty(), "{families:?}");
}

#[tokio::test]
async fn a_missing_privilege_is_reported() {
    let db = server(&["--performance-schema=ON"], &[]).await;
    let exporter = start(&db, &[]).await;
    let page = scrape(&exporter).await;
    page.expect("mysql_up", &[], 1.0).unwrap();
    for collector in COLLECTORS {
        expect_success(&page, collector, 0.0);
    }
    let report = http::get(&exporter.url("/health")).await.unwrap().json();
    let reason = "does not allow SELECT … FROM performance_schema.table_io_waits_summary_by_table";
    assert!(report["reasons"].to_string().contains(reason), "{report:#}");
}
