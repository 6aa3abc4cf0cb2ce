//! Which handler serves which path.
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
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::{encoding::text, registry::Registry};

use crate::{
    alert,
    app::App,
    health,
    observe::observe,
    payment,
    problem::Problem,
    routes::{ALERTS, HEALTH, LIVEZ, PAYMENT, PAYMENTS, READYZ, WEBHOOK},
};

/// Alertmanager's largest groups are some hundred KiB.
const MAX_BODY: usize = 1 << 20;

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

pub(crate) fn metrics_router(registry: Registry) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page)
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "encoding metrics failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
