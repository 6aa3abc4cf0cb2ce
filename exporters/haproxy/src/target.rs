//! One HAProxy, and the session of one scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exporter_toolkit::memory::Reservation;
use exporter_toolkit::{BoxError, Desc, Target, async_trait};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::history::History;
use crate::info::Info;
use crate::options::Options;
use crate::read_error::ReadError;
use crate::runtime::Runtime;
use crate::selection::{Part, Selection};
use crate::source::Source;
use crate::stat::{Row, Stat};
use crate::state::ServerState;

/// One HAProxy.
#[derive(Clone)]
pub struct HaproxyTarget {
    pub(crate) source: Source,
    pub(crate) slot: Arc<Semaphore>,
    options: Arc<Options>,
    selection: Arc<Selection>,
    failures: Arc<Failures>,
    /// Absent for probes, which have one scrape.
    history: Option<Arc<History>>,
}

impl HaproxyTarget {
    pub(crate) fn new(source: Source, slot: Arc<Semaphore>, options: Arc<Options>) -> Self {
        Self { source, slot, options, selection: Arc::default(), failures: Arc::default(), history: None }
    }

    pub(crate) fn with_history(self) -> Self {
        Self { history: Some(Arc::default()), ..self }
    }

    /// The same target with another password. It keeps its slot, its counters and its history.
    pub(crate) fn with_source(&self, source: Source) -> Self {
        Self { source, ..self.clone() }
    }

    /// The same target for a scrape with these parameters.
    pub(crate) fn with_selection(&self, selection: Selection) -> Self {
        Self { selection: Arc::new(selection), ..self.clone() }
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
        let modules = self.options.modules || self.selection.modules();
        let (answer, memory) = self.source.read(modules, deadline).await?;
        self.failures.add(answer.stat.broken);
        if answer.stat.is_empty() {
            let address = self.source.address().to_owned();
            return Err(ReadError::NoRows { address, broken: answer.stat.broken }.into());
        }
        Ok(Session {
            stat: answer.stat,
            runtime: answer.runtime,
            options: Arc::clone(&self.options),
            selection: Arc::clone(&self.selection),
            failures: Arc::clone(&self.failures),
            history: self.history.clone(),
            _memory: Some(memory),
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
    /// Absent over the statistics page.
    pub(crate) runtime: Option<Runtime>,
    pub(crate) options: Arc<Options>,
    pub(crate) selection: Arc<Selection>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) history: Option<Arc<History>>,
    /// Absent in unit tests.
    pub(crate) _memory: Option<Reservation>,
}

impl Session {
    pub(crate) fn info(&self) -> Option<&Info> {
        self.runtime.as_ref().map(|runtime| &runtime.info)
    }

    /// Whether the scrape exports this family.
    pub(crate) fn exports(&self, part: Part, desc: &Desc) -> bool {
        self.selection.has(part) && self.selection.has_family(&desc.name)
    }

    /// Whether the options or the scrape leave this server out.
    pub(crate) fn excludes(&self, row: &Row<'_>) -> bool {
        if self.options.exclude.is_empty() && !self.selection.no_maint() {
            return false;
        }
        let status = row.get("status");
        let state = ServerState::parse(status);
        (self.selection.no_maint() && state == Some(ServerState::Maint)) || self.options.excludes(status, state)
    }

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
