//! Prometheus exporter for backup files: the newest complete one, its recovery point, its size, and the results of the
//! runs.

mod backup;
mod collectors;
mod config;
mod databases;
mod folder;
mod history;
mod magic;
mod manifests;
mod pattern;
mod proofs;
mod scan;
mod scanner;
mod stamp;
mod target;

use std::path::Path;
use std::sync::Arc;

use exporter_toolkit::{BoxError, CheckDef, Collector, Exporter, ProbeRequest};

pub use config::{Args, ConfigError};
use scanner::Scanner;
pub use target::{Directories, Session};

pub struct BackupExporter {
    target: Arc<Directories>,
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
    fn probe(&self, request: &ProbeRequest<'_>) -> Result<Directories, BoxError> {
        let target = request.target;
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
