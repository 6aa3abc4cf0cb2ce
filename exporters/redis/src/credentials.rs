//! Which user and password go with which server.

use std::collections::HashMap;
use std::path::PathBuf;

use exporter_toolkit::secret::{Secret, SecretError};

use crate::address::Address;

/// The credentials of flags and environment. An address may have its own.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
}

/// What AUTH sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl Credentials {
    /// For one connection. The file is read each time, so that a password can change while the exporter runs.
    pub(crate) fn login(&self, address: &Address) -> Result<Login, SecretError> {
        let user = address.user.clone().or_else(|| self.user.clone());
        let password = match (&address.password, &self.password_file) {
            (Some(password), _) => Some(password.clone()),
            (None, Some(path)) => {
                let secret = Secret::read("--redis.password-file", path)?;
                password_in(secret, address, user.as_deref())
            }
            (None, None) => self.password.clone(),
        };
        Ok(Login { user, password })
    }
}

/// A file holds one password, or the peer's JSON object of passwords by address: `{"redis://user@host:6379":
/// "secret"}`. An address that is not in the object has no password: the passwords of other servers are not sent to it.
fn password_in(secret: Secret, address: &Address, user: Option<&str>) -> Option<Secret> {
    let Ok(by_address) = serde_json::from_str::<HashMap<String, String>>(secret.expose()) else { return Some(secret) };
    let passwords = by_address.iter().filter_map(|(key, password)| Some((key.parse::<Address>().ok()?, password)));
    passwords
        .filter(|(key, _)| key.endpoint == address.endpoint && key.user.as_deref() == user)
        .map(|(_, password)| Secret::new(password.as_str()))
        .find(|password| !password.expose().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str, address: &str, user: Option<&str>) -> Option<String> {
        password_in(Secret::new(text), &address.parse().unwrap(), user).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn text_that_is_not_a_json_object_is_one_password() {
        assert_eq!(password(" se cret ", "cache", None).as_deref(), Some(" se cret "));
        assert_eq!(password("{not json", "cache", None).as_deref(), Some("{not json"));
    }

    #[test]
    fn the_peers_json_is_looked_up_by_address_and_user() {
        let json = r#"{"redis://a:6379": "one", "redis://exporter@a:6379": "two", "rediss://b:6380": "three", "redis://c": ""}"#;
        assert_eq!(password(json, "a", None).as_deref(), Some("one"));
        assert_eq!(password(json, "a:6379", Some("exporter")).as_deref(), Some("two"));
        assert_eq!(password(json, "rediss://b:6380", None).as_deref(), Some("three"));
        assert_eq!(password(json, "b:6380", None), None);
        assert_eq!(password(json, "c", None), None);
        assert_eq!(password(json, "evil.example", None), None);
    }

    #[test]
    fn the_address_goes_before_the_flags() {
        let credentials =
            Credentials { user: Some("flag".into()), password: Some(Secret::new("env")), password_file: None };
        let login = |address: &str| credentials.login(&address.parse().unwrap()).unwrap();
        assert_eq!(login("cache"), Login { user: Some("flag".into()), password: Some(Secret::new("env")) });
        let own = login("redis://me:mine@cache");
        assert_eq!(own, Login { user: Some("me".into()), password: Some(Secret::new("mine")) });
    }

    #[test]
    fn a_missing_file_names_the_flag() {
        let credentials = Credentials { password_file: Some("/nonexistent/password".into()), ..Credentials::default() };
        let error = credentials.login(&"cache".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/password") && error.contains("--redis.password-file"), "{error}");
    }
}
