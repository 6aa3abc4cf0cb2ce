//! The server's binary log, received as it is written: what a restore replays on top of a backup.
//!
//! The files are byte for byte the server's, under its names, in the directory `NAME.binlog` next to the backups.

mod client;
mod error;
mod events;
mod files;
mod name;
mod server;
mod state;
mod stream;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::name::BackupName;

pub use error::BinlogError;
pub use state::{BinlogState, SCHEMA_VERSION};
pub use stream::keep_streaming;

pub(crate) use client::BinlogClient;
pub(crate) use events::Events;
pub(crate) use files::{Chain, Files, Start};
pub(crate) use name::BinlogName;

/// How a job receives the binary log.
#[derive(Debug, Clone)]
pub struct Streaming {
    /// What the stream calls itself at the server: no replica and no other stream may have the same.
    pub server_id: u32,
    /// How long files stay that the newest backup does not need.
    pub keep: Duration,
}

/// Where the files of a backup's stream are.
pub(crate) fn directory(backups: &Path, backup: &BackupName) -> PathBuf {
    backups.join(format!("{backup}.binlog"))
}
