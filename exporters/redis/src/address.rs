//! Where a server is and who the exporter is there.

use std::fmt;
use std::path::PathBuf;

use exporter_toolkit::secret::Secret;
use redis::{ConnectionAddr, ConnectionInfo};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => ("redis", host, port),
            Self::Tls { host, port } => ("rediss", host, port),
        };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

/// An endpoint with what else stood in its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub endpoint: Endpoint,
    pub user: Option<String>,
    pub password: Option<Secret>,
}

/// The text itself is not part of the message: it may contain a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "not an address of a Redis server: redis://host:port, rediss://host:port, unix:///path or host:port is expected"
)]
pub struct AddressError;

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = match text {
            _ if text.contains("://") => text.to_owned(),
            _ if text.starts_with('/') => format!("unix://{text}"),
            _ => format!("redis://{text}"),
        };
        let info: ConnectionInfo = url.parse().map_err(|_| AddressError)?;
        let endpoint = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Endpoint::Tcp { host: host.clone(), port: *port },
            // `#insecure` would switch off the check of the certificate, which --tls-ca-cert-file makes unnecessary.
            ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
                Endpoint::Tls { host: host.clone(), port: *port }
            }
            ConnectionAddr::Unix(path) => Endpoint::Unix(path.clone()),
            _ => return Err(AddressError),
        };
        let settings = info.redis_settings();
        Ok(Self {
            endpoint,
            user: settings.username().filter(|user| !user.is_empty()).map(str::to_owned),
            password: settings.password().map(Secret::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints() {
        for (text, shown) in [
            ("redis://localhost:6379", "redis://localhost:6379"),
            ("redis://cache", "redis://cache:6379"),
            ("redis://cache:6380/3", "redis://cache:6380"),
            ("rediss://cache:6380", "rediss://cache:6380"),
            ("valkey://cache", "redis://cache:6379"),
            ("cache:7000", "redis://cache:7000"),
            ("cache", "redis://cache:6379"),
            ("[::1]:7000", "redis://[::1]:7000"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock"),
            ("/run/redis.sock", "unix:///run/redis.sock"),
        ] {
            assert_eq!(parse(text).endpoint.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn users_and_passwords() {
        let address = parse("redis://exporter:p%40ss@cache:6379");
        assert_eq!(address.user.as_deref(), Some("exporter"));
        assert_eq!(address.password.as_ref().map(Secret::expose), Some("p@ss"));
        assert_eq!(address.endpoint.to_string(), "redis://cache:6379");
        assert!(!format!("{address:?}").contains("p@ss"));
        let address = parse("redis://:secret@cache");
        assert_eq!((address.user, address.password), (None, Some(Secret::new("secret"))));
    }

    #[test]
    fn an_invalid_address_is_refused_without_repeating_it() {
        for text in
            ["", "http://cache:6379", "redis://", "cache:port", "redis://user:secret@", "rediss://cache/#insecure"]
        {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
