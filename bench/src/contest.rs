//! Exporters of one service side by side: the same server, the same request, in alternating batches.
//!
//! Each is scraped as Prometheus scrapes (OpenMetrics offered, gzip), over one kept connection. What the machine does
//! meanwhile hits all of them.

use std::time::{Duration, Instant};

use medassist_stack::http;
use medassist_stack::launch::{Launch, Ready};
use medassist_tests::testbed::port::Port;
use medassist_tests::testbed::process::{Directory, Process};

use crate::figures::{Result, quantile};
use crate::usage;

const BATCH: usize = 50;
/// Even the shortest contest alternates this often.
const MIN_BATCHES: usize = 10;

/// What Prometheus 3 sends.
const HEADERS: [(&str, &str); 3] = [
    (
        "accept",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    ),
    ("accept-encoding", "gzip"),
    ("x-prometheus-scrape-timeout-seconds", "60"),
];
const TIMEOUT: Duration = Duration::from_secs(60);

/// One exporter before it runs: the name of its row, and where it is.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) exporter: Exporter,
}

pub(crate) enum Exporter {
    /// A program that this contest starts.
    Program(Launch),
    /// A page of the service itself.
    Page(String),
}

struct Contestant {
    name: String,
    /// Absent for a page of the service.
    process: Option<Process>,
    url: String,
    service: u32,
    seconds: Vec<f64>,
    cpu: f64,
    service_cpu: f64,
}

/// The figures of one row, in the order of the columns.
struct Row([f64; 7]);

#[expect(clippy::print_stdout, reason = "the benchmark's table")]
pub(crate) fn print_header(scrapes: usize) {
    println!("Exporters side by side: {scrapes} scrapes of each, in alternating batches, gzip, one kept connection\n");
    println!(
        "{:<42} {:>7} {:>9} {:>9} {:>12} {:>12} {:>9} {:>9}",
        "", "series", "p50 ms", "p99 ms", "CPU ms/scr.", "service CPU", "RSS MB", "peak MB"
    );
}

/// Prints a row for each entry, and a row of ratios of the first to each of the others. `service` is the process that
/// is scraped.
#[expect(clippy::print_stdout, reason = "the benchmark's table")]
pub(crate) async fn run(scrapes: usize, service: u32, entries: Vec<Entry>) -> Result<()> {
    let client = http::client(1)?;
    let mut contestants = Vec::new();
    for entry in entries {
        contestants.push(Contestant::start(entry, service).await?);
    }
    let batch = scrapes.div_ceil(MIN_BATCHES).min(BATCH);
    for contestant in &mut contestants {
        contestant.warm_up(&client, batch).await?;
    }
    let count = contestants.len();
    for round in 0..scrapes.div_ceil(batch) {
        // Each one is first in some rounds, so that what its predecessor leaves in the CPU's caches affects all alike.
        for position in 0..count {
            contestants[(round + position) % count].scrape_batch(&client, batch).await?;
        }
    }
    let mut rows = Vec::new();
    for contestant in &mut contestants {
        let row = contestant.row().await?;
        let [series, p50, p99, cpu, service, rss, peak] = row.0;
        println!(
            "{:<42} {series:>7} {p50:>9.3} {p99:>9.3} {cpu:>12.3} {service:>12.3} {rss:>9.1} {peak:>9.1}",
            contestant.name
        );
        rows.push((contestant.name.clone(), row));
    }
    if let Some(((_, ours), others)) = rows.split_first() {
        for (name, other) in others {
            let [series, p50, p99, cpu, service, rss, peak] =
                std::array::from_fn(|column| ours.0[column] / other.0[column]);
            println!(
                "{:<42} {series:>7.2} {p50:>9.3} {p99:>9.3} {cpu:>12.3} {service:>12.3} {rss:>9.3} {peak:>9.3}",
                format!("  ours / {name}")
            );
        }
    }
    println!();
    for mut process in contestants.into_iter().filter_map(|contestant| contestant.process) {
        // Ended in order, so that a build that counts what runs (`make dist-pgo`) writes its counts.
        process.stop().await?;
    }
    Ok(())
}

impl Contestant {
    async fn start(Entry { name, exporter }: Entry, service: u32) -> Result<Self> {
        let (process, url) = match exporter {
            Exporter::Program(launch) => {
                let port = Port::lease()?;
                let launch = launch.arg(format!("--web.listen-address={}", port.address()));
                // Not /metrics: with many tables it takes longer than a readiness probe may.
                let ready = Ready::Http(format!("http://{}/", port.address()));
                let process = Process::start(&name, launch, ready, Directory::new("bench")?).await?;
                (Some(process), format!("http://{}/metrics", port.address()))
            }
            Exporter::Page(url) => (None, url),
        };
        Ok(Self { name, process, url, service, seconds: Vec::new(), cpu: 0.0, service_cpu: 0.0 })
    }

    /// The process that serves the page.
    fn pid(&self) -> Result<u32> {
        match &self.process {
            Some(process) => Ok(process.pid().ok_or_else(|| format!("{} has ended", self.name))?),
            None => Ok(self.service),
        }
    }

    async fn warm_up(&self, client: &reqwest::Client, times: usize) -> Result<()> {
        for _ in 0..times {
            self.scrape(client).await?;
        }
        Ok(())
    }

    async fn scrape_batch(&mut self, client: &reqwest::Client, times: usize) -> Result<()> {
        let (before, service_before) = (usage::cpu_seconds(self.pid()?)?, usage::cpu_seconds(self.service)?);
        for _ in 0..times {
            let seconds = self.scrape(client).await?;
            self.seconds.push(seconds);
        }
        // A page of the service has no processor time of its own.
        if self.process.is_some() {
            self.cpu += usage::cpu_seconds(self.pid()?)? - before;
        }
        self.service_cpu += usage::cpu_seconds(self.service)? - service_before;
        Ok(())
    }

    /// Returns the seconds that one scrape took.
    async fn scrape(&self, client: &reqwest::Client) -> Result<f64> {
        let mut request = client.get(&self.url).timeout(TIMEOUT);
        for (name, value) in HEADERS {
            request = request.header(name, value);
        }
        let start = Instant::now();
        let response = request.send().await?.error_for_status()?;
        response.bytes().await?;
        Ok(start.elapsed().as_secs_f64())
    }

    async fn row(&mut self) -> Result<Row> {
        self.seconds.sort_by(f64::total_cmp);
        // Before the series are counted, which is one scrape without compression.
        let peak = usage::status_bytes(&self.pid()?.to_string(), "VmHWM")? / 1e6;
        Ok(Row([
            self.series().await? as f64,
            quantile(&self.seconds, 0.5) * 1e3,
            quantile(&self.seconds, 0.99) * 1e3,
            self.cpu * 1e3 / self.seconds.len() as f64,
            self.service_cpu * 1e3 / self.seconds.len() as f64,
            usage::status_bytes(&self.pid()?.to_string(), "VmRSS")? / 1e6,
            peak,
        ]))
    }

    async fn series(&self) -> Result<usize> {
        let page = http::get_within(&self.url, &HEADERS[2..], TIMEOUT).await?.text();
        if let Some(process) = &self.process
            && !page.lines().any(|line| line.ends_with("_up 1"))
        {
            return Err(format!("{}: cannot scrape its service: {}", self.name, process.log()).into());
        }
        Ok(page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count())
    }
}
