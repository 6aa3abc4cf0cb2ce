//! Prometheus exporter for HAProxy: it reads the runtime socket or the statistics page once per scrape.

mod collectors;
mod columns;
mod history;
mod info;
mod source;
mod stat;
mod state;
mod target;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use exporter_toolkit::duration::positive_duration;
use exporter_toolkit::http::{HttpClient, HttpOptions};
use exporter_toolkit::tls::{FlagNames, TlsArgs, TlsFlags};
use exporter_toolkit::{BoxError, CheckDef, Collector, Exporter, ProbeRequest};
use tokio::sync::Semaphore;

pub use crate::columns::Naming;
pub use crate::source::UriError;
pub use crate::state::ServerState;

use crate::source::Source;
use crate::target::Options;
pub use crate::target::{HaproxyTarget, Session};

// No Debug: the URI may hold a password.
#[derive(clap::Args)]
#[command(next_help_heading = "HAProxy")]
pub struct Args {
    /// HAProxy's runtime socket (unix:/path, tcp://host:port) or statistics page (http://host:port/path;csv, https://)
    #[arg(long = "haproxy.scrape-uri", value_name = "URI", default_value = "http://localhost/;csv")]
    scrape_uri: String,

    /// File containing only the password of the user in an http or https URI
    #[arg(long = "haproxy.password-file", value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Whose names and labels to export: HAProxy's own endpoint's (native) or the retired haproxy_exporter's (exporter)
    #[arg(long = "haproxy.names", value_name = "NAMES", value_enum, default_value_t)]
    naming: Naming,

    /// Exclude servers in these states, comma-separated: DOWN, UP, MAINT, DRAIN, NOLB
    #[arg(long = "haproxy.server-exclude-states", value_name = "STATE", value_delimiter = ',', value_parser = server_state)]
    exclude_states: Vec<ServerState>,

    /// Timeout for HAProxy's response, such as 2s [default: the scrape timeout]
    #[arg(long = "haproxy.timeout", value_name = "DURATION", value_parser = positive_duration)]
    timeout: Option<Duration>,

    #[command(flatten)]
    tls: TlsArgs<HaproxyTls>,
}

/// The retired haproxy_exporter's name of one of them, and the same style for the others.
struct HaproxyTls;

impl TlsFlags for HaproxyTls {
    const NAMES: &'static FlagNames = &FlagNames {
        ca: "haproxy.ssl-ca-cert",
        certificate: "haproxy.ssl-client-cert",
        key: "haproxy.ssl-client-key",
        server_name: "haproxy.ssl-server-name",
        skip_verify: "no-haproxy.ssl-verify",
        for_what: "https:// URIs",
    };
}

fn server_state(name: &str) -> Result<ServerState, String> {
    let known = ServerState::ALL.into_iter().find(|state| state.name() == name);
    known.ok_or_else(|| format!("one of {} is expected", ServerState::NAMES.join(", ")))
}

pub struct HaproxyExporter {
    options: Arc<Options>,
    /// Keeps no connections: the number of probed targets has no bound.
    probe_http: Arc<HttpClient>,
    password_file: Option<PathBuf>,
    /// Replaced by each reload. A running scrape keeps the previous one until its end.
    target: Mutex<Arc<HaproxyTarget>>,
    /// The connection slots of running probes, by target.
    slots: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Exporter for HaproxyExporter {
    const PROGRAM: &'static str = "haproxy-exporter";
    const NAMESPACE: &'static str = "haproxy";
    const ABOUT: &'static str = "Prometheus exporter for HAProxy: frontends, backends, servers and health checks.";
    const DEFAULT_PORT: u16 = 9101;
    const OPEN_CHECK: &'static CheckDef = &CheckDef {
        name: "connect",
        help: "Whether HAProxy accepts the connection and returns its statistics.",
        essential: true,
    };

    type Args = Args;
    type Target = HaproxyTarget;

    fn new(args: Args) -> Result<Self, BoxError> {
        let http = |max_idle| {
            let tls = args.tls.tls.clone();
            Arc::new(HttpClient::new(HttpOptions { tls, max_redirects: 2, max_idle, unix_socket: None }))
        };
        let options =
            Arc::new(Options { naming: args.naming, exclude_states: args.exclude_states, timeout: args.timeout });
        let mut source =
            Source::parse(&args.scrape_uri, http(1)).map_err(|error| format!("--haproxy.scrape-uri: {error}"))?;
        source.check_files()?;
        if let Some(file) = &args.password_file {
            source.read_password(file)?;
        }
        let target =
            Arc::new(HaproxyTarget::new(source, Arc::new(Semaphore::new(1)), Arc::clone(&options)).with_history());
        Ok(Self {
            options,
            probe_http: http(0),
            password_file: args.password_file,
            target: Mutex::new(target),
            slots: Mutex::default(),
        })
    }

    fn collectors() -> Vec<Box<dyn Collector<Session>>> {
        collectors::all()
    }

    fn target(&self) -> Arc<HaproxyTarget> {
        Arc::clone(&self.main_target())
    }

    fn probe(&self, request: &ProbeRequest<'_>) -> Result<HaproxyTarget, BoxError> {
        let source =
            Source::parse(request.target, Arc::clone(&self.probe_http)).map_err(|error| format!("target: {error}"))?;
        let slot = self.slot(source.address());
        Ok(HaproxyTarget::new(source, slot, Arc::clone(&self.options)))
    }

    /// Reads the password file.
    fn reload(&self) -> Result<(), BoxError> {
        let Some(file) = &self.password_file else { return Ok(()) };
        let old = self.target();
        let mut source = old.source.clone();
        source.read_password(file)?;
        *self.main_target() = Arc::new(old.with(source));
        Ok(())
    }
}

impl HaproxyExporter {
    fn main_target(&self) -> MutexGuard<'_, Arc<HaproxyTarget>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot for the only connection to a target.
    fn slot(&self, address: &str) -> Arc<Semaphore> {
        let main = self.target();
        if address == main.source.address() {
            return Arc::clone(&main.slot);
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| slot.strong_count() > 0);
        if let Some(slot) = slots.get(address).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Semaphore::new(1));
        slots.insert(address.to_owned(), Arc::downgrade(&slot));
        slot
    }
}
