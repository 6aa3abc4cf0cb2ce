//! What can go wrong while servers are started, queried and stopped.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Its `Debug` is its `Display`: a test that returns or unwraps it shows the sentence, log tail included.
#[derive(thiserror::Error)]
pub enum Error {
    #[error("{program} is not installed: run tests/install-packages.sh (looked for it in $PATH, /usr/sbin and /sbin)")]
    NotInstalled { program: String },
    #[error("{program} is not at {path}: build first: cargo build --workspace --bins", path = path.display())]
    NotBuilt { program: String, path: PathBuf },
    #[error("{program} is not there: run tests/unpack-servers.sh", program = program.display())]
    NotUnpacked { program: PathBuf },
    #[error("cannot start {name}: {source}")]
    Spawn { name: String, source: std::io::Error },
    #[error("{name} exited ({status}) before it was ready{log}")]
    Exited { name: String, status: ExitStatus, log: LogTail },
    #[error("{name} was not ready within {deadline:?}: {last}{log}")]
    NotReady { name: String, deadline: Duration, last: String, log: LogTail },
    #[error("{name} did not stop within {deadline:?} of SIGTERM and was killed{log}")]
    NotStopped { name: String, deadline: Duration, log: LogTail },
    #[error("{name} is not running")]
    NotRunning { name: String },
    #[error("{what}: not within {deadline:?}; last: {last}")]
    NotInTime { what: String, deadline: Duration, last: String },
    #[error("{command} failed ({status}): {stderr}")]
    Failed { command: String, status: ExitStatus, stderr: String },
    #[error("{what} {path}: {source}", path = path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{method} {url}: {reason}")]
    Http { method: String, url: String, reason: String },
    #[error("no free port found between {0} and {1}")]
    NoPort(u16, u16),
    #[error("{0}")]
    Stack(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The last lines of a server's log, indented below the sentence that needs them.
pub struct LogTail {
    path: PathBuf,
    lines: String,
}

impl LogTail {
    const LINES: usize = 15;

    pub fn of(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = std::fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(Self::LINES);
        Self { path, lines: lines.get(first..).unwrap_or_default().join("\n    ") }
    }
}

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  the end of {}:\n    {}", self.path.display(), self.lines)
    }
}
