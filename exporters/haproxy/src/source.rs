//! Where HAProxy's statistics come from, and the one bounded read of them that a scrape makes.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use exporter_toolkit::http::{HttpClient, HttpError, StatusCode, Url};
use exporter_toolkit::memory::{self, Exhausted, Reservation};
use exporter_toolkit::resolve::connect_to;
use exporter_toolkit::secret::{Secret, SecretError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::answer::{Answer, MAX_ANSWER, PageParser, RuntimeParser, Unreadable};
use crate::read_error::ReadError;
use crate::uri::{Uri, UriError};

/// What is read from the runtime socket and parsed at a time.
const PART: usize = 64 * 1024;

/// Our own deadline comes this much before the toolkit's, which would only say that there was no answer.
const MARGIN: Duration = Duration::from_millis(20);

/// All in one connection. The answers come one after the other, each ended by an empty line. The statistics are last:
/// their fields may contain empty lines, and HAProxy closes the connection after them.
pub(crate) const COMMANDS: &[u8] = b"show info; show table; show resolvers; show stat\n";

#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("--haproxy.password-file needs a user in --haproxy.scrape-uri: http://user@host/path;csv")]
    NoUser,
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

/// Why an exchange ended early.
enum Ended {
    Broken(io::Error),
    Http(HttpError),
    Unreadable(Unreadable),
    TooLarge,
    NoMemory(Exhausted),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<HttpError> for Ended {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<Unreadable> for Ended {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}

impl From<Exhausted> for Ended {
    fn from(error: Exhausted) -> Self {
        Self::NoMemory(error)
    }
}

impl Source {
    pub(crate) fn parse(uri: &str, http: Arc<HttpClient>) -> Result<Self, UriError> {
        let (uri, address) = Uri::parse(uri)?;
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
        if self.uri.set_password(password.expose()) { Ok(()) } else { Err(PasswordError::NoUser) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Reads everything there is to know, on one new connection: a kept one may have ended, or lead to a server that a
    /// failover has replaced. With `modules`, the counters of modules are kept, too. The memory is for the length of
    /// the scrape.
    pub(crate) async fn read(&self, modules: bool, deadline: Instant) -> Result<(Answer, Reservation), ReadError> {
        let by = deadline.checked_sub(MARGIN).unwrap_or(deadline);
        match &self.uri {
            Uri::Unix(path) => {
                let stream = self.connected(by, UnixStream::connect(path)).await?;
                self.ask(stream, modules, by).await
            }
            Uri::Tcp(address) => {
                let stream = self.connected(by, connect_to(address)).await?;
                self.ask(stream, modules, by).await
            }
            Uri::Http(url) => self.fetch(url, modules, by).await,
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
    async fn ask(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        modules: bool,
        by: Instant,
    ) -> Result<(Answer, Reservation), ReadError> {
        let started = Instant::now();
        let (mut parser, mut memory, mut received) = (RuntimeParser::new(modules), memory::reservation(), 0);
        let exchange = async {
            stream.write_all(COMMANDS).await?;
            let mut part = vec![0; PART];
            // HAProxy closes the connection after the last answer.
            loop {
                match stream.read(&mut part).await? {
                    0 => return Ok(()),
                    read => {
                        received += read;
                        if received > MAX_ANSWER {
                            return Err(Ended::TooLarge);
                        }
                        parser.feed(&part[..read])?;
                        memory.grow_to(parser.bytes())?;
                        // A part is parsed within a millisecond. Others, and the deadline, get their turn after each.
                        yield_now().await;
                    }
                }
            }
        };
        match timeout_at(by, exchange).await {
            Ok(result) => result.map_err(|ended| self.error(ended, received))?,
            Err(_) => {
                let seconds = started.elapsed().as_secs_f64();
                return Err(ReadError::Silent { address: self.address.clone(), seconds, received });
            }
        }
        let answer = parser.finish().map_err(|error| self.error(error.into(), received))?;
        Ok((answer, memory))
    }

    /// Over the stats page.
    async fn fetch(&self, url: &Url, modules: bool, by: Instant) -> Result<(Answer, Reservation), ReadError> {
        let (mut parser, mut memory, mut received) = (PageParser::new(modules), memory::reservation(), 0);
        let take = |part: &[u8]| {
            received += part.len();
            parser.feed(part)?;
            Ok::<_, Ended>(memory.grow_to(parser.bytes())?)
        };
        let page = self.http.read(url, MAX_ANSWER, by, take).await;
        page.map_err(|ended| self.error(ended, received))?;
        let answer = parser.finish().map_err(|error| self.error(error.into(), received))?;
        Ok((answer, memory))
    }

    fn error(&self, ended: Ended, received: usize) -> ReadError {
        let address = self.address.clone();
        match ended {
            Ended::Broken(source) => ReadError::Broken { address, source },
            Ended::Http(error) => self.no_page(error),
            Ended::Unreadable(Unreadable::NotStatistics(advice)) => ReadError::NotStatistics { address, advice },
            Ended::Unreadable(Unreadable::Truncated) => ReadError::Truncated { address, received },
            Ended::Unreadable(Unreadable::TooLarge) | Ended::TooLarge => ReadError::TooLarge { address },
            Ended::NoMemory(source) => ReadError::Memory { address, source },
        }
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
                    "it ended the connection; does its bind expect TLS, or the PROXY protocol (`accept-proxy`)?"
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
}
