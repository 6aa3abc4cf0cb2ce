//! The result of one scan of a backup's directory, and the scan in progress.
//!
//! The state is in the files, never in the exporter: a restart changes no series. Names are filtered before anything is
//! opened or counted, content that did not change is not read again, and files and time are bounded.

use std::collections::HashMap;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mysql_backup::binlog::BinlogState;
use mysql_backup::offsite::OffsiteState;

use crate::backup::{Backup, Proofs, Runs};
use crate::config::Job;
use crate::history::History;

/// Maximum runs or files, the newest first: with one per 15 min that is more than a year. Each takes about 600 bytes
/// during a scan, however many there are in the directory.
pub(crate) const MAX_FILES: usize = 50_000;
/// A scan ends after this time. Its results so far are kept, so that the next scan gets further.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Maximum difference between the clocks of two machines. A file from further in the future is ignored.
const FUTURE_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
/// Number of backups in the median of sizes. A median of more backups follows growth too slowly.
const MEDIAN_OF: usize = 30;

/// The result of one scan.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub began: Timestamp,
    pub took: Duration,
    /// The limit that was reached, and what it means: the counts are too low.
    pub truncated: Option<&'static str>,
    pub files: Files,
    /// What the manifests say, where there are any.
    pub runs: Option<Runs>,
    pub last_run: Option<LastRun>,
    pub complete: Option<Complete>,
    /// Of the newest complete backup, where there are manifests.
    pub details: Option<Details>,
    /// The newest recovery point of each database, where there are manifests; `None` for one that has none.
    pub databases: Vec<(Box<str>, Option<Timestamp>)>,
    pub proofs: Option<Proofs>,
    /// Where backups are copied off-site.
    pub offsite: Option<Result<OffsiteState, String>>,
    /// Where the binary log is received.
    pub binlog: Option<Result<BinlogState, String>>,
    /// Space that an unprivileged user may still fill.
    pub available_bytes: Option<u64>,
}

/// How many backups are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub complete: u64,
    /// Being written, or left by a run that was killed.
    pub partial: u64,
    /// The run failed, or left an empty file or archive.
    pub failed: u64,
    /// The manifest can't be read, or the content doesn't match the file's extension or ends early.
    pub unreadable: u64,
    /// The manifest reports success, but the file is gone or has another size.
    pub missing: u64,
    /// Its time is in the future: a clock is wrong.
    pub future: u64,
}

impl Files {
    pub(crate) fn by_state(&self) -> [(&'static str, u64); 6] {
        [
            ("complete", self.complete),
            ("partial", self.partial),
            ("failed", self.failed),
            ("unreadable", self.unreadable),
            ("missing", self.missing),
            ("future", self.future),
        ]
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastRun {
    Ok {
        finished_at: Timestamp,
    },
    /// Its backup lacks something.
    Partial {
        finished_at: Timestamp,
        why: String,
    },
    Failed {
        finished_at: Timestamp,
        why: String,
    },
    Unknown {
        why: String,
    },
}

/// What only a manifest says of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    /// What `max_allowed_packet` must exceed at a restore; 0 if it was not measured.
    pub longest_statement_bytes: u64,
    pub encrypted: bool,
    /// Number of warnings by their kind.
    pub warnings: Box<[(&'static str, u64)]>,
}

/// The complete backups together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Complete {
    pub newest: Backup,
    pub oldest: Backup,
    pub median_bytes: f64,
    pub history: History,
}

impl Complete {
    fn of(mut backups: Vec<Backup>, target: Duration, now: Timestamp) -> Option<Self> {
        backups.sort_unstable_by_key(|backup| std::cmp::Reverse((backup.recovery_point, backup.finished_at)));
        let history = History::of(&backups, target, now)?;
        let (newest, oldest) = (*backups.first()?, *backups.last()?);
        let mut sizes: Vec<u64> = backups.iter().take(MEDIAN_OF).map(|backup| backup.stored_bytes).collect();
        sizes.sort_unstable();
        let middle = sizes.len() / 2;
        let upper = *sizes.get(middle)? as f64;
        let median_bytes = match sizes.get(middle.wrapping_sub(1)) {
            Some(lower) if sizes.len().is_multiple_of(2) => (*lower as f64 + upper) / 2.0,
            _ => upper,
        };
        Some(Self { newest, oldest, median_bytes, history })
    }
}

/// Why a directory could not be scanned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("cannot read the directory {}: {source}: {}", directory.display(), advice(source))]
    Directory { directory: PathBuf, source: io::Error },
    #[error("cannot read the files in {}: {source}: {}", directory.display(), advice(source))]
    Files { directory: PathBuf, source: io::Error },
    #[error("reading the names in {} took longer than {} s: keep fewer files in it", directory.display(), TIME_LIMIT.as_secs())]
    TooSlow { directory: PathBuf },
    #[error("{} has not answered for {seconds:.1} s: is its file system hung?", directory.display())]
    NoAnswer { directory: PathBuf, seconds: f64 },
    #[error("cannot start a thread to read {}: {source}", directory.display())]
    Thread { directory: PathBuf, source: io::Error },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create or mount it",
        io::ErrorKind::NotADirectory => "give the directory that holds the backups",
        io::ErrorKind::PermissionDenied => {
            "give the exporter's user read and search permission (r-x) on it, and search permission above it"
        }
        _ => "see the kernel's log for its file system",
    }
}

pub(crate) type FileCache<T> = HashMap<Box<str>, (Identity, T)>;

/// If this is the same, the content is the same: a rewrite changes the times, a replacement the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

pub(crate) fn modification_time(metadata: &Metadata) -> Option<Timestamp> {
    Timestamp::new(metadata.mtime(), i32::try_from(metadata.mtime_nsec()).unwrap_or_default()).ok()
}

/// A running scan.
pub(crate) struct ScanInProgress<'a> {
    pub(crate) job: &'a Job,
    pub(crate) now: Timestamp,
    pub(crate) found: Scan,
    backups: Vec<Backup>,
    started: Instant,
}

impl<'a> ScanInProgress<'a> {
    pub(crate) fn new(job: &'a Job, now: Timestamp) -> Self {
        let found = Scan { began: now, ..Scan::default() };
        Self { job, now, found, backups: Vec::new(), started: Instant::now() }
    }

    fn out_of_time(&self) -> bool {
        self.started.elapsed() > TIME_LIMIT
    }

    pub(crate) fn directory(&self) -> &'a Path {
        &self.job.directory
    }

    /// Calls `keep` with each name in the directory and its entry. A name that is not UTF-8 is ignored.
    pub(crate) fn entries(
        &mut self,
        mut keep: impl FnMut(&mut Self, &str, &DirEntry) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        let directory = self.directory();
        let failed = |source| ScanError::Directory { directory: directory.to_owned(), source };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if self.out_of_time() {
                return Err(ScanError::TooSlow { directory: directory.to_owned() });
            }
            if let Some(name) = entry.file_name().to_str() {
                keep(self, name, &entry)?;
            }
        }
        Ok(())
    }

    /// Whether the scan may read another file.
    pub(crate) fn should_continue(&mut self) -> bool {
        let out_of_time = self.out_of_time();
        if out_of_time {
            self.found.truncated = Some("reading took longer than a minute: keep fewer files in the directory");
        }
        !out_of_time
    }

    /// More files than the limit match: the oldest are left out.
    pub(crate) fn too_many(&mut self) {
        self.found.truncated = Some("only the newest 50,000 backups are read: prune the older ones");
    }

    /// The file of that name, itself and not what a symbolic link leads to; `None` if it is gone by now.
    pub(crate) fn metadata(&self, name: &str) -> Result<Option<Metadata>, ScanError> {
        self.if_there(fs::symlink_metadata(self.directory().join(name)))
    }

    pub(crate) fn if_there(&self, metadata: io::Result<Metadata>) -> Result<Option<Metadata>, ScanError> {
        match metadata {
            Ok(metadata) => Ok(Some(metadata)),
            // A file that another machine removed from a network file system is stale for a while.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle) => {
                Ok(None)
            }
            Err(source) => Err(ScanError::Files { directory: self.directory().to_owned(), source }),
        }
    }

    pub(crate) fn is_future(&self, time: Timestamp) -> bool {
        time.duration_since(self.now) > FUTURE_TOLERANCE
    }

    pub(crate) fn add_complete(&mut self, backup: Backup) {
        self.found.files.complete += 1;
        self.backups.push(backup);
    }

    pub(crate) fn finish(mut self) -> Scan {
        self.found.available_bytes = rustix::fs::statvfs(self.directory())
            .ok()
            .map(|file_system| file_system.f_bavail.saturating_mul(file_system.f_frsize));
        self.found.complete = Complete::of(self.backups, self.job.rpo, self.now);
        self.found.took = self.started.elapsed();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(second: i64, stored_bytes: u64) -> Backup {
        let time = Timestamp::from_second(second).unwrap();
        Backup { recovery_point: time, finished_at: time, stored_bytes, uncompressed_bytes: None, duration: None }
    }

    fn complete(backups: Vec<Backup>) -> Option<Complete> {
        Complete::of(backups, Duration::from_secs(1800), Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn the_usual_size_is_the_median_of_the_newest_ones() {
        let median = |backups: Vec<Backup>| complete(backups).map(|complete| complete.median_bytes);
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![backup(1, 7)]), Some(7.0));
        assert_eq!(median(vec![backup(1, 10), backup(3, 20)]), Some(15.0));
        assert_eq!(median(vec![backup(1, 1), backup(2, 1000), backup(3, 3)]), Some(3.0));
        // 31 old and small ones before 30 that are large.
        let many = (0..61).map(|i| backup(i, if i < 31 { 1 } else { 500 })).collect();
        assert_eq!(median(many), Some(500.0));
    }

    #[test]
    fn newest_and_oldest_go_by_the_recovery_point() {
        let copied_late = Backup { finished_at: Timestamp::from_second(900).unwrap(), ..backup(1, 1) };
        let complete = complete(vec![backup(5, 5), copied_late, backup(3, 3)]).unwrap();
        assert_eq!((complete.newest, complete.oldest), (backup(5, 5), copied_late));
    }
}
