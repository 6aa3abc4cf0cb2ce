//! The backup directory: who may write in it, how a run's files appear, and which go.
//!
//! A run's files appear in this order, each step on disk before the next:
//!
//! 1. `RUN.sql.zst.partial`, written and synced
//! 2. `RUN.manifest.json.tmp`, written and synced
//! 3. the first renamed to `RUN.sql.zst`
//! 4. the second renamed to `RUN.manifest.json`: the commit point
//!
//! So every file of a killed run has an unfinished name, or is next to one: [`Store::sweep`] removes exactly these
//! files. Pruning goes the same way back.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::{
    catalog::{self, Entry, State},
    error::RunError,
    manifest::Manifest,
    name::{BackupName, FileKind, RunName, TEMPORARY_SUFFIX},
    proof::Proof,
    retention::Retention,
};

/// More than two days of a job that fails every 15 minutes; a manifest of a failed run has some 300 bytes.
const FAILED_MANIFESTS_KEPT: usize = 200;

/// Kept free for the record of a run that failed because the disk is full.
const RESERVE_BYTES: usize = 64 * 1024;

/// One backup's files in a directory, locked against other processes while this lives. Its methods block.
pub(crate) struct Store {
    directory: PathBuf,
    backup: BackupName,
    // The kernel drops the lock with the file, however the process ends.
    _lock: File,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) removed: Vec<String>,
    /// Leftovers that can't be removed. They cost space and nothing else.
    pub(crate) stuck: Vec<RunError>,
}

impl Store {
    /// Fails at once when another process holds the lock. Doesn't create the directory: a missing one is most often a
    /// missing mount.
    pub(crate) fn open(directory: &Path, backup: &BackupName) -> Result<Self, RunError> {
        let path = directory.join(format!(".{backup}.lock"));
        let storage = |source: io::Error| {
            let action = if source.kind() == io::ErrorKind::PermissionDenied {
                "open the lock, which another user may have created (run as that user, or remove the file),"
            } else {
                "open the lock"
            };
            RunError::Storage { action, path: path.clone(), source }
        };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link would make a file elsewhere; a pipe would block.
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&path)
            .map_err(storage)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), backup: backup.clone(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(RunError::AlreadyRunning { path }),
            Err(TryLockError::Error(error)) => Err(storage(error)),
        }
    }

    pub(crate) fn partial_path(&self, run: &RunName) -> PathBuf {
        self.directory.join(run.partial_file())
    }

    fn entries(&self) -> Result<Vec<Entry>, RunError> {
        catalog::list(&self.directory, &self.backup)
    }

    /// Removes what killed runs left.
    pub(crate) fn sweep(&self) -> Result<Swept, RunError> {
        let mut swept = Swept::default();
        for entry in self.entries()? {
            if entry.unfinished.is_empty() {
                continue;
            }
            let orphans = if matches!(entry.state, State::WithoutManifest) { entry.backups } else { Vec::new() };
            let names = orphans.into_iter().chain(entry.unfinished);
            for name in names {
                match self.remove(&name) {
                    Ok(()) => swept.removed.push(name),
                    Err(error) => swept.stuck.push(error),
                }
            }
        }
        Ok(swept)
    }

    /// The sequence of the next run.
    pub(crate) fn next_sequence(&self) -> Result<u64, RunError> {
        let entries = self.entries()?;
        Ok(entries.iter().filter_map(Entry::manifest).map(|manifest| manifest.sequence).max().unwrap_or(0) + 1)
    }

    /// Whether a run of this name has been before: a second one in the same second, or after the clock was set back.
    pub(crate) fn is_taken(&self, run: &RunName) -> bool {
        [run.backup_file(), run.encrypted_file(), run.manifest_file(), run.partial_file()]
            .iter()
            .any(|name| self.directory.join(name).symlink_metadata().is_ok())
    }

    /// Makes the partial file a backup, and the manifest its proof. On an error neither is left.
    pub(crate) fn commit(&self, run: &RunName, manifest: &Manifest) -> Result<(), RunError> {
        let file = manifest.saved().map_or_else(|| run.backup_file(), |saved| saved.file.name.clone());
        let result = self.write(&run.manifest_temporary_file(), &manifest.to_json()?).and_then(|()| {
            self.rename(&run.partial_file(), &file)?;
            self.sync_directory()?;
            self.rename(&run.manifest_temporary_file(), &run.manifest_file())?;
            self.sync_directory()
        });
        if result.is_err() {
            // The manifest first: without it nothing is a backup.
            for name in [run.manifest_file(), file, run.manifest_temporary_file(), run.partial_file()] {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
        result
    }

    /// Records a run that made no backup, even on a full disk.
    pub(crate) fn record_failure(&self, run: &RunName, manifest: &Manifest) -> Result<(), RunError> {
        let (name, json) = (run.manifest_temporary_file(), manifest.to_json()?);
        match self.write(&name, &json) {
            Err(RunError::Storage { source, .. })
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                // It is not there if the disk was full from the beginning.
                let _ = self.remove(&self.reserve());
                self.write(&name, &json)?;
            }
            written => written?,
        }
        self.rename(&run.manifest_temporary_file(), &run.manifest_file())?;
        self.sync_directory()
    }

    /// Takes the space for [`Store::record_failure`], if it is not taken yet.
    pub(crate) fn hold_reserve(&self) -> Result<(), RunError> {
        let name = self.reserve();
        let is_there = self.directory.join(&name).metadata().is_ok_and(|file| file.len() == RESERVE_BYTES as u64);
        if is_there {
            return Ok(());
        }
        let _ = self.remove(&name);
        self.write(&name, &[0; RESERVE_BYTES])
    }

    fn reserve(&self) -> String {
        format!(".{}.reserve", self.backup)
    }

    /// Removes the partial file, if there is one.
    pub(crate) fn discard(&self, run: &RunName) -> Result<(), RunError> {
        match self.remove(&run.partial_file()) {
            Err(RunError::Storage { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Removes what the retention does not keep, and all but the newest 200 manifests of failed runs; never what
    /// belongs to `current`, nor the newest backup that a restore has proven. Returns the names of the runs.
    ///
    /// Complete and partial backups are counted apart, so that partial ones push no complete one out. One whose file is
    /// gone or of another size counts as neither. A manifest that can't be read is kept with its backup, for a person
    /// to inspect.
    pub(crate) fn prune(
        &self,
        retention: Retention,
        current: Option<&RunName>,
        dry_run: bool,
    ) -> Result<Vec<RunName>, RunError> {
        let entries = self.entries()?;
        let proven = entries.iter().find(|entry| entry.is_complete() && entry.is_proven()).map(|entry| &entry.run);
        let mut doomed = Vec::new();
        for is_complete in [true, false] {
            let class: Vec<&Entry> = entries
                .iter()
                .filter(|entry| entry.restorable().is_some() && entry.is_complete() == is_complete)
                .collect();
            let starts: Vec<Timestamp> =
                class.iter().filter_map(|entry| entry.manifest()).map(|manifest| manifest.started_at).collect();
            let keeps = retention.keeps(&starts, Timestamp::now());
            let (kept, surplus): (Vec<_>, Vec<_>) = class.into_iter().zip(keeps).partition(|(_, keep)| *keep);
            if is_complete && let Some((oldest, _)) = kept.last().filter(|_| !surplus.is_empty()) {
                // Without its file, and older than all that are kept: nothing to inspect.
                let gone = |entry: &&Entry| matches!(entry.state, State::Missing(_)) && entry.order() < oldest.order();
                doomed.extend(entries.iter().filter(gone));
            }
            doomed.extend(surplus.into_iter().map(|(entry, _)| entry));
        }
        let failed = entries.iter().filter(|entry| matches!(entry.state, State::Failed(_)));
        doomed.extend(failed.skip(FAILED_MANIFESTS_KEPT));
        doomed.retain(|entry| Some(&entry.run) != current && Some(&entry.run) != proven);
        if !dry_run {
            for entry in &doomed {
                self.remove_run(entry)?;
            }
        }
        Ok(doomed.into_iter().map(|entry| entry.run.clone()).collect())
    }

    /// Back to unfinished first: should this be killed, the next sweep ends it.
    fn remove_run(&self, entry: &Entry) -> Result<(), RunError> {
        let run = &entry.run;
        self.rename(&run.manifest_file(), &run.manifest_temporary_file())?;
        self.sync_directory()?;
        for name in &entry.backups {
            self.remove(name)?;
        }
        if entry.proof.is_some() {
            self.remove(&run.proof_file())?;
        }
        self.remove(&run.manifest_temporary_file())
    }

    fn write(&self, name: &str, json: &[u8]) -> Result<(), RunError> {
        write(&self.directory, name, json)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), RunError> {
        rename(&self.directory, from, to)
    }

    fn remove(&self, name: &str) -> Result<(), RunError> {
        let path = self.directory.join(name);
        fs::remove_file(&path).map_err(|source| RunError::Storage { action: "remove", path, source })
    }

    fn sync_directory(&self) -> Result<(), RunError> {
        sync(&self.directory)
    }
}

/// Replaces a small file next to the manifests.
pub(crate) fn write_state(directory: &Path, name: &str, json: &[u8]) -> Result<(), RunError> {
    let temporary = format!(".{name}{TEMPORARY_SUFFIX}");
    // What a killed process left.
    let _ = fs::remove_file(directory.join(&temporary));
    write(directory, &temporary, json)?;
    rename(directory, &temporary, name)
}

/// Stores the proof of a backup. It needs no lock: a run in between may only sweep the temporary file away.
pub(crate) fn write_proof(directory: &Path, run: &RunName, proof: &Proof) -> Result<(), RunError> {
    let json = proof.to_json()?;
    let temporary = run.proof_temporary_file();
    // What a killed process left.
    let _ = fs::remove_file(directory.join(&temporary));
    write(directory, &temporary, &json)?;
    rename(directory, &temporary, &run.proof_file())?;
    sync(directory)
}

fn write(directory: &Path, name: &str, json: &[u8]) -> Result<(), RunError> {
    let path = directory.join(name);
    let write = || {
        // Readable for the exporter, which need not be the job's user: it holds names of tables, and no data.
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(json)?;
        file.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&path);
        RunError::Storage { action: "write", path: path.clone(), source }
    })
}

fn rename(directory: &Path, from: &str, to: &str) -> Result<(), RunError> {
    let to = directory.join(to);
    fs::rename(directory.join(from), &to).map_err(|source| RunError::Storage {
        action: "rename a file to",
        path: to,
        source,
    })
}

fn sync(directory: &Path) -> Result<(), RunError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|source| RunError::Storage {
        action: "sync",
        path: directory.to_owned(),
        source,
    })
}

/// The start of the newest run of this name that has a manifest, successful or not.
pub(crate) fn last_run(directory: &Path, backup: &BackupName) -> Option<Timestamp> {
    let entries = fs::read_dir(directory).ok()?;
    let names = entries.filter_map(|entry| RunName::parse(entry.ok()?.file_name().to_str()?));
    names
        .filter(|(run, kind)| run.backup() == backup && *kind == FileKind::Manifest)
        .filter_map(|(run, _)| run.started_at())
        .max()
}

/// The start of the newest complete backup of this name, by its manifest.
pub(crate) fn last_success(directory: &Path, backup: &BackupName) -> Option<Timestamp> {
    let entries = catalog::read(directory, backup).ok()?;
    entries
        .iter()
        .filter_map(Entry::manifest)
        .filter(|manifest| manifest.success().is_some())
        .map(|manifest| manifest.started_at)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Failure, Outcome, Reason};
    use std::num::NonZeroU32;

    const OK: &[u8] = include_bytes!("../fixtures/ok.good.json");
    const DUMP: &str = "dump";

    fn store(directory: &Path) -> Store {
        Store::open(directory, &name()).unwrap()
    }

    fn name() -> BackupName {
        "medassist".parse().unwrap()
    }

    fn run(minute: i8) -> (RunName, Manifest) {
        let mut manifest = Manifest::parse(OK).unwrap();
        let shift = jiff::SignedDuration::from_mins(minute.into());
        manifest.started_at += shift;
        manifest.finished_at += shift;
        let run = manifest.run_name().unwrap();
        let Outcome::Ok(success) = &mut manifest.outcome else { panic!("ok") };
        success.recovery_point += shift;
        success.file.name = run.backup_file();
        success.file.stored_bytes = DUMP.len() as u64;
        (run, manifest)
    }

    fn failed(minute: i8) -> (RunName, Manifest) {
        let (run, mut manifest) = run(minute);
        manifest.outcome = Outcome::Failed(Failure { reason: Reason::Timeout, message: "slow".to_owned() });
        (run, manifest)
    }

    fn prune(store: &Store, last: u32, current: &RunName) -> Vec<RunName> {
        let last = NonZeroU32::new(last).unwrap();
        let retention = Retention { last, hourly: 0, daily: 0, weekly: 0, monthly: 0 };
        store.prune(retention, Some(current), false).unwrap()
    }

    fn back_up(store: &Store, minute: i8) -> RunName {
        let (run, manifest) = run(minute);
        fs::write(store.partial_path(&run), DUMP).unwrap();
        store.commit(&run, &manifest).unwrap();
        run
    }

    /// All names but hidden ones.
    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_commit_leaves_a_backup_and_its_manifest() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let run = back_up(&store, 0);
        assert_eq!(names(directory.path()), [run.manifest_file(), run.backup_file()]);
        assert_eq!(Manifest::read(&directory.path().join(run.manifest_file())).unwrap(), self::run(0).1);
        assert!(store.is_taken(&run));
        assert_eq!(last_success(directory.path(), &name()), Some(self::run(0).1.started_at));
    }

    #[test]
    fn a_commit_that_fails_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let (run, manifest) = run(0);
        // No partial file: the first rename fails.
        assert!(matches!(store.commit(&run, &manifest), Err(RunError::Storage { .. })));
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn a_second_process_is_kept_out_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = store(directory.path());
        assert!(matches!(Store::open(directory.path(), &name()), Err(RunError::AlreadyRunning { .. })));
        assert!(Store::open(directory.path(), &"other".parse().unwrap()).is_ok());
        drop(first);
        assert!(Store::open(directory.path(), &name()).is_ok());
    }

    #[test]
    fn a_sweep_removes_what_killed_runs_left_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let good = back_up(&store, 0);
        let at = |name: String| directory.path().join(name);
        // Killed before, between and after the renames of a commit, and while pruning.
        let (writing, between, orphan) = (run(1).0, run(2).0, run(3).0);
        fs::write(at(writing.partial_file()), "").unwrap();
        fs::write(at(between.backup_file()), "").unwrap();
        fs::write(at(between.manifest_temporary_file()), "").unwrap();
        // Nothing shows that a run of ours left these.
        fs::write(at(orphan.backup_file()), "").unwrap();
        fs::write(at("medassist-eu-20261122T180900Z.sql.zst.partial".to_owned()), "").unwrap();
        fs::write(at("notes.partial".to_owned()), "").unwrap();

        assert_eq!(store.sweep().unwrap().removed.len(), 3);
        let mut left = vec![
            good.manifest_file(),
            good.backup_file(),
            orphan.backup_file(),
            "medassist-eu-20261122T180900Z.sql.zst.partial".to_owned(),
            "notes.partial".to_owned(),
        ];
        left.sort();
        assert_eq!(names(directory.path()), left);
    }

    #[test]
    fn pruning_keeps_the_newest_and_all_that_it_does_not_understand() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        for minute in 0..4 {
            back_up(&store, minute);
        }
        let (failure, manifest) = failed(5);
        store.record_failure(&failure, &manifest).unwrap();
        let unreadable = run(-5).0;
        fs::write(directory.path().join(unreadable.manifest_file()), "{").unwrap();
        fs::write(directory.path().join(unreadable.backup_file()), "dump").unwrap();

        assert_eq!(prune(&store, 2, &run(3).0).len(), 2);
        let mut left = vec![failure.manifest_file(), unreadable.manifest_file(), unreadable.backup_file()];
        left.extend([2, 3].map(|minute| run(minute).0).iter().flat_map(|run| [run.manifest_file(), run.backup_file()]));
        left.sort();
        assert_eq!(names(directory.path()), left);
    }

    #[test]
    fn a_backup_that_is_gone_or_cut_off_takes_no_place() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let runs: Vec<RunName> = (0..5).map(|minute| back_up(&store, minute)).collect();
        fs::remove_file(directory.path().join(runs[2].backup_file())).unwrap();
        fs::write(directory.path().join(runs[3].backup_file()), "du").unwrap();

        assert_eq!(prune(&store, 2, &runs[4]).len(), 1);
        let there = |run: &&RunName| directory.path().join(run.manifest_file()).exists();
        assert_eq!(runs.iter().filter(there).collect::<Vec<_>>(), [&runs[1], &runs[2], &runs[3], &runs[4]]);
    }

    #[test]
    fn the_run_that_prunes_survives_a_clock_set_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let ahead = back_up(&store, 60);
        let current = back_up(&store, 0);
        assert_eq!(prune(&store, 1, &current).len(), 0);
        assert!(store.is_taken(&ahead) && store.is_taken(&current));
    }

    #[test]
    fn the_newest_proven_backup_stays_and_goes_with_its_proof() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let runs: Vec<RunName> = (0..4).map(|minute| back_up(&store, minute)).collect();
        let mut proof = Proof::parse(include_bytes!("../fixtures/proven.good.json")).unwrap();
        for run in &runs[..2] {
            proof.run = run.to_string();
            write_proof(directory.path(), run, &proof).unwrap();
        }
        assert_eq!(prune(&store, 1, &runs[3]), [runs[2].clone(), runs[0].clone()]);
        assert!(!directory.path().join(runs[0].proof_file()).exists());
        assert!(directory.path().join(runs[1].proof_file()).exists());
        // A newer proof takes its place.
        write_proof(directory.path(), &runs[3], &proof).unwrap();
        assert_eq!(prune(&store, 1, &runs[3]), [runs[1].clone()]);
    }

    #[test]
    fn partial_backups_push_no_complete_one_out() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let complete = back_up(&store, 0);
        let mut partial = Vec::new();
        for minute in 1..4 {
            let (run, mut manifest) = run(minute);
            let Outcome::Ok(mut saved) = manifest.outcome else { panic!("ok") };
            let failed = Manifest::parse(include_bytes!("../fixtures/partial.good.json")).unwrap();
            saved.failed_databases = failed.saved().unwrap().failed_databases.clone();
            manifest.outcome = Outcome::Partial(saved);
            fs::write(store.partial_path(&run), DUMP).unwrap();
            store.commit(&run, &manifest).unwrap();
            partial.push(run);
        }
        assert_eq!(prune(&store, 2, &partial[2]), [partial[0].clone()]);
        assert!(store.is_taken(&complete));
    }
}
