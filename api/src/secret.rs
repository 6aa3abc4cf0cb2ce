//! Secrets come from a file or from the environment, and print as `***`.

use std::{fmt, path::PathBuf};

use sha2::{Digest, Sha256};

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("--{flag}={}: {source}", .path.display())]
    Read { flag: &'static str, path: PathBuf, source: std::io::Error },
    #[error("--{flag}={}: the file is empty", .path.display())]
    Empty { flag: &'static str, path: PathBuf },
    #[error("both --{flag} and {variable} are set: keep one")]
    Both { flag: &'static str, variable: &'static str },
}

impl Secret {
    pub(crate) fn from_file(flag: &'static str, path: PathBuf) -> Result<Self, SecretError> {
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => Err(SecretError::Empty { flag, path }),
                secret => Ok(Self(secret.to_owned())),
            },
            Err(source) => Err(SecretError::Read { flag, path, source }),
        }
    }

    pub(crate) fn from_file_or_env(
        flag: &'static str,
        path: Option<PathBuf>,
        variable: &'static str,
    ) -> Result<Option<Self>, SecretError> {
        let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
        match (path, value) {
            (Some(_), Some(_)) => Err(SecretError::Both { flag, variable }),
            (Some(path), None) => Self::from_file(flag, path).map(Some),
            (None, value) => Ok(value.map(Self)),
        }
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Compares digests, so that the time it takes says nothing about how much of a guess was right.
    pub(crate) fn matches(&self, guess: &str) -> bool {
        Sha256::digest(&self.0) == Sha256::digest(guess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        assert_eq!(format!("{:?}", Secret("hunter2".into())), "***");
    }

    #[test]
    fn matches_only_itself() {
        let secret = Secret("token".into());
        assert!(secret.matches("token"));
        assert!(!secret.matches("token "));
        assert!(!secret.matches(""));
    }
}
