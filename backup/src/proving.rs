//! Proves the newest backup again and again, apart from the runs.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;

use crate::{
    blocking::blocking,
    catalog,
    run::{Job, ShutdownSignal, stopped},
    verify::{self, RestoreRequest, verify},
};

/// Between two looks for a backup to prove.
const POLL: Duration = Duration::from_secs(5);
/// After a test that could not be made.
const RETRY: Duration = Duration::from_mins(15);

/// How to prove on a schedule.
#[derive(Debug, Clone)]
pub struct Proving {
    pub every: Duration,
    pub timeout: Duration,
    pub identity_file: Option<PathBuf>,
}

/// Restores the newest complete backup into a throwaway server when the newest proof is older than the interval. A test
/// that fails costs no backup. Returns after a stop signal.
pub async fn keep_proving(proving: &Proving, job: &Job, stop: &mut ShutdownSignal) {
    loop {
        let pause = if is_due(proving, job).await { prove(proving, job, stop).await } else { POLL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(stop) => return,
        }
    }
}

async fn is_due(proving: &Proving, job: &Job) -> bool {
    let (directory, name) = (job.directory.clone(), job.name.clone());
    // A directory that cannot be read has nothing to prove; the runs report it.
    let entries = blocking(move || catalog::read(&directory, &name)).await.unwrap_or_default();
    let newest = entries.iter().filter_map(|entry| entry.proof.as_ref()).map(|proof| proof.finished_at).max();
    let age = newest.map(|newest| Duration::try_from(Timestamp::now().duration_since(newest)).unwrap_or_default());
    entries.iter().any(catalog::Entry::is_complete) && age.is_none_or(|age| age >= proving.every)
}

async fn prove(proving: &Proving, job: &Job, stop: &mut ShutdownSignal) -> Duration {
    let request = verify::Request {
        directory: job.directory.clone(),
        backup: job.name.clone(),
        at: None,
        run: None,
        identity_file: proving.identity_file.clone(),
        restore: Some(RestoreRequest {
            target: None,
            canary: None,
            canary_max_age: Duration::MAX,
            timeout: proving.timeout,
        }),
    };
    let mut waiting = stop.clone();
    let verified = tokio::select! {
        verified = verify(request, stop) => verified,
        () = stopped(&mut waiting) => return Duration::ZERO,
    };
    match verified {
        Ok(verified) if verified.differences.is_empty() => {
            let seconds = verified.proof.and_then(|proof| proof.restore_seconds).unwrap_or_default();
            tracing::info!(backup = %job.name, run = verified.run, restore_seconds = seconds, "backup proven by a restore");
            POLL
        }
        Ok(verified) => {
            let first = verified.differences.first().map_or("", String::as_str);
            tracing::error!(backup = %job.name, run = verified.run, first, "restore test failed");
            RETRY.min(proving.every)
        }
        Err(error) => {
            tracing::error!(backup = %job.name, %error, "restore test not made");
            RETRY.min(proving.every)
        }
    }
}
