//! Reads the page of a service over HTTP: bounded in size and time, on a connection of its own.
//!
//! A connection that is kept for the next scrape can end between the two: by a keep-alive timeout at that moment, by a
//! firewall without a word, or it leads to a server that a failover has replaced. A new one costs 0.1 ms, and TLS
//! resumes the session ([decision 21](../../../docs/decisions/0021-haproxy-reads-on-a-new-connection.md)).

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use reqwest::Client;
use reqwest::redirect::Policy;
pub use reqwest::{StatusCode, Url};
use service_kit::error_chain::with_sources;
use service_kit::file::Stamp;
use service_kit::http;
pub use service_kit::http::without_login;
use service_kit::lock::lock;
use service_kit::tls::{ClientTls, TlsError};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::memory::{self, Exhausted};

/// How a client makes its requests.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    pub tls: ClientTls,
    /// Without any, a redirect is a [`HttpError::Status`].
    pub max_redirects: usize,
    /// Where all requests go, whatever the host of their URL.
    pub unix_socket: Option<PathBuf>,
}

/// Why there is no page. The exporter adds the target, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Without the URL, which may contain a password.
    #[error("{}", with_sources(.0))]
    Exchange(reqwest::Error),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(Box<TlsError>),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the response is over {} KiB", .limit / 1024)]
    TooLarge { limit: usize },
    #[error("no memory for the response: {0} is reached; raise --scrape.memory-limit")]
    Memory(#[from] Exhausted),
    #[error("no complete response within {seconds:.2} s ({received} bytes received)")]
    Timeout { seconds: f64, received: usize },
}

impl HttpError {
    /// Whether the server's certificate was refused. Its advice is not to look for a server that does not run.
    pub fn is_certificate(&self) -> bool {
        let Self::Exchange(error) = self else { return false };
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
            let inner = inner.and_then(|error| error.downcast_ref::<rustls::Error>());
            if matches!(inner.or(error.downcast_ref()), Some(rustls::Error::InvalidCertificate(_))) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// A client for any number of targets.
pub struct HttpClient {
    options: HttpOptions,
    // Made when first needed: most exporters need one of them or none.
    plain: OnceLock<Client>,
    tls: Mutex<Option<TlsClient>>,
}

/// A client with what the files contained.
struct TlsClient {
    stamps: Vec<Option<Stamp>>,
    client: Client,
}

impl HttpClient {
    pub fn new(options: HttpOptions) -> Self {
        Self { options, plain: OnceLock::new(), tls: Mutex::default() }
    }

    /// Reads the files that https to this URL needs, so that a wrong one stops the start and not the first scrape.
    pub fn check_files(&self, url: &Url) -> Result<(), HttpError> {
        self.client(url).map(drop)
    }

    /// The page at `url`, if it has at most `limit` bytes. The body of an error is not read.
    pub async fn get(&self, url: &Url, limit: usize, deadline: Instant) -> Result<Vec<u8>, HttpError> {
        // Until the page is complete. Its owner may keep reserving it.
        let (mut page, mut memory) = (Vec::new(), memory::reservation());
        self.read(url, limit, deadline, |part| {
            page.extend_from_slice(part);
            Ok::<_, HttpError>(memory.grow_to(page.capacity())?)
        })
        .await?;
        Ok(page)
    }

    /// Passes the page to `take` part by part as it arrives, without holding it. An error of `take` ends the transfer.
    pub async fn read<E: From<HttpError>>(
        &self,
        url: &Url,
        limit: usize,
        deadline: Instant,
        take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let started = Instant::now();
        let mut received = 0;
        match timeout_at(deadline, self.download(url, limit, &mut received, take)).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::Timeout { seconds: started.elapsed().as_secs_f64(), received }.into()),
        }
    }

    async fn download<E: From<HttpError>>(
        &self,
        url: &Url,
        limit: usize,
        received: &mut usize,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: reqwest::Error| HttpError::Exchange(error.without_url());
        let client = self.client(url)?;
        let mut response = client.get(url.clone()).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(HttpError::Status(response.status()).into());
        }
        while let Some(part) = response.chunk().await.map_err(failed)? {
            *received += part.len();
            if *received > limit {
                return Err(HttpError::TooLarge { limit }.into());
            }
            take(&part)?;
            // A part is parsed at once. Others, and the deadline, get their turn after each.
            yield_now().await;
        }
        Ok(())
    }

    fn client(&self, url: &Url) -> Result<Client, HttpError> {
        if url.scheme() == "https" {
            return self.tls_client(url);
        }
        if let Some(client) = self.plain.get() {
            return Ok(client.clone());
        }
        let client = self.build(url)?;
        Ok(self.plain.get_or_init(|| client).clone())
    }

    /// Reads renewed files again. While a certificate and its key do not match, because only one is renewed so far, the
    /// previous ones stay in use.
    fn tls_client(&self, url: &Url) -> Result<Client, HttpError> {
        // Taken before the files are read: a file that changes meanwhile is read again.
        let stamps = self.options.tls.stamps();
        let mut current = lock(&self.tls);
        let renewed = match &*current {
            Some(current) if current.stamps == stamps => return Ok(current.client.clone()),
            Some(current) => self.build(url).unwrap_or_else(|_| current.client.clone()),
            None => self.build(url)?,
        };
        Ok(current.insert(TlsClient { stamps, client: renewed }).client.clone())
    }

    fn build(&self, url: &Url) -> Result<Client, HttpError> {
        let options = &self.options;
        let redirects = match options.max_redirects {
            0 => Policy::none(),
            max => Policy::limited(max),
        };
        let client = http::client(url, &options.tls).map_err(|error| HttpError::Tls(Box::new(error)))?;
        // A connection of its own for each page.
        let mut client = client.redirect(redirects).pool_max_idle_per_host(0);
        if let Some(path) = &options.unix_socket {
            client = client.unix_socket(path.as_path());
        }
        client.build().map_err(HttpError::Exchange)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const LIMIT: usize = 1024;

    fn client(options: HttpOptions) -> HttpClient {
        let _ = rustls::crypto::ring::default_provider().install_default();
        HttpClient::new(options)
    }

    fn options() -> HttpOptions {
        HttpOptions { tls: ClientTls::system(), max_redirects: 0, unix_socket: None }
    }

    /// The result for a server that sends this and keeps the connection open.
    async fn get(response: String) -> Result<Vec<u8>, HttpError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://me:secret@{}/", listener.local_addr().unwrap()).parse().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; LIMIT]).await.unwrap() > 0);
            stream.write_all(response.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        };
        let client = client(options());
        tokio::select! {
            () = server => unreachable!("it never ends"),
            result = client.get(&url, LIMIT, Instant::now() + Duration::from_millis(500)) => result,
        }
    }

    fn ok(length: usize, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn a_page_is_bounded_in_size_and_time() {
        assert_eq!(get(ok(4, "page")).await.unwrap(), b"page");
        assert_eq!(get(ok(LIMIT, &"x".repeat(LIMIT))).await.unwrap().len(), LIMIT);
        let large = get(ok(LIMIT + 1, &"x".repeat(LIMIT + 1))).await;
        assert_eq!(large.unwrap_err().to_string(), "the response is over 1 KiB");
        let endless = get(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n{}", "x".repeat(2048)));
        assert!(matches!(endless.await, Err(HttpError::TooLarge { limit: LIMIT })));
        assert!(matches!(get(ok(5, "page")).await, Err(HttpError::Timeout { received: 4, .. })));
        assert!(matches!(get(String::new()).await, Err(HttpError::Timeout { received: 0, .. })));
    }

    #[tokio::test]
    async fn what_is_not_a_page_is_an_error_without_the_password() {
        let redirect = get("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n".to_owned()).await;
        assert_eq!(redirect.unwrap_err().to_string(), "status 302 Found");
        let mail = get("220 mail.example ESMTP\r\n".to_owned()).await.unwrap_err();
        assert!(matches!(mail, HttpError::Exchange(_)));
        assert!(!format!("{mail} {mail:?}").contains("secret"), "{mail:?}");
    }

    #[tokio::test]
    async fn a_unix_socket_replaces_the_host() {
        let socket = std::env::temp_dir().join(format!("exporter-toolkit-http-{}", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; LIMIT];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(ok(4, "page").as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        let client = client(HttpOptions { unix_socket: Some(socket.clone()), ..options() });
        let url = "http://unix/status?full".parse().unwrap();
        let (request, page) = tokio::join!(server, client.get(&url, LIMIT, Instant::now() + Duration::from_secs(5)));
        assert!(request.starts_with("GET /status?full HTTP/1.1\r\n"), "{request}");
        assert_eq!(page.unwrap(), b"page");
        let _ = std::fs::remove_file(&socket);
    }
}
