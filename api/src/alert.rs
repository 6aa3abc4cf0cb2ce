//! Alertmanager's notifications: stored before they are acknowledged, one row per alert.
//!
//! Alertmanager takes any 2xx as delivered, repeats after 5xx and gives up on 4xx; it delivers at least once, to any
//! replica, and late notifications may overtake. So: 2xx only after the commit, and the row's rules below make order
//! and repeats harmless.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, header},
};
use jiff::Timestamp;
use mysql_async::{Params, Row, TxOpts, Value, params, prelude::Queryable};
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::{lock::lock, secret::Secret};
use sha2::{Digest, Sha256};

use crate::{
    app::App,
    body::Body,
    db::{Db, DbError, Session, datetime, timestamp, whole_micros},
    problem::Problem,
};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// Upserts lock rows in the order of their keys, so a deadlock needs bad luck; three in a row need a cause.
const ATTEMPTS: usize = 3;

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

#[derive(Debug, Deserialize)]
struct Alert {
    status: Status,
    fingerprint: String,
    #[serde(rename = "startsAt")]
    starts_at: Timestamp,
    #[serde(rename = "endsAt", default)]
    ends_at: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(rename = "generatorURL", default)]
    generator_url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
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

pub(crate) async fn webhook(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Body, Problem>,
) -> Result<Json<serde_json::Value>, Problem> {
    let token = lock(&app.webhook_token).clone();
    if let Some(token) = token {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent =
            sent.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if !sent.is_some_and(|(_, sent)| is_token(&token, sent)) {
            return Err(Problem::unauthorized());
        }
    }
    let received_at = whole_micros(Timestamp::now());
    let notification = Notification::parse(&body?.0)?;
    if notification.truncated_alerts > 0 {
        tracing::warn!(
            truncated = notification.truncated_alerts,
            "Alertmanager truncated the notification; raise max_alerts"
        );
    }
    store(&app.db, &notification, received_at).await?;
    Ok(Json(json!({ "stored": notification.alerts.len() })))
}

/// Compares digests, so that the time does not reveal how much of a guess was right.
fn is_token(token: &Secret, sent: &str) -> bool {
    Sha256::digest(token.expose()) == Sha256::digest(sent)
}

async fn store(db: &Db, notification: &Notification, received_at: Timestamp) -> Result<(), DbError> {
    let mut session = db.session().await?;
    let mut attempt = 1;
    loop {
        match upsert(&mut session, notification, received_at).await {
            Err(error) if error.is_deadlock() && attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// A resolved alert stays resolved and keeps its data when a late `firing` arrives: an alert that fires again has a new
/// startsAt. MySQL assigns from left to right, so `status` comes last. `VALUES()` is the one spelling that MariaDB and
/// MySQL share.
const UPSERT: &str = "
INSERT INTO alert (fingerprint, starts_at, status, ends_at, labels, annotations, receiver, generator_url,
                   received_at, firing_received_at, resolved_received_at, last_received_at)
VALUES (:fingerprint, :starts_at, :status, :ends_at, :labels, :annotations, :receiver, :generator_url,
        :received_at, :firing_received_at, :resolved_received_at, :received_at)
ON DUPLICATE KEY UPDATE
  ends_at              = IF(status = 'resolved' AND VALUES(status) = 'firing', ends_at, VALUES(ends_at)),
  annotations          = IF(status = 'resolved' AND VALUES(status) = 'firing', annotations, VALUES(annotations)),
  firing_received_at   = COALESCE(firing_received_at, VALUES(firing_received_at)),
  resolved_received_at = COALESCE(resolved_received_at, VALUES(resolved_received_at)),
  last_received_at     = GREATEST(last_received_at, VALUES(last_received_at)),
  notifications        = notifications + 1,
  status               = IF(status = 'resolved', status, VALUES(status))";

async fn upsert(session: &mut Session, notification: &Notification, received_at: Timestamp) -> Result<(), DbError> {
    let Session { conn, deadline } = session;
    let mut transaction = deadline.run("begin", conn.start_transaction(TxOpts::default())).await?;
    let rows = notification.alerts.iter().map(|alert| row(alert, &notification.receiver, received_at));
    deadline.run("store alerts", transaction.exec_batch(UPSERT, rows)).await?;
    deadline.run("commit alerts", transaction.commit()).await
}

fn row(alert: &Alert, receiver: &str, received_at: Timestamp) -> Params {
    let received_at = datetime(received_at);
    let received_as = |status| if alert.status == status { received_at.clone() } else { Value::NULL };
    params! {
        "fingerprint" => &alert.fingerprint,
        "starts_at" => datetime(alert.starts_at),
        "status" => alert.status.as_str(),
        "ends_at" => alert.ends_at.map_or(Value::NULL, datetime),
        "labels" => json!(alert.labels).to_string(),
        "annotations" => json!(alert.annotations).to_string(),
        "receiver" => receiver,
        "generator_url" => &alert.generator_url,
        "firing_received_at" => received_as(Status::Firing),
        "resolved_received_at" => received_as(Status::Resolved),
        "received_at" => received_at,
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    status: Option<Status>,
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
struct StoredAlert {
    fingerprint: String,
    status: Status,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    labels: serde_json::Value,
    annotations: serde_json::Value,
    receiver: String,
    generator_url: String,
    received_at: Option<Timestamp>,
    firing_received_at: Option<Timestamp>,
    resolved_received_at: Option<Timestamp>,
    last_received_at: Option<Timestamp>,
    notifications: u32,
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
    let alerts = read(&app.db, status, limit).await?;
    Ok(Json(json!({ "alerts": alerts })))
}

/// Newest first, by the time at which we first heard of them.
async fn read(db: &Db, status: Option<Status>, limit: u32) -> Result<Vec<StoredAlert>, Problem> {
    let Session { mut conn, deadline } = db.session().await?;
    let (filter, params): (_, Vec<Value>) = match status {
        Some(status) => ("WHERE status = ?", vec![status.as_str().into(), limit.into()]),
        None => ("", vec![limit.into()]),
    };
    let select = format!("SELECT * FROM alert {filter} ORDER BY received_at DESC, fingerprint, starts_at LIMIT ?");
    let rows: Vec<Row> = deadline.run("list alerts", conn.exec(select, Params::Positional(params))).await?;
    rows.into_iter()
        .map(|row| {
            stored(row).ok_or_else(|| Problem::internal("a row of the table alert is not as its migration made it"))
        })
        .collect()
}

fn stored(mut row: Row) -> Option<StoredAlert> {
    fn time(row: &Row, column: &str) -> Option<Timestamp> {
        row.get_opt(column)?.ok().as_ref().and_then(timestamp)
    }
    fn text(row: &mut Row, column: &str) -> Option<String> {
        row.take_opt(column)?.ok()
    }
    Some(StoredAlert {
        status: if text(&mut row, "status")? == "firing" { Status::Firing } else { Status::Resolved },
        starts_at: time(&row, "starts_at"),
        ends_at: time(&row, "ends_at"),
        received_at: time(&row, "received_at"),
        firing_received_at: time(&row, "firing_received_at"),
        resolved_received_at: time(&row, "resolved_received_at"),
        last_received_at: time(&row, "last_received_at"),
        labels: serde_json::from_str(&text(&mut row, "labels")?).ok()?,
        annotations: serde_json::from_str(&text(&mut row, "annotations")?).ok()?,
        fingerprint: text(&mut row, "fingerprint")?,
        receiver: text(&mut row, "receiver")?,
        generator_url: text(&mut row, "generator_url")?,
        notifications: row.take_opt("notifications")?.ok()?,
    })
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
