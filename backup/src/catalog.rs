//! What is in a backup directory, read without its lock.

use std::{collections::BTreeMap, fs, io, path::Path};

use jiff::Timestamp;

use crate::{
    error::RunError,
    manifest::{Manifest, Outcome, StoredFile},
    name::{BackupName, FileKind, RunName},
    proof::Proof,
};

/// The files of one run.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) run: RunName,
    pub(crate) state: State,
    /// Files with the name of a backup of this run: one, or none.
    pub(crate) backups: Vec<String>,
    pub(crate) unfinished: Vec<String>,
    pub(crate) proof: Option<Proof>,
}

#[derive(Debug)]
pub(crate) enum State {
    /// Its file is there, with the manifest's size.
    Complete(Manifest),
    /// So is this one's, but it lacks databases or objects.
    Partial(Manifest),
    /// Its manifest says that there is a backup, but the file is gone or has another size.
    Missing(Manifest),
    Failed(Manifest),
    /// For a person to inspect.
    Unreadable(String),
    /// Of a run that is at work or was killed.
    WithoutManifest,
}

impl Entry {
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        match &self.state {
            State::Complete(manifest)
            | State::Partial(manifest)
            | State::Missing(manifest)
            | State::Failed(manifest) => Some(manifest),
            State::Unreadable(_) | State::WithoutManifest => None,
        }
    }

    /// The manifest of a backup that can be restored.
    pub(crate) fn restorable(&self) -> Option<&Manifest> {
        match &self.state {
            State::Complete(manifest) | State::Partial(manifest) => Some(manifest),
            _ => None,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete(_))
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.proof.as_ref().is_some_and(Proof::is_proven)
    }

    /// By which runs are ordered: their sequence, which no clock changes, and then their start.
    pub(crate) fn order(&self) -> (u64, Option<Timestamp>) {
        (self.manifest().map_or(0, |manifest| manifest.sequence), self.run.started_at())
    }
}

/// [`read`], with an error that says where.
pub(crate) fn list(directory: &Path, backup: &BackupName) -> Result<Vec<Entry>, RunError> {
    read(directory, backup).map_err(|source| RunError::Storage { action: "list", path: directory.to_owned(), source })
}

/// The runs of one backup, newest first. As many as retention leaves, so few.
pub(crate) fn read(directory: &Path, backup: &BackupName) -> io::Result<Vec<Entry>> {
    let mut files: BTreeMap<RunName, Vec<(FileKind, String)>> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some((run, kind)) = RunName::parse(name).filter(|(run, _)| run.backup() == backup) {
            files.entry(run).or_default().push((kind, name.to_owned()));
        }
    }
    let mut entries: Vec<Entry> = files.into_iter().map(|(run, files)| entry(directory, run, files)).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.order()));
    Ok(entries)
}

fn entry(directory: &Path, run: RunName, files: Vec<(FileKind, String)>) -> Entry {
    let has = |kind: FileKind| files.iter().any(|(other, _)| *other == kind);
    let state = if has(FileKind::Manifest) { state(directory, &run) } else { State::WithoutManifest };
    let proof = has(FileKind::Proof).then(|| Proof::read(&directory.join(run.proof_file())).ok()).flatten();
    let named = |kind: FileKind| files.iter().filter(move |(other, _)| *other == kind).map(|(_, name)| name.clone());
    let (backups, unfinished) = (named(FileKind::Backup).collect(), named(FileKind::Unfinished).collect());
    Entry { run, state, backups, unfinished, proof }
}

fn state(directory: &Path, run: &RunName) -> State {
    let manifest = match Manifest::read(&directory.join(run.manifest_file())) {
        Ok(manifest) => manifest,
        Err(error) => return State::Unreadable(error.to_string()),
    };
    let is_there = |expected: &StoredFile| {
        let stored = fs::metadata(directory.join(&expected.name)).ok().filter(fs::Metadata::is_file);
        stored.is_some_and(|file| file.len() == expected.stored_bytes)
    };
    match &manifest.outcome {
        Outcome::Ok(success) if is_there(&success.file) => State::Complete(manifest),
        Outcome::Partial(saved) if is_there(&saved.file) => State::Partial(manifest),
        Outcome::Ok(_) | Outcome::Partial(_) => State::Missing(manifest),
        Outcome::Failed(_) => State::Failed(manifest),
    }
}
