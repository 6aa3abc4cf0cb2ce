//! The listeners: their sockets, their limits, and the checks of `--web.config.file`.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper_util::service::TowerToHyperService;
use service_kit::listen::ListenAddress;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use web_kit::{ActiveConfig, Limits, Refusal};

use crate::problem::Problem;

pub(crate) const API_LIMITS: Limits = Limits {
    // HAProxy and its health checks hold some dozens.
    connections: 1024,
    // Longer than HAProxy keeps an unused connection (`pool-purge-delay`, 5 s), so that HAProxy is the side that
    // closes.
    // A payment in progress is worth more than a new connection.
    handled_give_way: false,
    unsent_bytes: 64 << 20,
    header_timeout: Duration::from_secs(20),
    write_timeout: Duration::from_secs(30),
    stop_timeout: Duration::from_secs(10),
};

pub(crate) const METRICS_LIMITS: Limits = Limits { connections: 32, ..API_LIMITS };

#[derive(Debug, thiserror::Error)]
#[error("--{flag}={address}: cannot listen: {source}")]
pub struct ListenError {
    flag: &'static str,
    address: ListenAddress,
    source: io::Error,
}

pub(crate) async fn listen(flag: &'static str, address: ListenAddress) -> Result<TcpListener, ListenError> {
    address.bind().await.map_err(|source| ListenError { flag, address, source })
}

/// Serves until `stop`, then completes the requests in progress.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    web: Arc<ActiveConfig>,
    stop: CancellationToken,
) {
    web_kit::serve(vec![listener], web, limits, TowerToHyperService::new(router), stop.cancelled_owned()).await;
}

/// Middleware: checks the rate limit and the user of a request.
pub(crate) async fn require_user(State(web): State<Arc<ActiveConfig>>, request: Request, next: Next) -> Response {
    match web.current().admit(request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

/// Middleware: checks the rate limit only, for a route that has its own authentication.
pub(crate) async fn limit_rate(State(web): State<Arc<ActiveConfig>>, request: Request, next: Next) -> Response {
    match web.current().admit_rate() {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

/// Middleware: sets the configured headers of each response.
pub(crate) async fn set_headers(State(web): State<Arc<ActiveConfig>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    web.current().set_headers(response.headers_mut());
    response
}

fn refused(refusal: Refusal) -> Response {
    let mut response = Problem::refused(refusal).into_response();
    if refusal == Refusal::Unauthorized {
        let challenge = HeaderValue::from_static("Basic realm=\"medassist-api\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
