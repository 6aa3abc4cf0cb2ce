//! Prometheus exporter for backup files: the newest complete one, its recovery point, its size, and how the runs went.

mod checks;
mod collectors;
mod config;
mod magic;
mod manifests;
mod pattern;
mod scan;
mod scanner;
mod stamp;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use exporter_toolkit::{BoxError, CheckDef, Collector, Exporter, Target};
use futures::future::join_all;
use tokio::time::Instant;

pub use config::{Args, ConfigError};
use scan::{Scan, ScanError};
use scanner::Scanner;

pub struct BackupExporter {
    target: Arc<Directories>,
}

/// The directories that one scrape looks at.
pub struct Directories {
    scanners: Vec<Arc<Scanner>>,
    address: String,
}

/// What the scans gave, job by job.
pub struct Session {
    looks: Vec<Look>,
}

struct Look {
    scanner: Arc<Scanner>,
    outcome: Result<Arc<Scan>, Arc<ScanError>>,
}

impl Directories {
    fn new(scanners: Vec<Arc<Scanner>>) -> Self {
        let mut address = String::new();
        for scanner in &scanners {
            let separator = if address.is_empty() { "" } else { ", " };
            let _ = write!(address, "{separator}{}", scanner.job.directory.display());
        }
        Self { scanners, address }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "target={0}: only the names and directories of --backup.job and --backup.pattern may be probed; this one is none of them"
)]
struct UnknownTarget(String);

impl Exporter for BackupExporter {
    const PROGRAM: &'static str = "backup-exporter";
    const NAMESPACE: &'static str = "backup";
    const ABOUT: &'static str = "Prometheus exporter for backup files: the newest complete one, its recovery point and size, and how the runs went.";
    const DEFAULT_PORT: u16 = 10150;
    const OPEN_CHECK: &'static CheckDef =
        &CheckDef { name: "connect", help: "Whether at least one backup directory can be read.", essential: true };

    type Args = Args;
    type Target = Directories;

    fn new(args: Args) -> Result<Self, BoxError> {
        let scanners = args.jobs()?.into_iter().map(|job| Arc::new(Scanner::new(job))).collect();
        Ok(Self { target: Arc::new(Directories::new(scanners)) })
    }

    fn collectors() -> Vec<Box<dyn Collector<Session>>> {
        collectors::all()
    }

    fn checks() -> &'static [CheckDef] {
        checks::ALL
    }

    fn target(&self) -> Arc<Directories> {
        Arc::clone(&self.target)
    }

    /// Compares with what was configured and touches no file, so that no request can explore the file system.
    fn probe(&self, target: &str, _query: &[(String, String)]) -> Result<Directories, BoxError> {
        let asked = |scanner: &&Arc<Scanner>| {
            scanner.job.name.as_str() == target || scanner.job.directory.as_os_str() == Path::new(target).as_os_str()
        };
        let scanners: Vec<_> = self.target.scanners.iter().filter(asked).cloned().collect();
        if scanners.is_empty() {
            // Whatever was sent, the error is one line of bounded length.
            return Err(UnknownTarget(target.chars().take(200).collect::<String>().escape_debug().collect()).into());
        }
        Ok(Directories::new(scanners))
    }
}

#[async_trait]
impl Target for Directories {
    type Session = Session;

    fn address(&self) -> &str {
        &self.address
    }

    async fn open(&self, deadline: Instant) -> Result<Session, BoxError> {
        // A directory that hangs must not cost the series of the others: what is left after its wait is theirs, and plenty.
        let left = deadline.saturating_duration_since(Instant::now());
        let until = deadline - (left / 5).min(Duration::from_millis(500));
        let looks =
            join_all(self.scanners.iter().map(|scanner| async move {
                Look { scanner: Arc::clone(scanner), outcome: scanner.scan(until).await }
            }));
        let session = Session { looks: looks.await };
        if session.looks.iter().all(|look| look.outcome.is_err()) {
            return Err(session.errors().into());
        }
        Ok(session)
    }
}

impl Session {
    fn errors(&self) -> String {
        let errors = self.looks.iter().filter_map(|look| {
            let error = look.outcome.as_ref().err()?;
            Some(format!("{}: {error}", look.scanner.job.name))
        });
        errors.collect::<Vec<_>>().join("; ")
    }
}
