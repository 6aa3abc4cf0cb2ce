//! Prometheus exporter for HAProxy: it reads the runtime socket or the statistics page once per scrape.

mod answer;
mod collectors;
mod columns;
mod history;
mod info;
mod options;
mod peer;
mod read_error;
mod runtime;
mod selection;
mod source;
mod stat;
mod state;
mod target;
mod uri;

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
pub use crate::options::States;
pub use crate::state::ServerState;
pub use crate::target::{HaproxyTarget, Session};
pub use crate::uri::UriError;

use crate::options::{ExcludedState, Options};
use crate::peer::PeerArgs;
use crate::selection::Selection;
use crate::source::Source;

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

    /// Which samples the states of servers have: one for each possible state (all), or the current one's only (current)
    #[arg(long = "haproxy.states", value_name = "STATES", value_enum, default_value_t)]
    states: States,

    /// Export the counters of modules (ssl, h1, h2, h3, quic), as HAProxy's endpoint does with ?extra-counters
    #[arg(long = "haproxy.extra-counters")]
    extra_counters: bool,

    /// Exclude servers in these states, comma-separated: DOWN, UP, MAINT, DRAIN, NOLB, no check
    #[arg(long = "haproxy.server-exclude-states", value_name = "STATE", value_delimiter = ',')]
    exclude_states: Vec<String>,

    /// Export only these columns of the servers: their numbers in the CSV, comma-separated, such as 2,17 [default: all]
    #[arg(long = "haproxy.server-metric-fields", value_name = "COLUMN", value_delimiter = ',')]
    server_columns: Vec<String>,

    /// Timeout for HAProxy's response, such as 2s [default: the scrape timeout]
    #[arg(long = "haproxy.timeout", value_name = "DURATION", value_parser = positive_duration)]
    timeout: Option<Duration>,

    #[command(flatten)]
    tls: TlsArgs<HaproxyTls>,

    #[command(flatten)]
    peer: PeerArgs,
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

pub struct HaproxyExporter {
    options: Arc<Options>,
    http: Arc<HttpClient>,
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

    const PARAMETERS: &'static [&'static str] = Selection::PARAMETERS;

    type Args = Args;
    type Target = HaproxyTarget;

    fn new(args: Args) -> Result<Self, BoxError> {
        args.peer.warn();
        let http = HttpOptions { tls: args.tls.tls.clone(), max_redirects: 2, unix_socket: None };
        let http = Arc::new(HttpClient::new(http));
        let mut source = Source::parse(&args.scrape_uri, Arc::clone(&http))
            .map_err(|error| format!("--haproxy.scrape-uri: {error}"))?;
        source.check_files()?;
        if let Some(file) = &args.password_file {
            source.read_password(file)?;
        }
        let options = Arc::new(Options {
            naming: args.naming,
            states: args.states,
            exclude: listed("--haproxy.server-exclude-states", &args.exclude_states, ExcludedState::parse)?,
            server_columns: listed("--haproxy.server-metric-fields", &args.server_columns, column)?,
            modules: args.extra_counters,
            timeout: args.timeout,
        });
        let target =
            Arc::new(HaproxyTarget::new(source, Arc::new(Semaphore::new(1)), Arc::clone(&options)).with_history());
        Ok(Self {
            options,
            http,
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

    fn target_for(&self, query: &[(String, String)]) -> Result<Arc<HaproxyTarget>, BoxError> {
        Ok(Arc::new(self.main_target().with_selection(Selection::parse(query)?)))
    }

    fn probe(&self, request: &ProbeRequest<'_>) -> Result<HaproxyTarget, BoxError> {
        let source =
            Source::parse(request.target, Arc::clone(&self.http)).map_err(|error| format!("target: {error}"))?;
        let slot = self.slot(source.address());
        let target = HaproxyTarget::new(source, slot, Arc::clone(&self.options));
        Ok(target.with_selection(Selection::parse(request.parameters())?))
    }

    /// Reads the password file.
    fn reload(&self) -> Result<(), BoxError> {
        let Some(file) = &self.password_file else { return Ok(()) };
        let old = self.target();
        let mut source = old.source.clone();
        source.read_password(file)?;
        *self.main_target() = Arc::new(old.with_source(source));
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

/// The values of a flag that is a list. An empty value, the default of the retired exporter, is skipped.
fn listed<T>(flag: &str, values: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let values = values.iter().map(|value| value.trim()).filter(|value| !value.is_empty());
    values.map(parse).collect::<Result<_, _>>().map_err(|error| format!("{flag}: {error}"))
}

fn column(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text}: expected the number of a column, such as 17 for the status"))
}
