//! What `mysql-exporter` reports about real clusters: a Galera cluster of two nodes, and a replication group of two
//! members.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use medassist_tests::database::Flavour;
use medassist_tests::launch::target_directory;
use medassist_tests::testbed::mysql::{self, README, TIMEOUT, check_status, exporter, grants, health, reason, scrape};
use medassist_tests::testbed::scrape::documented;
use medassist_tests::testbed::{Database, Port, RunningProgram, eventually};

/// Waits until a check has this status, and a reason that contains this.
async fn until(exporter: &RunningProgram, check: &str, status: &str, text: &str) {
    eventually(3 * TIMEOUT, &format!("{check} is {status}: {text}"), async || {
        let page = scrape(exporter).await.map_err(|error| error.to_string())?;
        let found = check_status(&page, check);
        let report = health(exporter).await.map_err(|error| error.to_string())?;
        let reason = reason(&report, check);
        if found.as_deref() == Some(status) && reason.contains(text) {
            if status != "ok" {
                documented(README, &report, check);
            }
            Ok(())
        } else {
            Err(format!("{found:?}: {reason}"))
        }
    })
    .await
    .unwrap();
}

async fn health_status(exporter: &RunningProgram) -> String {
    health(exporter).await.unwrap()["status"].as_str().unwrap().to_owned()
}

/// A node's arguments. It joins the node that listens on port `peer`, or bootstraps a cluster.
fn galera(own: &Port, transfer: &Port, peer: Option<&Port>) -> Vec<String> {
    let provider = format!(
        "gmcast.listen_addr=tcp://{};ist.recv_addr={};gcache.size=8M;evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S;evs.suspect_timeout=PT1S;\
         evs.inactive_timeout=PT3S",
        own.address(),
        transfer.address()
    );
    vec![
        "--binlog-format=ROW".to_owned(),
        "--innodb-autoinc-lock-mode=2".to_owned(),
        "--wsrep-on=ON".to_owned(),
        "--wsrep-provider=/usr/lib/galera/libgalera_smm.so".to_owned(),
        format!("--wsrep-cluster-address=gcomm://{}", peer.map(|port| port.address().to_string()).unwrap_or_default()),
        format!("--wsrep-node-address={}", own.address()),
        "--wsrep-node-incoming-address=127.0.0.1".to_owned(),
        // Both begin with a copy of the same data.
        "--wsrep-sst-method=skip".to_owned(),
        format!("--wsrep-provider-options={provider}"),
    ]
}

#[tokio::test]
async fn a_galera_node_in_and_outside_its_primary_component() {
    let ports: Vec<Port> = (0..4).map(|_| Port::lease().unwrap()).collect();
    let arguments = galera(&ports[0], &ports[1], None);
    let node =
        mysql::server(Flavour::MariaDb, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    let exporter = exporter(node.address()).start().await.unwrap();
    until(&exporter, "galera", "ok", "node is synced in a primary component of 1").await;
    assert_eq!(health_status(&exporter).await, "healthy");

    node.sql("SET GLOBAL wsrep_desync=ON").unwrap();
    until(&exporter, "galera", "warn", "node is in state Donor/Desynced, not Synced").await;
    assert_eq!(health_status(&exporter).await, "degraded");
    node.sql("SET GLOBAL wsrep_desync=OFF").unwrap();
    until(&exporter, "galera", "ok", "synced").await;

    node.sql("SET GLOBAL wsrep_reject_queries=ALL").unwrap();
    until(&exporter, "galera", "fail", "node is set to wsrep_reject_queries=ALL, so it refuses statements").await;
    node.sql("SET GLOBAL wsrep_reject_queries=NONE").unwrap();

    node.sql("SET GLOBAL wsrep_on=OFF").unwrap();
    until(&exporter, "galera", "warn", "node is in a cluster, but wsrep_on=OFF").await;
    node.sql("SET GLOBAL wsrep_on=ON").unwrap();
    until(&exporter, "galera", "ok", "synced").await;

    let arguments = galera(&ports[2], &ports[3], Some(&ports[0]));
    let mut other = Database::start_as(Flavour::MariaDb, &arguments).await.unwrap();
    until(&exporter, "galera", "ok", "node is synced in a primary component of 2").await;
    other.kill().unwrap();
    until(&exporter, "galera", "fail", "node is outside the primary component (wsrep_cluster_status=non-Primary, ")
        .await;
    assert_eq!(health_status(&exporter).await, "down");
    assert!(node.sql("SELECT COUNT(*) FROM mysql.user").unwrap_err().to_string().contains("1047"));
    let page = scrape(&exporter).await.unwrap();
    page.expect("mysql_up", &[], 1.0).unwrap();
    page.expect("mysql_health_status", &[("status", "down")], 1.0).unwrap();

    node.sql("SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'").unwrap();
    until(&exporter, "galera", "ok", "node is synced in a primary component of 1").await;
    assert_eq!(health_status(&exporter).await, "healthy");
}

/// Members of one group, none of them started.
fn member(id: &str, own: &Port, seeds: &str) -> Vec<String> {
    let plugins = target_directory().unwrap().join("unpacked/unstable/usr/lib/mysql/plugin");
    vec![
        format!("--server-id={id}"),
        "--gtid-mode=ON".to_owned(),
        "--enforce-gtid-consistency=ON".to_owned(),
        "--log-bin".to_owned(),
        "--report-host=127.0.0.1".to_owned(),
        format!("--plugin-dir={}", plugins.display()),
        "--plugin-load-add=group_replication.so".to_owned(),
        "--group-replication-group-name=aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa".to_owned(),
        "--group-replication-start-on-boot=OFF".to_owned(),
        "--group-replication-recovery-get-public-key=ON".to_owned(),
        "--group-replication-exit-state-action=READ_ONLY".to_owned(),
        format!("--group-replication-local-address={}", own.address()),
        format!("--group-replication-group-seeds={seeds}"),
    ]
}

#[tokio::test]
async fn members_of_a_replication_group() {
    const CHECK: &str = "group_replication";
    const EMAIL: &str = "patient@example.org";
    let ports = [Port::lease().unwrap(), Port::lease().unwrap()];
    let seeds = format!("{},{}", ports[0].address(), ports[1].address());
    let arguments = member("1", &ports[0], &seeds);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let primary = mysql::server(Flavour::MySql, &arguments).await.unwrap();
    primary.sql("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'").unwrap();
    primary.sql(&grants("CREATE TABLE mysql_exporter.canary").unwrap()).unwrap();
    let at_primary = exporter(primary.address()).arg("--collector.canary").start().await.unwrap();

    until(&at_primary, CHECK, "warn", "SELECT * FROM performance_schema.replication_group_members LIMIT 9 (error 1142")
        .await;
    primary.sql(&grants("performance_schema.replication_group_members").unwrap()).unwrap();
    until(&at_primary, CHECK, "fail", "member is OFFLINE: it does not replicate").await;
    primary
        .sql(
            "SET GLOBAL group_replication_bootstrap_group=ON; START GROUP_REPLICATION; \
             SET GLOBAL group_replication_bootstrap_group=OFF",
        )
        .unwrap();
    until(&at_primary, CHECK, "warn", "member is ONLINE, but alone in its group").await;

    let mut secondary = Database::start_as(Flavour::MySql, &member("2", &ports[1], &seeds)).await.unwrap();
    const START: &str = "START GROUP_REPLICATION USER='repl'";
    secondary.sql(START).unwrap();
    until(&at_primary, CHECK, "ok", "PRIMARY member is ONLINE in a group of 2").await;
    assert_eq!(health_status(&at_primary).await, "healthy");
    // The exporter's user and the canary's table come from the group.
    let at_secondary = exporter(secondary.address()).arg("--collector.canary").start().await.unwrap();
    until(&at_secondary, CHECK, "ok", "SECONDARY member is ONLINE in a group of 2").await;
    until(&at_secondary, "read_only", "ok", "secondary of a replication group is read-only").await;
    let page = scrape(&at_secondary).await.unwrap();
    assert_eq!(check_status(&page, "canary_write"), None);
    assert!(page.value("mysql_canary_newest_timestamp_seconds", &[]).unwrap() > 1.7e9);
    assert_eq!(health_status(&at_secondary).await, "healthy");

    secondary.sql("STOP GROUP_REPLICATION").unwrap();
    until(&at_secondary, CHECK, "fail", "member is OFFLINE: it does not replicate").await;
    until(&at_secondary, "read_only", "warn", "because it is not an active member of its replication group").await;
    assert_eq!(health_status(&at_secondary).await, "degraded");
    secondary.sql(START).unwrap();
    until(&at_secondary, CHECK, "ok", "SECONDARY").await;

    // The applier meets a duplicate key.
    primary.sql("CREATE DATABASE d; CREATE TABLE d.patient (id INT PRIMARY KEY, email VARCHAR(99) UNIQUE)").unwrap();
    let exists = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'patient'";
    eventually(TIMEOUT, "the table is replicated", async || {
        if secondary.sql(exists).unwrap().trim() == "1" { Ok(()) } else { Err("not yet") }
    })
    .await
    .unwrap();
    let insert = |id| format!("INSERT INTO d.patient VALUES ({id}, '{EMAIL}')");
    secondary
        .sql(&format!(
            "SET sql_log_bin=0; SET GLOBAL super_read_only=OFF; {}; SET GLOBAL super_read_only=ON",
            insert(1)
        ))
        .unwrap();
    primary.sql(&insert(2)).unwrap();
    until(&at_secondary, CHECK, "fail", "member is ERROR: it does not replicate").await;
    assert_eq!(mysql::places_with(&at_secondary, EMAIL).await.unwrap(), [""; 0]);
    secondary.sql("SET GLOBAL offline_mode=ON").unwrap();
    until(&at_secondary, "connect", "fail", " is in offline mode (error ").await;
    assert_eq!(health_status(&at_secondary).await, "down");
    secondary
        .sql(&format!(
            "SET GLOBAL offline_mode=OFF; STOP GROUP_REPLICATION; SET sql_log_bin=0; SET GLOBAL super_read_only=OFF; \
             DELETE FROM d.patient; {START}"
        ))
        .unwrap();
    until(&at_secondary, CHECK, "ok", "SECONDARY").await;

    until(&at_primary, CHECK, "ok", "PRIMARY member is ONLINE in a group of 2").await;
    secondary.kill().unwrap();
    until(&at_primary, CHECK, "fail", "1 of 2 members are UNREACHABLE, so the group has no majority").await;
}
