//! What is wrong with one key of the web configuration.

/// An invalid key. The text never contains a value that may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub(crate) struct KeyError {
    key: String,
    reason: String,
}

impl KeyError {
    pub(crate) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}
