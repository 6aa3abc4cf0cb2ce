//! The state of the stream, next to the manifests, for `backup-exporter`.
//!
//! ```json
//! {
//!   "schema_version": 1,
//!   "updated_at": "2026-11-22T18:10:02Z",
//!   "recovery_point": "2026-11-22T18:10:01.204Z",
//!   "newest_file": "mysql-bin.000042",
//!   "files": 12,
//!   "bytes": 1043211,
//!   "gaps": 0,
//!   "covers_newest_backup": true
//! }
//! ```
//!
//! Everything that was committed by `recovery_point` has been received. It can be restored if `covers_newest_backup`:
//! the files reach from the newest backup up to then. `gaps` counts places among the files where some are missing.
//! `error` says why nothing is received at the moment. It holds no secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{name::BackupName, state_file::StateFile};

pub const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogState {
    pub schema_version: u32,
    pub updated_at: Timestamp,
    /// Absent until everything has been received once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_file: Option<String>,
    pub files: u64,
    pub bytes: u64,
    pub gaps: u64,
    pub covers_newest_backup: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl StateFile for BinlogState {
    const WHAT: &'static str = "the state of a stream of the binary log";
    const VERSION: u32 = SCHEMA_VERSION;

    fn version(&self) -> u32 {
        self.schema_version
    }
}

impl BinlogState {
    /// The file's name in the backup directory.
    pub fn file(backup: &BackupName) -> String {
        format!("{backup}.binlog.json")
    }
}
