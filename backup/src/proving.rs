//! Proves the newest backup again and again, apart from the runs.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;

use crate::{
    blocking::{blocking, storage_call},
    catalog,
    offsite::{self, Offsite, OffsiteError},
    proof::{Proof, ProofSource},
    run::{Job, ShutdownSignal, stopped},
    store::write_proof,
    verify::{self, RestoreRequest, Verified, VerifyError, verify},
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
    /// Where copies are; they are what is left if this site is lost.
    pub offsite: Option<Offsite>,
}

/// Why a test was not made.
#[derive(Debug, thiserror::Error)]
enum ProvingError {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("cannot fetch the off-site copy: {0}")]
    Fetch(#[from] OffsiteError),
    #[error("cannot create a directory for the off-site copy in TMPDIR: {0}")]
    Temporary(std::io::Error),
}

/// Restores the newest complete backup, or its off-site copy where there is one, into a throwaway server when the
/// newest proof is older than the interval. A test that fails costs no backup. Returns after a stop signal.
pub async fn keep_proving(proving: &Proving, job: &Job, stop: &mut ShutdownSignal) {
    loop {
        let due = tokio::select! {
            due = is_due(proving, job) => due,
            () = stopped(stop) => return,
        };
        let pause = if due { prove(proving, job, stop).await } else { POLL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(stop) => return,
        }
    }
}

async fn is_due(proving: &Proving, job: &Job) -> bool {
    let (directory, name) = (job.directory.clone(), job.name.clone());
    // A directory that cannot be read has nothing to prove; the runs report it.
    let entries = storage_call("list the backups", move || catalog::list(&directory, &name)).await.unwrap_or_default();
    let newest = entries.iter().filter_map(|entry| entry.proof.as_ref()).map(|proof| proof.finished_at).max();
    let age = newest.map(|newest| Duration::try_from(Timestamp::now().duration_since(newest)).unwrap_or_default());
    entries.iter().any(catalog::Entry::is_complete) && age.is_none_or(|age| age >= proving.every)
}

async fn prove(proving: &Proving, job: &Job, stop: &mut ShutdownSignal) -> Duration {
    let mut waiting = stop.clone();
    let verified = tokio::select! {
        verified = verify_newest(proving, job, stop) => verified,
        () = stopped(&mut waiting) => return Duration::ZERO,
    };
    match verified {
        Ok(verified) if verified.differences.is_empty() => {
            let seconds = verified.proof.and_then(|proof| proof.restore_seconds).unwrap_or_default();
            tracing::info!(
                backup = %job.name, run = %verified.run, restore_seconds = seconds, offsite = proving.offsite.is_some(),
                "backup proven by a restore"
            );
            POLL
        }
        Ok(verified) => {
            let first = verified.differences.first().map_or("", String::as_str);
            tracing::error!(backup = %job.name, run = %verified.run, first, "restore test failed");
            RETRY.min(proving.every)
        }
        Err(error) => {
            tracing::error!(backup = %job.name, %error, "restore test not made");
            RETRY.min(proving.every)
        }
    }
}

async fn verify_newest(proving: &Proving, job: &Job, stop: &mut ShutdownSignal) -> Result<Verified, ProvingError> {
    let request = |directory: PathBuf| verify::Request {
        directory,
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
    let Some(offsite) = &proving.offsite else { return Ok(verify(request(job.directory.clone()), stop).await?) };
    let place = blocking(tempfile::tempdir).await.map_err(ProvingError::Temporary)?;
    let fetching = offsite::fetch(offsite::Request {
        location: offsite.location.clone(),
        directory: place.path().to_owned(),
        backup: job.name.clone(),
        at: None,
        run: None,
    });
    let fetched = tokio::time::timeout(offsite.timeout, fetching).await;
    fetched.map_err(|_| OffsiteError::Timeout(offsite.timeout))??;
    let verified = verify(request(place.path().to_owned()), stop).await?;
    // Next to the local manifest, if the backup is still here.
    if let Some(proof) = verified.proof.clone() {
        let (directory, run) = (job.directory.clone(), verified.run.clone());
        let proof = Proof { source: ProofSource::Offsite, ..proof };
        storage_call("write the proof", move || match directory.join(run.manifest_file()).exists() {
            true => write_proof(&directory, &run, &proof),
            false => Ok(()),
        })
        .await
        .map_err(VerifyError::from)?;
    }
    Ok(verified)
}
