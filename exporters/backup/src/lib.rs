//! Prometheus exporter for backup files: the newest complete one, its recovery point, its size, and the results of the runs.

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

/// The directories that one scrape reads.
pub struct Directories {
    scanners: Vec<Arc<Scanner>>,
    address: String,
}

/// The results of the scans, by job.
pub struct Session {
    scans: Vec<JobScan>,
}

struct JobScan {
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
#[error("target={0}: unknown; probe a name or directory of --backup.job or --backup.pattern")]
struct UnknownTarget(String);

impl Exporter for BackupExporter {
    const PROGRAM: &'static str = "backup-exporter";
    const NAMESPACE: &'static str = "backup";
    const ABOUT: &'static str = "Prometheus exporter for backup files: the newest complete one, its recovery point and size, and the results of the runs.";
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

    fn target(&self) -> Arc<Directories> {
        Arc::clone(&self.target)
    }

    /// Compares with the configuration and opens no file, so that no request can explore the file system.
    fn probe(&self, target: &str, _query: &[(String, String)]) -> Result<Directories, BoxError> {
        let is_requested = |scanner: &&Arc<Scanner>| {
            scanner.job.name.as_str() == target || scanner.job.directory.as_os_str() == Path::new(target).as_os_str()
        };
        let scanners: Vec<_> = self.target.scanners.iter().filter(is_requested).cloned().collect();
        if scanners.is_empty() {
            // One line of bounded length, for any input.
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
        // A hung directory must not cost the series of the others: its wait ends before the deadline.
        let left = deadline.saturating_duration_since(Instant::now());
        let until = deadline - (left / 5).min(Duration::from_millis(500));
        let scans = join_all(self.scanners.iter().map(|scanner| async move {
            JobScan { scanner: Arc::clone(scanner), outcome: scanner.scan(until).await }
        }));
        let session = Session { scans: scans.await };
        if session.scans.iter().all(|scan| scan.outcome.is_err()) {
            return Err(session.errors().into());
        }
        Ok(session)
    }
}

impl Session {
    fn errors(&self) -> String {
        let errors = self.scans.iter().filter_map(|scan| {
            let error = scan.outcome.as_ref().err()?;
            Some(format!("{}: {error}", scan.scanner.job.name))
        });
        errors.collect::<Vec<_>>().join("; ")
    }
}
