//! The directories of one target, and the session of one scrape.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use exporter_toolkit::{BoxError, Place, Target};
use futures::future::join_all;
use tokio::time::Instant;

use crate::scan::{Scan, ScanError};
use crate::scanner::Scanner;

/// The directories that one scrape reads.
pub struct Directories {
    pub(crate) scanners: Vec<Arc<Scanner>>,
    address: String,
}

/// The results of the scans, by job.
pub struct Session {
    pub(crate) scans: Vec<JobScan>,
}

pub(crate) struct JobScan {
    pub(crate) scanner: Arc<Scanner>,
    pub(crate) outcome: Result<Arc<Scan>, Arc<ScanError>>,
}

impl Directories {
    pub(crate) fn new(scanners: Vec<Arc<Scanner>>) -> Self {
        let mut address = String::new();
        for scanner in &scanners {
            let separator = if address.is_empty() { "" } else { ", " };
            let _ = write!(address, "{separator}{}", scanner.job.directory.display());
        }
        Self { scanners, address }
    }
}

#[async_trait]
impl Target for Directories {
    type Session = Session;

    fn address(&self) -> &str {
        &self.address
    }

    fn place(&self) -> Place {
        Place::Configured
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
