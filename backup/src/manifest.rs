//! The manifest: the result of one run, as JSON next to the backup.
//!
//! Every run that got as far as the directory leaves one, also a failed one. It is written last and renamed into place,
//! so a backup whose manifest says `ok` is complete, and a backup file without a manifest is not.
//!
//! ```json
//! {
//!   "schema_version": 1,
//!   "backup": "medassist",
//!   "started_at": "2026-11-22T18:09:00.120Z",
//!   "finished_at": "2026-11-22T18:09:04.873Z",
//!   "result": "ok",
//!   "recovery_point": "2026-11-22T18:09:00.204Z",
//!   "file": {
//!     "name": "medassist-20261122T180900Z.sql.zst",
//!     "stored_bytes": 43012,
//!     "uncompressed_bytes": 4460122,
//!     "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
//!     "compression": "zstd"
//!   },
//!   "server": { "flavour": "mariadb", "version": "10.11.19-MariaDB" },
//!   "tool": { "name": "mariadb-dump", "version": "mariadb-dump  Ver 10.19 …", "flags": ["--single-transaction"] },
//!   "databases": [
//!     { "name": "app", "tables": 2, "views": 0, "triggers": 1, "routines": 0, "events": 0,
//!       "table_names": ["alert", "payment"] }
//!   ]
//! }
//! ```
//!
//! A failed run has the first four, and `"result": "failed"`, `"reason"` (a word of [`Reason`]) and `"message"` (for
//! people).
//!
//! Times are RFC 3339 in UTC. `schema_version` grows when a field goes or changes its meaning; a reader must refuse a
//! version that it doesn't know and ignore fields that it doesn't know.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::name::{BackupName, FileKind, RunName};

pub use mysql_kit::Flavour;

pub use crate::name::{BACKUP_SUFFIX, MANIFEST_SUFFIX, PARTIAL_SUFFIX, TEMPORARY_SUFFIX};

/// The version that this code writes, and the only one that it reads.
pub const SCHEMA_VERSION: u32 = 1;
/// A larger manifest is refused unread: readers hold it in memory.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Above this many tables in all, the manifest keeps counts and omits the names. A name has at most 64 characters, the
/// worst of which take 6 bytes in JSON: 10,000 stay under [`MAX_BYTES`].
pub const MAX_TABLE_NAMES: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema_version: u32,
    /// The backup's name, which is also the start of its files' names.
    pub backup: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Outcome {
    Ok(Success),
    Failed(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// Everything committed before this instant is in the backup: the moment just before the dump took its snapshot.
    pub recovery_point: Timestamp,
    pub file: StoredFile,
    pub server: Server,
    pub tool: Tool,
    pub databases: Vec<Database>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// A name without a directory: the file is next to its manifest.
    pub name: String,
    pub stored_bytes: u64,
    pub uncompressed_bytes: u64,
    /// Of the stored (compressed) bytes, in lower-case hexadecimal: what `sha256sum` prints.
    pub sha256: String,
    pub compression: Compression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    Zstd,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub flavour: Flavour,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The program's file name: `mariadb-dump` or `mysqldump`.
    pub name: String,
    /// What it prints for `--version`.
    pub version: String,
    /// Its flags, less the ones that name files of credentials.
    pub flags: Vec<String>,
}

/// What the dump holds of one database, checked against the server's own list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    pub name: String,
    pub tables: u64,
    pub views: u64,
    pub triggers: u64,
    pub routines: u64,
    pub events: u64,
    /// Sorted names of the tables, without the views; absent above [`MAX_TABLE_NAMES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_names: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: Reason,
    /// One line for people. Holds no secret.
    pub message: String,
}

/// Why a run failed: few words, fit for a label's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The server didn't answer, or the connection broke.
    ServerUnreachable,
    /// The server refused the user or the password, or the password's file can't be read.
    AccessDenied,
    /// The user may not see all that belongs in the backup.
    InsufficientPrivilege,
    /// A database that should be saved doesn't exist.
    DatabaseMissing,
    /// No dump client of the server's flavour is installed.
    NoSuitableClient,
    /// The dump client exited with an error, or was killed.
    DumpFailed,
    /// A table changed its shape while it was dumped, twice in a row (error 1412).
    DefinitionChanged,
    /// The dump lacks its last line, or objects that the server has.
    DumpIncomplete,
    /// Writing, syncing or renaming in the backup directory failed; a full disk, most often.
    Storage,
    /// The run's deadline passed.
    Timeout,
    /// A signal stopped the job.
    Interrupted,
    /// A word of a newer writer.
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// The word in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerUnreachable => "server_unreachable",
            Self::AccessDenied => "access_denied",
            Self::InsufficientPrivilege => "insufficient_privilege",
            Self::DatabaseMissing => "database_missing",
            Self::NoSuitableClient => "no_suitable_client",
            Self::DumpFailed => "dump_failed",
            Self::DefinitionChanged => "definition_changed",
            Self::DumpIncomplete => "dump_incomplete",
            Self::Storage => "storage",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a manifest can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read manifest {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("manifest {}: {source}", path.display())]
    Parse { path: PathBuf, source: ParseError },
}

/// Why a manifest is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    #[error("larger than {MAX_BYTES} bytes, which no run of mysql-backup writes")]
    TooLarge,
    #[error("not the JSON of a manifest: {0}")]
    Json(#[from] serde_json::Error),
    #[error("schema version {0}, but only {SCHEMA_VERSION} is known: upgrade the reader")]
    Version(u32),
    #[error("contradicts itself: {0}")]
    Invalid(&'static str),
}

impl Manifest {
    /// Reads and checks one manifest. Memory is bounded by [`MAX_BYTES`]; a symbolic link, a pipe or a device in its
    /// place is an error and can't block.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let io_error = |source| ReadError::Io { path: path.to_owned(), source };
        let parse_error = |source| ReadError::Parse { path: path.to_owned(), source };

        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed());
        let file = options.open(path).map_err(io_error)?;
        if !file.metadata().map_err(io_error)?.is_file() {
            return Err(io_error(io::Error::other("not a regular file")));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
        let manifest = Self::parse(&bytes).map_err(parse_error)?;

        let named = path.file_name().and_then(|name| name.to_str()).and_then(RunName::parse);
        if named != manifest.run_name().map(|run| (run, FileKind::Manifest)) {
            return Err(parse_error(ParseError::Invalid("its file name isn't that of its run")));
        }
        Ok(manifest)
    }

    /// Parses and checks the bytes of a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }

        if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_BYTES) {
            return Err(ParseError::TooLarge);
        }
        let Version { schema_version } = serde_json::from_slice(bytes)?;
        if schema_version != SCHEMA_VERSION {
            return Err(ParseError::Version(schema_version));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The JSON to store.
    pub fn to_json(&self) -> Result<Vec<u8>, ParseError> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        if u64::try_from(json.len()).is_ok_and(|len| len > MAX_BYTES) {
            return Err(ParseError::TooLarge);
        }
        Ok(json)
    }

    /// The names of this run's files; `None` if the backup's name is invalid, which [`Manifest::parse`] refuses.
    pub fn run_name(&self) -> Option<RunName> {
        Some(RunName::new(self.backup.parse::<BackupName>().ok()?, self.started_at))
    }

    pub fn success(&self) -> Option<&Success> {
        match &self.outcome {
            Outcome::Ok(success) => Some(success),
            Outcome::Failed(_) => None,
        }
    }

    pub fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Ok(_) => None,
            Outcome::Failed(failure) => Some(failure),
        }
    }

    fn check(&self) -> Result<(), ParseError> {
        let require = |holds: bool, otherwise| if holds { Ok(()) } else { Err(ParseError::Invalid(otherwise)) };
        let run = self.run_name().ok_or(ParseError::Invalid("`backup` is not a valid backup name"))?;
        require(self.started_at <= self.finished_at, "`finished_at` is before `started_at`")?;
        if let Outcome::Ok(Success { recovery_point, file, .. }) = &self.outcome {
            require(
                (self.started_at..=self.finished_at).contains(recovery_point),
                "`recovery_point` is outside the run's time",
            )?;
            require(file.name == run.backup_file(), "`file.name` isn't that of its run")?;
            require(file.stored_bytes > 0 && file.uncompressed_bytes > 0, "the backup is empty")?;
            require(
                file.sha256.len() == 64 && file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                "`file.sha256` isn't 64 lower-case hexadecimal digits",
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = include_bytes!("../fixtures/ok.good.json");
    const FAILED: &[u8] = include_bytes!("../fixtures/failed.good.json");

    #[test]
    fn good_manifests_survive_a_round_trip_byte_by_byte() {
        for json in [OK, FAILED] {
            let manifest = Manifest::parse(json).unwrap();
            assert_eq!(
                String::from_utf8(manifest.to_json().unwrap()).unwrap(),
                String::from_utf8(json.to_vec()).unwrap()
            );
        }
        assert_eq!(Manifest::parse(OK).unwrap().success().unwrap().databases[0].tables, 2);
        assert_eq!(Manifest::parse(FAILED).unwrap().failure().unwrap().reason, Reason::ServerUnreachable);
    }

    #[test]
    fn bad_manifests_are_refused_for_their_own_reason() {
        for (json, reason) in [
            (&include_bytes!("../fixtures/truncated.bad.json")[..], "not the JSON of a manifest"),
            (include_bytes!("../fixtures/empty.bad.json"), "not the JSON of a manifest"),
            (include_bytes!("../fixtures/ok_without_file.bad.json"), "missing field `file`"),
            (include_bytes!("../fixtures/unknown_result.bad.json"), "unknown variant `perhaps`"),
            (include_bytes!("../fixtures/local_time.bad.json"), "not the JSON of a manifest"),
            (include_bytes!("../fixtures/newer_version.bad.json"), "schema version 2"),
            (include_bytes!("../fixtures/foreign_file.bad.json"), "`file.name` isn't that of its run"),
            (include_bytes!("../fixtures/path_in_name.bad.json"), "`backup` is not a valid backup name"),
            (include_bytes!("../fixtures/finished_before_start.bad.json"), "`finished_at` is before"),
            (include_bytes!("../fixtures/recovery_point_before_start.bad.json"), "`recovery_point` is outside"),
            (include_bytes!("../fixtures/short_sha256.bad.json"), "`file.sha256` isn't"),
            (include_bytes!("../fixtures/no_bytes.bad.json"), "the backup is empty"),
        ] {
            let error = Manifest::parse(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{error:?} should say {reason:?}");
        }
        let spaces = vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1];
        assert!(matches!(Manifest::parse(&spaces), Err(ParseError::TooLarge)));
    }

    #[test]
    fn a_newer_writer_may_add_fields_and_reasons() {
        let text = String::from_utf8(FAILED.to_vec()).unwrap();
        let newer = text.replace("server_unreachable", "eclipse").replace("\"backup\"", "\"shift\": 3,\n  \"backup\"");
        assert_ne!(newer, text);
        assert_eq!(Manifest::parse(newer.as_bytes()).unwrap().failure().unwrap().reason, Reason::Unknown);
    }

    #[test]
    fn reasons_are_written_as_they_are_called() {
        for reason in [
            Reason::ServerUnreachable,
            Reason::AccessDenied,
            Reason::InsufficientPrivilege,
            Reason::DatabaseMissing,
            Reason::NoSuitableClient,
            Reason::DumpFailed,
            Reason::DefinitionChanged,
            Reason::DumpIncomplete,
            Reason::Storage,
            Reason::Timeout,
            Reason::Interrupted,
            Reason::Unknown,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn the_longest_list_of_tables_fits() {
        let mut manifest = Manifest::parse(OK).unwrap();
        let Outcome::Ok(success) = &mut manifest.outcome else { panic!("ok") };
        success.databases[0].table_names = Some(vec!["\u{1}".repeat(64); MAX_TABLE_NAMES]);
        let json = manifest.to_json().unwrap();
        assert_eq!(Manifest::parse(&json).unwrap(), manifest);
    }
}
