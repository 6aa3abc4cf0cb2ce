//! `/livez`, `/readyz` and `/health`. None of them waits for a dependency.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Map, Value, json};

use crate::app::App;

/// For an orchestrator, which restarts a process that doesn't answer.
pub(crate) async fn livez() -> &'static str {
    "alive\n"
}

/// For the load balancer.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let dependencies: Map<String, Value> =
        app.dependencies().iter().map(|d| (d.name.to_owned(), json!(d.status()))).collect();
    (ok_if(app.ready()), Json(json!({ "status": word(&app), "schema": schema(&app), "dependencies": dependencies })))
}

/// For a person with curl.
pub(crate) async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let dependencies: Map<String, Value> =
        app.dependencies().iter().map(|d| (d.name.to_owned(), json!(d.report()))).collect();
    let detail = json!({
        "status": word(&app),
        "instance": app.instance,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "schema": schema(&app),
        "dependencies": dependencies,
    });
    (ok_if(!app.lifecycle.draining()), Json(detail))
}

fn schema(app: &App) -> &'static str {
    if app.db.schema_in_place() { "in place" } else { "not in place" }
}

fn ok_if(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn word(app: &App) -> &'static str {
    if app.lifecycle.draining() {
        "draining"
    } else if !app.ready() {
        "starting"
    } else if app.degraded() {
        "degraded"
    } else {
        "healthy"
    }
}
