//! `bench train`: scrapes exporters as they are scraped all day, on real servers, so that the compiler sees what of them runs: see
//! exporters/build-dist.sh.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use medassist_tests::database::Flavour;
use medassist_tests::launch::{Launch, Ready};
use medassist_tests::testbed::http;
use medassist_tests::testbed::port::Port;
use medassist_tests::testbed::process::{Directory, Process};
use medassist_tests::testbed::servers::{Database, HaProxy, Redis};

use crate::Result;
use crate::exporters::{HEADERS, haproxy_configuration, mysql_flags};

#[derive(ValueEnum, Clone, Copy)]
pub(crate) enum Exporter {
    #[value(name = "mysql-exporter")]
    Mysql,
    #[value(name = "redis-exporter")]
    Redis,
    #[value(name = "haproxy-exporter")]
    Haproxy,
    #[value(name = "backup-exporter")]
    Backup,
}

/// Enough that starting and ending count for little beside it.
const SCRAPES: usize = 500;
/// With collectors that are off unless they are asked for.
const OPT_IN_SCRAPES: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(programs: &Path, exporters: &[Exporter]) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        for exporter in exporters {
            match exporter {
                Exporter::Mysql => mysql(programs).await?,
                Exporter::Redis => redis(programs).await?,
                Exporter::Haproxy => haproxy(programs).await?,
                Exporter::Backup => backup(programs).await?,
            }
        }
        Ok(())
    })
}

async fn mysql(programs: &Path) -> Result<()> {
    let program = Launch::new(programs.join("mysql-exporter"));
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let database = Database::start_as::<&str>(flavour, &[]).await?;
        let launch = mysql_flags(program.clone(), &database)?;
        scrape("mysql-exporter", launch.clone(), SCRAPES).await?;
        let opt_in = [
            "--collect.info_schema.tables",
            "--collect.info_schema.processlist",
            "--collect.perf_schema.eventsstatements",
        ];
        scrape("mysql-exporter", launch.args(opt_in), OPT_IN_SCRAPES).await?;
    }
    Ok(())
}

async fn redis(programs: &Path) -> Result<()> {
    let server = Redis::start().await?;
    let flag = format!("--redis.addr=redis://{}", server.address());
    scrape("redis-exporter", Launch::new(programs.join("redis-exporter")).arg(flag), SCRAPES).await
}

async fn haproxy(programs: &Path) -> Result<()> {
    let server = HaProxy::start(&haproxy_configuration()?).await?;
    let flag = format!("--haproxy.scrape-uri=unix:{}", server.socket().display());
    scrape("haproxy-exporter", Launch::new(programs.join("haproxy-exporter")).arg(flag), SCRAPES).await
}

async fn backup(programs: &Path) -> Result<()> {
    let backups = Directory::new("backups")?;
    for day in 1..=28 {
        std::fs::write(backups.path().join(format!("app-2026-02-{day:02}T030000Z.tar")), "a backup")?;
    }
    let flag = format!("--backup.pattern=app:{}/*.tar", backups.path().display());
    scrape("backup-exporter", Launch::new(programs.join("backup-exporter")).arg(flag), SCRAPES).await
}

/// Mostly as Prometheus 3 does, sometimes as an older one and as a person with curl.
async fn scrape(name: &str, launch: Launch, times: usize) -> Result<()> {
    let port = Port::lease()?;
    let url = format!("http://{}/metrics", port.address());
    let launch = launch.arg(format!("--web.listen-address={}", port.address()));
    let mut process = Process::start(name, launch, Ready::Http(url.clone()), Directory::new(name)?).await?;
    let page = http::get_within(&url, &[], PATIENCE).await?.text();
    if !page.lines().any(|line| line.ends_with("_up 1")) {
        return Err(format!("{name} does not see its service: {}", process.log()).into());
    }
    for turn in 0..times {
        let headers: &[_] = match turn % 5 {
            0 => &HEADERS[1..],
            1 => &[],
            _ => &HEADERS,
        };
        let reply = http::get_within(&url, headers, PATIENCE).await?;
        if reply.status != 200 {
            return Err(format!("{url} answers {}", reply.status).into());
        }
    }
    // The counts are written at the end.
    let status = process.stop().await?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}").into()) }
}
