//! Why a run fails, for people (the message) and for machines (the manifest's [`Reason`]).

use std::{io, path::PathBuf, time::Duration};

use service_kit::secret::SecretError;

use crate::manifest::{Flavour, ParseError, Reason};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot talk to the server at {address}: {message}")]
    ServerUnreachable { address: String, message: String },
    #[error("the server at {address} refuses user {user:?}: {message}")]
    AccessDenied { address: String, user: String, message: String },
    #[error(transparent)]
    Password(#[from] SecretError),
    #[error("the password file could not be read within {} s: check its file system", limit.as_secs_f64())]
    PasswordHung { limit: Duration },
    #[error(
        "user {user:?} at {address} lacks privileges without which the dump would silently miss objects: {}; \
         backup/README.md lists the grants",
        missing.join(", ")
    )]
    InsufficientPrivilege { address: String, user: String, missing: Vec<String> },
    #[error("no database to save at {address}: {}", if wanted.is_empty() {
        "the user sees only the server's own databases; grant privileges on others, or name them with --backup.databases".to_owned()
    } else {
        format!("{} missing; correct --backup.databases", wanted.join(", "))
    })]
    DatabaseMissing { address: String, wanted: Vec<String> },
    #[error(
        "the database {name} belongs to the server and cannot be restored into another one; remove it from \
         --backup.databases: users and grants are in every backup whose user has SELECT on mysql.*"
    )]
    SystemDatabase { name: String },
    #[error("no dump client for a {server} server in PATH ({seen}); {advice}")]
    NoSuitableClient { server: Flavour, seen: String, advice: &'static str },
    #[error("{tool} cannot be run: {source}")]
    ClientBroken { tool: String, source: io::Error },
    #[error("{tool} ended with {status}{}: {stderr}", database.as_ref().map_or(String::new(), |name| format!(" in database `{name}`")))]
    DumpFailed { tool: String, status: String, stderr: String, database: Option<String> },
    #[error(
        "objects were created, changed or dropped while they were dumped, in each attempt: {stderr}; keep migrations out of the backup's time"
    )]
    DefinitionChanged { stderr: String, database: Option<String> },
    #[error("{tool} ended well, but the dump is not complete: {what}")]
    DumpIncomplete { tool: String, what: String },
    #[error(
        "the backup directory did not answer within {} s while the job tried to {action}: check the file system",
        limit.as_secs_f64()
    )]
    StorageHung { action: &'static str, limit: Duration },
    #[error("cannot {action} {}: {source}", path.display())]
    Storage { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the run took longer than {} s (--backup.timeout)", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("stopped by a signal")]
    Interrupted,
    #[error("another mysql-backup is running: it holds {}", path.display())]
    AlreadyRunning { path: PathBuf },
    #[error("cannot write a manifest for this backup: it is {0}")]
    Manifest(#[from] ParseError),
}

impl RunError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::ServerUnreachable { .. } => Reason::ServerUnreachable,
            Self::AccessDenied { .. } | Self::Password(_) | Self::PasswordHung { .. } => Reason::AccessDenied,
            Self::InsufficientPrivilege { .. } => Reason::InsufficientPrivilege,
            Self::DatabaseMissing { .. } | Self::SystemDatabase { .. } => Reason::DatabaseMissing,
            Self::NoSuitableClient { .. } | Self::ClientBroken { .. } => Reason::NoSuitableClient,
            Self::DumpFailed { .. } => Reason::DumpFailed,
            Self::DefinitionChanged { .. } => Reason::DefinitionChanged,
            Self::DumpIncomplete { .. } => Reason::DumpIncomplete,
            Self::StorageHung { .. } | Self::Storage { .. } | Self::AlreadyRunning { .. } | Self::Manifest(_) => {
                Reason::Storage
            }
            Self::Timeout(_) => Reason::Timeout,
            Self::Interrupted => Reason::Interrupted,
        }
    }
}
