//! Our exporters against the Go ones from Debian and, if one is given, against a baseline: the servers and the command
//! lines.

use std::path::{Path, PathBuf};

use medassist_stack::database::{Flavour, unpacked_program};
use medassist_stack::launch::Launch;
use medassist_tests::testbed::port::Port;
use medassist_tests::testbed::servers::{Database, HaProxy, Redis};

use crate::contest::{self, Entry};
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
    /// Runs one of our exporters, the baseline's and its peer with the same flags; `ours_only` are flags that the peer
    /// lacks.
    async fn compare(&self, name: &str, peer: Launch, flags: &Flags, ours_only: &[&str]) -> Result<()> {
        let ours =
            |directory: &Path| Ok::<_, Box<dyn std::error::Error>>(flags.add(built(directory, name)?).args(ours_only));
        let mut entries = vec![Entry { name: name.to_owned(), launch: ours(&self.programs)? }];
        if let Some(baseline) = &self.baseline {
            entries.push(Entry { name: "baseline".to_owned(), launch: ours(baseline)? });
        }
        let peer_name = peer.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        entries.push(Entry { name: peer_name, launch: flags.add(peer) });
        contest::run(self.scrapes, entries).await
    }
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
    settings.compare("mysql-exporter", peer, &flags, &[]).await
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
    settings.compare("redis-exporter", peer, &flags, &[]).await
}

#[expect(clippy::print_stdout, reason = "the benchmark's table")]
pub(crate) async fn haproxy(settings: &Settings) -> Result<()> {
    let haproxy = HaProxy::start(&haproxy_configuration()?).await?;
    println!("On HAProxy with 10 backends x 10 servers:");
    let uri = format!("--haproxy.scrape-uri=unix:{}", haproxy.socket().display());
    let flags = Flags { args: vec![uri], ..Flags::default() };
    let peer = Launch::installed(&["prometheus-haproxy-exporter"])?;
    settings.compare("haproxy-exporter", peer, &flags, &["--haproxy.names=exporter"]).await
}

/// Ten backends of ten servers: a small site.
fn haproxy_configuration() -> Result<String> {
    let mut text = "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n".to_owned();
    let port = Port::lease()?;
    text += &format!("frontend fe\n  bind {}\n  default_backend be0\n", port.address());
    for backend in 0..10 {
        text += &format!("backend be{backend}\n");
        for server in 0..10 {
            text += &format!("  server s{server} 127.0.0.1:9\n");
        }
    }
    Ok(text)
}
