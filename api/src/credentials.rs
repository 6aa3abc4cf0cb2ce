//! The secrets of the API: read at the start, and again by a reload.

use std::path::PathBuf;

use service_kit::secret::{Secret, SecretError};

use crate::flags::Flags;

const MYSQL_PASSWORD: &str = "MEDASSIST_API_MYSQL_PASSWORD";
const REDIS_PASSWORD: &str = "MEDASSIST_API_REDIS_PASSWORD";

#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) mysql_password: Option<Secret>,
    pub(crate) redis_password: Option<Secret>,
    pub(crate) webhook_token: Option<Secret>,
}

/// The files with the secrets.
#[derive(Debug, Clone)]
pub(crate) struct CredentialFiles {
    mysql_password: Option<PathBuf>,
    redis_password: Option<PathBuf>,
    webhook_token: Option<PathBuf>,
}

impl CredentialFiles {
    pub(crate) fn new(flags: &Flags) -> Self {
        Self {
            mysql_password: flags.mysql_password_file.clone(),
            redis_password: flags.redis_password_file.clone(),
            webhook_token: flags.webhook_token_file.clone(),
        }
    }

    /// All of them, or an error. It blocks.
    pub(crate) fn read(&self) -> Result<Credentials, SecretError> {
        let Self { mysql_password, redis_password, webhook_token } = self;
        let password = Secret::from_file_or_variable;
        Ok(Credentials {
            mysql_password: password("--mysql.password-file", mysql_password.as_deref(), MYSQL_PASSWORD)?,
            redis_password: password("--redis.password-file", redis_password.as_deref(), REDIS_PASSWORD)?,
            webhook_token: webhook_token
                .as_deref()
                .map(|path| Secret::read("--webhook.token-file", path))
                .transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_file_is_an_error_for_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(directory.path().join(name));
        let files = CredentialFiles {
            mysql_password: path("mysql"),
            redis_password: path("redis"),
            webhook_token: path("token"),
        };
        for name in ["mysql", "redis"] {
            std::fs::write(directory.path().join(name), format!("{name}\r\n")).unwrap();
        }
        let error = files.read().unwrap_err().to_string();
        assert!(error.starts_with("cannot read --webhook.token-file=/"), "{error}");

        std::fs::write(directory.path().join("token"), "t").unwrap();
        let credentials = files.read().unwrap();
        assert_eq!(credentials.mysql_password.unwrap().expose(), "mysql");
        assert_eq!(credentials.webhook_token.unwrap().expose(), "t");
    }
}
