//! Exports MySQL and MariaDB: what `SHOW GLOBAL STATUS`, `SHOW GLOBAL VARIABLES` and the replication status say, under the names of
//! mysqld_exporter, and beside them health checks with reasons.
//!
//! [`MysqlExporter`] → [`session::Session`] (what the collectors of one scrape share) → [`client::Client`] (at most two connections).

mod client;
mod collectors;
mod config;
mod error;
mod history;
mod replication;
mod rows;
mod session;
mod value;
mod version;

use std::sync::{Arc, Mutex, PoisonError};

use exporter_toolkit::{BoxError, CheckDef, Collector, Exporter, Target, async_trait};
use tokio::time::Instant;

use crate::client::Client;
use crate::collectors::{Options, health};
use crate::config::{Address, Args, Config};
use crate::session::Session;

/// Targets of `/probe` whose connections are kept for the next probe: as many as the toolkit gathers at once.
const PROBE_CLIENTS: usize = 64;

pub struct MysqlExporter {
    config: Config,
    target: Arc<MysqlTarget>,
    /// By address and section, the one used last at the end.
    probe_clients: Mutex<Vec<(ProbeKey, Arc<Client>)>>,
}

type ProbeKey = (Address, String);

impl Exporter for MysqlExporter {
    const PROGRAM: &'static str = "mysql-exporter";
    const NAMESPACE: &'static str = "mysql";
    const ABOUT: &'static str = "Exports the state of a MySQL or MariaDB server for Prometheus.";
    const DEFAULT_PORT: u16 = 9104;
    const PEER_COLLECTOR_PREFIX: Option<&'static str> = Some("collect.");

    type Args = Args;
    type Target = MysqlTarget;

    fn new(args: Args) -> Result<Self, BoxError> {
        let config = Config::load(args)?;
        let client = Client::new(config.address()?, &config.account(config::CLIENT)?, config.connections);
        let target = Arc::new(MysqlTarget {
            client: Arc::new(client),
            thresholds: config.thresholds,
            options: Arc::clone(&config.options),
        });
        Ok(Self { config, target, probe_clients: Mutex::default() })
    }

    fn collectors() -> Vec<Box<dyn Collector<Session>>> {
        collectors::all()
    }

    fn checks() -> &'static [CheckDef] {
        &health::CHECKS
    }

    fn target(&self) -> Arc<MysqlTarget> {
        Arc::clone(&self.target)
    }

    fn build_info_name() -> String {
        // The peer's, after its program and not after its namespace.
        "mysqld_exporter_build_info".to_owned()
    }

    fn probe(&self, target: &str, query: &[(String, String)]) -> Result<MysqlTarget, BoxError> {
        let section = query.iter().find(|(name, _)| name == "auth_module").map_or(config::CLIENT, |(_, value)| value);
        let key = (Address::parse(target)?, section.to_owned());
        let mut clients = self.probe_clients.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match clients.iter().position(|(known, _)| *known == key) {
            Some(position) => clients.remove(position),
            None => {
                let client = Client::new(key.0.clone(), &self.config.account(section)?, self.config.connections);
                if clients.len() == PROBE_CLIENTS {
                    clients.remove(0);
                }
                (key, Arc::new(client))
            }
        };
        let client = Arc::clone(&entry.1);
        clients.push(entry);
        Ok(MysqlTarget { client, thresholds: self.config.thresholds, options: Arc::clone(&self.config.options) })
    }
}

/// One server.
pub struct MysqlTarget {
    client: Arc<Client>,
    thresholds: health::Thresholds,
    options: Arc<Options>,
}

#[async_trait]
impl Target for MysqlTarget {
    type Session = Session;

    fn address(&self) -> &str {
        self.client.address()
    }

    async fn open(&self, deadline: Instant) -> Result<Session, BoxError> {
        Ok(Session::open(Arc::clone(&self.client), self.thresholds, Arc::clone(&self.options), deadline).await?)
    }
}
