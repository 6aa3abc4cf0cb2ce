//! What an exporter is: a program with flags, targets to look at, and a list of collectors.
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

/// An error at the seam between an exporter and the toolkit. Its text is what the operator reads: what failed and what to do.
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
    /// What the peer that this exporter replaces puts before a collector's name, `collect.`, where it isn't `collector.`: `--collect.NAME` and
    /// `--no-collect.NAME` are flags as well then, and the label `collector` has it, so that service files, rules and dashboards stay.
    const PEER_COLLECTOR_PREFIX: Option<&'static str> = None;
    /// What opening a session shows about the service.
    const OPEN_CHECK: &'static CheckDef = &CheckDef {
        name: "connect",
        help: "Whether the service accepts a connection, lets the exporter in and answers.",
        essential: true,
    };

    /// Flags of this exporter alone.
    type Args: clap::Args + Send + Sync;
    type Target: Target;

    fn new(args: Self::Args) -> Result<Self, BoxError>;

    /// All collectors, in the order in which `--help` lists them.
    fn collectors() -> Vec<Box<dyn Collector<<Self::Target as Target>::Session>>>;

    /// Health checks that no collector declares; see [`Collector::checks`].
    fn checks() -> &'static [CheckDef] {
        &[]
    }

    /// The target of `/metrics`.
    fn target(&self) -> Arc<Self::Target>;

    /// The target of `/probe?target=…`, with the query's other parameters.
    fn probe(&self, target: &str, query: &[(String, String)]) -> Result<Self::Target, BoxError>;

    /// Reads again what [`Self::new`] read from files (passwords, certificates, an ini file), at SIGHUP and at POST `/-/reload`. `Ok` is: all
    /// of it is in force for sessions that open from now on. An error changes nothing. It runs on a thread where it may block.
    fn reload(&self) -> Result<(), BoxError> {
        Ok(())
    }

    /// What the names of the series about the program itself begin with, its build and its reloads, unless a peer has another word for it.
    fn program_prefix() -> String {
        format!("{}_exporter", Self::NAMESPACE)
    }
}

/// One service to look at, with the bounded client that reaches it.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// What the collectors of one scrape share: a connection, an answer that several of them read.
    type Session: Send + Sync + 'static;

    /// The target's address for logs and `/health`, without secrets.
    fn address(&self) -> &str;

    /// Connects and makes sure that the service answers. Success is `<namespace>_up 1`. It is dropped at the deadline; give waits inside it
    /// deadlines of their own only where the error text gets better by it.
    async fn open(&self, deadline: Instant) -> Result<Self::Session, BoxError>;
}

/// Reads one thing of a service and writes it as families.
#[async_trait]
pub trait Collector<S>: Send + Sync {
    /// As in `--collector.NAME`, `collect[]=NAME` and, after [`Exporter::PEER_COLLECTOR_PREFIX`], the label `collector`.
    fn name(&self) -> &'static str;

    fn help(&self) -> &'static str;

    /// What it reads, as METRICS.md shows it: a statement, a command, a file. A family adds its field with [`Desc::field`].
    fn source(&self) -> &'static str {
        ""
    }

    fn enabled_by_default(&self) -> bool {
        true
    }

    /// Every family that it may write; METRICS.md is made from it. A name that is known at run time only stands with its variable part in
    /// angle brackets: `mysql_global_status_<variable>`.
    fn families(&self) -> Vec<Desc>;

    /// Every health check that it may report.
    fn checks(&self) -> &'static [&'static CheckDef] {
        &[]
    }

    /// Adds the collector's own flags to the command line. A collector with flags derives them with `clap::Args`.
    fn augment_args(&self, command: Command) -> Command {
        command
    }

    /// Takes the values of its own flags. Called once, at the start, before the first scrape.
    fn configure(&mut self, _matches: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }

    /// Writes what is there. An error keeps what was written before it and sets the collector's success to 0; it is dropped at the deadline,
    /// and then nothing of it is kept. Nothing to see (no replication configured) is not an error.
    async fn collect(&self, session: &S, out: &mut Families) -> Result<(), BoxError>;
}
