//! Where HAProxy's statistics come from, and the one bounded read of them that a scrape makes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exporter_toolkit::http::{HttpClient, HttpError, StatusCode, Url, without_login};
use exporter_toolkit::resolve::connect_to;
use exporter_toolkit::secret::{Secret, SecretError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::info::Info;
use crate::stat::Stat;

/// An answer of 32 MiB is about 60,000 servers. It is held once as received and once as fields, for the length of a
/// scrape.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Our own deadline comes this much before the toolkit's, which would only say that there was no answer.
const MARGIN: Duration = Duration::from_millis(20);

/// Both in one connection. The answers come one after the other, each ended by an empty line.
const COMMANDS: &[u8] = b"show info; show stat\n";

/// What is wrong with `--haproxy.scrape-uri` or the target of a probe. Doesn't repeat it: it may hold a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UriError {
    #[error("unix:/path, tcp://host:port, http://host:port/path;csv or https:// is expected")]
    Scheme,
    #[error("unix: needs the absolute path of the socket, such as unix:/run/haproxy/admin.sock")]
    Path,
    #[error("tcp:// needs a host and a port, such as tcp://127.0.0.1:9999")]
    Port,
    #[error("not a URL: {0}")]
    Url(String),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("--haproxy.password-file needs a user in --haproxy.scrape-uri: http://user@host/path;csv")]
    NoUser,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("another scrape of {0} still waits for HAProxy's answer")]
    Busy(String),
    #[error("can't connect to HAProxy at {address}: {advice}")]
    Connect { address: String, advice: &'static str, source: io::Error },
    #[error("HAProxy at {address} did not take the connection within {seconds:.2} s: is the host reachable?")]
    ConnectTimeout { address: String, seconds: f64 },
    #[error(
        "HAProxy at {address} took the connection, but its answer was not complete within {seconds:.2} s ({received} bytes came): is it stopped \
         or overloaded?"
    )]
    Silent { address: String, seconds: f64, received: usize },
    #[error("the connection to HAProxy at {address} broke")]
    Broken { address: String, source: io::Error },
    #[error("HAProxy at {address} ended its answer in the middle, after {received} bytes")]
    Truncated { address: String, received: usize },
    #[error("the answer of {address} is over {} MiB; it is not read further", MAX_ANSWER / 1024 / 1024)]
    TooLarge { address: String },
    #[error("what {address} answers is not HAProxy's statistics: {advice}")]
    NotStatistics { address: String, advice: &'static str },
    #[error(
        "the statistics of HAProxy at {address} have no row that can be read ({broken} rows could not be): is it HAProxy, and does `stats scope` \
         hide all proxies?"
    )]
    NoRows { address: String, broken: u64 },
    #[error("can't ask {address}: {advice}")]
    Request { address: String, advice: &'static str, source: HttpError },
    #[error("{address} answers {status}: {advice}")]
    Status { address: String, status: StatusCode, advice: &'static str },
}

/// HAProxy's responses in one scrape.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) stat: Stat,
    /// The process; the stats page doesn't tell about it.
    pub(crate) info: Option<Info>,
}

#[derive(Clone, Debug)]
enum Uri {
    Unix(PathBuf),
    /// `host:port`
    Tcp(String),
    /// With user and password, if there are any: reqwest makes them a header.
    Http(Url),
}

/// A place that answers `show stat`.
#[derive(Clone)]
pub(crate) struct Source {
    uri: Uri,
    /// The URI without a password.
    address: String,
    http: Arc<HttpClient>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Source {
    pub(crate) fn parse(uri: &str, http: Arc<HttpClient>) -> Result<Self, UriError> {
        let (scheme, rest) = uri.split_once(':').ok_or(UriError::Scheme)?;
        let (uri, address) = match scheme {
            "unix" => {
                // unix:/path and unix:///path are the same.
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if !path.starts_with('/') || path.len() < 2 {
                    return Err(UriError::Path);
                }
                (Uri::Unix(PathBuf::from(path)), format!("unix:{path}"))
            }
            "tcp" => {
                let address = rest.strip_prefix("//").unwrap_or(rest).trim_end_matches('/');
                let (host, port) = address.rsplit_once(':').ok_or(UriError::Port)?;
                if host.is_empty() || port.parse::<u16>().is_err() {
                    return Err(UriError::Port);
                }
                (Uri::Tcp(address.to_owned()), format!("tcp://{address}"))
            }
            "http" | "https" => {
                let url = Url::parse(uri).map_err(|error| UriError::Url(error.to_string()))?;
                let address = without_login(&url);
                (Uri::Http(url), address)
            }
            _ => return Err(UriError::Scheme),
        };
        Ok(Self { uri, address, http })
    }

    /// Reads the files of TLS, if this source needs them.
    pub(crate) fn check_files(&self) -> Result<(), HttpError> {
        match &self.uri {
            Uri::Http(url) => self.http.check_files(url),
            Uri::Unix(_) | Uri::Tcp(_) => Ok(()),
        }
    }

    pub(crate) fn read_password(&mut self, file: &Path) -> Result<(), PasswordError> {
        let password = Secret::read("--haproxy.password-file", file)?;
        if self.set_password(password.expose()) { Ok(()) } else { Err(PasswordError::NoUser) }
    }

    /// The password of the user in an http URI.
    fn set_password(&mut self, password: &str) -> bool {
        match &mut self.uri {
            Uri::Http(url) if !url.username().is_empty() => url.set_password(Some(password)).is_ok(),
            _ => false,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Reads everything there is to know, on one connection.
    pub(crate) async fn read(&self, deadline: Instant) -> Result<Answer, ReadError> {
        let by = deadline.checked_sub(MARGIN).unwrap_or(deadline);
        match &self.uri {
            Uri::Unix(path) => {
                let stream = self.connected(by, UnixStream::connect(path)).await?;
                self.ask(stream, by).await
            }
            Uri::Tcp(address) => {
                let stream = self.connected(by, connect_to(address)).await?;
                self.ask(stream, by).await
            }
            Uri::Http(url) => self.fetch(url, by).await,
        }
    }

    async fn connected<T>(&self, by: Instant, connect: impl Future<Output = io::Result<T>>) -> Result<T, ReadError> {
        let started = Instant::now();
        match timeout_at(by, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => {
                let advice = match source.kind() {
                    io::ErrorKind::NotFound => {
                        "no such socket; check --haproxy.scrape-uri, `stats socket` in haproxy.cfg, and that HAProxy runs"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "the exporter's user may not write to the socket; set its mode or group in haproxy.cfg"
                    }
                    io::ErrorKind::ConnectionRefused => "nothing listens there; does HAProxy run?",
                    _ => "check --haproxy.scrape-uri",
                };
                Err(ReadError::Connect { address: self.address.clone(), advice, source })
            }
            Err(_) => Err(ReadError::ConnectTimeout {
                address: self.address.clone(),
                seconds: started.elapsed().as_secs_f64(),
            }),
        }
    }

    /// Over the runtime socket.
    async fn ask(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, by: Instant) -> Result<Answer, ReadError> {
        let started = Instant::now();
        let mut answer = Vec::new();
        let exchange = async {
            stream.write_all(COMMANDS).await?;
            // HAProxy closes the connection after the last answer.
            (&mut stream).take(MAX_ANSWER as u64 + 1).read_to_end(&mut answer).await
        };
        match timeout_at(by, exchange).await {
            Ok(Ok(_)) => {}
            Ok(Err(source)) => return Err(ReadError::Broken { address: self.address.clone(), source }),
            Err(_) => return Err(self.silent(started, answer.len())),
        }
        self.check_size(answer.len())?;
        let text = String::from_utf8_lossy(&answer);
        let Some((info, csv)) = split(&text) else {
            let advice = match text.trim_start() {
                "" => "it closed the connection without a word; does the socket belong to HAProxy?",
                text if text.starts_with("Permission denied") => {
                    "the socket's level forbids `show stat`; `level user` suffices"
                }
                _ => "does --haproxy.scrape-uri lead to HAProxy's runtime socket (`stats socket` in haproxy.cfg)?",
            };
            return Err(ReadError::NotStatistics { address: self.address.clone(), advice });
        };
        if !csv.ends_with("\n\n") {
            return Err(ReadError::Truncated { address: self.address.clone(), received: answer.len() });
        }
        let info = Info::parse(info);
        let stat = self.statistics(csv)?;
        Ok(Answer { stat, info: Some(info) })
    }

    /// Over the stats page.
    async fn fetch(&self, url: &Url, by: Instant) -> Result<Answer, ReadError> {
        let answer = self.http.get(url, MAX_ANSWER, by).await.map_err(|error| self.no_page(error))?;
        let text = String::from_utf8_lossy(&answer);
        if text.trim_start().starts_with('<') {
            let advice = "it is a page for people; does the URI end in ;csv?";
            return Err(ReadError::NotStatistics { address: self.address.clone(), advice });
        }
        Ok(Answer { stat: self.statistics(&text)?, info: None })
    }

    fn no_page(&self, error: HttpError) -> ReadError {
        let address = self.address.clone();
        match error {
            HttpError::Tls(_) => {
                ReadError::Request { address, advice: "the files of TLS cannot be used", source: error }
            }
            ref refused if refused.is_certificate() => {
                let advice = "check its certificate, --haproxy.ssl-ca-cert and --haproxy.ssl-server-name";
                ReadError::Request { address, advice, source: error }
            }
            HttpError::Exchange(ref cause) => {
                let advice = if cause.is_connect() {
                    "does HAProxy run, and does a frontend with `stats enable` listen there?"
                } else if cause.is_redirect() {
                    "it redirects in circles; is this the stats page?"
                } else {
                    "the exchange broke"
                };
                ReadError::Request { address, advice, source: error }
            }
            HttpError::Status(status) => {
                let advice = match status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                        "check the user in --haproxy.scrape-uri, --haproxy.password-file, and `stats auth` in haproxy.cfg"
                    }
                    StatusCode::NOT_FOUND => "check the path in --haproxy.scrape-uri and `stats uri` in haproxy.cfg",
                    StatusCode::SERVICE_UNAVAILABLE => {
                        "no stats page takes this path; check --haproxy.scrape-uri and `stats uri` in haproxy.cfg"
                    }
                    _ => "check --haproxy.scrape-uri",
                };
                ReadError::Status { address, status, advice }
            }
            HttpError::TooLarge { .. } | HttpError::Memory(_) => ReadError::TooLarge { address },
            HttpError::Timeout { seconds, received } => ReadError::Silent { address, seconds, received },
        }
    }

    fn statistics(&self, csv: &str) -> Result<Stat, ReadError> {
        let advice = "the header of `show stat` is missing; check --haproxy.scrape-uri";
        Stat::parse(csv).map_err(|_| ReadError::NotStatistics { address: self.address.clone(), advice })
    }

    fn check_size(&self, received: usize) -> Result<(), ReadError> {
        if received > MAX_ANSWER { Err(ReadError::TooLarge { address: self.address.clone() }) } else { Ok(()) }
    }

    fn silent(&self, started: Instant, received: usize) -> ReadError {
        ReadError::Silent { address: self.address.clone(), seconds: started.elapsed().as_secs_f64(), received }
    }
}

/// The answers to `show info` and `show stat`. The second begins with its header, wherever the first one ends.
fn split(answer: &str) -> Option<(&str, &str)> {
    const HEADER: &str = "# pxname,";
    let at = if answer.starts_with(HEADER) { 0 } else { answer.find(&format!("\n{HEADER}"))? + 1 };
    Some(answer.split_at(at))
}

#[cfg(test)]
mod tests {
    use exporter_toolkit::http::HttpOptions;
    use exporter_toolkit::tls::ClientTls;

    use super::*;

    fn source(uri: &str) -> Result<Source, UriError> {
        let options = HttpOptions { tls: ClientTls::system(), max_redirects: 2, max_idle: 1, unix_socket: None };
        Source::parse(uri, Arc::new(HttpClient::new(options)))
    }

    #[test]
    fn addresses() {
        for (uri, address) in [
            ("unix:/run/h.sock", "unix:/run/h.sock"),
            ("unix:///run/h.sock", "unix:/run/h.sock"),
            ("tcp://127.0.0.1:9999", "tcp://127.0.0.1:9999"),
            ("tcp://[::1]:9999/", "tcp://[::1]:9999"),
            ("http://localhost/;csv", "http://localhost/;csv"),
            ("https://user:secret@h:8404/stats;csv", "https://h:8404/stats;csv"),
        ] {
            let source = source(uri).unwrap();
            assert_eq!(source.address(), address);
            assert!(!format!("{source:?}").contains("secret"));
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
            ("unix://host/path", UriError::Path),
            ("tcp://host", UriError::Port),
            ("tcp://:99", UriError::Port),
            ("tcp://host:99999", UriError::Port),
        ] {
            assert_eq!(source(uri).unwrap_err(), error, "{uri}");
        }
        let error = source("http://user:secret@:/").unwrap_err();
        assert!(matches!(error, UriError::Url(_)) && !error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn passwords_are_for_users_of_pages() {
        let mut page = source("http://user@h/;csv").unwrap();
        assert!(page.set_password("p@ss:/word"));
        assert!(!page.address().contains("p@ss"));
        for uri in ["http://h/;csv", "unix:/s", "tcp://h:1"] {
            assert!(!source(uri).unwrap().set_password("x"), "{uri}");
        }
    }

    #[test]
    fn answers_are_told_apart_by_the_header() {
        assert_eq!(
            split("Name: HAProxy\n\n# pxname,svname,\na,b,\n\n"),
            Some(("Name: HAProxy\n\n", "# pxname,svname,\na,b,\n\n"))
        );
        assert_eq!(split("# pxname,svname,\n\n"), Some(("", "# pxname,svname,\n\n")));
        assert_eq!(split("description: the # pxname,\n\n"), None);
    }
}
