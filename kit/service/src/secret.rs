//! Secrets come from a file or from an environment variable, never from a flag, and are never printed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file;

/// A password or a token. Clones share one copy of the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read {flag}={}: {source}", .path.display())]
    Read { flag: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot use {flag}={}: the file is empty", .path.display())]
    Empty { flag: &'static str, path: PathBuf },
    #[error("both {flag} and the variable {variable} are set: remove one of them")]
    Both { flag: &'static str, variable: &'static str },
    #[error("the value of the variable {variable} is not UTF-8 text")]
    NotUtf8 { variable: &'static str },
}

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text of a file without the line ends after it (`\n` or `\r\n`). An empty file is an error. It blocks.
    pub fn read(flag: &'static str, path: &Path) -> Result<Self, SecretError> {
        let text = file::read_text(path).map_err(|source| SecretError::Read { flag, path: path.to_owned(), source })?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(SecretError::Empty { flag, path: path.to_owned() }),
            secret => Ok(Self::new(secret)),
        }
    }

    /// The file that the flag names, else the variable's value. An empty variable counts as unset. Both is an error.
    pub fn from_file_or_variable(
        flag: &'static str,
        path: Option<&Path>,
        variable: &'static str,
    ) -> Result<Option<Self>, SecretError> {
        let value = std::env::var_os(variable).filter(|value| !value.is_empty());
        match (path, value) {
            (Some(_), Some(_)) => Err(SecretError::Both { flag, variable }),
            (Some(path), None) => Self::read(flag, path).map(Some),
            (None, Some(value)) => {
                let value = value.into_string().map_err(|_| SecretError::NotUtf8 { variable })?;
                Ok(Some(Self::new(value)))
            }
            (None, None) => Ok(None),
        }
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAG: &str = "--mysql.password-file";

    fn read(bytes: &[u8]) -> Result<Secret, SecretError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Secret::read(FLAG, file.path())
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(Secret(***))");
    }

    #[test]
    fn only_line_ends_after_the_secret_are_trimmed() {
        for bytes in [&b" se cret "[..], b" se cret \n", b" se cret \r\n", b" se cret \r\n\r\n"] {
            assert_eq!(read(bytes).unwrap().expose(), " se cret ");
        }
        assert_eq!(read(b"\ntwo\nlines\n").unwrap().expose(), "\ntwo\nlines");
    }

    #[test]
    fn errors_name_the_flag_and_the_path() {
        for empty in [&b""[..], b"\n", b"\r\n"] {
            let error = read(empty).unwrap_err().to_string();
            assert!(
                error.starts_with("cannot use --mysql.password-file=/") && error.ends_with(": the file is empty"),
                "{error}"
            );
        }
        let error = read(b"caf\xe9").unwrap_err().to_string();
        assert!(error.starts_with("cannot read --mysql.password-file=/") && error.contains("not UTF-8"), "{error}");
        let error = Secret::read(FLAG, Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read --mysql.password-file=/nowhere: No such file"), "{error}");
        assert!(matches!(Secret::read(FLAG, Path::new("/dev/zero")), Err(SecretError::Read { .. })));
    }

    #[test]
    fn a_file_and_a_variable_together_are_an_error() {
        let from = |path, variable| Secret::from_file_or_variable(FLAG, path, variable);
        // Cargo sets one of these for its tests, and the other one is not set.
        assert_eq!(from(None, "SERVICE_KIT_TEST_UNSET").unwrap(), None);
        assert_eq!(from(None, "CARGO_PKG_NAME").unwrap().unwrap().expose(), "service-kit");
        let error = from(Some(Path::new("/nowhere")), "CARGO_PKG_NAME").unwrap_err().to_string();
        assert_eq!(error, "both --mysql.password-file and the variable CARGO_PKG_NAME are set: remove one of them");
        // Cargo sets this one to nothing: the package has no homepage.
        assert_eq!(std::env::var("CARGO_PKG_HOMEPAGE").as_deref(), Ok(""));
        assert_eq!(from(None, "CARGO_PKG_HOMEPAGE").unwrap(), None);
    }
}
