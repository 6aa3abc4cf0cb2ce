//! The names of what a run leaves in the backup directory.
//!
//! | Name | What it is |
//! |---|---|
//! | `NAME-20261122T180900Z.sql.zst` | the backup; complete only if its manifest exists |
//! | `NAME-20261122T180900Z.sql.zst.age` | the same, encrypted |
//! | `NAME-20261122T180900Z.manifest.json` | the run's manifest, written last: the commit point |
//! | `NAME-20261122T180900Z.proof.json` | the result of the newest `verify --restore` of this backup |
//! | either of them + `.partial` or `.tmp` | being written, or left by a killed run; never read |
//!
//! The stamp is the run's start in UTC. Its width is fixed, so names of one backup sort by time, and `app` is never
//! mistaken for `app-eu`: the name ends where the last 17 characters (`-` and the stamp) begin.

use std::fmt;

use jiff::{Timestamp, civil, tz};

/// Ends a complete backup's file name.
pub const BACKUP_SUFFIX: &str = ".sql.zst";
/// Ends the file name of a complete backup that is encrypted.
pub const ENCRYPTED_SUFFIX: &str = ".sql.zst.age";
/// Ends a manifest's file name.
pub const MANIFEST_SUFFIX: &str = ".manifest.json";
/// Ends a proof's file name.
pub const PROOF_SUFFIX: &str = ".proof.json";
/// Ends the name of a backup that is being written.
pub const PARTIAL_SUFFIX: &str = ".partial";
/// Ends the name of a manifest that is being written.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

const STAMP_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const STAMP_LEN: usize = "20261122T180900Z".len();
/// Leaves room for stamp and suffixes in the 255 bytes that file systems grant a name.
const MAX_NAME_LEN: usize = 64;

/// The name of a backup: 1 to 64 letters, digits, `.`, `_` and `-`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid backup name {0:?}: use 1 to {MAX_NAME_LEN} letters, digits, '.', '_' and '-', and start with a letter or digit"
)]
pub struct InvalidBackupName(String);

impl BackupName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for BackupName {
    type Err = InvalidBackupName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = text.len() <= MAX_NAME_LEN
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidBackupName(text.to_owned())) }
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One run of one backup: what the names of its files have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName {
    backup: BackupName,
    stamp: String,
}

/// What a file of a run is, by its suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Backup,
    Manifest,
    Proof,
    /// A `.partial` or `.tmp`: unfinished.
    Unfinished,
}

impl RunName {
    pub fn new(backup: BackupName, started_at: Timestamp) -> Self {
        Self { backup, stamp: started_at.strftime(STAMP_FORMAT).to_string() }
    }

    /// Splits a file's name into its run and its kind; `None` for what no run writes.
    pub fn parse(file_name: &str) -> Option<(Self, FileKind)> {
        let backup = file_name.strip_suffix(BACKUP_SUFFIX).or_else(|| file_name.strip_suffix(ENCRYPTED_SUFFIX));
        let (stem, kind) = if let Some(stem) = backup {
            (stem, FileKind::Backup)
        } else if let Some(stem) = file_name.strip_suffix(MANIFEST_SUFFIX) {
            (stem, FileKind::Manifest)
        } else if let Some(stem) = file_name.strip_suffix(PROOF_SUFFIX) {
            (stem, FileKind::Proof)
        } else {
            let stem = if let Some(name) = file_name.strip_suffix(PARTIAL_SUFFIX) {
                name.strip_suffix(BACKUP_SUFFIX)?
            } else {
                let name = file_name.strip_suffix(TEMPORARY_SUFFIX)?;
                name.strip_suffix(MANIFEST_SUFFIX).or_else(|| name.strip_suffix(PROOF_SUFFIX))?
            };
            (stem, FileKind::Unfinished)
        };
        let (backup, stamp) = stem.split_at_checked(stem.len().checked_sub(STAMP_LEN)?)?;
        let backup = backup.strip_suffix('-')?.parse().ok()?;
        let run = Self { backup, stamp: stamp.to_owned() };
        // A second look at what parsing made of it refuses stamps such as the 31st of February, or spaces where digits
        // belong.
        (run.started_at()?.strftime(STAMP_FORMAT).to_string() == run.stamp).then_some((run, kind))
    }

    pub fn backup(&self) -> &BackupName {
        &self.backup
    }

    /// The run's start, to the second; `None` never happens for a name that [`RunName::parse`] or [`RunName::new`]
    /// made.
    pub fn started_at(&self) -> Option<Timestamp> {
        let local = civil::DateTime::strptime(STAMP_FORMAT, &self.stamp).ok()?;
        Some(local.to_zoned(tz::TimeZone::UTC).ok()?.timestamp())
    }

    pub fn backup_file(&self) -> String {
        format!("{self}{BACKUP_SUFFIX}")
    }

    pub fn encrypted_file(&self) -> String {
        format!("{self}{ENCRYPTED_SUFFIX}")
    }

    pub fn partial_file(&self) -> String {
        format!("{self}{BACKUP_SUFFIX}{PARTIAL_SUFFIX}")
    }

    pub fn manifest_file(&self) -> String {
        format!("{self}{MANIFEST_SUFFIX}")
    }

    pub fn manifest_temporary_file(&self) -> String {
        format!("{self}{MANIFEST_SUFFIX}{TEMPORARY_SUFFIX}")
    }

    pub fn proof_file(&self) -> String {
        format!("{self}{PROOF_SUFFIX}")
    }

    pub fn proof_temporary_file(&self) -> String {
        format!("{self}{PROOF_SUFFIX}{TEMPORARY_SUFFIX}")
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.backup, self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunName {
        RunName::new("med-assist".parse().unwrap(), "2026-11-22T18:09:00.75Z".parse().unwrap())
    }

    #[test]
    fn each_file_of_a_run_is_recognised() {
        let run = run();
        assert_eq!(run.backup_file(), "med-assist-20261122T180900Z.sql.zst");
        assert_eq!(run.started_at(), Some("2026-11-22T18:09:00Z".parse().unwrap()));
        for (name, kind) in [
            (run.backup_file(), FileKind::Backup),
            (run.encrypted_file(), FileKind::Backup),
            (run.manifest_file(), FileKind::Manifest),
            (run.partial_file(), FileKind::Unfinished),
            (run.manifest_temporary_file(), FileKind::Unfinished),
            (run.proof_file(), FileKind::Proof),
            (run.proof_temporary_file(), FileKind::Unfinished),
        ] {
            assert_eq!(RunName::parse(&name), Some((run.clone(), kind)), "{name}");
        }
    }

    #[test]
    fn what_no_run_writes_is_left_alone() {
        for name in [
            "",
            ".sql.zst",
            "20261122T180900Z.sql.zst",
            "-20261122T180900Z.sql.zst",
            ".hidden-20261122T180900Z.sql.zst",
            "app-20260231T180900Z.sql.zst",
            "app-2026 122T180900Z.sql.zst",
            "app-20261122T180900Z.sql.gz",
            "app-20261122T180900Z.sql.zst.tmp",
            "app-20261122T180900Z.manifest.json.partial",
            "app-20261122T180900Zé.sql.zst",
            "app.manifest.json",
            "lost+found",
        ] {
            assert_eq!(RunName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", "-a", "a b", "ä", &"a".repeat(65)] {
            assert!(name.parse::<BackupName>().is_err(), "{name}");
        }
        assert!("a".repeat(64).parse::<BackupName>().is_ok());
    }
}
