//! Copies of the backups in another place, which need neither a right to delete nor to overwrite.

mod copy;
mod error;
mod fetch;
mod state;
mod store;

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use crate::{
    blocking::{blocking, storage_call},
    error::RunError,
    name::{BackupName, RunName},
    run::{Job, ShutdownSignal, stopped},
    state_file::{self, StateFile as _},
    store::last_run,
};

pub use error::OffsiteError;
pub use fetch::{Fetched, Request, fetch};
pub use state::{OffsiteState, SCHEMA_VERSION};
pub use store::{Location, StoreError};

/// Between two looks for new backups.
const POLL: Duration = Duration::from_secs(5);
/// After a failed attempt; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(15);
const LAST_RETRY: Duration = Duration::from_secs(900);

/// Where a job copies its backups to.
#[derive(Debug, Clone)]
pub struct Offsite {
    pub location: Location,
    /// Of one attempt.
    pub timeout: Duration,
}

/// One attempt to copy what the store lacks. Records the result next to the manifests.
pub async fn copy_once(offsite: &Offsite, job: &Job) -> bool {
    let mut progress = copy::Progress::default();
    let copying = copy::copy_all(&offsite.location, &job.directory, &job.name, offsite.timeout, &mut progress);
    let result = match tokio::time::timeout(offsite.timeout, copying).await {
        Ok(result) => result,
        Err(_) => Err(OffsiteError::Timeout(offsite.timeout)),
    };
    if let Err(error) = &result {
        tracing::error!(backup = %job.name, pending = progress.pending, %error, "off-site copy failed");
    }
    let (directory, backup) = (job.directory.clone(), job.name.clone());
    let error = result.as_ref().err().map(|error| error.to_string().chars().take(500).collect());
    let recorded = storage_call("record the off-site copy", move || record(&directory, &backup, &progress, error));
    if let Err(error) = recorded.await {
        tracing::warn!(backup = %job.name, %error, "recording the off-site copy failed");
    }
    result.is_ok()
}

fn record(
    directory: &Path,
    backup: &BackupName,
    progress: &copy::Progress,
    error: Option<String>,
) -> Result<(), RunError> {
    let file = OffsiteState::file(backup);
    let before = OffsiteState::read(&directory.join(&file)).ok();
    let now = Timestamp::now();
    let last_success_at = if error.is_none() { Some(now) } else { before.as_ref().and_then(|b| b.last_success_at) };
    let state = OffsiteState {
        schema_version: SCHEMA_VERSION,
        finished_at: now,
        last_success_at,
        recovery_point: if progress.listed { progress.recovery_point } else { before.and_then(|b| b.recovery_point) },
        copied: progress.copied,
        pending: progress.pending,
        error,
    };
    state_file::write(directory, &file, &state)
}

/// Copies each new backup, and repeats what failed. Apart from the runs, so that a store that is down or hangs costs
/// them nothing. Returns after a stop signal.
pub async fn keep_copying(offsite: &Offsite, job: &Job, stop: &mut ShutdownSignal) {
    let mut copied: Option<RunName> = None;
    let mut retry = FIRST_RETRY;
    loop {
        let (directory, name) = (job.directory.clone(), job.name.clone());
        let newest = tokio::select! {
            newest = blocking(move || last_run(&directory, &name)) => newest,
            () = stopped(stop) => return,
        };
        let newest = newest.map(|started_at| RunName::new(job.name.clone(), started_at));
        let pause = if newest.is_none() || newest == copied {
            POLL
        } else {
            let done = tokio::select! {
                done = copy_once(offsite, job) => done,
                () = stopped(stop) => return,
            };
            if done {
                (copied, retry) = (newest, FIRST_RETRY);
                POLL
            } else {
                let pause = retry;
                retry = (retry * 2).min(LAST_RETRY);
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(stop) => return,
        }
    }
}
