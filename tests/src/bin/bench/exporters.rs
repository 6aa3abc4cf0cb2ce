//! Our exporters beside the Go ones from Debian: the same server, the same request, in turns.
//!
//! Both are asked as Prometheus asks (OpenMetrics offered, gzip), over one kept connection each, in alternating batches, so that what the
//! machine does meanwhile hits both. With the bare clients in C ours takes turns scrape by scrape, so each asks a server that has just answered another
//! one: a client that asks a hundred times in a row finds all its own in the processor's caches, which no scraper does.

use std::time::{Duration, Instant};

use medassist_tests::database::{Flavour, unpacked_program};
use medassist_tests::launch::{Launch, Ready, target_directory};
use medassist_tests::testbed::http;
use medassist_tests::testbed::port::Port;
use medassist_tests::testbed::process::{Directory, Process};
use medassist_tests::testbed::servers::{Database, HaProxy, Redis};

use crate::c_client::{self, Client};
use crate::{Result, median, quantile, usage};

pub(crate) const SCRAPES: usize = 1000;
const BATCH: usize = 50;

/// What Prometheus 3 sends.
pub(crate) const HEADERS: [(&str, &str); 3] = [
    (
        "accept",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    ),
    ("accept-encoding", "gzip"),
    ("x-prometheus-scrape-timeout-seconds", "60"),
];
const PATIENCE: Duration = Duration::from_secs(60);

struct Contestant {
    process: Process,
    url: String,
    seconds: Vec<f64>,
    cpu: f64,
}

impl Contestant {
    async fn start(name: &str, launch: Launch) -> Result<Self> {
        let port = Port::lease()?;
        let launch = launch.arg(format!("--web.listen-address={}", port.address()));
        let url = format!("http://{}/metrics", port.address());
        // Not its page of series, which may take longer than a look for readiness may.
        let ready = Ready::Http(format!("http://{}/", port.address()));
        let process = Process::start(name, launch, ready, Directory::new(name)?).await?;
        Ok(Self { process, url, seconds: Vec::new(), cpu: 0.0 })
    }

    fn pid(&self) -> Result<u32> {
        Ok(self.process.pid().ok_or("the exporter has ended")?)
    }

    async fn scrape(&mut self, client: &reqwest::Client, times: usize, counted: bool) -> Result<()> {
        let cpu = usage::cpu_seconds(self.pid()?)?;
        for _ in 0..times {
            let seconds = self.scrape_once(client).await?;
            if counted {
                self.seconds.push(seconds);
            }
        }
        if counted {
            self.cpu += usage::cpu_seconds(self.pid()?)? - cpu;
        }
        Ok(())
    }

    /// The seconds that it took.
    async fn scrape_once(&self, client: &reqwest::Client) -> Result<f64> {
        let mut request = client.get(&self.url).timeout(PATIENCE);
        for (name, value) in HEADERS {
            request = request.header(name, value);
        }
        let start = Instant::now();
        let response = request.send().await?.error_for_status()?;
        response.bytes().await?;
        Ok(start.elapsed().as_secs_f64())
    }

    async fn series(&self) -> Result<usize> {
        let page = http::get_within(&self.url, &HEADERS[2..], PATIENCE).await?.text();
        if !page.lines().any(|line| line.ends_with("_up 1")) {
            return Err(format!("{} does not see its service", self.url).into());
        }
        Ok(page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count())
    }
}

pub(crate) fn run(scrapes: usize) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run_all(scrapes))
}

#[expect(clippy::print_stdout, reason = "the benchmark's table")]
async fn run_all(scrapes: usize) -> Result<()> {
    println!(
        "Exporters beside their Go peers: {scrapes} scrapes of each, in alternating batches, gzip, one kept connection\n"
    );
    println!("{:<30} {:>7} {:>9} {:>9} {:>12} {:>9}", "", "series", "p50 ms", "p99 ms", "CPU ms/scr.", "RSS MB");
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let database = Database::start_as::<&str>(flavour, &[]).await?;
        println!("On {}:", database.sql("SELECT VERSION()")?.trim());
        mysql(scrapes, &database, &[], true).await?;
    }
    // Its tables are what costs here, seconds a scrape for the peer: a fiftieth of the scrapes tells enough.
    let database = Database::start_with(&["--table-open-cache=30000", "--table-definition-cache=30000"]).await?;
    database.sql(&many_tables())?;
    println!("On MariaDB with {SCHEMAS} schemas x {TABLES} tables and info_schema.tables on:");
    mysql(scrapes.div_ceil(50), &database, &["--collect.info_schema.tables"], false).await?;
    drop(database);

    let redis = Redis::start().await?;
    let address = format!("redis://{}", redis.address());
    println!("On Redis:");
    pair(
        scrapes,
        "redis-exporter",
        shipped("redis-exporter")?.arg(format!("--redis.addr={address}")),
        "prometheus-redis-exporter",
        Launch::installed(&["prometheus-redis-exporter"])?.arg(format!("--redis.addr={address}")),
        Vec::new(),
    )
    .await?;
    drop(redis);

    let haproxy = HaProxy::start(&haproxy_configuration()?).await?;
    let uri = format!("unix:{}", haproxy.socket().display());
    println!("On HAProxy with 10 backends x 10 servers:");
    pair(
        scrapes,
        "haproxy-exporter",
        shipped("haproxy-exporter")?
            .args([format!("--haproxy.scrape-uri={uri}"), "--haproxy.names=exporter".to_owned()]),
        "prometheus-haproxy-exporter",
        Launch::installed(&["prometheus-haproxy-exporter"])?.arg(format!("--haproxy.scrape-uri={uri}")),
        Vec::new(),
    )
    .await?;
    Ok(())
}

async fn mysql(scrapes: usize, database: &Database, flags: &[&str], with_clients: bool) -> Result<()> {
    let theirs = unpacked_program("unstable", "usr/bin/prometheus-mysqld-exporter")?;
    let ours = mysql_flags(shipped("mysql-exporter")?, database)?;
    let mut bare = Vec::new();
    if with_clients {
        let asks = c_client::build()?.args([USER, &database.address().port().to_string()]).env("MYSQL_PWD", PASSWORD);
        let makes_page = asks.clone().arg("page");
        bare = vec![Client::start(asks)?, Client::start(makes_page)?];
    }
    pair(
        scrapes,
        "mysql-exporter",
        ours.args(flags.iter().copied()),
        "prometheus-mysqld-exporter",
        mysql_flags(theirs, database)?.args(flags.iter().copied()),
        bare,
    )
    .await
}

/// What `make dist` built.
fn shipped(name: &str) -> Result<Launch> {
    let path = target_directory()?.join("shipped").join(name);
    if path.is_file() {
        Ok(Launch::new(path))
    } else {
        Err(format!("{} is not built: make dist", path.display()).into())
    }
}

/// The flags that our exporter and its peer have in common, for a user who may do everything.
pub(crate) fn mysql_flags(exporter: Launch, database: &Database) -> Result<Launch> {
    database.sql(&format!(
        "CREATE USER IF NOT EXISTS {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {USER}@'127.0.0.1'",
    ))?;
    Ok(exporter
        .args([format!("--mysqld.address={}", database.address()), format!("--mysqld.username={USER}")])
        .env("MYSQLD_EXPORTER_PASSWORD", PASSWORD))
}

const USER: &str = "exporter";
const PASSWORD: &str = "bench";

/// 20,000 tables: a host of many tenants.
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

/// Ten backends of ten servers: a small site.
pub(crate) fn haproxy_configuration() -> Result<String> {
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

#[expect(clippy::print_stdout, reason = "the benchmark's table")]
async fn pair(
    scrapes: usize,
    our_name: &str,
    ours: Launch,
    their_name: &str,
    theirs: Launch,
    mut bare: Vec<Client>,
) -> Result<()> {
    let client = http::client(1)?;
    let mut ours = Contestant::start(our_name, ours).await?;
    let mut theirs = Contestant::start(their_name, theirs).await?;
    // Ten turns at the least.
    let batch = scrapes.div_ceil(10).min(BATCH);
    for contestant in [&mut ours, &mut theirs] {
        contestant.scrape(&client, batch, false).await?;
    }
    // Ours, then the bare clients'.
    let mut in_turns = vec![Vec::new(); 1 + bare.len()];
    for _ in 0..scrapes.div_ceil(batch) {
        ours.scrape(&client, batch, true).await?;
        theirs.scrape(&client, batch, true).await?;
        if bare.is_empty() {
            continue;
        }
        for _ in 0..batch {
            in_turns[0].push(ours.scrape_once(&client).await?);
            for (client, seconds) in bare.iter_mut().zip(&mut in_turns[1..]) {
                seconds.push(client.ask()?);
            }
        }
    }
    let mut rows = Vec::new();
    for (name, contestant) in [(our_name, &mut ours), (their_name, &mut theirs)] {
        contestant.seconds.sort_by(f64::total_cmp);
        let row = [
            contestant.series().await? as f64,
            quantile(&contestant.seconds, 0.5) * 1e3,
            quantile(&contestant.seconds, 0.99) * 1e3,
            contestant.cpu * 1e3 / contestant.seconds.len() as f64,
            usage::status_bytes(&contestant.pid()?.to_string(), "VmRSS")? / 1e6,
        ];
        let [series, p50, p99, cpu, rss] = row;
        println!("{name:<30} {series:>7} {p50:>9.3} {p99:>9.3} {cpu:>12.3} {rss:>9.1}");
        rows.push(row);
    }
    if let [ours, theirs] = rows.as_slice() {
        let ratio = |i: usize| ours[i] / theirs[i];
        println!(
            "{:<30} {:>7.2} {:>9.3} {:>9.3} {:>12.3} {:>9.3}",
            "  ours / theirs",
            ratio(0),
            ratio(1),
            ratio(2),
            ratio(3),
            ratio(4)
        );
        if !bare.is_empty() {
            println!("In turns with bare clients in C, p50 and its ratio to the one that asks:");
            let medians: Vec<f64> = in_turns.into_iter().map(|seconds| median(seconds) * 1e3).collect();
            for (name, p50) in ["  ours", "  C client, asks", "  C client, makes a page"].into_iter().zip(&medians) {
                println!("{name:<30} {:>7} {p50:>9.3} {:>9.2}", "", p50 / medians[1]);
            }
        }
        println!();
    }
    Ok(())
}
