//! What `mysql-exporter` says of replication that runs, lags, stops and breaks, on a primary and a replica of each
//! flavour.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use medassist_tests::Error;
use medassist_tests::database::Flavour;
use medassist_tests::testbed::mysql::{self, README, TIMEOUT, check_status, exporter, health, reason, scrape};
use medassist_tests::testbed::scrape::documented;
use medassist_tests::testbed::{Database, Page, RunningProgram, eventually};
use mysql_async::prelude::Queryable as _;

const LAG: &str = "mysql_replication_lag_seconds";
const BEHIND: [&str; 2] = ["mysql_slave_status_seconds_behind_master", "mysql_slave_status_seconds_behind_source"];
const IO: [&str; 2] = ["mysql_slave_status_slave_io_running", "mysql_slave_status_replica_io_running"];
const SQL: [&str; 2] = ["mysql_slave_status_slave_sql_running", "mysql_slave_status_replica_sql_running"];

/// A primary, its replica, and an exporter on the replica. MariaDB, too, knows the word REPLICA in the statements of
/// the tests.
struct Pair {
    primary: Database,
    replica: Database,
    exporter: RunningProgram,
}

impl Pair {
    async fn start(flavour: Flavour, args: &[&str]) -> Self {
        let primary = mysql::server(flavour, &["--log-bin", "--server-id=1"]).await.unwrap();
        let replica = mysql::server(flavour, &[&["--server-id=2", "--read-only=1"], args].concat()).await.unwrap();
        // A database that both have from the start, and a position behind that.
        for db in [&primary, &replica] {
            db.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY)").unwrap();
        }
        primary.sql("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'").unwrap();
        let port = primary.address().port();
        let (reset, change) = if flavour.is_mariadb() {
            let to = "CHANGE MASTER TO master_host='127.0.0.1', master_user='repl', master_use_gtid=slave_pos";
            ("RESET MASTER", format!("{to}, master_port={port}"))
        } else {
            let to =
                "CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', source_user='repl', get_source_public_key=1";
            ("RESET BINARY LOGS AND GTIDS", format!("{to}, source_port={port}"))
        };
        primary.sql(reset).unwrap();
        replica.sql(&format!("{change}; START REPLICA")).unwrap();
        let exporter = exporter(replica.address()).arg("--health.replication-lag-warn=1").start().await.unwrap();
        Self { primary, replica, exporter }
    }

    fn flavour(&self) -> Flavour {
        self.replica.flavour()
    }

    /// The series of both names say the same; MariaDB has the old ones alone.
    fn expect(&self, page: &Page, names: [&str; 2], wanted: Option<f64>) -> Result<(), Error> {
        let values = names.map(|name| page.matching(name, &[]).iter().map(|sample| sample.value).collect::<Vec<_>>());
        let wanted: Vec<f64> = wanted.into_iter().collect();
        let new = if self.flavour().is_mariadb() { Vec::new() } else { wanted.clone() };
        if values == [wanted, new] { Ok(()) } else { Err(Error::Series(format!("{names:?} are {values:?}"))) }
    }

    fn lag(page: &Page) -> f64 {
        let lag = page.matching(LAG, &[]);
        assert_eq!(lag.len(), 1);
        lag[0].value
    }

    async fn until(&self, what: &str, condition: impl Fn(&Page) -> Result<(), Error>) -> Page {
        eventually(TIMEOUT, what, async || {
            let page = scrape(&self.exporter).await?;
            condition(&page)?;
            Ok::<_, Error>(page)
        })
        .await
        .unwrap()
    }

    async fn until_it_runs(&self) -> Page {
        let page = self
            .until("the replica runs and is not behind", |page| {
                self.expect(page, IO, Some(1.0))?;
                self.expect(page, SQL, Some(1.0))?;
                self.expect(page, BEHIND, Some(0.0))
            })
            .await;
        assert_eq!(Self::lag(&page), 0.0);
        assert_eq!(check_status(&page, "replication").as_deref(), Some("ok"));
        page.expect("mysql_health_status", &[("status", "healthy")], 1.0).unwrap();
        assert!(mysql::failed(&page).is_empty(), "{:?}", mysql::failed(&page));
        page
    }

    /// The check fails for this reason, and the lag is nothing that an alert overlooks.
    async fn expect_failure(&self, page: &Page, wanted: &str) {
        assert_eq!(Self::lag(page), f64::INFINITY);
        assert_eq!(check_status(page, "replication").as_deref(), Some("fail"));
        page.expect("mysql_health_status", &[("status", "degraded")], 1.0).unwrap();
        let report = health(&self.exporter).await.unwrap();
        documented(README, &report, "replication");
        let reason = reason(&report, "replication");
        let source = format!("replication from 127.0.0.1:{}: ", self.primary.address().port());
        assert!(reason.starts_with(&source) && reason.contains(wanted), "{reason}");
    }
}

/// A lock on the replica's table holds its SQL thread, and the clock runs.
async fn lags_and_catches_up(flavour: Flavour) {
    let pair = Pair::start(flavour, &[]).await;
    pair.until_it_runs().await;
    let mut lock = mysql::connection(&pair.replica).await.unwrap();
    lock.query_drop("LOCK TABLES d.t WRITE").await.unwrap();
    pair.primary.sql("INSERT INTO d.t VALUES (1)").unwrap();
    let page = pair
        .until("the replica is 2 s behind", |page| match Pair::lag(page) {
            lag if (2.0..60.0).contains(&lag) => Ok(()),
            lag => Err(Error::Series(format!("the lag is {lag}"))),
        })
        .await;
    pair.expect(&page, BEHIND, Some(Pair::lag(&page))).unwrap();
    // It lags though both threads run.
    pair.expect(&page, IO, Some(1.0)).unwrap();
    pair.expect(&page, SQL, Some(1.0)).unwrap();
    assert_eq!(check_status(&page, "replication").as_deref(), Some("warn"));
    let report = health(&pair.exporter).await.unwrap();
    documented(README, &report, "replication");
    let reason = reason(&report, "replication");
    let seconds = reason.strip_suffix(" s behind").and_then(|text| text.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(seconds.is_some_and(|seconds| seconds >= Pair::lag(&page)), "{reason}");
    lock.query_drop("UNLOCK TABLES").await.unwrap();
    pair.until_it_runs().await;
    assert_eq!(pair.replica.sql("SELECT COUNT(*) FROM d.t").unwrap().trim(), "1");
}

/// Each thread is stopped in turn; then the primary ends, and then the SQL thread meets an error.
async fn stops_and_breaks(flavour: Flavour) {
    let mut pair = Pair::start(flavour, &[]).await;
    pair.until_it_runs().await;
    for (thread, stopped, runs, says) in
        [("SQL_THREAD", SQL, IO, "SQL thread is in state No"), ("IO_THREAD", IO, SQL, "I/O thread is in state No")]
    {
        pair.replica.sql(&format!("STOP REPLICA {thread}")).unwrap();
        let page = scrape(&pair.exporter).await.unwrap();
        pair.expect(&page, stopped, Some(0.0)).unwrap();
        pair.expect(&page, runs, Some(1.0)).unwrap();
        pair.expect(&page, BEHIND, None).unwrap();
        pair.expect_failure(&page, says).await;
        pair.replica.sql(&format!("START REPLICA {thread}")).unwrap();
        pair.until_it_runs().await;
    }

    pair.primary.kill().unwrap();
    let page = pair.until("the I/O thread lost the primary", |page| pair.expect(page, IO, Some(0.0))).await;
    pair.expect(&page, SQL, Some(1.0)).unwrap();
    pair.expect_failure(&page, "I/O thread is in state Connecting: ").await;
    pair.primary.restart().await.unwrap();
    // It would try again only after a minute.
    pair.replica.sql("STOP REPLICA; START REPLICA").unwrap();
    pair.until_it_runs().await;

    pair.replica.sql("DROP TABLE d.t").unwrap();
    pair.primary.sql("INSERT INTO d.t VALUES (1)").unwrap();
    let page = pair.until("the SQL thread met an error", |page| pair.expect(page, SQL, Some(0.0))).await;
    pair.expect(&page, IO, Some(1.0)).unwrap();
    pair.expect(&page, BEHIND, None).unwrap();
    pair.expect_failure(&page, "SQL thread is in state No: error 1146 (ER_NO_SUCH_TABLE); SHOW ").await;
    // 1146: ER_NO_SUCH_TABLE.
    page.expect("mysql_slave_status_last_sql_errno", &labels(&page), 1146.0).unwrap();
}

/// The server's error quotes the statement or the row; only its code leaves the server.
async fn breaks_and_quotes_no_row(flavour: Flavour) {
    const EMAIL: &str = "patient@example.org";
    let pair = Pair::start(flavour, &["--performance-schema=ON"]).await;
    pair.replica.sql(&mysql::grants("GRANT SELECT ON performance_schema").unwrap()).unwrap();
    let exporter = exporter(pair.replica.address())
        .args(["--log.level=debug", "--collect.engine_innodb_status", "--collect.info_schema.processlist"])
        .args(["--collect.perf_schema.eventsstatements", "--collect.perf_schema.replication_applier_status_by_worker"])
        .start()
        .await
        .unwrap();
    pair.primary.sql("CREATE TABLE d.patient (id INT PRIMARY KEY, email VARCHAR(99) UNIQUE)").unwrap();
    pair.until_it_runs().await;
    let applied = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'patient'";
    eventually(TIMEOUT, "the table is replicated", async || {
        if pair.replica.sql(applied).unwrap().trim() == "1" { Ok(()) } else { Err("not yet") }
    })
    .await
    .unwrap();
    pair.replica.sql(&format!("INSERT INTO d.patient VALUES (1, '{EMAIL}')")).unwrap();
    pair.primary.sql(&format!("INSERT INTO d.patient VALUES (2, '{EMAIL}')")).unwrap();
    let page = pair.until("the SQL thread met an error", |page| pair.expect(page, SQL, Some(0.0))).await;
    pair.expect_failure(&page, "SQL thread is in state No: error 1062 (ER_DUP_ENTRY); SHOW ").await;
    page.expect("mysql_slave_status_last_sql_errno", &labels(&page), 1062.0).unwrap();
    // Where the reason says, the server shows it.
    let status = if flavour.is_mariadb() {
        "SHOW ALL SLAVES STATUS"
    } else {
        "SELECT last_error_message FROM performance_schema.replication_applier_status_by_worker"
    };
    assert!(pair.replica.sql(status).unwrap().contains(EMAIL));
    for exporter in [&exporter, &pair.exporter] {
        let page = scrape(exporter).await.unwrap();
        assert!(mysql::failed(&page).is_empty(), "{:?}", mysql::failed(&page));
        assert_eq!(mysql::places_with(exporter, EMAIL).await.unwrap(), [""; 0]);
        let probe = format!("/probe?target={}", pair.replica.address());
        assert!(!mysql::get_within(exporter, &probe, 10.0).await.unwrap().text().contains(EMAIL));
    }
}

fn labels(page: &Page) -> Vec<(&str, &str)> {
    page.matching(LAG, &[])[0].labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A scrape queries the replication status once for several collectors, with a statement that the server supports.
async fn each_server_gets_one_statement_in_its_own_words(flavour: Flavour) {
    const SCRAPES: u64 = 5;
    let pair = Pair::start(flavour, &["--performance-schema=ON"]).await;
    pair.until_it_runs().await;
    let asked = || -> u64 {
        let names = "'Com_show_slave_status', 'Com_show_replica_status', 'Com_show_all_slaves_status'";
        let counts = pair.replica.sql(&format!("SHOW GLOBAL STATUS WHERE variable_name IN ({names})")).unwrap();
        counts.lines().map(|line| line.split('\t').nth(1).unwrap().parse::<u64>().unwrap()).sum()
    };
    let errors = || -> String {
        let failed =
            "SELECT event_name, sum_errors FROM performance_schema.events_statements_summary_by_user_by_event_name";
        pair.replica.sql(&format!("{failed} WHERE user = 'exporter' AND sum_errors > 0")).unwrap()
    };
    let before = asked();
    for _ in 0..SCRAPES {
        let page = scrape(&pair.exporter).await.unwrap();
        assert!(mysql::failed(&page).is_empty());
    }
    assert_eq!(asked() - before, SCRAPES);
    assert_eq!(errors(), "");
    // Would they have been counted? One of somebody else with the same name is.
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(pair.replica.address().port())
        .user(Some(mysql::USER))
        .pass(Some(mysql::PASSWORD))
        .prefer_socket(false);
    let mut other = mysql_async::Conn::new(options).await.unwrap();
    other.query_drop("SHOW THE STATUS OF SLAVES").await.unwrap_err();
    assert_eq!(errors().trim(), "statement/sql/error\t1");
}

macro_rules! on_each_flavour {
    ($test:ident, $on_mariadb_10_11:ident, $on_mariadb_11_8:ident, $on_mysql_9_7:ident) => {
        #[tokio::test]
        async fn $on_mariadb_10_11() {
            $test(Flavour::MariaDb).await;
        }

        #[tokio::test]
        async fn $on_mariadb_11_8() {
            $test(Flavour::MariaDb11).await;
        }

        #[tokio::test]
        async fn $on_mysql_9_7() {
            $test(Flavour::MySql).await;
        }
    };
}
on_each_flavour!(
    lags_and_catches_up,
    a_mariadb_10_11_replica_lags_and_catches_up,
    a_mariadb_11_8_replica_lags_and_catches_up,
    a_mysql_9_7_replica_lags_and_catches_up
);
on_each_flavour!(
    stops_and_breaks,
    a_mariadb_10_11_replica_stops_and_breaks,
    a_mariadb_11_8_replica_stops_and_breaks,
    a_mysql_9_7_replica_stops_and_breaks
);
on_each_flavour!(
    breaks_and_quotes_no_row,
    a_broken_mariadb_10_11_replica_quotes_no_row,
    a_broken_mariadb_11_8_replica_quotes_no_row,
    a_broken_mysql_9_7_replica_quotes_no_row
);
on_each_flavour!(
    each_server_gets_one_statement_in_its_own_words,
    mariadb_10_11_is_asked_once_and_in_its_own_words,
    mariadb_11_8_is_asked_once_and_in_its_own_words,
    mysql_9_7_is_asked_once_and_in_its_own_words
);
