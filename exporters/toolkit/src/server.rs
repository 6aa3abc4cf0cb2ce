//! HTTP: the paths that Prometheus users know.
//!
//! | Path | Answer |
//! |---|---|
//! | `/metrics` (`--web.telemetry-path`) | the series; `collect[]=NAME` (repeatable) runs only these collectors |
//! | `/probe?target=…` | the series of another target; `/scrape` is the same under the name that redis_exporter has |
//! | `/health` | the verdict with its reasons as JSON: 200, or 503 while it is `down` |
//! | `/-/healthy` | 200 while the process runs |
//! | `/-/ready` | 200 while it accepts scrapes, 503 once it is stopping |
//! | `/-/reload` | POST or PUT reads the files again: 200 once they are in force, 500 with the reason when they are not |
//! | `/` | a page with links to these |
//!
//! With `--web.config.file` all of them are behind TLS, and behind its users and its rate limit all but `/-/healthy` and `/-/ready`: the probes
//! of an orchestrator have no password, and what these two tell, an open port tells as well. (Go's toolkit asks for one there, too.)

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY,
    WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use listenfd::ListenFd;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::auth::Access;
use crate::exporter::Exporter;
use crate::gather::{Exposition, GatherError, Gatherer};
use crate::health::Verdict;
use crate::negotiate::{self, Form};
use crate::reload::Reloader;
use crate::stream::WriteDeadline;
use crate::web_config::{Web, WebConfig};

/// Open connections at the most; more wait in the kernel's queue. A dozen Prometheus servers keep a dozen.
const MAX_CONNECTIONS: usize = 512;

/// How long a client may take to send a request's head, which bounds idle connections too: longer than the usual scrape intervals.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);

/// How long a client may take for its part of a TLS handshake: two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to read an answer: 20 MB, the largest page there should be, over 6 Mbit/s.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Buffered of one request's head at the most; hyper's own bound of 400 kB would be 200 MB over all connections.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long running scrapes may go on after a stop signal. Kubernetes gives 30 s, Docker 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// The deadline of a scrape that brings none: Prometheus' own default.
const DEFAULT_SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest deadline that a scraper gets: a session may hold a connection to the service so long.
const MAX_SCRAPE_TIMEOUT: Duration = Duration::from_secs(120);

const SCRAPE_TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

pub(crate) struct Server<E: Exporter> {
    pub(crate) gatherer: Arc<Gatherer<E>>,
    pub(crate) reloader: Arc<Reloader<E>>,
    pub(crate) telemetry_path: String,
    pub(crate) timeout_offset: Duration,
    pub(crate) web: Arc<Web>,
    pub(crate) stopping: watch::Sender<bool>,
}

/// The sockets that systemd opened for us, `ListenStream=` of a `.socket` unit.
pub(crate) fn inherited() -> Result<Vec<TcpListener>, InheritError> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        let no_tcp = |source| InheritError::NotTcp { number: index + 1, source };
        if let Some(listener) = sockets.take_tcp_listener(index).map_err(no_tcp)? {
            listener.set_nonblocking(true).map_err(no_tcp)?;
            listeners.push(TcpListener::from_std(listener).map_err(no_tcp)?);
        }
    }
    if listeners.is_empty() { Err(InheritError::None) } else { Ok(listeners) }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InheritError {
    #[error("--web.systemd-socket: no socket was passed: start it by its .socket unit, or leave the flag out")]
    None,
    #[error(
        "--web.systemd-socket: socket {number} is no listening TCP socket ({source}): check ListenStream= in its .socket unit"
    )]
    NotTcp { number: usize, source: io::Error },
}

/// Serves until `stop` resolves, then lets running scrapes end.
pub(crate) async fn serve<E: Exporter>(
    server: Arc<Server<E>>,
    listeners: Vec<TcpListener>,
    stop: impl Future<Output = ()>,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accepting = futures::future::join_all(listeners.into_iter().map(|listener| {
        let (server, connections) = (&server, &connections);
        async move {
            let mut failing = false;
            loop {
                // The semaphore is never closed.
                let Ok(permit) = Arc::clone(connections).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, client)) => {
                        failing = false;
                        let server = Arc::clone(server);
                        tokio::spawn(async move {
                            serve_connection(server, stream, client).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        // Out of file descriptors, most of all: without a pause this loop would take a whole core, and log as fast.
                        if !failing {
                            warn!(%error, "accepting connections fails; trying again ten times a second");
                        }
                        failing = true;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
    }));
    tokio::select! {
        _ = accepting => {}
        () = stop => {}
    }
    server.stopping.send_replace(true);
    // All of them are there once nobody is connected any more.
    if timeout(STOP_TIMEOUT, connections.acquire_many(MAX_CONNECTIONS as u32)).await.is_err() {
        warn!(seconds = STOP_TIMEOUT.as_secs(), "stopping although scrapes are still running");
    }
    info!("stopped");
}

/// Serves one client until it leaves, another web configuration comes into force, or the exporter stops. A client that is kept connects again
/// then, and so meets the new certificate and the new rules for its own.
async fn serve_connection<E: Exporter>(server: Arc<Server<E>>, stream: TcpStream, client: SocketAddr) {
    let mut config = server.web.subscribe();
    let mut stopping = server.stopping.subscribe();
    let mut stopping_in_handshake = stopping.clone();
    let tls = config.borrow_and_update().tls.clone();
    let ended = async move {
        tokio::select! {
            _ = config.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    };
    let Some(tls) = tls else { return speak_http(server, stream, client, ended).await };
    let handshake = async { TlsAcceptor::from(tls.config().await).accept(stream).await };
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE_TIMEOUT, handshake) => handshake,
        _ = stopping_in_handshake.wait_for(|stopping| *stopping) => return,
    };
    match handshake {
        Ok(Ok(stream)) => speak_http(server, stream, client, ended).await,
        Ok(Err(error)) => debug!(%client, %error, "TLS handshake failed"),
        Err(_) => debug!(%client, seconds = HANDSHAKE_TIMEOUT.as_secs(), "TLS handshake not done in time"),
    }
}

async fn speak_http<E: Exporter>(
    server: Arc<Server<E>>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    ended: impl Future<Output = ()>,
) {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(WriteDeadline::new(stream, WRITE_TIMEOUT)), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ended => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%client, %error, "connection ended");
    }
}

type Body = Response<Full<Bytes>>;

impl<E: Exporter> Server<E> {
    async fn answer(&self, request: Request<Incoming>) -> Body {
        let config = self.web.config();
        let mut response = match self.refusal(&config, &request).await {
            Some(refusal) => refusal,
            None => self.admitted(request).await,
        };
        for (name, value) in &config.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    /// What to say to somebody who may not ask now.
    async fn refusal(&self, config: &WebConfig, request: &Request<Incoming>) -> Option<Body> {
        let path = request.uri().path();
        if matches!(path, "/-/healthy" | "/-/ready") && path != self.telemetry_path {
            return None;
        }
        if config.rate_limit.as_ref().is_some_and(|limit| !limit.allows_one_more()) {
            return Some(text(
                StatusCode::TOO_MANY_REQUESTS,
                "more requests than rate_limit in --web.config.file allows\n",
            ));
        }
        match config.users.as_ref()?.access(request.headers().get(AUTHORIZATION)).await {
            Access::Granted => None,
            Access::Busy => Some(text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the passwords of many others are being checked; try again\n",
            )),
            Access::Denied => {
                let mut response = text(StatusCode::UNAUTHORIZED, "a user and a password are needed\n");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"exporter\""));
                Some(response)
            }
        }
    }

    async fn admitted(&self, request: Request<Incoming>) -> Body {
        let path = request.uri().path();
        if path == "/-/reload" {
            return match *request.method() {
                Method::POST | Method::PUT => self.reload().await,
                _ => not_allowed("POST, PUT"),
            };
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return not_allowed("GET, HEAD");
        }
        let query: Vec<(String, String)> =
            form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
        if path == self.telemetry_path {
            return self.metrics(request.headers(), &query).await;
        }
        match path {
            "/probe" | "/scrape" => self.probe(request.headers(), query).await,
            "/health" => self.health(request.headers()).await,
            "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            "/-/ready" if *self.stopping.borrow() => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
            "/-/ready" => text(StatusCode::OK, "ready\n"),
            "/" => self.landing_page(),
            _ => text(StatusCode::NOT_FOUND, "not found; / lists what is served here\n"),
        }
    }

    async fn metrics(&self, headers: &HeaderMap, query: &[(String, String)]) -> Body {
        let collectors = match self.gatherer.choose(&collect_filter(query)) {
            Ok(collectors) => collectors,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let form = form(headers);
        match self.gatherer.scrape(collectors, Some(form), self.deadline(headers)).await {
            Ok(exposition) => page(exposition, form).await,
            Err(error) => gather_error(&error),
        }
    }

    async fn reload(&self) -> Body {
        match self.reloader.reload().await {
            Ok(()) => text(StatusCode::OK, "reloaded\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    async fn probe(&self, headers: &HeaderMap, mut query: Vec<(String, String)>) -> Body {
        let collectors = match self.gatherer.choose(&collect_filter(&query)) {
            Ok(collectors) => collectors,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        query.retain(|(name, _)| name != "collect[]");
        let Some(index) = query.iter().position(|(name, value)| name == "target" && !value.is_empty()) else {
            return text(StatusCode::BAD_REQUEST, "the parameter target is missing: /probe?target=ADDRESS\n");
        };
        let (_, target) = query.remove(index);
        let form = form(headers);
        match self.gatherer.probe(&target, &query, collectors, form, self.deadline(headers)).await {
            Ok(exposition) => page(exposition, form).await,
            Err(error) => gather_error(&error),
        }
    }

    async fn health(&self, headers: &HeaderMap) -> Body {
        let collectors = match self.gatherer.choose(&[]) {
            Ok(collectors) => collectors,
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error),
        };
        match self.gatherer.scrape(collectors, None, self.deadline(headers)).await {
            Ok(exposition) => {
                let status = match exposition.report.status {
                    Verdict::Down => StatusCode::SERVICE_UNAVAILABLE,
                    Verdict::Healthy | Verdict::Degraded => StatusCode::OK,
                };
                match serde_json::to_vec_pretty(&exposition.report) {
                    Ok(mut json) => {
                        json.push(b'\n');
                        response(status, "application/json", json)
                    }
                    Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
                }
            }
            Err(error) => gather_error(&error),
        }
    }

    /// When the answer must be ready: the scraper's own timeout, less the time that the answer needs on its way.
    fn deadline(&self, headers: &HeaderMap) -> Instant {
        let timeout = headers
            .get(SCRAPE_TIMEOUT_HEADER)
            .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|timeout| !timeout.is_zero())
            .map_or(DEFAULT_SCRAPE_TIMEOUT, |timeout| timeout.min(MAX_SCRAPE_TIMEOUT));
        // A very short timeout is not eaten up by the offset.
        Instant::now() + timeout.saturating_sub(self.timeout_offset).max(timeout / 2)
    }

    fn landing_page(&self) -> Body {
        let collectors: Vec<_> = self.gatherer.enabled_names().collect();
        let page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{program}</title>\n\
             <style>body{{font-family:sans-serif;max-width:42rem;margin:3rem auto;line-height:1.5}}</style></head>\n\
             <body>\n<h1>{program}</h1>\n<p>{about}</p>\n<ul>\n\
             <li><a href=\"{metrics}\">{metrics}</a>: the series of {target}</li>\n\
             <li><code>/probe?target=ADDRESS</code>: the series of another target</li>\n\
             <li><a href=\"/health\">/health</a>: is it well, and if not, why</li>\n\
             <li><a href=\"/-/healthy\">/-/healthy</a>, <a href=\"/-/ready\">/-/ready</a>: this exporter itself</li>\n\
             <li><code>POST /-/reload</code>: read passwords, certificates and users again</li>\n\
             </ul>\n<p>Collectors: {collectors}.</p>\n<p>Version {version}, revision {revision}.</p>\n</body>\n</html>\n",
            program = E::PROGRAM,
            about = escape_html(E::ABOUT),
            metrics = escape_html(&self.telemetry_path),
            target = escape_html(&self.gatherer.target_address()),
            collectors = collectors.join(", "),
            version = env!("CARGO_PKG_VERSION"),
            revision = crate::REVISION,
        );
        response(StatusCode::OK, "text/html; charset=utf-8", page)
    }
}

fn collect_filter(query: &[(String, String)]) -> Vec<&str> {
    query.iter().filter(|(name, _)| name == "collect[]").map(|(_, value)| value.as_str()).collect()
}

fn form(headers: &HeaderMap) -> Form {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Form { format: negotiate::format(header(ACCEPT)), compression: negotiate::compression(header(ACCEPT_ENCODING)) }
}

async fn page(exposition: Arc<Exposition>, form: Form) -> Body {
    let mut response = response(StatusCode::OK, form.format.content_type(), exposition.body(form).await);
    if let Some(encoding) = form.compression.content_encoding() {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    response
}

fn gather_error(error: &GatherError) -> Body {
    let status = match error {
        GatherError::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        GatherError::Target(_) => StatusCode::BAD_REQUEST,
        GatherError::Aborted => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, format!("{error}\n"))
}

fn not_allowed(allowed: &'static str) -> Body {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} are served here\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Body {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Body {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(crate) fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}
