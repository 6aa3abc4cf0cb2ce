//! The URI of a place that answers `show stat`.

use std::path::PathBuf;

use exporter_toolkit::http::{Url, without_login};

/// What is wrong with `--haproxy.scrape-uri` or the target of a probe. Does not repeat it: it may contain a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UriError {
    #[error("unix:/path, unix:abns@name, tcp://host:port, http://host:port/path;csv or https:// is expected")]
    Scheme,
    #[error("unix: needs the absolute path of the socket, such as unix:/run/haproxy/admin.sock, or abns@name")]
    Path,
    #[error("tcp:// needs a host and a port, such as tcp://127.0.0.1:9999")]
    Port,
    #[error("not a URL: {0}")]
    Url(String),
}

#[derive(Clone, Debug)]
pub(crate) enum Uri {
    /// An abstract name begins with a 0.
    Unix(PathBuf),
    /// `host:port`
    Tcp(String),
    /// With user and password, if there are any: reqwest makes them a header.
    Http(Url),
}

/// HAProxy fills the name of an `abns@` socket up to this length with zeros.
const ABSTRACT_NAME: usize = 107;

impl Uri {
    /// The URI, and its text without a password.
    pub(crate) fn parse(uri: &str) -> Result<(Self, String), UriError> {
        let (scheme, rest) = uri.split_once(':').ok_or(UriError::Scheme)?;
        match scheme {
            "unix" => {
                // unix:/path and unix:///path are the same.
                let path = rest.strip_prefix("//").unwrap_or(rest);
                Ok((Self::Unix(socket(path)?), format!("unix:{path}")))
            }
            "tcp" => {
                let address = rest.strip_prefix("//").unwrap_or(rest).trim_end_matches('/');
                let (host, port) = address.rsplit_once(':').ok_or(UriError::Port)?;
                if host.is_empty() || port.parse::<u16>().is_err() {
                    return Err(UriError::Port);
                }
                Ok((Self::Tcp(address.to_owned()), format!("tcp://{address}")))
            }
            "http" | "https" => {
                let url = Url::parse(uri).map_err(|error| UriError::Url(error.to_string()))?;
                let address = without_login(&url);
                Ok((Self::Http(url), address))
            }
            _ => Err(UriError::Scheme),
        }
    }

    /// The password of the user in an http URI.
    pub(crate) fn set_password(&mut self, password: &str) -> bool {
        match self {
            Self::Http(url) if !url.username().is_empty() => url.set_password(Some(password)).is_ok(),
            _ => false,
        }
    }
}

fn socket(path: &str) -> Result<PathBuf, UriError> {
    let (name, length) = match (path.strip_prefix("abns@"), path.strip_prefix("abnsz@")) {
        (Some(name), _) => (name, ABSTRACT_NAME),
        (_, Some(name)) => (name, name.len()),
        _ if path.starts_with('/') && path.len() > 1 => return Ok(PathBuf::from(path)),
        _ => return Err(UriError::Path),
    };
    if name.is_empty() || name.len() > ABSTRACT_NAME || name.contains('\0') {
        return Err(UriError::Path);
    }
    Ok(PathBuf::from(format!("\0{name:\0<length$}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (uri, address) in [
            ("unix:/run/h.sock", "unix:/run/h.sock"),
            ("unix:///run/h.sock", "unix:/run/h.sock"),
            ("unix:abns@haproxy", "unix:abns@haproxy"),
            ("tcp://127.0.0.1:9999", "tcp://127.0.0.1:9999"),
            ("tcp://[::1]:9999/", "tcp://[::1]:9999"),
            ("http://localhost/;csv", "http://localhost/;csv"),
            ("https://user:secret@h:8404/stats;csv", "https://h:8404/stats;csv"),
        ] {
            assert_eq!(Uri::parse(uri).unwrap().1, address);
        }
    }

    #[test]
    fn an_invalid_address() {
        for (uri, error) in [
            ("", UriError::Scheme),
            ("/run/h.sock", UriError::Scheme),
            ("ftp://h/", UriError::Scheme),
            ("unix:", UriError::Path),
            ("unix:relative", UriError::Path),
            ("unix:abns@", UriError::Path),
            ("unix://host/path", UriError::Path),
            ("tcp://host", UriError::Port),
            ("tcp://:99", UriError::Port),
            ("tcp://host:99999", UriError::Port),
        ] {
            assert_eq!(Uri::parse(uri).unwrap_err(), error, "{uri}");
        }
        let error = Uri::parse("http://user:secret@:/").unwrap_err();
        assert!(matches!(error, UriError::Url(_)) && !error.to_string().contains("secret"), "{error}");
        assert_eq!(Uri::parse(&format!("unix:abns@{}", "x".repeat(108))).unwrap_err(), UriError::Path);
    }

    #[test]
    fn abstract_names_are_filled_with_zeros() {
        let path = |uri| match Uri::parse(uri).unwrap().0 {
            Uri::Unix(path) => path.into_os_string().into_string().unwrap(),
            _ => unreachable!(),
        };
        assert_eq!(path("unix:abns@me"), format!("\0me{}", "\0".repeat(105)));
        assert_eq!(path("unix:abnsz@me"), "\0me");
    }

    #[test]
    fn passwords_are_for_users_of_pages() {
        let (mut page, _) = Uri::parse("http://user@h/;csv").unwrap();
        assert!(page.set_password("p@ss:/word"));
        for uri in ["http://h/;csv", "unix:/s", "tcp://h:1"] {
            assert!(!Uri::parse(uri).unwrap().0.set_password("x"), "{uri}");
        }
    }
}
