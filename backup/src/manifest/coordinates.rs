//! Positions in the server's binary log.

use serde::{Deserialize, Serialize};

/// Where a replay of the binary log continues after a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinates {
    /// Whether they are those of the snapshot. If not, they are from just before it.
    pub exact: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binlog_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binlog_position: Option<u64>,
    /// MariaDB's position or MySQL's set of executed transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
    /// If they are not exact, the position just after the snapshot: nothing after it is in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<BinlogPosition>,
}

/// A position in a binary log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogPosition {
    pub binlog_file: String,
    pub binlog_position: u64,
}
