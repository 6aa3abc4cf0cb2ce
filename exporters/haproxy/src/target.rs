//! One HAProxy, and the session of one scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exporter_toolkit::{BoxError, Target, async_trait};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::columns::Naming;
use crate::history::History;
use crate::info::Info;
use crate::source::{ReadError, Source};
use crate::stat::{Row, Stat};
use crate::state::ServerState;

/// The options of every target.
pub(crate) struct Options {
    pub(crate) naming: Naming,
    pub(crate) exclude_states: Vec<ServerState>,
    pub(crate) timeout: Option<Duration>,
}

/// One HAProxy.
pub struct HaproxyTarget {
    pub(crate) source: Source,
    pub(crate) slot: Arc<Semaphore>,
    options: Arc<Options>,
    failures: Arc<Failures>,
    /// Absent for probes, which have one scrape.
    history: Option<Arc<History>>,
}

impl HaproxyTarget {
    pub(crate) fn new(source: Source, slot: Arc<Semaphore>, options: Arc<Options>) -> Self {
        Self { source, slot, options, failures: Arc::default(), history: None }
    }

    pub(crate) fn with_history(self) -> Self {
        Self { history: Some(Arc::default()), ..self }
    }

    /// The same target with another password. It keeps its slot, its counters and its history.
    pub(crate) fn with(&self, source: Source) -> Self {
        Self {
            source,
            slot: Arc::clone(&self.slot),
            options: Arc::clone(&self.options),
            failures: Arc::clone(&self.failures),
            history: self.history.clone(),
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
        let slot = timeout_at(deadline, self.slot.acquire()).await;
        let _slot = slot.map_err(|_| ReadError::Busy(self.source.address().to_owned()))??;
        let answer = self.source.read(deadline).await?;
        self.failures.add(answer.stat.broken);
        if answer.stat.is_empty() {
            let address = self.source.address().to_owned();
            return Err(ReadError::NoRows { address, broken: answer.stat.broken }.into());
        }
        Ok(Session {
            stat: answer.stat,
            info: answer.info,
            options: Arc::clone(&self.options),
            failures: Arc::clone(&self.failures),
            history: self.history.clone(),
        })
    }
}

/// Total number of rows and fields that could not be read.
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

/// HAProxy's response, which all collectors of a scrape read. The connection is already closed.
pub struct Session {
    pub(crate) stat: Stat,
    pub(crate) info: Option<Info>,
    pub(crate) options: Arc<Options>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) history: Option<Arc<History>>,
}

impl Session {
    /// The state of a server. An unknown word counts as a parse failure.
    pub(crate) fn server_state(&self, row: Row<'_>) -> Option<ServerState> {
        self.known(row.get("status"), ServerState::parse)
    }

    pub(crate) fn known<T>(&self, status: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let state = parse(status);
        if state.is_none() && !status.is_empty() {
            self.failures.add(1);
        }
        state
    }
}
