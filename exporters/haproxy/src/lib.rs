//! HAProxy as Prometheus series: the runtime socket or the stats page, read once a scrape.

mod collectors;
mod columns;
mod info;
mod source;
mod stat;
mod state;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use exporter_toolkit::duration::positive_duration;
use exporter_toolkit::{BoxError, CheckDef, Collector, Exporter, Target, async_trait};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub use crate::columns::Names;
pub use crate::source::UriError;
pub use crate::state::ServerState;

use crate::info::Info;
use crate::source::{HttpClients, ReadError, Source};
use crate::stat::{Row, Stat};

// No Debug: the URI may hold a password.
#[derive(clap::Args)]
#[command(next_help_heading = "HAProxy")]
pub struct Args {
    /// Where HAProxy's statistics are: unix:/path, tcp://host:port, http://host:port/path;csv or https://
    #[arg(long = "haproxy.scrape-uri", value_name = "URI", default_value = "http://localhost/;csv")]
    scrape_uri: String,

    /// File with the password of the user in an http URI
    #[arg(long = "haproxy.password-file", value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Whose names and labels the series have
    #[arg(long = "haproxy.names", value_enum, default_value_t)]
    names: Names,

    /// Usable servers that each backend should have; without it, half of those that are not in maintenance
    #[arg(long = "haproxy.min-servers", value_name = "SERVERS")]
    min_servers: Option<usize>,

    /// States whose servers have no series: DOWN, UP, MAINT, DRAIN, NOLB
    #[arg(long = "haproxy.server-exclude-states", value_name = "STATE", value_delimiter = ',', value_parser = server_state)]
    exclude_states: Vec<ServerState>,

    /// Timeout of HAProxy's response, if it is shorter than the scrape's
    #[arg(long = "haproxy.timeout", value_name = "DURATION", value_parser = positive_duration)]
    timeout: Option<Duration>,

    /// Take any certificate of an https URI
    #[arg(long = "no-haproxy.ssl-verify")]
    no_ssl_verify: bool,
}

fn server_state(name: &str) -> Result<ServerState, String> {
    let known = ServerState::ALL.into_iter().find(|state| state.name() == name);
    known.ok_or_else(|| format!("one of {} is expected", ServerState::NAMES.join(", ")))
}

/// What the flags say about every target.
pub(crate) struct Options {
    names: Names,
    min_servers: Option<usize>,
    exclude_states: Vec<ServerState>,
    timeout: Option<Duration>,
}

pub struct HaproxyExporter {
    options: Arc<Options>,
    /// Keeps no connection: there is no bound on the targets that somebody may ask for.
    probe_http: Arc<HttpClients>,
    password_file: Option<PathBuf>,
    /// Another one after each reload. A scrape that runs keeps the old one to its end.
    target: Mutex<Arc<HaproxyTarget>>,
    /// Probes under way, by target, so that two of one target take turns.
    turns: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Exporter for HaproxyExporter {
    const PROGRAM: &'static str = "haproxy-exporter";
    const NAMESPACE: &'static str = "haproxy";
    const ABOUT: &'static str =
        "HAProxy's frontends, backends and servers as Prometheus series, and a verdict on its health.";
    const DEFAULT_PORT: u16 = 9101;
    const OPEN_CHECK: &'static CheckDef = &CheckDef {
        name: "connect",
        help: "Whether HAProxy takes the connection and answers with its statistics.",
        essential: true,
    };

    type Args = Args;
    type Target = HaproxyTarget;

    fn new(args: Args) -> Result<Self, BoxError> {
        let verify = !args.no_ssl_verify;
        let options = Arc::new(Options {
            names: args.names,
            min_servers: args.min_servers,
            exclude_states: args.exclude_states,
            timeout: args.timeout,
        });
        let mut source = Source::parse(&args.scrape_uri, Arc::new(HttpClients::new(verify, 1)))
            .map_err(|error| format!("--haproxy.scrape-uri: {error}"))?;
        if let Some(file) = &args.password_file {
            source.read_password(file)?;
        }
        let target = Arc::new(HaproxyTarget::new(source, Arc::new(Semaphore::new(1)), Arc::clone(&options)));
        let probe_http = Arc::new(HttpClients::new(verify, 0));
        Ok(Self {
            options,
            probe_http,
            password_file: args.password_file,
            target: Mutex::new(target),
            turns: Mutex::default(),
        })
    }

    fn collectors() -> Vec<Box<dyn Collector<Session>>> {
        collectors::all()
    }

    fn checks() -> &'static [CheckDef] {
        collectors::health::CHECKS
    }

    fn target(&self) -> Arc<HaproxyTarget> {
        Arc::clone(&self.main_target())
    }

    fn probe(&self, target: &str, _query: &[(String, String)]) -> Result<HaproxyTarget, BoxError> {
        let source = Source::parse(target, Arc::clone(&self.probe_http)).map_err(|error| format!("target: {error}"))?;
        let turn = self.turn(source.address());
        Ok(HaproxyTarget::new(source, turn, Arc::clone(&self.options)))
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

    /// The one connection that a target may have at a time.
    fn turn(&self, address: &str) -> Arc<Semaphore> {
        let main = self.target();
        if address == main.source.address() {
            return Arc::clone(&main.turn);
        }
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(address).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(address.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// One HAProxy.
pub struct HaproxyTarget {
    source: Source,
    turn: Arc<Semaphore>,
    options: Arc<Options>,
    failures: Arc<Failures>,
}

impl HaproxyTarget {
    fn new(source: Source, turn: Arc<Semaphore>, options: Arc<Options>) -> Self {
        Self { source, turn, options, failures: Arc::default() }
    }

    /// The same one by another password: its turn and its counters go on.
    fn with(&self, source: Source) -> Self {
        Self {
            source,
            turn: Arc::clone(&self.turn),
            options: Arc::clone(&self.options),
            failures: Arc::clone(&self.failures),
        }
    }
}

#[async_trait]
impl Target for HaproxyTarget {
    type Session = Session;

    fn address(&self) -> &str {
        self.source.address()
    }

    async fn open(&self, deadline: Instant) -> Result<Session, BoxError> {
        let deadline = self.options.timeout.map_or(deadline, |timeout| deadline.min(Instant::now() + timeout));
        let turn = timeout_at(deadline, self.turn.acquire()).await;
        let _turn = turn.map_err(|_| ReadError::Busy(self.source.address().to_owned()))??;
        let answer = self.source.read(deadline).await?;
        self.failures.add(answer.stat.broken);
        Ok(Session {
            stat: answer.stat,
            info: answer.info,
            options: Arc::clone(&self.options),
            failures: Arc::clone(&self.failures),
        })
    }
}

/// Rows and fields that could not be read, since the start.
#[derive(Debug, Default)]
pub(crate) struct Failures(AtomicU64);

impl Failures {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// HAProxy's one answer, which all collectors of a scrape read. No connection is open any more.
pub struct Session {
    stat: Stat,
    info: Option<Info>,
    options: Arc<Options>,
    failures: Arc<Failures>,
}

impl Session {
    /// The state of a server; a word that isn't known counts as a failure to read.
    fn server_state(&self, row: Row<'_>) -> Option<ServerState> {
        self.known(row.get("status"), ServerState::parse)
    }

    fn known<T>(&self, status: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let state = parse(status);
        if state.is_none() && !status.is_empty() {
            self.failures.add(1);
        }
        state
    }
}
