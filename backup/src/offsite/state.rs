//! The state of the off-site copies, next to the manifests, for `backup-exporter`.
//!
//! ```json
//! {
//!   "schema_version": 1,
//!   "finished_at": "2026-11-22T18:10:02Z",
//!   "last_success_at": "2026-11-22T18:10:02Z",
//!   "recovery_point": "2026-11-22T18:09:00.204Z",
//!   "copied": 96,
//!   "pending": 0
//! }
//! ```
//!
//! `recovery_point` is that of the newest backup in the store. `pending` counts backups that are not there yet, and
//! `error` says why the last attempt failed. It holds no secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{name::BackupName, state_file::StateFile};

pub const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsiteState {
    pub schema_version: u32,
    /// The end of the last attempt.
    pub finished_at: Timestamp,
    /// The end of the last attempt that left nothing to copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// Everything committed before it can be restored from the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<Timestamp>,
    /// Backups that are both here and there.
    pub copied: u64,
    /// Backups that are only here.
    pub pending: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl StateFile for OffsiteState {
    const WHAT: &'static str = "the state of off-site copies";
    const VERSION: u32 = SCHEMA_VERSION;

    fn version(&self) -> u32 {
        self.schema_version
    }
}

impl OffsiteState {
    /// The file's name in the backup directory.
    pub fn file(backup: &BackupName) -> String {
        format!("{backup}.offsite.json")
    }
}
