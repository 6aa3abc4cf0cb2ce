//! Middleware of every request: trace id, timeout, metrics, access log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{app::App, problem::Problem, routes, stall, trace::TraceId};

const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Longer than a handler's deadline for MySQL, shorter than HAProxy's `timeout server`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// nginx's status for a client that closed the connection before the response.
const CLIENT_CLOSED_REQUEST: u16 = 499;

pub(crate) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let trace = TraceId::of_request(request.headers());
    let route = routes::template(request.extensions().get::<MatchedPath>());
    let exchange = Exchange::begin(app, trace, method_label(request.method()), route);

    let mut response = match stall::deadline(tokio::time::Instant::now() + REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable(format!("no answer within {REQUEST_TIMEOUT:?}")).into_response(),
    };
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        problem.render(trace, &mut response);
    }
    if let Ok(value) = HeaderValue::try_from(trace.to_string()) {
        response.headers_mut().insert(TRACE_ID, value);
    }
    if exchange.app.lifecycle.draining() {
        // Moves keep-alive clients elsewhere before the listener closes.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.end(response.status(), problem.as_ref().and_then(Problem::cause));
    response
}

/// A request in progress. hyper drops it when the client closes the connection; that is counted and logged, too.
struct Exchange {
    app: Arc<App>,
    trace: TraceId,
    method: &'static str,
    route: &'static str,
    started: Instant,
    ended: bool,
}

impl Exchange {
    fn begin(app: Arc<App>, trace: TraceId, method: &'static str, route: &'static str) -> Self {
        app.requests.active.inc();
        Self { app, trace, method, route, started: Instant::now(), ended: false }
    }

    fn end(mut self, status: StatusCode, cause: Option<&str>) {
        self.ended = true;
        self.record(status.as_u16(), cause);
    }

    fn record(&self, status: u16, cause: Option<&str>) {
        let Self { app, trace, method, route, started, .. } = self;
        let took = started.elapsed();
        app.requests.observe(method, route, status, took);
        let duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    instance = app.instance,
                    endpoint = route,
                    method,
                    status,
                    duration_ms,
                    trace_id = %trace,
                    error = cause,
                    "request"
                )
            };
        }
        match status {
            500.. if cause.is_some() => line!(tracing::Level::ERROR),
            _ if routes::is_health_check(route) => line!(tracing::Level::DEBUG),
            _ => line!(tracing::Level::INFO),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.app.requests.active.dec();
        if !self.ended {
            self.record(CLIENT_CLOSED_REQUEST, None);
        }
    }
}

/// OpenTelemetry's list of methods. A client can send any method, but a label needs bounded values.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}
