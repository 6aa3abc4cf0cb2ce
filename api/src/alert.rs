//! Alertmanager's notifications: stored before they are acknowledged, one row per alert.
//!
//! Alertmanager takes any 2xx as delivered, repeats after 5xx and gives up on 4xx; it delivers at least once, to any
//! replica, and late notifications may overtake. So: 2xx only after the commit, and [`crate::alert_store`] makes order
//! and repeats harmless.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Query, State, rejection::QueryRejection},
    http::{header, request::Parts},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use service_kit::{lock::lock, secret::Secret};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    alert_store::{self, Alert, Status},
    app::App,
    body::Body,
    db::whole_micros,
    problem::Problem,
};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// Webhook payload, version 4. What it has more, now or later, is ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    version: String,
    #[serde(default)]
    receiver: String,
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<Alert>,
}

impl Notification {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let mut notification: Self = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("the body is not an Alertmanager notification: {error}")))?;
        if notification.version != "4" {
            return Err(Problem::bad_request("this endpoint reads version 4 of Alertmanager's webhook payload"));
        }
        for alert in &mut notification.alerts {
            let fingerprint = &alert.fingerprint;
            if fingerprint.is_empty()
                || fingerprint.len() > 64
                || !fingerprint.bytes().all(|b| b.is_ascii_alphanumeric())
            {
                return Err(Problem::bad_request("an alert's fingerprint must be 1 to 64 letters and digits"));
            }
            if alert.starts_at < Timestamp::UNIX_EPOCH {
                return Err(Problem::bad_request("an alert's startsAt must be a time since 1970"));
            }
            alert.starts_at = whole_micros(alert.starts_at);
            // Go's zero time means "has not ended".
            alert.ends_at = alert.ends_at.filter(|end| *end > Timestamp::UNIX_EPOCH).map(whole_micros);
        }
        // All writers lock in this order.
        notification.alerts.sort_by(|a, b| (&a.fingerprint, a.starts_at).cmp(&(&b.fingerprint, b.starts_at)));
        Ok(notification)
    }
}

/// Notifications that are in memory at once; others wait. A large one takes 40 MB until it is stored.
pub(crate) const AT_ONCE: usize = 2;

/// The webhook's token was sent, if one is required, and there is room for the body. Both come before the body is read:
/// who has no token costs no memory.
#[derive(Debug)]
pub(crate) struct Admitted {
    _permit: OwnedSemaphorePermit,
}

impl FromRequestParts<Arc<App>> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let token = lock(&app.webhook_token).clone();
        if let Some(token) = token {
            let sent = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let sent = sent
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            if !sent.is_some_and(|(_, sent)| is_token(&token, sent)) {
                return Err(refused(app, Problem::unauthorized()));
            }
        }
        let permit = app.notifications.clone().acquire_owned().await;
        Ok(Self { _permit: permit.map_err(Problem::internal)? })
    }
}

/// Alertmanager gives up on a 4xx: nobody gets these alerts.
fn refused(app: &App, problem: Problem) -> Problem {
    tracing::warn!(instance = app.instance, reason = problem.kind(), "notification refused");
    problem
}

/// Compares digests, so that the time does not reveal how much of a guess was right.
fn is_token(token: &Secret, sent: &str) -> bool {
    Sha256::digest(token.expose()) == Sha256::digest(sent)
}

pub(crate) async fn webhook(
    State(app): State<Arc<App>>,
    _admitted: Admitted,
    body: Result<Body, Problem>,
) -> Result<Json<serde_json::Value>, Problem> {
    let received_at = whole_micros(Timestamp::now());
    let notification = body.and_then(|body| Notification::parse(&body.0)).map_err(|problem| refused(&app, problem))?;
    if notification.truncated_alerts > 0 {
        app.requests.truncated_alerts.inc_by(notification.truncated_alerts);
        tracing::warn!(
            truncated = notification.truncated_alerts,
            "Alertmanager truncated the notification; raise max_alerts"
        );
    }
    alert_store::store(&app.db, &notification.alerts, &notification.receiver, received_at).await?;
    Ok(Json(json!({ "stored": notification.alerts.len() })))
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    status: Option<Status>,
    limit: Option<u32>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<serde_json::Value>, Problem> {
    let bad_query = || Problem::bad_request(format!("status is firing or resolved, limit is 1 to {MAX_LIMIT}"));
    let Query(ListQuery { status, limit }) = query.map_err(|_| bad_query())?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(bad_query());
    }
    let alerts = alert_store::read(&app.db, status, limit).await?;
    Ok(Json(json!({ "alerts": alerts })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_accepted() {
        let token = Secret::new("token");
        assert!(is_token(&token, "token"));
        assert!(!is_token(&token, "token "));
        assert!(!is_token(&token, ""));
    }

    fn notification(alerts: serde_json::Value) -> String {
        json!({
            "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "p1",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am:9093",
            "notification_reason": "first", "routeLabels": {"what": "comes"}, "alerts": alerts,
        })
        .to_string()
    }

    fn firing(fingerprint: &str) -> serde_json::Value {
        json!({
            "status": "firing", "labels": {"alertname": "MysqlDown", "severity": "p1"}, "annotations": {"summary": "é"},
            "startsAt": "2026-11-22T18:00:00.123456789+01:00", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus", "fingerprint": fingerprint, "later": true,
        })
    }

    #[test]
    fn reads_what_alertmanager_sends_and_ignores_what_it_may_add() {
        let read = Notification::parse(notification(json!([firing("b0"), firing("a0")])).as_bytes()).unwrap();
        assert_eq!(read.receiver, "p1");
        let [first, second] = &read.alerts[..] else { panic!("two alerts") };
        assert_eq!((first.fingerprint.as_str(), second.fingerprint.as_str()), ("a0", "b0"), "in the order of locking");
        assert_eq!(first.starts_at.to_string(), "2026-11-22T17:00:00.123456Z");
        assert_eq!(first.ends_at, None, "Go's zero time is no end");
        assert_eq!(first.status, Status::Firing);
    }

    #[test]
    fn refuses_what_is_not_a_notification() {
        let with = |key: &str, value: serde_json::Value| {
            let mut alert = firing("a0");
            alert[key] = value;
            notification(json!([alert]))
        };
        for body in [
            String::new(),
            "{}".into(),
            r#"{"version":"3","alerts":[]}"#.into(),
            with("status", json!("suppressed")),
            with("fingerprint", json!("")),
            with("fingerprint", json!("a".repeat(65))),
            with("fingerprint", json!("a'b")),
            with("startsAt", json!("yesterday")),
            with("startsAt", json!("0001-01-01T00:00:00Z")),
            with("labels", json!({"alertname": 1})),
        ] {
            assert!(Notification::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
