//! The manifest: the result of one run, as JSON next to the backup.
//!
//! Every run that got as far as the directory leaves one, also a failed one. It is written last and renamed into place,
//! so a backup whose manifest says `ok` is complete, and a backup file without a manifest is not.
//!
//! ```json
//! {
//!   "schema_version": 2,
//!   "backup": "medassist",
//!   "sequence": 41,
//!   "started_at": "2026-11-22T18:09:00.120Z",
//!   "finished_at": "2026-11-22T18:09:04.873Z",
//!   "result": "partial",
//!   "recovery_point": "2026-11-22T18:09:00.204Z",
//!   "coordinates": { "exact": true, "binlog_file": "binlog.000004", "binlog_position": 1234, "gtid": "0-1-32" },
//!   "file": {
//!     "name": "medassist-20261122T180900Z.sql.zst.age",
//!     "stored_bytes": 43012,
//!     "uncompressed_bytes": 4460122,
//!     "longest_statement_bytes": 1047033,
//!     "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
//!     "compression": "zstd",
//!     "encryption": { "format": "age", "recipients": ["age1…", "age1…"] }
//!   },
//!   "server": { "flavour": "mariadb", "version": "10.11.19-MariaDB", "max_allowed_packet": 16777216 },
//!   "tool": { "name": "mariadb-dump", "version": "mariadb-dump  Ver 10.19 …", "flags": ["--single-transaction"] },
//!   "databases": [
//!     { "name": "app", "tables": 2, "views": 1, "triggers": 1, "routines": 0, "events": 0, "rows": 5000,
//!       "contents": [{ "table": "alert", "rows": 0 }, { "table": "payment", "rows": 5000, "sha256": "…" }],
//!       "omitted": [{ "kind": "view", "name": "broken", "message": "…" }] }
//!   ],
//!   "failed_databases": [{ "name": "old", "reason": "dump_failed", "message": "…" }],
//!   "accounts": 12,
//!   "definers": ["doctor@%"],
//!   "warnings": [{ "kind": "float_digits", "message": "…", "objects": ["app.scale.weight"] }]
//! }
//! ```
//!
//! | `result` | Means |
//! |---|---|
//! | `ok` | the backup has every object of every database |
//! | `partial` | there is a backup file, but `failed_databases` or some `omitted` is not empty |
//! | `failed` | there is no backup: the fields after `result` are `reason` (a word of [`Reason`]) and `message` |
//!
//! - `sequence` grows with each run of this backup, whatever the clock does: the newest backup is the one with the
//!   largest. It is absent in version 1, which counts as 0.
//! - `coordinates` is where replication or a replay of the binary log continues, absent without a binary log. `exact`
//!   false: transactions were committed while the snapshot was taken, and the position is from just before it, so a
//!   replay must be idempotent up to `settled`, the position just after it.
//! - `all_databases` is true if every database of the server was to be saved; absent means false.
//! - `longest_statement_bytes` is what `max_allowed_packet` must exceed at a restore.
//! - `rows` are counted in the dump. `sha256` of a table is that of its INSERT statements, for tables of up to
//!   [`MAX_HASHED_BYTES`]. `contents` is absent above [`MAX_LISTED_TABLES`].
//! - `accounts` is the number of users and roles in the backup; absent if they were not saved.
//! - `definers` are the accounts that views, triggers, routines and events run as: a restore needs them.
//!
//! Times are RFC 3339 in UTC. `schema_version` grows when a field goes or changes its meaning; a reader must refuse a
//! version that it doesn't know and ignore fields that it doesn't know. Version 1 has no `partial`, none of the
//! optional fields, and in `databases` the list `table_names`.

mod coordinates;
mod warning;

use std::{
    fmt,
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

pub use self::{
    coordinates::{BinlogPosition, Coordinates},
    warning::{Warning, WarningKind},
};
pub use crate::name::{BACKUP_SUFFIX, MANIFEST_SUFFIX, PARTIAL_SUFFIX, TEMPORARY_SUFFIX};

/// The version that this code writes. It reads this one and all before it.
pub const SCHEMA_VERSION: u32 = 2;
/// A larger manifest is refused unread: readers hold it in memory.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Above this many tables in all, the manifest keeps counts and omits the list. A name has at most 64 characters, the
/// worst of which take 6 bytes in JSON: 5,000 stay under [`MAX_BYTES`].
pub const MAX_LISTED_TABLES: usize = 5_000;
/// A table with more bytes of rows than this in the dump has no checksum in the manifest.
pub const MAX_HASHED_BYTES: u64 = 1 << 20;
/// Lists of warnings and of omitted objects are cut to this many entries, and say so.
pub const MAX_LISTED: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema_version: u32,
    /// The backup's name, which is also the start of its files' names.
    pub backup: String,
    /// Grows with each run, whatever the clock does.
    #[serde(default)]
    pub sequence: u64,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Outcome {
    /// Everything is in the backup.
    Ok(Success),
    /// There is a backup, which lacks databases or objects.
    Partial(Success),
    Failed(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// Everything committed before this instant is in the backup: the moment just before the dump took its snapshot.
    pub recovery_point: Timestamp,
    /// Absent without a binary log, or without a way to read its position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
    pub file: StoredFile,
    pub server: Server,
    pub tool: Tool,
    /// Whether every database of the server was to be saved, and not only those of a list.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all_databases: bool,
    /// What the file holds, complete but for each one's `omitted`.
    pub databases: Vec<Database>,
    /// Databases that are not in the backup although they should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_databases: Vec<FailedDatabase>,
    /// Number of users and roles in the backup; absent if they were not saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<u64>,
    /// Accounts as which views, triggers, routines and events run, as `user@host`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub definers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A database that is not in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedDatabase {
    pub name: String,
    pub reason: Reason,
    pub message: String,
}

/// An object that is not in the backup, of a database that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    pub kind: ObjectKind,
    pub name: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    Table,
    View,
    Trigger,
    Routine,
    Event,
    Library,
    /// A word of a newer writer.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::View => "view",
            Self::Trigger => "trigger",
            Self::Routine => "routine",
            Self::Event => "event",
            Self::Library => "library",
            Self::Unknown => "object",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// A name without a directory: the file is next to its manifest.
    pub name: String,
    pub stored_bytes: u64,
    pub uncompressed_bytes: u64,
    /// The longest statement, which max_allowed_packet must exceed at a restore. 0 in version 1: not measured.
    #[serde(default)]
    pub longest_statement_bytes: u64,
    /// Of the stored (compressed, encrypted) bytes, in lower-case hexadecimal: what `sha256sum` prints.
    pub sha256: String,
    pub compression: Compression,
    /// Absent: the file is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// How the compressed dump is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    pub format: EncryptionFormat,
    /// Public keys; the secret key of any one of them decrypts.
    pub recipients: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncryptionFormat {
    Age,
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
    /// In bytes; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_allowed_packet: Option<u64>,
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
    #[serde(default, skip_serializing_if = "is_zero")]
    pub libraries: u64,
    /// Of all tables; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The rows of each table, sorted by name; absent above [`MAX_LISTED_TABLES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Vec<TableContents>>,
    /// The first [`MAX_LISTED`] objects that could not be saved. Not empty: the run is `partial`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omitted>,
}

/// The rows of one table in the dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableContents {
    pub table: String,
    pub rows: u64,
    /// Of its INSERT statements; absent for a table without rows or above [`MAX_HASHED_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
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
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Parse { path: PathBuf, source: ParseError },
}

/// Why a manifest is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    #[error("larger than {MAX_BYTES} bytes, which no run of mysql-backup writes")]
    TooLarge,
    #[error("not the JSON of a manifest: {0}")]
    Json(#[from] serde_json::Error),
    #[error("schema version {0}, but only versions up to {SCHEMA_VERSION} are known: upgrade the reader")]
    Version(u32),
    #[error("contradicts itself: {0}")]
    Invalid(&'static str),
}

impl Manifest {
    /// Reads and checks one manifest. Memory is bounded by [`MAX_BYTES`]; a symbolic link, a pipe or a device in its
    /// place is an error and can't block.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let parse_error = |source| ReadError::Parse { path: path.to_owned(), source };
        let manifest = Self::parse(&read_bounded(path)?).map_err(parse_error)?;

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
        if !(1..=SCHEMA_VERSION).contains(&schema_version) {
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

    /// What a complete backup holds.
    pub fn success(&self) -> Option<&Success> {
        match &self.outcome {
            Outcome::Ok(success) => Some(success),
            Outcome::Partial(_) | Outcome::Failed(_) => None,
        }
    }

    /// What a backup holds, be it complete or partial.
    pub fn saved(&self) -> Option<&Success> {
        match &self.outcome {
            Outcome::Ok(saved) | Outcome::Partial(saved) => Some(saved),
            Outcome::Failed(_) => None,
        }
    }

    pub fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Ok(_) | Outcome::Partial(_) => None,
            Outcome::Failed(failure) => Some(failure),
        }
    }

    fn check(&self) -> Result<(), ParseError> {
        let require = |holds: bool, otherwise| if holds { Ok(()) } else { Err(ParseError::Invalid(otherwise)) };
        let run = self.run_name().ok_or(ParseError::Invalid("`backup` is not a valid backup name"))?;
        require(self.started_at <= self.finished_at, "`finished_at` is before `started_at`")?;
        if let Some(Success { recovery_point, file, databases, failed_databases, .. }) = self.saved() {
            require(
                (self.started_at..=self.finished_at).contains(recovery_point),
                "`recovery_point` is outside the run's time",
            )?;
            let name = if file.encryption.is_some() { run.encrypted_file() } else { run.backup_file() };
            require(file.name == name, "`file.name` isn't that of its run")?;
            require(file.stored_bytes > 0 && file.uncompressed_bytes > 0, "the backup is empty")?;
            require(
                file.sha256.len() == 64 && file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                "`file.sha256` isn't 64 lower-case hexadecimal digits",
            )?;
            let lacks = !failed_databases.is_empty() || databases.iter().any(|database| !database.omitted.is_empty());
            require(
                lacks == matches!(self.outcome, Outcome::Partial(_)),
                "`result` and the lists of what is missing differ",
            )?;
        }
        Ok(())
    }
}

/// One byte more than [`MAX_BYTES`] of a regular file. It can't block on a pipe or a device, and follows no link.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, ReadError> {
    let io_error = |source| ReadError::Io { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed());
    let file = options.open(path).map_err(io_error)?;
    if !file.metadata().map_err(io_error)?.is_file() {
        return Err(io_error(io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = include_bytes!("../fixtures/ok.good.json");
    const PARTIAL: &[u8] = include_bytes!("../fixtures/partial.good.json");
    const FAILED: &[u8] = include_bytes!("../fixtures/failed.good.json");
    const OK_V1: &[u8] = include_bytes!("../fixtures/ok_version_1.good.json");

    #[test]
    fn good_manifests_survive_a_round_trip_byte_by_byte() {
        for json in [OK, PARTIAL, FAILED] {
            let manifest = Manifest::parse(json).unwrap();
            assert_eq!(
                String::from_utf8(manifest.to_json().unwrap()).unwrap(),
                String::from_utf8(json.to_vec()).unwrap()
            );
        }
        assert_eq!(Manifest::parse(OK).unwrap().success().unwrap().databases[0].tables, 2);
        let partial = Manifest::parse(PARTIAL).unwrap();
        assert_eq!((partial.success(), partial.saved().unwrap().databases[0].omitted.len()), (None, 1));
        assert_eq!(Manifest::parse(FAILED).unwrap().failure().unwrap().reason, Reason::ServerUnreachable);
    }

    #[test]
    fn a_manifest_of_version_1_is_still_read() {
        let manifest = Manifest::parse(OK_V1).unwrap();
        let success = manifest.success().unwrap();
        assert_eq!((manifest.sequence, success.databases[0].tables), (0, 2));
        assert_eq!((success.file.longest_statement_bytes, &success.coordinates), (0, &None));
    }

    #[test]
    fn bad_manifests_are_refused_for_their_own_reason() {
        for (json, reason) in [
            (&include_bytes!("../fixtures/truncated.bad.json")[..], "not the JSON of a manifest"),
            (include_bytes!("../fixtures/empty.bad.json"), "not the JSON of a manifest"),
            (include_bytes!("../fixtures/ok_without_file.bad.json"), "missing field `file`"),
            (include_bytes!("../fixtures/unknown_result.bad.json"), "unknown variant `perhaps`"),
            (include_bytes!("../fixtures/local_time.bad.json"), "not the JSON of a manifest"),
            (include_bytes!("../fixtures/newer_version.bad.json"), "schema version 3"),
            (include_bytes!("../fixtures/foreign_file.bad.json"), "`file.name` isn't that of its run"),
            (include_bytes!("../fixtures/path_in_name.bad.json"), "`backup` is not a valid backup name"),
            (include_bytes!("../fixtures/finished_before_start.bad.json"), "`finished_at` is before"),
            (include_bytes!("../fixtures/recovery_point_before_start.bad.json"), "`recovery_point` is outside"),
            (include_bytes!("../fixtures/short_sha256.bad.json"), "`file.sha256` isn't"),
            (include_bytes!("../fixtures/no_bytes.bad.json"), "the backup is empty"),
            (include_bytes!("../fixtures/ok_with_failed_database.bad.json"), "the lists of what is missing differ"),
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
        let table = TableContents { table: "\u{1}".repeat(64), rows: u64::MAX, sha256: Some("0".repeat(64)) };
        success.databases[0].contents = Some(vec![table; MAX_LISTED_TABLES]);
        let json = manifest.to_json().unwrap();
        assert_eq!(Manifest::parse(&json).unwrap(), manifest);
    }
}
