//! Why a restore fails.

use crate::{choose::ChooseError, error::RunError};

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Nothing was changed.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Choose(#[from] ChooseError),
    #[error(transparent)]
    Server(#[from] RunError),
    #[error("stopped by a signal; what is loaded so far stays on the target")]
    Interrupted,
}
