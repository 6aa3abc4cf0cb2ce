//! The address of a server to connect to: `db`, `db:3306`, `127.0.0.1:3306`, `[::1]:3306` or `unix:///path`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The address of a server to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid address {text:?}: expected HOST, HOST:PORT, [IPv6]:PORT or unix:///path")]
pub struct AddressError {
    text: String,
}

impl Address {
    /// `default_port` is the port of an address without one.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let address = match text.strip_prefix("unix://") {
            Some(path) => {
                (path.starts_with('/') && !path.contains(char::is_control)).then(|| Self::Unix(PathBuf::from(path)))
            }
            None => host_and_port(text).and_then(|(host, port)| {
                let port = port.unwrap_or(default_port);
                (port != 0).then(|| Self::Tcp { host: host.to_owned(), port })
            }),
        };
        address.ok_or_else(|| AddressError { text: text.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A clap value parser for addresses with this default port.
pub fn parser(default_port: u16) -> impl Fn(&str) -> Result<Address, AddressError> + Clone + Send + Sync + 'static {
    move |text| Address::parse(text, default_port)
}

/// Splits `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`. Only characters of a host name pass: the host may end up in
/// an option file or a URL.
pub(crate) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port, is_valid) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port, host.parse::<Ipv6Addr>().is_ok())
        }
        None => {
            let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            (host, port, !host.is_empty() && host.chars().all(is_host_character))
        }
    };
    let port = port.map(decimal_port).map_or(Some(None), |port| port.map(Some))?;
    is_valid.then_some((host, port))
}

/// `str::parse` alone would accept `+80`.
pub(crate) fn decimal_port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn is_host_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_every_form() {
        for (text, printed) in [
            ("db", "db:3306"),
            ("localhost", "localhost:3306"),
            ("db.example:13306", "db.example:13306"),
            ("app_db-1:3307", "app_db-1:3307"),
            ("127.0.0.1:13306", "127.0.0.1:13306"),
            ("[::1]", "[::1]:3306"),
            ("[::1]:3306", "[::1]:3306"),
            ("unix:///run/my sql/mysqld.sock", "unix:///run/my sql/mysqld.sock"),
        ] {
            assert_eq!(Address::parse(text, 3306).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn rejects_ambiguous_and_dangerous_text() {
        for text in [
            "",
            ":3306",
            "db:",
            "db:port",
            "db:0",
            "db:+80",
            "db:99999",
            "::1",
            "::1:3306",
            "[::1",
            "[::1]3306",
            "[db]:3306",
            "[]:3306",
            "a b:1",
            "a\nb:1",
            "a\"b:1",
            "db/x:1",
            "redis://db:6379",
            "unix://relative",
            "unix://",
            "unix:///a\nb",
        ] {
            let error = Address::parse(text, 3306).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid address {text:?}: expected HOST")), "{error}");
        }
    }
}
