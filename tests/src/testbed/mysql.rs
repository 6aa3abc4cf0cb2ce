//! `mysql-exporter` as the tests run it: a server with the user and the grants of its README, and helpers for its
//! pages.

use std::fmt::Display;
use std::time::Duration;

use crate::error::Error;
use crate::testbed::page::Page;
use crate::testbed::program::{Program, RunningProgram};
use crate::testbed::servers::Database;
use medassist_stack::database::Flavour;
use medassist_stack::eventually;
use medassist_stack::http::{self, Reply};

/// With the grants and the table of faults.
pub const README: &str = include_str!("../../../exporters/mysql/README.md");

/// The user and the password of [`server`].
pub const USER: &str = "exporter";
pub const PASSWORD: &str = "secret";

/// For a server that must answer. Tests of hung ones use a shorter timeout.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// The README's first block of SQL that has these words in it, with the tests' password.
pub fn grants(words: &str) -> Result<String, Error> {
    let blocks = README.split("```sql\n").skip(1).filter_map(|block| block.split("```").next());
    let block = blocks.into_iter().find(|block| block.contains(words));
    let block = block.ok_or_else(|| Error::Series(format!("the README has no block of SQL with {words:?}")))?;
    Ok(block.replace("'a-password'", &format!("'{PASSWORD}'")))
}

/// The README's grants for the default collectors, which differ by flavour.
pub fn default_grants(flavour: Flavour) -> Result<String, Error> {
    grants(if flavour.is_mariadb() { "SLAVE MONITOR" } else { "REPLICATION CLIENT" })
}

/// A server with the README's user.
pub async fn server(flavour: Flavour, args: &[&str]) -> Result<Database, Error> {
    let db = Database::start_as(flavour, args).await?;
    db.sql(&default_grants(flavour)?)?;
    Ok(db)
}

/// A session of root, which may hold what others wait for: locks, or connections.
pub async fn connection(db: &Database) -> Result<mysql_async::Conn, Error> {
    let options = mysql_async::OptsBuilder::default()
        .socket(Some(db.socket().to_string_lossy()))
        .user(Some("root"))
        // Set here, so that the driver does not query a server that may be busy or full.
        .max_allowed_packet(Some(1 << 20))
        .wait_timeout(Some(28_800));
    let connection = mysql_async::Conn::new(options).await;
    Ok(connection
        .map_err(|error| medassist_stack::Error::io("cannot connect as root")(std::io::Error::other(error)))?)
}

/// Logs in as that user.
pub fn exporter(address: impl Display) -> Program {
    Program::exporter("mysql-exporter")
        .arg(format!("--mysqld.address={address}"))
        .arg(format!("--mysqld.username={USER}"))
        .env("MYSQLD_EXPORTER_PASSWORD", PASSWORD)
}

pub async fn scrape(exporter: &RunningProgram) -> Result<Page, Error> {
    get_page(exporter, "/metrics").await
}

pub async fn get_page(exporter: &RunningProgram, path: &str) -> Result<Page, Error> {
    page_of(&http::get(&exporter.url(path)).await?)
}

/// With Prometheus' scrape timeout in the header. The test waits longer: what a busy machine adds on the way is not the
/// exporter's.
pub async fn get_within(exporter: &RunningProgram, path: &str, seconds: f64) -> Result<Reply, Error> {
    let header = ("x-prometheus-scrape-timeout-seconds", &*seconds.to_string());
    Ok(http::get_within(&exporter.url(path), &[header], TIMEOUT).await?)
}

pub async fn scrape_within(exporter: &RunningProgram, seconds: f64) -> Result<Page, Error> {
    page_of(&get_within(exporter, "/metrics", seconds).await?)
}

fn page_of(reply: &Reply) -> Result<Page, Error> {
    match reply.status {
        200 => Page::parse(&reply.text()),
        status => Err(Error::Series(format!("no page but status {status}: {}", reply.text()))),
    }
}

pub async fn health(exporter: &RunningProgram) -> Result<serde_json::Value, Error> {
    Ok(http::get(&exporter.url("/health")).await?.json())
}

/// Where the exporter shows this text: in its health report, on its pages, to a probe, in its log.
pub async fn places_with(exporter: &RunningProgram, text: &str) -> Result<Vec<&'static str>, Error> {
    let mut places = Vec::new();
    for path in ["/health", "/metrics", "/"] {
        if http::get(&exporter.url(path)).await?.text().contains(text) {
            places.push(path);
        }
    }
    if exporter.log().contains(text) {
        places.push("log");
    }
    Ok(places)
}

/// What a check says of itself; empty if there is no such check.
pub fn reason(report: &serde_json::Value, check: &str) -> String {
    let checks = report["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let check = checks.iter().find(|known| known["name"] == check);
    check.and_then(|check| check["reason"].as_str()).unwrap_or_default().to_owned()
}

pub fn check_status(page: &Page, check: &str) -> Option<String> {
    page.matching("mysql_health_check_status", &[("check", check)])
        .iter()
        .find(|sample| sample.value == 1.0)
        .map(|sample| sample.labels["status"].clone())
}

/// The collectors that did not succeed.
pub fn failed(page: &Page) -> Vec<&str> {
    let collectors = page.matching("mysql_exporter_collector_success", &[]).into_iter();
    collectors.filter(|sample| sample.value != 1.0).map(|sample| sample.labels["collector"].as_str()).collect()
}

/// Waits for a page on which the server is down, or not.
pub async fn up(exporter: &RunningProgram, value: f64) -> Result<Page, Error> {
    let what = format!("mysql_up is {value}");
    let page = eventually(TIMEOUT, &what, async || {
        let page = scrape(exporter).await?;
        page.expect("mysql_up", &[], value)?;
        Ok::<_, Error>(page)
    });
    Ok(page.await?)
}

/// A packet of MySQL's protocol: length, sequence number, payload.
pub fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}
