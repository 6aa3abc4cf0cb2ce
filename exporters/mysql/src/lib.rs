//! Exports MySQL and MariaDB: the global status, the global variables, the replication status and more, under the names
//! of mysqld_exporter, and health checks with reasons.
//!
//! [`MysqlExporter`] → [`session::Session`] (what the collectors of one scrape share) → [`client::Client`] (at most two
//! connections) → [`wire::Conn`] (the protocol).

mod client;
mod collectors;
mod config;
mod connection;
mod error;
mod history;
mod login_stats;
mod my_cnf;
mod replication;
mod rows;
mod session;
mod sql;
mod tls_options;
mod value;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exporter_toolkit::address::Address;
use exporter_toolkit::{BoxError, Collector, Exporter, NotListed, ProbeRequest, Target, async_trait};
use tokio::time::Instant;
use tracing::warn;

use crate::client::Client;
use crate::config::{Args, Config, DEFAULT_PORT};
use crate::error::{ConfigError, Error};
use crate::my_cnf::CLIENT;
use crate::session::Session;

/// Maximum number of `/probe` targets whose connections are kept: the toolkit's maximum of concurrent gathers.
const PROBE_CLIENTS: usize = 64;

pub struct MysqlExporter {
    args: Args,
    /// Replaced as a whole by a reload. A running scrape keeps its client, and so the old account, until it ends.
    loaded: Mutex<Loaded>,
}

/// The result of reading the files once.
struct Loaded {
    config: Config,
    target: Arc<MysqlTarget>,
    /// By address and section; the most recently used is the last.
    probe_clients: Vec<(ProbeKey, Arc<Client>)>,
}

type ProbeKey = (Address, String);

impl Loaded {
    fn read(args: &Args) -> Result<Self, ConfigError> {
        let config = Config::load(args)?;
        let address = config.address()?;
        let name = address.to_string();
        let client = match config.account(CLIENT) {
            Ok(account) => Some(Arc::new(Client::new(address, account, config.connections))),
            // [`Config::load`] allows it if there are accounts for probes.
            Err(error @ ConfigError::NoUser { .. }) => {
                warn!(error = %error, "no account for /metrics; only /probe works");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { config, target: Arc::new(MysqlTarget { name, client }), probe_clients: Vec::new() })
    }

    fn probe(&mut self, target: &str, section: &str) -> Result<MysqlTarget, ConfigError> {
        let key = (Address::parse(target, DEFAULT_PORT)?, section.to_owned());
        let entry = match self.probe_clients.iter().position(|(known, _)| *known == key) {
            Some(position) => self.probe_clients.remove(position),
            None => {
                let client = Client::new(key.0.clone(), self.config.account(section)?, self.config.connections);
                if self.probe_clients.len() == PROBE_CLIENTS {
                    self.probe_clients.remove(0);
                }
                (key, Arc::new(client))
            }
        };
        let client = Arc::clone(&entry.1);
        self.probe_clients.push(entry);
        Ok(MysqlTarget { name: client.address().to_owned(), client: Some(client) })
    }
}

impl MysqlExporter {
    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exporter for MysqlExporter {
    const PROGRAM: &'static str = "mysql-exporter";
    const NAMESPACE: &'static str = "mysql";
    const ABOUT: &'static str = "Exports metrics of MySQL and MariaDB servers for Prometheus.";
    const DEFAULT_PORT: u16 = 9104;
    const PEER_COLLECTOR_PREFIX: Option<&'static str> = Some("collect.");
    const TARGET_ON_METRICS: bool = true;
    const PARAMETERS: &'static [&'static str] = &["auth_module"];

    type Args = Args;
    type Target = MysqlTarget;

    fn new(args: Args) -> Result<Self, BoxError> {
        let loaded = Mutex::new(Loaded::read(&args)?);
        Ok(Self { args, loaded })
    }

    fn collectors() -> Vec<Box<dyn Collector<Session>>> {
        collectors::all()
    }

    fn target(&self) -> Arc<MysqlTarget> {
        Arc::clone(&self.loaded().target)
    }

    fn program_prefix() -> String {
        // The peer's prefix is its program's name, not its namespace.
        "mysqld_exporter".to_owned()
    }

    /// Each login sends an account's credentials, and a rogue server can obtain the password.
    fn probe(&self, request: &ProbeRequest<'_>) -> Result<MysqlTarget, BoxError> {
        let address = Address::parse(request.target, DEFAULT_PORT)?.to_string();
        let mut loaded = self.loaded();
        if address != loaded.target.address() && !request.lists(&address) {
            return Err(NotListed.into());
        }
        Ok(loaded.probe(request.target, request.parameter("auth_module").unwrap_or(CLIENT))?)
    }

    /// Reads the option file and the password file.
    fn reload(&self) -> Result<(), BoxError> {
        let loaded = Loaded::read(&self.args)?;
        let old = std::mem::replace(&mut *self.loaded(), loaded);
        // Dropped without the lock: the last owner of a client closes its idle connections.
        drop(old);
        Ok(())
    }
}

/// One server.
pub struct MysqlTarget {
    name: String,
    /// `None` without an account.
    client: Option<Arc<Client>>,
}

#[async_trait]
impl Target for MysqlTarget {
    type Session = Session;

    fn address(&self) -> &str {
        &self.name
    }

    async fn open(&self, deadline: Instant) -> Result<Session, BoxError> {
        let client = self.client.as_ref().ok_or_else(|| Error::NoAccount { address: self.name.clone() })?;
        Ok(Session::open(Arc::clone(client), deadline).await?)
    }
}
