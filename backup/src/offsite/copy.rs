//! Copies what the store lacks, the newest backup first: it is the recovery point.

use std::{collections::HashMap, fs::File, io::Read as _, path::Path, time::Duration};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use object_store::{ObjectStoreExt as _, PutPayload};
use service_kit::hex;
use sha2::{Digest as _, Sha256};

use crate::{
    blocking::{blocking, storage},
    catalog::{self, Entry},
    manifest::{StoredFile, read_bounded},
    name::{BackupName, RunName},
    offsite::{
        error::OffsiteError,
        store::{Location, Remote},
    },
};

/// What one request carries, and what a copy holds in memory.
const PART: u64 = 16 << 20;
/// S3 takes 10,000 parts of one object.
const MAX_PARTS: u64 = 9_000;
/// More objects of one backup are an error: their names are held in memory.
const MAX_OBJECTS: usize = 200_000;

/// What is where after an attempt.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Whether the store was listed. If not, what was there before is all that is known.
    pub(crate) listed: bool,
    pub(crate) copied: u64,
    pub(crate) pending: u64,
    pub(crate) recovery_point: Option<Timestamp>,
}

impl Progress {
    fn add(&mut self, entry: &Entry) {
        self.copied += 1;
        self.pending -= 1;
        let saved = entry.restorable().and_then(|manifest| manifest.saved());
        self.recovery_point = self.recovery_point.max(saved.map(|saved| saved.recovery_point));
    }
}

/// One attempt. What was copied counts, even if it fails in the end.
pub(crate) async fn copy_all(
    location: &Location,
    directory: &Path,
    backup: &BackupName,
    timeout: Duration,
    progress: &mut Progress,
) -> Result<(), OffsiteError> {
    let (place, name) = (directory.to_owned(), backup.clone());
    let entries = storage("list the backups", timeout, move || catalog::list(&place, &name)).await?;
    let mut entries: Vec<Entry> = entries.into_iter().filter(|entry| entry.restorable().is_some()).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.order()));
    progress.pending = entries.len() as u64;

    let location = location.clone();
    let remote = blocking(move || Remote::open(&location)).await?;
    let there = list(&remote, backup).await?;
    progress.listed = true;
    let (copied, missing): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| is_there(entry, &there));
    copied.into_iter().for_each(|entry| progress.add(entry));
    let mut damaged = None;
    for entry in missing {
        match copy(&remote, directory, entry, &there).await {
            Ok(()) => progress.add(entry),
            // It must not hold back the others.
            Err(error @ OffsiteError::Damaged { .. }) => {
                tracing::error!(run = %entry.run, %error, "backup not copied");
                damaged = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    for entry in &entries {
        let proof = entry.run.proof_file();
        if entry.proof.is_some() && !there.contains_key(&proof) {
            put_small(&remote, directory, &proof).await?;
        }
    }
    damaged.map_or(Ok(()), Err)
}

/// Whether the store has the manifest, and the file as long as it says.
fn is_there(entry: &Entry, there: &HashMap<String, u64>) -> bool {
    let saved = entry.restorable().and_then(|manifest| manifest.saved());
    there.contains_key(&entry.run.manifest_file())
        && saved.is_some_and(|saved| there.get(&saved.file.name) == Some(&saved.file.stored_bytes))
}

/// The names of a backup's files in the store, and their sizes.
pub(crate) async fn list(remote: &Remote, backup: &BackupName) -> Result<HashMap<String, u64>, OffsiteError> {
    let mut objects = remote.store.list(remote.prefix());
    let mut found = HashMap::new();
    while let Some(object) = objects.try_next().await? {
        let Some(name) = object.location.filename() else { continue };
        if RunName::parse(name).is_some_and(|(run, _)| run.backup() == backup) {
            found.insert(name.to_owned(), object.size);
        }
        if found.len() > MAX_OBJECTS {
            return Err(OffsiteError::TooMany(MAX_OBJECTS));
        }
    }
    Ok(found)
}

/// The file, and then the manifest: without it, a copy is not complete.
async fn copy(
    remote: &Remote,
    directory: &Path,
    entry: &Entry,
    there: &HashMap<String, u64>,
) -> Result<(), OffsiteError> {
    let Some(saved) = entry.restorable().and_then(|manifest| manifest.saved()) else { return Ok(()) };
    let started = tokio::time::Instant::now();
    // An object appears as a whole, so one with the right size is one that an attempt before this one copied.
    if there.get(&saved.file.name) != Some(&saved.file.stored_bytes) {
        put_file(remote, directory, &saved.file).await?;
    }
    put_small(remote, directory, &entry.run.manifest_file()).await?;
    tracing::info!(
        file = saved.file.name,
        stored_bytes = saved.file.stored_bytes,
        duration_seconds = started.elapsed().as_secs_f64(),
        "backup copied off-site"
    );
    Ok(())
}

async fn put_small(remote: &Remote, directory: &Path, name: &str) -> Result<(), OffsiteError> {
    let path = directory.join(name);
    let bytes = blocking(move || read_bounded(&path)).await?;
    remote.store.put(&remote.path(name), bytes.into()).await?;
    Ok(())
}

async fn put_file(remote: &Remote, directory: &Path, file: &StoredFile) -> Result<(), OffsiteError> {
    let part = PART.max(file.stored_bytes / MAX_PARTS);
    let path = directory.join(&file.name);
    let mut source = Source::open(&path, part).await?;
    let target = remote.path(&file.name);
    let damaged = || OffsiteError::Damaged { path: path.clone() };
    if file.stored_bytes <= part {
        let bytes = source.next().await?;
        if source.sha256() != file.sha256 {
            return Err(damaged());
        }
        remote.store.put(&target, bytes.into()).await?;
        return Ok(());
    }
    let mut upload = remote.store.put_multipart(&target).await?;
    let mut sent = async || {
        loop {
            let bytes = source.next().await?;
            if bytes.is_empty() {
                break;
            }
            upload.put_part(PutPayload::from(bytes)).await?;
        }
        if source.sha256() != file.sha256 {
            return Err(damaged());
        }
        upload.complete().await?;
        Ok(())
    };
    let result = sent().await;
    if result.is_err() {
        // Best effort, and a right that the job may lack: a rule of the bucket removes what is left.
        let _ = upload.abort().await;
    }
    result
}

/// A file in parts, hashed.
struct Source {
    file: File,
    hash: Sha256,
    part: u64,
}

impl Source {
    async fn open(path: &Path, part: u64) -> Result<Self, OffsiteError> {
        let owned = path.to_owned();
        let file = blocking(move || File::open(owned)).await;
        let file = file.map_err(|source| OffsiteError::Read { path: path.to_owned(), source })?;
        Ok(Self { file, hash: Sha256::new(), part })
    }

    /// Empty at the end.
    async fn next(&mut self) -> Result<Vec<u8>, OffsiteError> {
        let read = |path: std::io::Error| OffsiteError::Read { path: "the backup".into(), source: path };
        let (file, part) = (self.file.try_clone().map_err(read)?, self.part);
        let bytes = blocking(move || {
            let mut bytes = Vec::new();
            file.take(part).read_to_end(&mut bytes).map(|_| bytes)
        });
        let bytes = bytes.await.map_err(read)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn sha256(&self) -> String {
        hex::lower(self.hash.clone().finalize())
    }
}
