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
use service_kit::lock::lock;
use web_kit::ActiveConfig;

use crate::{
    alert,
    app::App,
    health,
    observe::observe,
    payment,
    problem::Problem,
    routes::{ALERTS, HEALTH, LIVEZ, PAYMENT, PAYMENTS, READYZ, WEBHOOK},
    server,
};

const MAX_BODY: usize = 1 << 20;
/// Alertmanager gives up on a 413, so its largest notification must fit: `max_alerts` (500) alerts of 16 KiB each.
const MAX_NOTIFICATION: usize = 8 << 20;

pub(crate) fn api_router(app: Arc<App>) -> Router {
    // A load balancer's probes have no password.
    let probes = Router::new().route(LIVEZ, get(health::livez)).route(READYZ, get(health::readyz));
    // One request has one Authorization header: the webhook's token replaces the user.
    let webhook = Router::new().route(WEBHOOK, post(alert::webhook));
    let webhook = if lock(&app.webhook_token).is_some() {
        webhook.route_layer(from_fn_with_state(app.web.clone(), server::limit_rate))
    } else {
        webhook.route_layer(from_fn_with_state(app.web.clone(), server::require_user))
    };
    let webhook = webhook.layer(DefaultBodyLimit::max(MAX_NOTIFICATION));
    Router::new()
        .route(HEALTH, get(health::health))
        .route(PAYMENTS, post(payment::create))
        .route(PAYMENT, get(payment::get))
        .route(ALERTS, get(alert::list))
        .fallback(async || Problem::no_such_route())
        .layer(from_fn_with_state(app.web.clone(), server::require_user))
        .merge(probes)
        .merge(webhook)
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), observe))
        .layer(from_fn_with_state(app.web.clone(), server::set_headers))
        .with_state(app)
}

pub(crate) fn metrics_router(registry: Registry, web: Arc<ActiveConfig>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(web.clone(), server::require_user))
        .layer(from_fn_with_state(web, server::set_headers))
        .with_state(Arc::new(registry))
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
