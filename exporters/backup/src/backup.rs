//! What a scan finds: backups, runs and proofs.

use std::time::Duration;

use jiff::Timestamp;

/// One complete backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// Everything written before it can be restored.
    pub recovery_point: Timestamp,
    pub finished_at: Timestamp,
    pub stored_bytes: u64,
    pub uncompressed_bytes: Option<u64>,
    pub duration: Option<Duration>,
}

/// How the runs whose manifests are still there ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    pub ok: u64,
    /// There is a backup, which lacks databases or objects.
    pub partial: u64,
    pub failed: u64,
    /// Of those, the ones of the last 24 hours that left a backup, and the others.
    pub recent_ok: u64,
    pub recent_failed: u64,
}

/// What the cache keeps of a proof.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProofRecord {
    pub finished_at: Timestamp,
    pub recovery_point: Timestamp,
    pub restore: Option<Duration>,
    /// Whether the off-site copy was restored.
    pub is_offsite: bool,
    /// Why the backup is not proven; `None` if it is.
    pub problem: Option<Box<str>>,
}

/// The newest proof, and the newest one that succeeded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proofs {
    pub newest: ProofRecord,
    pub proven: Option<ProofRecord>,
}
