//! The paths.
//!
//! | Path | Handler |
//! |---|---|
//! | `GET /livez`, `GET /readyz`, `GET /health` | [`crate::health`] |
//! | `POST /api/payment`, `GET /api/payment/{id}` | [`crate::payment`] |
//! | `POST /api/webhook/alert`, `GET /api/alerts` | [`crate::alert`] |
//! | `GET /metrics`, on the metrics listener | [`metrics_router`] |

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, State},
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::{encoding::text, registry::Registry};

use crate::{alert, app::App, health, observe::observe, payment, problem::Problem};

/// Alertmanager's largest groups are some hundred KiB.
const MAX_BODY: usize = 1 << 20;

const LIVEZ: &str = "/livez";
const READYZ: &str = "/readyz";
const HEALTH: &str = "/health";
const PAYMENTS: &str = "/api/payment";
const PAYMENT: &str = "/api/payment/{id}";
const WEBHOOK: &str = "/api/webhook/alert";
const ALERTS: &str = "/api/alerts";
const ROUTES: [&str; 7] = [LIVEZ, READYZ, HEALTH, PAYMENTS, PAYMENT, WEBHOOK, ALERTS];

const UNMATCHED: &str = "unmatched";

pub(crate) fn api_router(app: Arc<App>) -> Router {
    Router::new()
        .route(LIVEZ, get(health::livez))
        .route(READYZ, get(health::readyz))
        .route(HEALTH, get(health::health))
        .route(PAYMENTS, post(payment::create))
        .route(PAYMENT, get(payment::get))
        .route(WEBHOOK, post(alert::webhook))
        .route(ALERTS, get(alert::list))
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// The route's template, so that metrics and logs have no ids in them.
pub(crate) fn template(matched: Option<&MatchedPath>) -> &'static str {
    matched.and_then(|path| ROUTES.into_iter().find(|route| *route == path.as_str())).unwrap_or(UNMATCHED)
}

/// Asked every second or so by a load balancer.
pub(crate) fn is_for_machines(route: &str) -> bool {
    [LIVEZ, READYZ, HEALTH].contains(&route)
}

pub(crate) fn metrics_router(registry: Registry) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page)
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
