//! What a restore is asked for.

use std::path::PathBuf;

use jiff::Timestamp;

use super::policy::{AccountPolicy, BinlogPolicy};
use crate::{login::Account, name::BackupName};

/// What to restore, and where to.
pub struct Request {
    pub directory: PathBuf,
    pub backup: BackupName,
    pub at: Option<At>,
    pub run: Option<String>,
    pub identity_file: Option<PathBuf>,
    pub target: Account,
    /// Empty: all.
    pub databases: Vec<String>,
    pub rename: Option<String>,
    /// Empty: all.
    pub tables: Vec<String>,
    pub overwrite: bool,
    pub allow_replica: bool,
    pub binlog: BinlogPolicy,
    pub accounts: AccountPolicy,
}

/// The state to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// As it was at this time.
    Time(Timestamp),
    /// The newest that can be restored.
    Latest,
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        text.parse().map(Self::Time).map_err(|error: jiff::Error| format!("neither \"latest\" nor a time: {error}"))
    }
}
