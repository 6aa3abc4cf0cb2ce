//! Errors of the testbed: unexpected pages and responses, and failures of the servers that it starts.

use std::fmt;

/// Its `Debug` is its `Display`: a test that returns or unwraps it shows the sentence, log tail included.
#[derive(thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Server(#[from] medassist_stack::Error),
    #[error("the page is not text format 0.0.4: line {line}: {reason}")]
    Page { line: usize, reason: String },
    #[error("{0}")]
    Series(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
