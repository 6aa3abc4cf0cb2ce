//! Our exporters against the Go ones from Debian and, if one is given, against a baseline: the servers and the command
//! lines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use medassist_stack::database::{Flavour, unpacked_program};
use medassist_stack::launch::Launch;
use medassist_tests::Error;
use medassist_tests::testbed::eventually;
use medassist_tests::testbed::port::Port;
use medassist_tests::testbed::process::Process;
use medassist_tests::testbed::servers::{Database, HaProxy, Redis};

use crate::contest::{self, Entry, Exporter};
use crate::figures::Result;

/// What is compared, and how often.
pub(crate) struct Settings {
    pub(crate) scrapes: usize,
    /// The directory of the programs that are measured.
    pub(crate) programs: PathBuf,
    /// The directory of the same programs, built from another revision.
    pub(crate) baseline: Option<PathBuf>,
}

impl Settings {
    /// Runs one of our exporters, the baseline's and its peer with the same flags, on the service with this process.
    /// `ours_only` are flags that the peer lacks.
    async fn compare(&self, name: &str, peer: Launch, flags: &Flags, ours_only: &[&str], service: u32) -> Result<()> {
        let mut entries = self.ours(name, flags, ours_only)?;
        let peer_name = peer.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        entries.push(Entry { name: peer_name, exporter: Exporter::Program(flags.add(peer)) });
        contest::run(self.scrapes, service, entries).await
    }

    /// Our exporter, and the baseline's.
    fn ours(&self, name: &str, flags: &Flags, ours_only: &[&str]) -> Result<Vec<Entry>> {
        let entry = |name: String, directory: &Path, program| {
            let launch = flags.add(built(directory, program)?).args(ours_only);
            Ok::<_, Box<dyn std::error::Error>>(Entry { name, exporter: Exporter::Program(launch) })
        };
        let mut entries = vec![entry(name.to_owned(), &self.programs, name)?];
        if let Some(baseline) = &self.baseline {
            entries.push(entry("baseline".to_owned(), baseline, name)?);
        }
        Ok(entries)
    }
}

/// The process of a service.
fn pid(process: &Process) -> Result<u32> {
    Ok(process.pid().ok_or("the service has ended")?)
}

/// What our exporter and its peer have in common on the command line and in the environment.
#[derive(Default)]
struct Flags {
    args: Vec<String>,
    env: Vec<(&'static str, &'static str)>,
}

impl Flags {
    fn add(&self, launch: Launch) -> Launch {
        self.env.iter().fold(launch.args(&self.args), |launch, (key, value)| launch.env(*key, value))
    }
}

fn built(directory: &Path, name: &str) -> Result<Launch> {
    let path = directory.join(name);
    if path.is_file() {
        Ok(Launch::new(path))
    } else {
        Err(format!("{} is missing: `make dist` builds the programs to measure", path.display()).into())
    }
}

#[expect(clippy::print_stdout, reason = "the benchmark's table")]
pub(crate) async fn mysql(settings: &Settings) -> Result<()> {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let database = Database::start_as::<&str>(flavour, &[]).await?;
        println!("On {}:", database.sql("SELECT VERSION()")?.trim());
        compare_mysql(settings, &database, &[]).await?;
    }
    let database = Database::start_with(&["--table-open-cache=30000", "--table-definition-cache=30000"]).await?;
    database.sql(&many_tables())?;
    println!("On MariaDB with {SCHEMAS} schemas x {TABLES} tables and info_schema.tables on:");
    // The peer takes seconds for one scrape of these: a fiftieth of the scrapes is enough.
    let scrapes = settings.scrapes.div_ceil(50);
    let fewer = Settings { scrapes, programs: settings.programs.clone(), baseline: settings.baseline.clone() };
    compare_mysql(&fewer, &database, &["--collect.info_schema.tables"]).await
}

async fn compare_mysql(settings: &Settings, database: &Database, flags: &[&str]) -> Result<()> {
    database.sql(&format!(
        "CREATE USER IF NOT EXISTS {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {USER}@'127.0.0.1'",
    ))?;
    let mut args = vec![format!("--mysqld.address={}", database.address()), format!("--mysqld.username={USER}")];
    args.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let flags = Flags { args, env: vec![("MYSQLD_EXPORTER_PASSWORD", PASSWORD)] };
    let peer = unpacked_program("unstable", "usr/bin/prometheus-mysqld-exporter")?;
    settings.compare("mysql-exporter", peer, &flags, &[], pid(database)?).await
}

const USER: &str = "exporter";
const PASSWORD: &str = "bench";

/// 20,000 tables: a server of many tenants.
const SCHEMAS: usize = 500;
const TABLES: usize = 40;

fn many_tables() -> String {
    let mut sql = String::new();
    for schema in 0..SCHEMAS {
        sql += &format!("CREATE DATABASE tenant_{schema:03}; USE tenant_{schema:03};\n");
        for table in 0..TABLES {
            sql += &format!("CREATE TABLE table_{table:02} (id INT PRIMARY KEY);\n");
        }
    }
    sql
}

#[expect(clippy::print_stdout, reason = "the benchmark's table")]
pub(crate) async fn redis(settings: &Settings) -> Result<()> {
    let redis = Redis::start().await?;
    println!("On Redis:");
    let flags = Flags { args: vec![format!("--redis.addr=redis://{}", redis.address())], ..Flags::default() };
    let peer = Launch::installed(&["prometheus-redis-exporter"])?;
    settings.compare("redis-exporter", peer, &flags, &[], pid(&redis)?).await
}

#[expect(clippy::print_stdout, reason = "the benchmark's table")]
pub(crate) async fn haproxy(settings: &Settings) -> Result<()> {
    let haproxy = HaProxy::start(&haproxy_configuration(10, "")?).await?;
    println!("On HAProxy with 10 backends x 10 servers:");
    let uri = format!("--haproxy.scrape-uri=unix:{}", haproxy.socket().display());
    let flags = Flags { args: vec![uri], ..Flags::default() };
    let peer = Launch::installed(&["prometheus-haproxy-exporter"])?;
    settings.compare("haproxy-exporter", peer, &flags, &["--haproxy.names=exporter"], pid(&haproxy)?).await?;
    haproxy_at_scale(settings).await
}

/// 10,000 servers with checks, against HAProxy's own endpoint.
#[expect(clippy::print_stdout, reason = "the benchmark's table")]
async fn haproxy_at_scale(settings: &Settings) -> Result<()> {
    let page = Port::lease()?;
    let own = format!(
        "frontend own\n  bind {}\n  http-request use-service prometheus-exporter if {{ path /metrics }}\n",
        page.address()
    );
    let haproxy = HaProxy::start(&haproxy_configuration(100, &own)?).await?;
    eventually(CHECKED, "all servers are checked", async || match haproxy.command("show stat")? {
        stat if stat.contains(",INI,") => Err(Error::Series("a check has not ended".to_owned())),
        _ => Ok(()),
    })
    .await?;
    println!("On HAProxy with 100 backends x 100 servers with checks, and its own endpoint:");
    let uri = format!("--haproxy.scrape-uri=unix:{}", haproxy.socket().display());
    let flags = Flags { args: vec![uri], ..Flags::default() };
    let mut entries = settings.ours("haproxy-exporter", &flags, &[])?;
    let current = settings.ours("haproxy-exporter", &flags, &["--haproxy.states=current"])?.into_iter().next();
    entries.extend(current.map(|entry| Entry { name: "  with --haproxy.states=current".to_owned(), ..entry }));
    let url = format!("http://{}/metrics", page.address());
    entries.push(Entry { name: "HAProxy's own endpoint".to_owned(), exporter: Exporter::Page(url) });
    // A scrape takes a few hundred times as long as one of 100 servers.
    contest::run(settings.scrapes.div_ceil(20), pid(&haproxy)?, entries).await
}

/// How long the first checks of 10,000 servers may take.
const CHECKED: Duration = Duration::from_secs(60);

/// As many backends of as many servers, which are refused by their checks.
fn haproxy_configuration(count: usize, more: &str) -> Result<String> {
    let check = if more.is_empty() { "" } else { " check inter 1h fastinter 1h downinter 1h" };
    let mut text = "global\n  max-spread-checks 1s\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n".to_owned();
    let port = Port::lease()?;
    text += &format!("frontend fe\n  bind {}\n  default_backend be0\n{more}", port.address());
    for backend in 0..count {
        text += &format!("backend be{backend}\n");
        for server in 0..count {
            text += &format!("  server s{server} 127.0.0.1:9{check}\n");
        }
    }
    Ok(text)
}
