//! The parts of an exporter: a program with flags, targets, and a list of collectors.
//!
//! ```text
//! Exporter ── target() / probe() ──▶ Target ── open() ──▶ Session ──▶ Collector::collect(&session, &mut families)
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use clap::{ArgMatches, Command};
use tokio::time::Instant;

use crate::check::CheckDef;
use crate::family::{Desc, Families};
use crate::probe::{Place, ProbeRequest};

/// An error of an exporter. Its text is for the operator: what failed, on which target, and what to do.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A program that exports one kind of service.
pub trait Exporter: Sized + Send + Sync + 'static {
    /// The program's name, `mysql-exporter`; in capitals it begins each flag's environment variable.
    const PROGRAM: &'static str;
    /// The first word of every family, `mysql`.
    const NAMESPACE: &'static str;
    /// One sentence for `--help` and the landing page.
    const ABOUT: &'static str;
    const DEFAULT_PORT: u16;
    /// The prefix of collector flags in the exporter that this one replaces, if it is not `collector.`. With
    /// `collect.`, `--collect.NAME` and `--no-collect.NAME` are flags too, and the label `collector` has the prefix:
    /// service files, rules and dashboards need no change.
    const PEER_COLLECTOR_PREFIX: Option<&'static str> = None;
    /// `/metrics?target=…` is a probe, as in the exporter that this one replaces. Otherwise, a job with
    /// `__param_target` and without `metrics_path` would get the main target's series under each target's name.
    const TARGET_ON_METRICS: bool = false;
    /// The health check that opening a session makes.
    const OPEN_CHECK: &'static CheckDef = &CheckDef {
        name: "connect",
        help: "Whether the service accepts a connection and the exporter's login, and answers.",
        essential: true,
    };

    /// Parameters of the query of `/metrics` and `/probe` that this exporter reads, besides `target` and `collect[]`.
    /// Others are ignored.
    const PARAMETERS: &'static [&'static str] = &[];

    /// Flags of this exporter alone.
    type Args: clap::Args + Send + Sync;
    type Target: Target;

    fn new(args: Self::Args) -> Result<Self, BoxError>;

    /// All collectors, in the order of `--help`.
    fn collectors() -> Vec<Box<dyn Collector<<Self::Target as Target>::Session>>>;

    /// The target of `/metrics`.
    fn target(&self) -> Arc<Self::Target>;

    /// The target of `/metrics` with some of [`Self::PARAMETERS`]. An error is the client's, and answered with 400.
    fn target_for(&self, _parameters: &[(String, String)]) -> Result<Arc<Self::Target>, BoxError> {
        Ok(self.target())
    }

    /// The target of `/probe?target=…`. Whoever reaches the port chooses it: return [`crate::NotListed`] if the target
    /// would get credentials that are not meant for it alone, unless [`ProbeRequest::lists`] it.
    fn probe(&self, request: &ProbeRequest<'_>) -> Result<Self::Target, BoxError>;

    /// Reads again what [`Self::new`] read from files (passwords, certificates, an ini file), at SIGHUP and at POST
    /// `/-/reload`. After `Ok` new sessions use all of it. An error changes nothing. It may block: it has its own
    /// thread.
    fn reload(&self) -> Result<(), BoxError> {
        Ok(())
    }

    /// The prefix of the series about the program itself: its build and its reloads.
    fn program_prefix() -> String {
        format!("{}_exporter", Self::NAMESPACE)
    }
}

/// One service to scrape, with the bounded client that reaches it.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// What the collectors of one scrape share: a connection, or a response that several of them read.
    type Session: Send + Sync + 'static;

    /// The target's address for logs and `/health`, without secrets.
    fn address(&self) -> &str;

    /// Where it is, for `--probe.targets`.
    fn place(&self) -> Place {
        Place::of(self.address())
    }

    /// Connects and verifies that the service answers. Success is `<namespace>_up 1`. The future is dropped at the
    /// deadline. A wait inside needs its own timeout only for a better error text.
    async fn open(&self, deadline: Instant) -> Result<Self::Session, BoxError>;
}

/// Reads one part of a service and writes it as families.
#[async_trait]
pub trait Collector<S>: Send + Sync {
    /// As in `--collector.NAME`, `collect[]=NAME` and, after [`Exporter::PEER_COLLECTOR_PREFIX`], the label
    /// `collector`.
    fn name(&self) -> &'static str;

    fn help(&self) -> &'static str;

    /// What it reads, for METRICS.md: a statement, a command, a file. A family adds its field with [`Desc::field`].
    fn source(&self) -> &'static str;

    fn enabled_by_default(&self) -> bool {
        true
    }

    /// Every family that it may write, for METRICS.md. A name that is known at run time only has its variable part in
    /// angle brackets: `mysql_global_status_<variable>`. In debug builds a family that is not declared is an error.
    fn families(&self) -> Vec<Desc>;

    /// Every health check that it may report. In debug builds a check that is not declared is an error.
    fn checks(&self) -> &'static [&'static CheckDef] {
        &[]
    }

    /// Adds the collector's own flags to the command line. A collector with flags derives them with `clap::Args`.
    fn augment_args(&self, command: Command) -> Command {
        command
    }

    /// Stores the values of its own flags. Called once, before the first scrape.
    fn configure(&mut self, _matches: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }

    /// Reads and writes. After an error the samples so far are kept, and the collector's success is 0. The future is
    /// dropped at the deadline, and then no samples are kept. An absent feature (no replication) is not an error.
    async fn collect(&self, session: &S, out: &mut Families) -> Result<(), BoxError>;
}
