//! Which user and password go to which server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use exporter_toolkit::secret::{Secret, SecretError};

use crate::address::{Address, AddressError, Endpoint};

const PASSWORD_FILE: &str = "--redis.password-file";

/// The credentials of flags and environment. An address may have its own.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    /// The server of `/metrics`. The one password is for it, and for the servers below.
    pub main: Endpoint,
    pub password_targets: Vec<PasswordTarget>,
}

/// A value of `--redis.password-targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PasswordTarget {
    Any,
    Server(Endpoint),
}

impl FromStr for PasswordTarget {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text {
            "*" => Ok(Self::Any),
            _ => Ok(Self::Server(text.parse::<Address>()?.endpoint)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Without the parser's text, which may quote the file.
    #[error(
        "cannot use {PASSWORD_FILE}={}: {reason}: expected only the password, or a JSON object of passwords by address", .path.display()
    )]
    Malformed { path: PathBuf, reason: String },
    #[error(
        "the exporter's password is not sent to this target: list it in --redis.password-targets or --probe.targets, or give {PASSWORD_FILE} a JSON object of passwords by address"
    )]
    NotForTarget,
}

/// What AUTH sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl Credentials {
    /// For one connection. The file is read each time, so that a password can change while the exporter runs.
    pub(crate) fn login(&self, address: &Address) -> Result<Login, CredentialsError> {
        let user = address.user.clone().or_else(|| self.user.clone());
        let password = match (&address.password, &self.password_file) {
            (Some(password), _) => Some(password.clone()),
            (None, Some(path)) => match PasswordFile::read(path)? {
                PasswordFile::One(password) => Some(self.shared(password, address)?),
                PasswordFile::ByServer(passwords) => {
                    passwords.get(&server(&address.endpoint, user.as_deref())).cloned()
                }
            },
            (None, None) => match &self.password {
                Some(password) => Some(self.shared(password.clone(), address)?),
                None => None,
            },
        };
        // --redis.user goes with a password to other servers than its own, never alone.
        let user = if password.is_some() || self.is_for(address) { user } else { address.user.clone() };
        Ok(Login { user, password })
    }

    fn shared(&self, password: Secret, address: &Address) -> Result<Secret, CredentialsError> {
        if self.is_for(address) { Ok(password) } else { Err(CredentialsError::NotForTarget) }
    }

    /// The scheme counts: a password for TLS never goes to the same port without TLS.
    fn is_for(&self, address: &Address) -> bool {
        address.endpoint == self.main
            || self.password_targets.iter().any(|target| match target {
                PasswordTarget::Any => true,
                PasswordTarget::Server(endpoint) => *endpoint == address.endpoint,
            })
    }
}

/// A server and a user in it: `redis://user@host:6379`.
fn server(endpoint: &Endpoint, user: Option<&str>) -> (String, Option<String>) {
    (endpoint.to_string(), user.map(str::to_owned))
}

enum PasswordFile {
    One(Secret),
    /// The peer's JSON object, `{"redis://user@host:6379": "secret"}`. A server that is not in it has no password.
    ByServer(BTreeMap<(String, Option<String>), Secret>),
}

impl PasswordFile {
    fn read(path: &Path) -> Result<Self, CredentialsError> {
        let secret = Secret::read(PASSWORD_FILE, path)?;
        Self::parse(secret).map_err(|reason| CredentialsError::Malformed { path: path.to_owned(), reason })
    }

    /// An object with a mistake must never count as one password: it would be sent whole.
    fn parse(secret: Secret) -> Result<Self, String> {
        let text = secret.expose();
        let json = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if json.starts_with('{') {
            return by_server(json).map(Self::ByServer);
        }
        if text.contains(['\n', '\r']) {
            return Err("it has more than one line".to_owned());
        }
        if text.contains("://") {
            return Err("it contains an address, but it is not a JSON object".to_owned());
        }
        Ok(Self::One(secret))
    }
}

fn by_server(json: &str) -> Result<BTreeMap<(String, Option<String>), Secret>, String> {
    let by_address: BTreeMap<String, String> = serde_json::from_str(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("it is not a JSON object of strings (line {line}, column {column})")
    })?;
    let mut passwords = BTreeMap::new();
    for (entry, (key, password)) in (1..).zip(&by_address) {
        let address: Address =
            key.parse().map_err(|error| format!("address {entry} in alphabetical order: {error}"))?;
        // The peer, too, takes an empty password for none.
        if password.is_empty() {
            continue;
        }
        if passwords
            .insert(server(&address.endpoint, address.user.as_deref()), Secret::new(password.as_str()))
            .is_some()
        {
            return Err(format!("address {entry} in alphabetical order is in the object twice"));
        }
    }
    Ok(passwords)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PasswordFile, String> {
        PasswordFile::parse(Secret::new(text))
    }

    fn credentials(flags: &[&str]) -> Credentials {
        Credentials {
            user: Some("flag".into()),
            password: Some(Secret::new("env")),
            password_file: None,
            main: "main".parse::<Address>().unwrap().endpoint,
            password_targets: flags.iter().map(|flag| flag.parse().unwrap()).collect(),
        }
    }

    fn with_file(text: &str) -> (tempfile::NamedTempFile, Credentials) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let credentials = Credentials { password_file: Some(file.path().to_owned()), ..credentials(&[]) };
        (file, credentials)
    }

    fn login(credentials: &Credentials, address: &str) -> Result<Login, CredentialsError> {
        credentials.login(&address.parse().unwrap())
    }

    fn user_and_password(user: Option<&str>, password: Option<&str>) -> Login {
        Login { user: user.map(str::to_owned), password: password.map(Secret::new) }
    }

    #[test]
    fn a_file_with_one_line_is_one_password() {
        for text in [" se cret ", "[brackets]", "\"quoted\"", "a:b,c{}"] {
            assert!(matches!(parse(text), Ok(PasswordFile::One(secret)) if secret.expose() == text), "{text}");
        }
    }

    #[test]
    fn a_malformed_file_is_an_error_that_quotes_nothing_of_it() {
        for (text, reason) in [
            (r#"{"redis://a": "sesame", "redis://b": "sesame",}"#, "line 1, column 47"),
            (r#"{"redis://a": "sesame", "redis://b": 7}"#, "line 1"),
            (r#"{"redis://a": {"password": "sesame"}}"#, "line 1"),
            (r#"{"redis://a": "sesame""#, "line 1"),
            (r#"{"redis://a": "sesame"} {}"#, "line 1"),
            ("{sesame", "line 1"),
            ("\u{feff}\n{sesame", "line 1"),
            (r#"{"http://sesame": "sesame"}"#, "address 1"),
            (r#"{"a": "sesame", "redis://a:6379": "sesame2"}"#, "twice"),
            (r#"["redis://a", "sesame"]"#, "contains an address"),
            (r#""redis://a": "sesame""#, "contains an address"),
            ("a: sesame\nb: sesame", "more than one line"),
        ] {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(error.contains(reason) && !error.contains("sesame"), "{text}: {error}");
        }
    }

    #[test]
    fn an_object_is_looked_up_by_address_and_user() {
        let (_file, mut credentials) = with_file(
            r#"{"redis://a:6379": "one", "redis://exporter@a:6379": "two", "rediss://b:6380": "three", "redis://c": ""}"#,
        );
        credentials.user = None;
        for (address, user, password) in [
            ("a", None, Some("one")),
            ("redis://exporter@a", Some("exporter"), Some("two")),
            ("rediss://b:6380", None, Some("three")),
            ("b:6380", None, None),
            ("c", None, None),
            ("evil.example", None, None),
        ] {
            assert_eq!(login(&credentials, address).unwrap(), user_and_password(user, password), "{address}");
        }
        credentials.user = Some("exporter".to_owned());
        assert_eq!(login(&credentials, "a").unwrap(), user_and_password(Some("exporter"), Some("two")));
        assert_eq!(login(&credentials, "evil.example").unwrap(), Login::default(), "the user is not sent alone");
    }

    #[test]
    fn the_address_goes_before_the_flags() {
        let credentials = credentials(&[]);
        assert_eq!(login(&credentials, "main").unwrap(), user_and_password(Some("flag"), Some("env")));
        let own = login(&credentials, "redis://me:mine@other").unwrap();
        assert_eq!(own, user_and_password(Some("me"), Some("mine")));
    }

    #[test]
    fn one_password_goes_to_the_main_target_and_to_those_listed() {
        let (_file, of_file) = with_file("file\n");
        for credentials in [of_file, credentials(&[])] {
            assert!(login(&credentials, "redis://main:6379").unwrap().password.is_some());
            for other in ["other", "main:6380", "rediss://main", "redis://me@other", "unix:///main"] {
                let error = login(&credentials, other).unwrap_err();
                assert!(error.to_string().contains("--redis.password-targets"), "{other}: {error}");
            }
        }
        let listed = credentials(&["other", "rediss://main"]);
        assert!(login(&listed, "redis://other:6379").is_ok() && login(&listed, "rediss://main").is_ok());
        assert!(login(&listed, "other:1").is_err());
        assert!(login(&credentials(&["*"]), "evil.example").is_ok());
        assert!("http://x".parse::<PasswordTarget>().is_err());
    }

    #[test]
    fn a_missing_file_names_the_flag() {
        let credentials = Credentials { password_file: Some("/nonexistent/password".into()), ..credentials(&[]) };
        let error = login(&credentials, "main").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/password") && error.contains("--redis.password-file"), "{error}");
    }
}
