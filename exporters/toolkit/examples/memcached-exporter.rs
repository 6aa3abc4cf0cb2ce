//! A whole exporter in small: CONTRIBUTING.md shows this file, and a test keeps the two equal.

use std::sync::Arc;

use exporter_toolkit::resolve::connect_to;
use exporter_toolkit::{BoxError, CheckDef, Collector, Desc, Exporter, Families, Target, async_trait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

const CONNECTIONS: Desc =
    Desc::gauge("memcached_current_connections", "Open connections, `curr_connections` of `stats`.", &[]);

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
    /// What the collectors of one scrape share: here the text of `stats`.
    type Session = String;

    fn address(&self) -> &str {
        &self.address
    }

    async fn open(&self, _deadline: Instant) -> Result<String, BoxError> {
        let stream = connect_to(&self.address).await;
        // An error says what failed, on which target, and what to do.
        let mut stream = stream.map_err(|error| {
            format!(
                "{}: cannot connect: {error}: check --memcached.address, and that memcached listens there",
                self.address
            )
        })?;
        stream.write_all(b"stats\r\nquit\r\n").await?;
        let mut stats = String::new();
        // A bound on what a stranger on that port may send.
        stream.take(1 << 20).read_to_string(&mut stats).await?;
        // Half an answer or a stranger's is no answer: without this the service would be up with nothing to show.
        if !stats.ends_with("END\r\n") {
            return Err(format!("{}: no whole answer to `stats`: is this memcached?", self.address).into());
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
        "What `stats` tells."
    }

    fn families(&self) -> Vec<Desc> {
        vec![CONNECTIONS]
    }

    async fn collect(&self, stats: &String, out: &mut Families) -> Result<(), BoxError> {
        let field = |name: &str| {
            stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.trim().parse().ok())
        };
        if let Some(connections) = field("curr_connections ") {
            out.push(&CONNECTIONS, &[], connections);
        }
        Ok(())
    }
}

impl Exporter for Memcached {
    const PROGRAM: &'static str = "memcached-exporter";
    const NAMESPACE: &'static str = "memcached";
    const ABOUT: &'static str = "Exports memcached's statistics.";
    const DEFAULT_PORT: u16 = 9150;
    type Args = Args;
    type Target = Server;

    fn new(args: Args) -> Result<Self, BoxError> {
        Ok(Self { target: Arc::new(Server { address: args.address }) })
    }

    fn collectors() -> Vec<Box<dyn Collector<String>>> {
        vec![Box::new(Stats)]
    }

    fn checks() -> &'static [CheckDef] {
        &[]
    }

    fn target(&self) -> Arc<Server> {
        Arc::clone(&self.target)
    }

    fn probe(&self, target: &str, _query: &[(String, String)]) -> Result<Server, BoxError> {
        Ok(Server { address: target.to_owned() })
    }
}

fn main() -> std::process::ExitCode {
    exporter_toolkit::run::<Memcached>()
}
