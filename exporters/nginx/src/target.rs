//! One nginx, and the session of one scrape.

use std::path::{Path, PathBuf};
use std::time::Duration;

use exporter_toolkit::http::{HttpClient, HttpError, HttpOptions, StatusCode, Url, without_login};
use exporter_toolkit::tls::ClientTls;
use exporter_toolkit::{BoxError, Target, async_trait};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::stub_status::StubStatus;

/// The page has about 120 bytes.
const MAX_PAGE: usize = 4096;

/// Does not repeat the URI, which may contain a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected http://host:port/path, https://host/path or unix:/socket:/path")]
pub(crate) struct InvalidUri;

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{address}: another scrape still waits for nginx's response")]
    Busy { address: String },
    #[error("{address}: {error}: {advice}")]
    Http { address: String, error: HttpError, advice: &'static str },
    #[error("{address}: this is not a page of stub_status: check --nginx.scrape-uri, and `stub_status` in nginx.conf")]
    NotStubStatus { address: String },
}

/// One nginx.
pub struct NginxTarget {
    url: Url,
    /// The URI without a password.
    address: String,
    http: HttpClient,
    timeout: Duration,
    /// The page at the previous scrape. Held by the scrape that runs: nginx has one connection of ours.
    previous: Mutex<Option<StubStatus>>,
}

/// What nginx counted until this scrape, and until the previous one.
pub struct Session {
    pub(crate) now: StubStatus,
    pub(crate) before: Option<StubStatus>,
}

impl NginxTarget {
    pub(crate) fn new(uri: &str, timeout: Duration, tls: &ClientTls) -> Result<Self, InvalidUri> {
        let (url, address, unix_socket) = match uri.strip_prefix("unix:") {
            Some(rest) => {
                let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
                if !Path::new(socket).is_absolute() || !path.starts_with('/') {
                    return Err(InvalidUri);
                }
                (parse(&format!("http://unix{path}"))?, uri.to_owned(), Some(PathBuf::from(socket)))
            }
            None => {
                let url = parse(uri)?;
                let address = without_login(&url);
                (url, address, None)
            }
        };
        let http = HttpClient::new(HttpOptions { tls: tls.clone(), max_redirects: 0, unix_socket });
        Ok(Self { url, address, http, timeout, previous: Mutex::default() })
    }

    pub(crate) fn check_files(&self) -> Result<(), HttpError> {
        self.http.check_files(&self.url)
    }

    async fn read(&self, deadline: Instant) -> Result<StubStatus, ReadError> {
        let page = self.http.get(&self.url, MAX_PAGE, deadline).await;
        let page =
            page.map_err(|error| ReadError::Http { address: self.address.clone(), advice: advice(&error), error })?;
        let page = StubStatus::parse(&String::from_utf8_lossy(&page));
        page.ok_or_else(|| ReadError::NotStubStatus { address: self.address.clone() })
    }
}

fn parse(uri: &str) -> Result<Url, InvalidUri> {
    Url::parse(uri).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or(InvalidUri)
}

fn advice(error: &HttpError) -> &'static str {
    match error {
        HttpError::Tls(_) => "the files of TLS cannot be used",
        error if error.is_certificate() => "check the certificate, --nginx.ssl-ca-cert and --nginx.ssl-server-name",
        HttpError::Exchange(cause) if cause.is_connect() => "check --nginx.scrape-uri, and that nginx runs",
        HttpError::Exchange(_) | HttpError::TooLarge { .. } => "is this nginx's stub_status? Check --nginx.scrape-uri",
        HttpError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            "check `allow` and `auth_basic` of its location in nginx.conf"
        }
        HttpError::Status(status) if status.is_redirection() => {
            "redirects are not followed: set --nginx.scrape-uri to where it leads"
        }
        HttpError::Status(_) => "check the path in --nginx.scrape-uri, and `stub_status` in nginx.conf",
        HttpError::Timeout { .. } => "is nginx stopped or overloaded?",
        HttpError::Memory(_) => "or scrape fewer targets at a time",
    }
}

#[async_trait]
impl Target for NginxTarget {
    type Session = Session;

    fn address(&self) -> &str {
        &self.address
    }

    async fn open(&self, deadline: Instant) -> Result<Session, BoxError> {
        let deadline = deadline.min(Instant::now() + self.timeout);
        let previous = timeout_at(deadline, self.previous.lock()).await;
        let mut previous = previous.map_err(|_| ReadError::Busy { address: self.address.clone() })?;
        let before = *previous;
        let mut now = self.read(deadline).await?;
        // nginx counts a connection as accepted a moment before it counts it as handled. A dropped one remains.
        if before.is_some_and(|before| now.dropped_since(&before) > 0)
            && let Ok(again) = self.read(deadline).await
        {
            now = again;
        }
        *previous = Some(now);
        Ok(Session { now, before })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_between_the_two_counters_is_not_dropped() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let target = NginxTarget::new(&uri, Duration::from_secs(5), &ClientTls::system()).unwrap();
        let scrape = async |pages: &[(u64, u64)]| {
            let nginx = async {
                for (accepts, handled) in pages {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
                    let page = format!(
                        "HTTP/1.0 200 OK\r\n\r\nActive connections: 1 \nserver accepts handled requests\n \
                         {accepts} {handled} 9 \nReading: 0 Writing: 1 Waiting: 0 \n"
                    );
                    stream.write_all(page.as_bytes()).await.unwrap();
                }
            };
            let deadline = Instant::now() + Duration::from_secs(5);
            let (served, session) = tokio::join!(timeout_at(deadline, nginx), target.open(deadline));
            served.expect("each page is requested");
            let session = session.unwrap();
            session.before.map(|before| session.now.dropped_since(&before))
        };
        assert_eq!(scrape(&[(5, 5)]).await, None);
        assert_eq!(scrape(&[(7, 6), (8, 8)]).await, Some(0));
        assert_eq!(scrape(&[(9, 8), (9, 8)]).await, Some(1));
        assert_eq!(scrape(&[(9, 8)]).await, Some(0));
    }

    #[test]
    fn addresses_are_shown_without_a_password() {
        let address =
            |uri| NginxTarget::new(uri, Duration::from_secs(1), &ClientTls::system()).map(|target| target.address);
        for (uri, shown) in [
            ("http://127.0.0.1:8080/stub_status", "http://127.0.0.1:8080/stub_status"),
            ("https://me:secret@nginx/status", "https://nginx/status"),
            ("unix:/run/nginx.sock:/stub_status", "unix:/run/nginx.sock:/stub_status"),
            ("unix:/run/nginx.sock", "unix:/run/nginx.sock"),
        ] {
            assert_eq!(address(uri).as_deref(), Ok(shown));
        }
        for uri in ["", "127.0.0.1:8080", "ftp://host/", "http://:x/", "unix:", "unix:run:/status", "unix:/run:status"]
        {
            assert_eq!(address(uri), Err(InvalidUri), "{uri}");
        }
    }
}
