//! The proofs of `mysql-backup verify --restore`: what loading a backup into another server showed.

use std::time::Duration;

use mysql_backup::name::RunName;
use mysql_backup::proof::{Proof, ProofResult, ProofSource};

use crate::backup::{ProofRecord, Proofs};
use crate::scan::{FileCache, Identity, ScanError, ScanInProgress};

/// Proofs that are read, the newest first. With one a day that is a quarter of a year.
const MAX_PROOFS: usize = 100;

impl From<Proof> for ProofRecord {
    fn from(proof: Proof) -> Self {
        let first = || proof.differences.first().cloned().or(proof.message.clone()).unwrap_or_default();
        let problem = match proof.result {
            ProofResult::Proven => None,
            ProofResult::Different => Some(format!("{} differences, the first: {}", proof.differences.len(), first())),
            ProofResult::Failed => Some(format!("the restore failed: {}", first())),
        };
        Self {
            finished_at: proof.finished_at,
            recovery_point: proof.recovery_point,
            restore: proof.restore_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            is_offsite: proof.source == ProofSource::Offsite,
            problem: problem.map(|problem| problem.chars().take(300).collect()),
        }
    }
}

/// Reads the proofs of these runs, which come newest first. One that can't be read is a proof that failed.
pub(crate) fn scan<'a>(
    scan: &mut ScanInProgress<'_>,
    runs: impl Iterator<Item = &'a RunName>,
    cache: &mut FileCache<ProofRecord>,
) -> Result<(), ScanError> {
    let mut before = std::mem::take(cache);
    let mut records: Vec<ProofRecord> = Vec::new();
    for run in runs.take(MAX_PROOFS) {
        let name = run.proof_file();
        let Some(metadata) = scan.metadata(&name)? else { continue };
        let identity = Identity::of(&metadata);
        let record = match before.remove(name.as_str()) {
            Some((known, record)) if known == identity => record,
            _ => match (Proof::read(&scan.directory().join(&name)), crate::scan::modification_time(&metadata)) {
                (Ok(proof), _) => proof.into(),
                (Err(error), Some(finished_at)) => {
                    let problem: Box<str> = error.to_string().chars().take(300).collect();
                    ProofRecord {
                        finished_at,
                        recovery_point: finished_at,
                        restore: None,
                        is_offsite: false,
                        problem: Some(problem),
                    }
                }
                (Err(_), None) => continue,
            },
        };
        if !scan.is_future(record.finished_at) {
            records.push(record.clone());
        }
        cache.insert(name.into(), (identity, record));
    }
    // By the time of the proof: an older backup may have been proven later.
    records.sort_by_key(|record| std::cmp::Reverse(record.finished_at));
    let proven = records.iter().find(|record| record.problem.is_none()).cloned();
    scan.found.proofs = records.into_iter().next().map(|newest| Proofs { newest, proven });
    Ok(())
}
