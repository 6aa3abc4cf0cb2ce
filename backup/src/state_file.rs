//! Small files of JSON next to the manifests, which the job replaces and `backup-exporter` reads.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::RunError,
    manifest::{ParseError, ReadError, read_bounded},
    store::write_state,
};

/// What is in such a file.
pub trait StateFile: Serialize + DeserializeOwned {
    /// For messages: "the state of …".
    const WHAT: &'static str;
    /// The only version that is read.
    const VERSION: u32;

    fn version(&self) -> u32;

    fn read(path: &Path) -> Result<Self, StateError> {
        let bytes = read_bounded(path)?;
        let place = || path.display().to_string();
        let state: Self =
            serde_json::from_slice(&bytes).map_err(|error| StateError::Parse(place(), Self::WHAT, error))?;
        match state.version() {
            version if version == Self::VERSION => Ok(state),
            version => Err(StateError::Version(place(), version, Self::VERSION)),
        }
    }
}

pub(crate) fn write<T: StateFile>(directory: &Path, name: &str, state: &T) -> Result<(), RunError> {
    write_state(directory, name, &serde_json::to_vec_pretty(state).map_err(ParseError::from)?)
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0} is not {1}: {2}")]
    Parse(String, &'static str, serde_json::Error),
    #[error("{0} has schema version {1}, but only {2} is known: upgrade the reader")]
    Version(String, u32, u32),
}
