//! A complete small exporter. CONTRIBUTING.md shows this file, and a test keeps the two equal.

use std::sync::Arc;

use exporter_toolkit::resolve::connect_to;
use exporter_toolkit::{
    BoxError, CheckDef, CheckStatus, Collector, Desc, Exporter, Families, ProbeRequest, Target, async_trait,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

const CONNECTIONS: Desc =
    Desc::gauge("memcached_current_connections", "Current number of connections.", &[]).field("curr_connections");
const MAX_CONNECTIONS: Desc =
    Desc::gauge("memcached_max_connections", "Current limit of connections.", &[]).field("max_connections");

const HEADROOM: CheckDef =
    CheckDef { name: "connections", help: "Warns when 90 % of the connections are in use.", essential: false };

/// Flags of this exporter alone.
#[derive(clap::Args)]
struct Args {
    /// Address of the memcached server
    #[arg(long = "memcached.address", value_name = "HOST:PORT", default_value = "localhost:11211")]
    address: String,
}

struct Memcached {
    target: Arc<Server>,
}

struct Server {
    address: String,
}

#[async_trait]
impl Target for Server {
    /// What the collectors of one scrape share: here the response to `stats`.
    type Session = String;

    fn address(&self) -> &str {
        &self.address
    }

    async fn open(&self, _deadline: Instant) -> Result<String, BoxError> {
        let stream = connect_to(&self.address).await;
        // The text of an error: what failed, on which target, and what to do.
        let mut stream = stream.map_err(|error| {
            format!(
                "{}: cannot connect: {error}: check --memcached.address, and that memcached runs there",
                self.address
            )
        })?;
        stream.write_all(b"stats\r\nquit\r\n").await?;
        let mut stats = String::new();
        // Bounded, whatever else listens on that port.
        stream.take(1 << 20).read_to_string(&mut stats).await?;
        // An incomplete response is an error. Without this check the service would be up, with no samples.
        if !stats.ends_with("END\r\n") {
            return Err(format!("{}: incomplete response to `stats`: is this memcached?", self.address).into());
        }
        Ok(stats)
    }
}

struct Stats;

#[async_trait]
impl Collector<String> for Stats {
    fn name(&self) -> &'static str {
        "stats"
    }

    fn help(&self) -> &'static str {
        "Connections."
    }

    fn source(&self) -> &'static str {
        "`stats`"
    }

    fn families(&self) -> Vec<Desc> {
        vec![CONNECTIONS, MAX_CONNECTIONS]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&HEADROOM]
    }

    async fn collect(&self, stats: &String, out: &mut Families) -> Result<(), BoxError> {
        let field = |desc: &Desc| -> Option<f64> {
            stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(desc.field)?.trim().parse().ok())
        };
        // A field that is not there has no sample: never write a zero that was not read.
        for desc in [&CONNECTIONS, &MAX_CONNECTIONS] {
            if let Some(value) = field(desc) {
                out.push(desc, &[], value);
            }
        }
        if let (Some(now), Some(limit)) = (field(&CONNECTIONS), field(&MAX_CONNECTIONS)) {
            let status = CheckStatus::grade(now / limit, 0.9, f64::INFINITY);
            out.check(&HEADROOM, status, format!("{now} of {limit} connections"));
        }
        Ok(())
    }
}

impl Exporter for Memcached {
    const PROGRAM: &'static str = "memcached-exporter";
    const NAMESPACE: &'static str = "memcached";
    const ABOUT: &'static str = "Prometheus exporter for memcached.";
    const DEFAULT_PORT: u16 = 9150;
    type Args = Args;
    type Target = Server;

    fn new(args: Args) -> Result<Self, BoxError> {
        Ok(Self { target: Arc::new(Server { address: args.address }) })
    }

    fn collectors() -> Vec<Box<dyn Collector<String>>> {
        vec![Box::new(Stats)]
    }

    fn target(&self) -> Arc<Server> {
        Arc::clone(&self.target)
    }

    fn probe(&self, request: &ProbeRequest<'_>) -> Result<Server, BoxError> {
        Ok(Server { address: request.target.to_owned() })
    }
}

fn main() -> std::process::ExitCode {
    exporter_toolkit::run::<Memcached>(exporter_toolkit::build!())
}
