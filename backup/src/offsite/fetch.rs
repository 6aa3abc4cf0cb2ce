//! Brings a backup from the store to a directory, from which it can be verified and restored.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use jiff::Timestamp;
use object_store::ObjectStoreExt as _;
use service_kit::hex;
use sha2::{Digest as _, Sha256};

use crate::{
    blocking::blocking,
    manifest::{MAX_BYTES, Manifest, Success},
    name::{BackupName, FileKind, RunName},
    offsite::{
        copy::list,
        error::OffsiteError,
        store::{Location, Remote},
    },
    progress::Progress,
    store::Store,
};

const PART: u64 = 16 << 20;

/// Which backup to fetch, and where to.
pub struct Request {
    pub location: Location,
    pub directory: PathBuf,
    pub backup: BackupName,
    pub at: Option<Timestamp>,
    pub run: Option<String>,
}

/// What is now in the directory.
#[derive(Debug)]
pub struct Fetched {
    pub run: String,
    pub recovery_point: Timestamp,
    pub stored_bytes: u64,
}

/// Downloads the file, or the rest of it, verifies its checksum, and writes its manifest last.
pub async fn fetch(request: Request) -> Result<Fetched, OffsiteError> {
    let Request { location, directory, backup, at, run } = request;
    let remote = blocking(move || Remote::open(&location)).await?;
    let objects = list(&remote, &backup).await?;
    let (run, manifest) = choose(&remote, &objects, &backup, at, run).await?;
    let Some(saved) = manifest.saved() else { return Err(OffsiteError::Nothing(backup.to_string())) };
    let (place, name) = (directory.clone(), backup.clone());
    let store = blocking(move || Store::open(&place, &name)).await?;
    let fetched =
        Fetched { run: run.to_string(), recovery_point: saved.recovery_point, stored_bytes: saved.file.stored_bytes };
    if !has(&directory, &run, saved) {
        download(&remote, &store.partial_path(&run), saved).await?;
        let stored = manifest.clone();
        blocking(move || store.commit(&run, &stored)).await?;
    }
    Ok(fetched)
}

fn has(directory: &std::path::Path, run: &RunName, saved: &Success) -> bool {
    directory.join(run.manifest_file()).exists()
        && fs::metadata(directory.join(&saved.file.name)).is_ok_and(|file| file.len() == saved.file.stored_bytes)
}

/// The newest complete backup, else the newest partial one; or the one of a run; or the newest up to a time.
async fn choose(
    remote: &Remote,
    objects: &HashMap<String, u64>,
    backup: &BackupName,
    at: Option<Timestamp>,
    wanted: Option<String>,
) -> Result<(RunName, Manifest), OffsiteError> {
    let manifests = objects.keys().filter_map(|name| RunName::parse(name));
    let mut runs: Vec<RunName> =
        manifests.filter(|(_, kind)| *kind == FileKind::Manifest).map(|(run, _)| run).collect();
    // Their names sort by time.
    runs.sort();
    let mut partial = None;
    for run in runs.into_iter().rev() {
        if wanted.as_ref().is_some_and(|wanted| run.to_string() != *wanted) {
            continue;
        }
        let manifest = match read(remote, &run).await {
            Ok(manifest) => manifest,
            Err(error) if wanted.is_some() => return Err(error),
            Err(error) => {
                tracing::warn!(%run, %error, "manifest skipped");
                continue;
            }
        };
        let Some(saved) = manifest.saved() else { continue };
        let is_there = objects.get(&saved.file.name) == Some(&saved.file.stored_bytes);
        if !is_there || at.is_some_and(|at| saved.recovery_point > at) {
            continue;
        }
        if manifest.success().is_some() || wanted.is_some() || at.is_some() {
            return Ok((run, manifest));
        }
        partial = partial.or(Some((run, manifest)));
    }
    partial.ok_or_else(|| OffsiteError::Nothing(wanted.unwrap_or_else(|| backup.to_string())))
}

async fn read(remote: &Remote, run: &RunName) -> Result<Manifest, OffsiteError> {
    let name = run.manifest_file();
    let path = remote.path(&name);
    let invalid = |source| OffsiteError::Manifest { name: name.clone(), source };
    if remote.store.head(&path).await?.size > MAX_BYTES {
        return Err(invalid(crate::manifest::ParseError::TooLarge));
    }
    let bytes = remote.store.get(&path).await?.bytes().await?;
    let manifest = Manifest::parse(&bytes).map_err(invalid)?;
    if manifest.run_name().as_ref() != Some(run) {
        return Err(invalid(crate::manifest::ParseError::Invalid("its file name isn't that of its run")));
    }
    Ok(manifest)
}

/// Continues what an attempt before this one left.
async fn download(remote: &Remote, path: &std::path::Path, saved: &Success) -> Result<(), OffsiteError> {
    let (owned, expected) = (path.to_owned(), saved.file.stored_bytes);
    let local = |source| OffsiteError::Write { path: path.to_owned(), source };
    let (mut file, mut hash, mut offset) = blocking(move || open(&owned, expected)).await.map_err(local)?;
    let source = remote.path(&saved.file.name);
    let progress = Progress::start("fetch", expected);
    while offset < expected {
        let end = expected.min(offset + PART);
        let bytes = remote.store.get_range(&source, offset..end).await?;
        if bytes.len() as u64 != end - offset {
            return Err(OffsiteError::Damaged { path: saved.file.name.clone().into() });
        }
        (file, hash) = blocking(move || {
            file.write_all(&bytes)?;
            hash.update(&bytes);
            Ok::<_, io::Error>((file, hash))
        })
        .await
        .map_err(local)?;
        offset = end;
        progress.set(offset);
    }
    progress.finish();
    blocking(move || file.sync_all()).await.map_err(local)?;
    if hex::lower(hash.finalize()) == saved.file.sha256 {
        return Ok(());
    }
    let owned = path.to_owned();
    // The next attempt begins at the start.
    let _ = blocking(move || fs::remove_file(owned)).await;
    Err(OffsiteError::Damaged { path: saved.file.name.clone().into() })
}

fn open(path: &std::path::Path, expected: u64) -> io::Result<(File, Sha256, u64)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.len() > expected {
        file.set_len(0)?;
    }
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 128 * 1024];
    let mut offset = 0;
    // It ends where the next part belongs.
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((file, hash, offset)),
            len => {
                hash.update(&chunk[..len]);
                offset += len as u64;
            }
        }
    }
}
