//! Addresses to listen on: `:9104`, `127.0.0.1:9104`, `[::1]:9104` or `localhost:9104`.

use std::fmt;
use std::io;
use std::str::FromStr;

use tokio::net::TcpListener;

use crate::address::{decimal_port, host_and_port};
use crate::resolve;

/// An address to listen on. It is a clap value through [`FromStr`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None`: every interface.
    host: Option<String>,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid listen address {text:?}: expected :PORT, HOST:PORT or [IPv6]:PORT{}", not_supported(.text))]
pub struct ListenAddressError {
    text: String,
}

/// What the Go toolkit accepts and we do not.
fn not_supported(text: &str) -> &'static str {
    if text.starts_with("vsock:") { "; vsock is not supported" } else { "" }
}

impl ListenAddress {
    /// Every interface.
    pub const fn all(port: u16) -> Self {
        Self { host: None, port }
    }

    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Binds the address. Without a host it is a dual-stack socket, or IPv4 where the machine has no IPv6.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        match &self.host {
            Some(host) => TcpListener::bind(&*resolve::with_port(resolve::addresses(host).await?, self.port)).await,
            None => match TcpListener::bind(("::", self.port)).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
                Err(_) => TcpListener::bind(("0.0.0.0", self.port)).await,
                Ok(listener) => Ok(listener),
            },
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = match text.strip_prefix(':') {
            Some(port) => decimal_port(port).map(Self::all),
            None => match host_and_port(text) {
                Some((host, Some(port))) => Some(Self { host: Some(host.to_owned()), port }),
                _ => None,
            },
        };
        address.ok_or_else(|| ListenAddressError { text: text.to_owned() })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host() {
            None => write!(f, ":{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_every_form() {
        for text in [":9104", "127.0.0.1:9104", "[::1]:9104", "localhost:9104", "0.0.0.0:0"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            ":",
            "9104",
            "localhost",
            "localhost:",
            "localhost:http",
            "::1:9104",
            ":99999",
            ":+1",
            "http://localhost:9104",
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid listen address {text:?}: expected :PORT")), "{error}");
        }
    }

    #[tokio::test]
    async fn binds_one_interface_or_all() {
        for (text, loopback) in [("localhost:0", true), ("127.0.0.1:0", true), (":0", false)] {
            let listener = text.parse::<ListenAddress>().unwrap().bind().await.unwrap();
            let address = listener.local_addr().unwrap();
            assert_eq!((address.ip().is_loopback(), address.ip().is_unspecified()), (loopback, !loopback), "{text}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_and_not_another_family() {
        let listener = ListenAddress::all(0).bind().await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(ListenAddress::all(port).bind().await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
