//! What happens between two scrapes: another server behind the same address, connections that died, new certificates.
//! No page may be of the previous server, or lack what the server has.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use medassist_tests::database::Flavour;
use medassist_tests::testbed::mysql::{self, exporter, failed, scrape};
use medassist_tests::testbed::{Database, Forwarder, RunningProgram};

const SCRAPES: usize = 300;

/// A whole page of this server, and of no other.
async fn expect_page_of(db: &Database, exporter: &RunningProgram, scrape_number: usize) {
    let page = scrape(exporter).await.unwrap();
    for (family, value) in [("mysql_up", 1.0), ("mysql_global_variables_port", f64::from(db.address().port()))] {
        let found = page.value(family, &[]).map_err(|error| error.to_string());
        assert_eq!(found, Ok(value), "scrape {scrape_number}: {family}");
    }
    assert!(failed(&page).is_empty(), "scrape {scrape_number}: {:?}", failed(&page));
    // It has a variable that the other flavour lacks, from another answer.
    assert_eq!(
        page.has("mysql_global_status_aria_pagecache_reads"),
        db.flavour().is_mariadb(),
        "scrape {scrape_number}"
    );
    assert_eq!(mysql::check_status(&page, "new_login").as_deref(), Some("ok"), "scrape {scrape_number}");
}

#[tokio::test]
async fn a_switch_over_behind_one_address_shows_in_the_next_scrape() {
    let servers = [
        mysql::server(Flavour::MariaDb, &[]).await.unwrap(),
        mysql::server(Flavour::MySql, &[]).await.unwrap(),
        mysql::server(Flavour::MariaDb11, &[]).await.unwrap(),
    ];
    let address = Forwarder::start(servers[0].address()).await.unwrap();
    let exporter = exporter(address.address()).start().await.unwrap();
    for number in 0..SCRAPES {
        // Twice in a row, so that connections are also kept.
        let db = &servers[number / 2 % servers.len()];
        address.switch(db.address());
        expect_page_of(db, &exporter, number).await;
    }
}

async fn a_firewall_drops_idle_connections(flavour: Flavour) {
    let db = mysql::server(flavour, &[]).await.unwrap();
    // The server keeps the sessions that it doesn't know to be dead. One per scrape would exceed this.
    db.sql("ALTER USER exporter@'127.0.0.1' WITH MAX_USER_CONNECTIONS 50").unwrap();
    let firewall = Forwarder::start(db.address()).await.unwrap();
    let exporter = exporter(firewall.address()).start().await.unwrap();
    for number in 0..SCRAPES {
        expect_page_of(&db, &exporter, number).await;
        firewall.freeze();
    }
}

#[tokio::test]
async fn a_firewall_drops_idle_connections_to_mariadb() {
    a_firewall_drops_idle_connections(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_firewall_drops_idle_connections_to_mysql() {
    a_firewall_drops_idle_connections(Flavour::MySql).await;
}

/// 300 scrapes by ten exporters, each about this long after the one before.
async fn scrapes_at_intervals_of(interval: Duration, db: &Database, address: SocketAddr) {
    const EXPORTERS: usize = 10;
    db.sql("ALTER USER exporter@'127.0.0.1' WITH MAX_USER_CONNECTIONS 50").unwrap();
    let scrapes = async |_| {
        let exporter = exporter(address).start().await.unwrap();
        for number in 0..SCRAPES / EXPORTERS {
            expect_page_of(db, &exporter, number).await;
            // The interval is what is tested: from 4 ms before it to 5 ms after it.
            let offset = Duration::from_millis(number as u64 % 10);
            tokio::time::sleep(interval + offset - Duration::from_millis(4)).await;
        }
    };
    join_all((0..EXPORTERS).map(scrapes)).await;
}

/// The shortest that there is.
const WAIT_TIMEOUT: Duration = Duration::from_secs(1);

async fn the_wait_timeout_is_the_interval_of_the_scrapes(flavour: Flavour) {
    let db = mysql::server(flavour, &["--wait-timeout=1"]).await.unwrap();
    scrapes_at_intervals_of(WAIT_TIMEOUT, &db, db.address()).await;
}

#[tokio::test]
async fn the_wait_timeout_of_mariadb_is_the_interval_of_the_scrapes() {
    the_wait_timeout_is_the_interval_of_the_scrapes(Flavour::MariaDb).await;
}

#[tokio::test]
async fn the_wait_timeout_of_mysql_is_the_interval_of_the_scrapes() {
    the_wait_timeout_is_the_interval_of_the_scrapes(Flavour::MySql).await;
}

/// The exporter sets `wait_timeout` of its sessions; a proxy has a limit of its own.
#[tokio::test]
async fn a_proxy_closes_idle_connections_at_the_moment_of_a_scrape() {
    let db = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    let proxy = Forwarder::closing_idle(db.address(), WAIT_TIMEOUT).await.unwrap();
    scrapes_at_intervals_of(WAIT_TIMEOUT, &db, proxy.address()).await;
}

async fn sessions_are_killed_between_scrapes(flavour: Flavour) {
    let db = mysql::server(flavour, &[]).await.unwrap();
    let exporter = exporter(db.address()).start().await.unwrap();
    for number in 0..SCRAPES {
        expect_page_of(&db, &exporter, number).await;
        let own = "SELECT id FROM information_schema.processlist WHERE user = 'exporter'";
        for thread in db.sql(own).unwrap().lines() {
            // It may have ended by now.
            let _ = db.sql(&format!("KILL {thread}"));
        }
    }
}

#[tokio::test]
async fn sessions_of_mariadb_are_killed_between_scrapes() {
    sessions_are_killed_between_scrapes(Flavour::MariaDb).await;
}

#[tokio::test]
async fn sessions_of_mysql_are_killed_between_scrapes() {
    sessions_are_killed_between_scrapes(Flavour::MySql).await;
}

#[tokio::test]
async fn a_server_that_restarts_between_scrapes() {
    for flavour in [Flavour::MariaDb, Flavour::MariaDb11, Flavour::MySql] {
        let mut db = mysql::server(flavour, &[]).await.unwrap();
        let exporter = exporter(db.address()).start().await.unwrap();
        for number in 0..3 {
            expect_page_of(&db, &exporter, number).await;
            db.kill().unwrap();
            db.restart().await.unwrap();
        }
        expect_page_of(&db, &exporter, 3).await;
    }
}
