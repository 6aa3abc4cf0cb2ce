//! Which backup to verify or to restore.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::{
    catalog::{self, Entry, State},
    manifest::{Manifest, Success},
    name::{BackupName, RunName},
};

/// A backup that can be restored.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) run: RunName,
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Chosen {
    /// What it holds; a choice is always of a backup that has something.
    pub(crate) fn saved(&self) -> Result<&Success, ChooseError> {
        self.manifest.saved().ok_or_else(|| ChooseError::NotABackup(self.run.to_string(), "its run failed".to_owned()))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    #[error("cannot list {}: {source}", path.display())]
    List { path: PathBuf, source: std::io::Error },
    #[error("no backup named {backup} in {} can be restored; `mysql-backup list` shows what is there", path.display())]
    Nothing { backup: String, path: PathBuf },
    #[error("no backup has a recovery point at or before {at}; the oldest is {oldest}")]
    TooEarly { at: Timestamp, oldest: Timestamp },
    #[error("there is no run {0}; `mysql-backup list` shows what is there")]
    NoSuchRun(String),
    #[error("{0} cannot be restored: {1}")]
    NotABackup(String, String),
}

/// The newest complete backup, else the newest partial one; or the one of a run; or the newest up to a time. Blocks.
pub(crate) fn choose(
    directory: &Path,
    backup: &BackupName,
    at: Option<Timestamp>,
    run: Option<&str>,
) -> Result<Chosen, ChooseError> {
    let entries =
        catalog::read(directory, backup).map_err(|source| ChooseError::List { path: directory.to_owned(), source })?;
    let entry = match (run, at) {
        (Some(run), _) => named(entries, run)?,
        (None, Some(at)) => {
            let points = || entries.iter().filter_map(recovery_point);
            let oldest = points().min();
            let until = points().filter(|point| *point <= at).max();
            let newest = until.and_then(|until| entries.iter().position(|entry| recovery_point(entry) == Some(until)));
            match (newest, oldest) {
                (Some(index), _) => entries.into_iter().nth(index),
                (None, Some(oldest)) => return Err(ChooseError::TooEarly { at, oldest }),
                (None, None) => None,
            }
        }
        (None, None) => {
            let complete = entries.iter().position(Entry::is_complete);
            let index = complete.or_else(|| entries.iter().position(|entry| entry.restorable().is_some()));
            index.and_then(|index| entries.into_iter().nth(index))
        }
    };
    let nothing = || ChooseError::Nothing { backup: backup.to_string(), path: directory.to_owned() };
    let entry = entry.ok_or_else(nothing)?;
    match entry.state {
        State::Complete(manifest) | State::Partial(manifest) => {
            let file = manifest.saved().map(|saved| &saved.file.name).ok_or_else(nothing)?;
            Ok(Chosen { path: directory.join(file), run: entry.run, manifest })
        }
        _ => Err(nothing()),
    }
}

fn recovery_point(entry: &Entry) -> Option<Timestamp> {
    Some(entry.restorable()?.saved()?.recovery_point)
}

fn named(entries: Vec<Entry>, run: &str) -> Result<Option<Entry>, ChooseError> {
    let Some(entry) = entries.into_iter().find(|entry| entry.run.to_string() == run) else {
        return Err(ChooseError::NoSuchRun(run.to_owned()));
    };
    let why = match &entry.state {
        State::Complete(_) | State::Partial(_) => return Ok(Some(entry)),
        State::Missing(_) => "its file is gone or has another size than the manifest says".to_owned(),
        State::Failed(_) => "its run failed".to_owned(),
        State::Unreadable(error) => error.clone(),
        State::WithoutManifest => "it has no manifest, so it is not complete".to_owned(),
    };
    Err(ChooseError::NotABackup(run.to_owned(), why))
}
