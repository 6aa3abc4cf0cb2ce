//! Why a copy or a fetch fails.

use std::{path::PathBuf, time::Duration};

use crate::{
    error::RunError,
    manifest::{ParseError, ReadError},
    offsite::store::StoreError,
};

#[derive(Debug, thiserror::Error)]
pub enum OffsiteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the off-site store failed: {0}")]
    Request(#[from] object_store::Error),
    #[error(transparent)]
    Local(#[from] RunError),
    #[error(transparent)]
    ReadManifest(#[from] ReadError),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} is damaged: its checksum is not the manifest's; `mysql-backup verify` shows more", path.display())]
    Damaged { path: PathBuf },
    #[error("{name} in the off-site store is not a manifest: it is {source}")]
    Manifest { name: String, source: ParseError },
    #[error("the off-site store has no complete backup {0}")]
    Nothing(String),
    #[error("the off-site store has more than {0} files of this backup: move old ones away")]
    TooMany(usize),
    #[error("the off-site copy took longer than {} s (--offsite.timeout)", .0.as_secs_f64())]
    Timeout(Duration),
}
