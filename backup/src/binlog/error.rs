//! Why the binary log is not received.

use std::{io, path::PathBuf, time::Duration};

use crate::error::RunError;

#[derive(Debug, thiserror::Error)]
pub enum BinlogError {
    #[error(transparent)]
    Server(#[from] RunError),
    #[error("the server at {0} writes no binary log: set log_bin, or remove --binlog.stream")]
    Off(String),
    #[error("user {user:?} may not read the binary log's files: {message}; backup/README.md lists the grants")]
    Grants { user: String, message: String },
    #[error("no {program} in PATH: {advice}")]
    NoClient { program: &'static str, advice: &'static str },
    #[error("{program} ended with {status}: {stderr}")]
    Ended { program: &'static str, status: String, stderr: String },
    #[error("nothing was received for {} s, and the server has more: the connection is dead", .0.as_secs())]
    Stalled(Duration),
    #[error("the server's binary log was reset; receiving starts again")]
    Reset,
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("another mysql-backup receives the binary log: it holds {}", .0.display())]
    Busy(PathBuf),
}

impl BinlogError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
