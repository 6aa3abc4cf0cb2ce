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
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    num::NonZeroU32,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{
    error::RunError,
    manifest::{Manifest, Outcome},
    name::{BackupName, FileKind, RunName},
};

/// More than two days of a job that fails every 15 minutes; a manifest of a failed run has some 300 bytes.
const FAILED_MANIFESTS_KEPT: usize = 200;

/// One backup's files in a directory, locked against other processes while this lives.
pub(crate) struct Store {
    directory: PathBuf,
    backup: BackupName,
    // The kernel drops the lock with the file, however the process ends.
    _lock: File,
}

#[derive(Default)]
struct Run {
    backup: bool,
    manifest: bool,
    unfinished: Vec<String>,
}

impl Store {
    /// Fails at once when another process holds the lock. Doesn't create the directory: a missing one is most often a
    /// missing mount.
    pub(crate) fn open(directory: &Path, backup: &BackupName) -> Result<Self, RunError> {
        let path = directory.join(format!(".{backup}.lock"));
        let storage = |source| RunError::Storage { action: "open the lock", path: path.clone(), source };
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(storage)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), backup: backup.clone(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(RunError::AlreadyRunning { path }),
            Err(TryLockError::Error(error)) => Err(storage(error)),
        }
    }

    pub(crate) fn partial_path(&self, run: &RunName) -> PathBuf {
        self.directory.join(run.partial_file())
    }

    /// Removes what killed runs left, and returns the names.
    pub(crate) fn sweep(&self) -> Result<Vec<String>, RunError> {
        let mut removed = Vec::new();
        for (run, files) in self.runs()? {
            if files.unfinished.is_empty() {
                continue;
            }
            if files.backup && !files.manifest {
                self.remove(&run.backup_file())?;
                removed.push(run.backup_file());
            }
            for name in files.unfinished {
                self.remove(&name)?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    /// Whether a run of this name has been before: a second one in the same second, or after the clock was set back.
    pub(crate) fn is_taken(&self, run: &RunName) -> bool {
        [run.backup_file(), run.manifest_file()].iter().any(|name| self.directory.join(name).exists())
    }

    /// Makes the partial file a backup, and the manifest its proof. On an error neither is left.
    pub(crate) fn commit(&self, run: &RunName, manifest: &Manifest) -> Result<(), RunError> {
        let result = self.write_temporary_manifest(run, manifest).and_then(|()| {
            self.rename(&run.partial_file(), &run.backup_file())?;
            self.sync_directory()?;
            self.rename(&run.manifest_temporary_file(), &run.manifest_file())?;
            self.sync_directory()
        });
        if result.is_err() {
            // The manifest first: without it nothing is a backup.
            for name in [run.manifest_file(), run.backup_file(), run.manifest_temporary_file(), run.partial_file()] {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
        result
    }

    /// Records a run that made no backup.
    pub(crate) fn record_failure(&self, run: &RunName, manifest: &Manifest) -> Result<(), RunError> {
        self.write_temporary_manifest(run, manifest)?;
        self.rename(&run.manifest_temporary_file(), &run.manifest_file())?;
        self.sync_directory()
    }

    /// Removes the partial file, if there is one.
    pub(crate) fn discard(&self, run: &RunName) -> Result<(), RunError> {
        match self.remove(&run.partial_file()) {
            Err(RunError::Storage { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Removes all but the newest `keep` complete backups (after a failed run: none, `keep` is `None`) and the newest
    /// 200 manifests of failed runs, never those of `current`. Returns how many backups went. One whose file is gone or
    /// of another size is not complete, even with an `ok` manifest, and does not count as one that is kept. A manifest
    /// that can't be read is kept with its backup, for a person to inspect.
    pub(crate) fn prune(&self, keep: Option<NonZeroU32>, current: &RunName) -> Result<usize, RunError> {
        let keep = keep.and_then(|keep| usize::try_from(keep.get()).ok()).unwrap_or(usize::MAX);
        let (mut complete, mut failed, mut pruned) = (0, 0, 0);
        for (run, files) in self.runs()?.into_iter().rev() {
            if !files.manifest {
                continue;
            }
            let manifest = match Manifest::read(&self.directory.join(run.manifest_file())) {
                Ok(manifest) => manifest,
                Err(error) => {
                    tracing::warn!(%error, "left alone while pruning");
                    continue;
                }
            };
            match manifest.outcome {
                Outcome::Ok(success) | Outcome::Partial(success) => {
                    let surplus = complete >= keep;
                    let stored = fs::metadata(self.directory.join(run.backup_file())).map(|file| file.len());
                    complete += usize::from(stored.is_ok_and(|bytes| bytes == success.file.stored_bytes));
                    if surplus && run != *current {
                        // Back to unfinished first: should this be killed, the next sweep ends it.
                        self.rename(&run.manifest_file(), &run.manifest_temporary_file())?;
                        self.sync_directory()?;
                        if files.backup {
                            self.remove(&run.backup_file())?;
                        }
                        self.remove(&run.manifest_temporary_file())?;
                        pruned += 1;
                    }
                }
                Outcome::Failed(_) => {
                    failed += 1;
                    if failed > FAILED_MANIFESTS_KEPT && run != *current {
                        self.remove(&run.manifest_file())?;
                    }
                }
            }
        }
        Ok(pruned)
    }

    /// This backup's runs by their start. As many as `prune` leaves, so few.
    fn runs(&self) -> Result<BTreeMap<RunName, Run>, RunError> {
        let storage = |source| RunError::Storage { action: "list", path: self.directory.clone(), source };
        let mut runs: BTreeMap<RunName, Run> = BTreeMap::new();
        for entry in fs::read_dir(&self.directory).map_err(storage)? {
            let name = entry.map_err(storage)?.file_name();
            let Some(name) = name.to_str() else { continue };
            let Some((run, kind)) = RunName::parse(name).filter(|(run, _)| *run.backup() == self.backup) else {
                continue;
            };
            let files = runs.entry(run).or_default();
            match kind {
                FileKind::Backup => files.backup = true,
                FileKind::Manifest => files.manifest = true,
                FileKind::Proof => {}
                FileKind::Unfinished => files.unfinished.push(name.to_owned()),
            }
        }
        Ok(runs)
    }

    fn write_temporary_manifest(&self, run: &RunName, manifest: &Manifest) -> Result<(), RunError> {
        let json = manifest.to_json()?;
        let path = self.directory.join(run.manifest_temporary_file());
        let write = || {
            // Readable for the exporter, which need not be the job's user: a manifest holds names of tables, and no
            // data.
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path)?;
            file.write_all(&json)?;
            file.sync_all()
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&path);
            RunError::Storage { action: "write", path: path.clone(), source }
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), RunError> {
        let to = self.directory.join(to);
        fs::rename(self.directory.join(from), &to).map_err(|source| RunError::Storage {
            action: "rename a file to",
            path: to,
            source,
        })
    }

    fn remove(&self, name: &str) -> Result<(), RunError> {
        let path = self.directory.join(name);
        fs::remove_file(&path).map_err(|source| RunError::Storage { action: "remove", path, source })
    }

    fn sync_directory(&self) -> Result<(), RunError> {
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(|source| RunError::Storage {
            action: "sync",
            path: self.directory.clone(),
            source,
        })
    }
}

/// The start of the newest run of this name that has a manifest, successful or not.
pub(crate) fn last_run(directory: &Path, backup: &BackupName) -> Option<jiff::Timestamp> {
    runs(directory, backup)?.filter_map(|run| run.started_at()).max()
}

fn runs(directory: &Path, backup: &BackupName) -> Option<impl Iterator<Item = RunName>> {
    let entries = fs::read_dir(directory).ok()?;
    let names = entries.filter_map(|entry| RunName::parse(entry.ok()?.file_name().to_str()?));
    Some(names.filter(move |(run, kind)| run.backup() == backup && *kind == FileKind::Manifest).map(|(run, _)| run))
}

/// The start of the newest complete backup of this name, by its manifest.
pub(crate) fn last_success(directory: &Path, backup: &BackupName) -> Option<jiff::Timestamp> {
    runs(directory, backup)?
        .filter_map(|run| Manifest::read(&directory.join(run.manifest_file())).ok())
        .filter(|manifest| manifest.success().is_some())
        .map(|manifest| manifest.started_at)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Failure, Reason};

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

    fn back_up(store: &Store, minute: i8) -> RunName {
        let (run, manifest) = run(minute);
        fs::write(store.partial_path(&run), DUMP).unwrap();
        store.commit(&run, &manifest).unwrap();
        run
    }

    /// All names but the lock's.
    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
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

        assert_eq!(store.sweep().unwrap().len(), 3);
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

        assert_eq!(store.prune(NonZeroU32::new(2), &run(3).0).unwrap(), 2);
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

        assert_eq!(store.prune(NonZeroU32::new(2), &runs[4]).unwrap(), 1);
        let there = |run: &&RunName| directory.path().join(run.manifest_file()).exists();
        assert_eq!(runs.iter().filter(there).collect::<Vec<_>>(), [&runs[1], &runs[2], &runs[3], &runs[4]]);
    }

    #[test]
    fn the_run_that_prunes_survives_a_clock_set_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let ahead = back_up(&store, 60);
        let current = back_up(&store, 0);
        assert_eq!(store.prune(Some(NonZeroU32::MIN), &current).unwrap(), 0);
        assert!(store.is_taken(&ahead) && store.is_taken(&current));
    }
}
