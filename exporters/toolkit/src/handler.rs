//! The paths of an exporter.
//!
//! | Path | Response |
//! |---|---|
//! | `/metrics` (`--web.telemetry-path`) | the metrics; `collect[]=NAME` (repeatable) runs only these collectors |
//! | `/probe?target=…` | the metrics of another target; `/scrape` is the name of this path in redis_exporter |
//! | `/probe?target=…&debug=true` | what happened in this probe, for a person |
//! | `/health` | the health status with its reasons as JSON, 503 while it is `down`; `target=…` of another target |
//! | `/-/healthy` | 200 while the process runs |
//! | `/-/ready` | 200 while it accepts scrapes, 503 while it stops |
//! | `/-/reload` | POST or PUT reads the files again: 200 when they are in use, 500 with the reason when they are not |
//! | `/` | a page with links to these paths |
//!
//! With `--web.config.file`, TLS applies to all of them. Users and the rate limit apply to all but `/-/healthy` and
//! `/-/ready`: the probes of an orchestrator have no password, and these two reveal no more than an open port does.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exposition::negotiate::{self, Form};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, VARY, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::info;
use web_kit::{ActiveConfig, Limits, Refusal, WebConfig};

use crate::build::Build;
use crate::debug_page::debug_page;
use crate::exporter::Exporter;
use crate::gather::{Exposition, GatherError, Gatherer};
use crate::health::HealthStatus;
use crate::landing_page::landing_page;
use crate::reload::Reloader;
use crate::response::{Body, method_not_allowed, response, text};

const LIMITS: Limits = Limits {
    // A dozen Prometheus servers keep a dozen connections open.
    connections: 512,
    // Scrapes can be repeated.
    handled_give_way: true,
    // A few of the largest pages.
    unsent_bytes: 128 << 20,
    // Longer than the usual scrape intervals, so that a scraper keeps its connection.
    header_timeout: Duration::from_secs(90),
    // 20 MB, the largest page that a scraper should read, at 6 Mbit/s.
    write_timeout: Duration::from_secs(30),
    // Kubernetes kills a process 30 s after the stop signal, Docker after 10 s.
    stop_timeout: Duration::from_secs(8),
};

/// The timeout of a scrape whose request has none: the default of Prometheus.
const DEFAULT_SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest timeout that a scraper can have, because a session holds a connection to the service for that long.
const MAX_SCRAPE_TIMEOUT: Duration = Duration::from_secs(120);

const SCRAPE_TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

pub(crate) struct Handler<E: Exporter> {
    pub(crate) gatherer: Arc<Gatherer<E>>,
    pub(crate) reloader: Arc<Reloader<E>>,
    pub(crate) telemetry_path: String,
    pub(crate) timeout_offset: Duration,
    pub(crate) web: Arc<ActiveConfig>,
    pub(crate) stopping: AtomicBool,
    pub(crate) build: Build,
    /// `--web.max-requests`.
    pub(crate) max_requests: Option<MaxRequests>,
}

/// The limit of concurrent requests for the metrics, as in Go's exporters.
pub(crate) struct MaxRequests {
    max: usize,
    free: Semaphore,
}

impl MaxRequests {
    /// 0 means no limit.
    pub(crate) fn new(max: usize) -> Option<Self> {
        (max > 0).then(|| Self { max, free: Semaphore::new(max.min(Semaphore::MAX_PERMITS)) })
    }
}

/// Serves until `stop` resolves, then completes the running scrapes.
pub(crate) async fn serve<E: Exporter>(
    handler: Arc<Handler<E>>,
    listeners: Vec<TcpListener>,
    stop: impl Future<Output = ()>,
) {
    let service = {
        let handler = Arc::clone(&handler);
        service_fn(move |request| {
            let handler = Arc::clone(&handler);
            async move { Ok::<_, Infallible>(handler.handle(request).await) }
        })
    };
    let stop = async {
        stop.await;
        handler.stopping.store(true, Ordering::Relaxed);
    };
    web_kit::serve(listeners, Arc::clone(&handler.web), LIMITS, service, stop).await;
    info!("stopped");
}

impl<E: Exporter> Handler<E> {
    async fn handle(&self, request: Request<Incoming>) -> Body {
        let config = self.web.current();
        let mut response = match self.admit(&config, &request).await {
            Ok(()) => self.route(request).await,
            Err(refusal) => refused(refusal),
        };
        config.set_headers(response.headers_mut());
        response
    }

    async fn admit(&self, config: &WebConfig, request: &Request<Incoming>) -> Result<(), Refusal> {
        let path = request.uri().path();
        // With `--web.telemetry-path=/-/ready`, the metrics stay protected.
        if matches!(path, "/-/healthy" | "/-/ready") && path != self.telemetry_path {
            return Ok(());
        }
        config.admit(request.headers()).await
    }

    async fn route(&self, request: Request<Incoming>) -> Body {
        let path = request.uri().path();
        if path == "/-/reload" {
            return match *request.method() {
                Method::POST | Method::PUT => self.reload().await,
                _ => method_not_allowed("POST, PUT"),
            };
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return method_not_allowed("GET, HEAD");
        }
        let query: Vec<(String, String)> =
            form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
        if path == self.telemetry_path {
            if E::TARGET_ON_METRICS && query.iter().any(|(name, value)| name == "target" && !value.is_empty()) {
                return self.probe(request.headers(), &query).await;
            }
            return self.metrics(request.headers(), &query).await;
        }
        match path {
            "/probe" | "/scrape" => self.probe(request.headers(), &query).await,
            "/health" => self.health(request.headers(), &query).await,
            "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            "/-/ready" if self.stopping.load(Ordering::Relaxed) => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
            "/-/ready" => text(StatusCode::OK, "ready\n"),
            "/" => landing_page(&self.gatherer, &self.telemetry_path, self.build),
            _ => text(StatusCode::NOT_FOUND, "not found; / lists the available paths\n"),
        }
    }

    async fn metrics(&self, headers: &HeaderMap, query: &[(String, String)]) -> Body {
        let _free = match &self.max_requests {
            None => None,
            Some(limit) => match limit.free.try_acquire() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let message = format!("limit of concurrent requests reached ({}), try again later\n", limit.max);
                    return text(StatusCode::SERVICE_UNAVAILABLE, message);
                }
            },
        };
        let collectors = match self.gatherer.choose(&collect_filter(query)) {
            Ok(collectors) => collectors,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let form = form(headers);
        match self.gatherer.scrape_selected(collectors, query, self.deadline(headers)).await {
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

    async fn probe(&self, headers: &HeaderMap, query: &[(String, String)]) -> Body {
        let collectors = match self.gatherer.choose(&collect_filter(query)) {
            Ok(collectors) => collectors,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let Some(target) = target(query) else {
            return text(StatusCode::BAD_REQUEST, "the parameter target is missing; use /probe?target=ADDRESS\n");
        };
        let started = Instant::now();
        let deadline = self.deadline(headers);
        match self.gatherer.probe(target, query, collectors, deadline).await {
            Ok(exposition) if is_debug(query) => debug_page(exposition, deadline - started, started.elapsed()).await,
            Ok(exposition) => page(exposition, form(headers)).await,
            Err(error) => gather_error(&error),
        }
    }

    async fn health(&self, headers: &HeaderMap, query: &[(String, String)]) -> Body {
        let collectors = match self.gatherer.choose(&[]) {
            Ok(collectors) => collectors,
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error),
        };
        let deadline = self.deadline(headers);
        let result = match target(query) {
            Some(target) => self.gatherer.probe(target, query, collectors, deadline).await,
            None => self.gatherer.scrape(collectors, deadline).await,
        };
        match result {
            Ok(exposition) => {
                let status = match exposition.report.status {
                    HealthStatus::Down => StatusCode::SERVICE_UNAVAILABLE,
                    HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
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

    /// When the response must be ready: the scraper's timeout minus the time to send the response.
    fn deadline(&self, headers: &HeaderMap) -> Instant {
        let timeout = headers
            .get(SCRAPE_TIMEOUT_HEADER)
            .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|timeout| !timeout.is_zero())
            .map_or(DEFAULT_SCRAPE_TIMEOUT, |timeout| timeout.min(MAX_SCRAPE_TIMEOUT));
        // The offset takes at most half of a very short timeout.
        Instant::now() + timeout.saturating_sub(self.timeout_offset).max(timeout / 2)
    }
}

/// An empty `collect[]=` counts as absent, as in the peers.
fn collect_filter(query: &[(String, String)]) -> Vec<&str> {
    let values = query.iter().filter(|(name, _)| name == "collect[]").map(|(_, value)| value.as_str());
    values.filter(|value| !value.is_empty()).collect()
}

fn target(query: &[(String, String)]) -> Option<&str> {
    query.iter().find(|(name, value)| name == "target" && !value.is_empty()).map(|(_, target)| target.as_str())
}

fn is_debug(query: &[(String, String)]) -> bool {
    query.iter().any(|(name, value)| name == "debug" && value == "true")
}

fn form(headers: &HeaderMap) -> Form {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Form { format: negotiate::format(header(ACCEPT)), compression: negotiate::compression(header(ACCEPT_ENCODING)) }
}

async fn page(exposition: Arc<Exposition>, form: Form) -> Body {
    let body = match exposition.body(form).await {
        Ok(body) => body,
        Err(exhausted) => {
            let error = "accept gzip, scrape fewer targets at a time, or raise --scrape.memory-limit";
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("no memory for the page: {exhausted} is reached; {error}\n"),
            );
        }
    };
    let mut response = response(StatusCode::OK, form.format.content_type(), body);
    if let Some(encoding) = form.compression.content_encoding() {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    response
}

fn gather_error(error: &GatherError) -> Body {
    let status = match error {
        GatherError::TooMany | GatherError::TooManyBlocked | GatherError::NoTurn => StatusCode::SERVICE_UNAVAILABLE,
        GatherError::Refused(_) => StatusCode::FORBIDDEN,
        GatherError::Target(_) => StatusCode::BAD_REQUEST,
        GatherError::Panicked(_) | GatherError::Aborted => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, format!("{error}\n"))
}

fn refused(refusal: Refusal) -> Body {
    let mut response = text(refusal.status(), format!("{refusal}\n"));
    if refusal == Refusal::Unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"exporter\""));
    }
    response
}
