//! The table of alerts: one row per alert, and rules that make order and repeats of notifications harmless.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use mysql_async::{Params, Row, TxOpts, Value, prelude::Queryable};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    db::{Db, DbError, Session, datetime, timestamp},
    problem::Problem,
};

/// Upserts lock rows in the order of their keys, so a deadlock needs bad luck; three in a row need a cause.
const ATTEMPTS: usize = 3;

/// MySQL has no bulk protocol: each statement is a round trip. 500 alerts, one each, took 1.5 s of the request's 2 s at
/// 3 ms a round trip.
const ROWS_PER_STATEMENT: usize = 100;

/// A storm of 8 MiB takes longer than other requests; below the request's own timeout of 5 s.
const STORE_DEADLINE: Duration = Duration::from_secs(4);

/// As Alertmanager sends it. What it has more, now or later, is ignored.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Alert {
    pub(crate) status: Status,
    pub(crate) fingerprint: String,
    #[serde(rename = "startsAt")]
    pub(crate) starts_at: Timestamp,
    #[serde(rename = "endsAt", default)]
    pub(crate) ends_at: Option<Timestamp>,
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(rename = "generatorURL", default)]
    pub(crate) generator_url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
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

/// Stores all of a notification or nothing. `alerts` are sorted by fingerprint and start: all writers lock in this
/// order.
pub(crate) async fn store(db: &Db, alerts: &[Alert], receiver: &str, received_at: Timestamp) -> Result<(), DbError> {
    let mut session = db.session_within(STORE_DEADLINE).await?;
    let mut attempt = 1;
    loop {
        match upsert(&mut session, alerts, receiver, received_at).await {
            Err(error) if error.is_deadlock() && attempt < ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

const INSERT: &str = "
INSERT INTO alert (fingerprint, starts_at, status, ends_at, labels, annotations, receiver, generator_url,
                   received_at, firing_received_at, resolved_received_at, last_received_at)
VALUES ";
const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// A resolved alert stays resolved and keeps its data when a late `firing` arrives: an alert that fires again has a new
/// startsAt. MySQL assigns from left to right, so `status` comes last. `VALUES()` is the one spelling that MariaDB and
/// MySQL share.
const OR_UPDATE: &str = "
ON DUPLICATE KEY UPDATE
  ends_at              = IF(status = 'resolved' AND VALUES(status) = 'firing', ends_at, VALUES(ends_at)),
  annotations          = IF(status = 'resolved' AND VALUES(status) = 'firing', annotations, VALUES(annotations)),
  firing_received_at   = COALESCE(firing_received_at, VALUES(firing_received_at)),
  resolved_received_at = COALESCE(resolved_received_at, VALUES(resolved_received_at)),
  last_received_at     = GREATEST(last_received_at, VALUES(last_received_at)),
  notifications        = notifications + 1,
  status               = IF(status = 'resolved', status, VALUES(status))";

/// Alertmanager moves the start of a running alert when another Prometheus of a pair reports an earlier one: one alert
/// then has several rows, and only one of them gets the `resolved`. Each row that began before a resolved one ended is
/// the same alert, whichever was stored first.
const CLOSE: &str = "
UPDATE alert AS running JOIN alert AS ended
  ON ended.fingerprint = running.fingerprint AND ended.status = 'resolved'
  AND running.starts_at <= COALESCE(ended.ends_at, ended.resolved_received_at)
SET running.status = 'resolved', running.ends_at = ended.ends_at,
    running.resolved_received_at = ended.resolved_received_at
WHERE running.status = 'firing' AND running.fingerprint IN ";

async fn upsert(
    session: &mut Session,
    alerts: &[Alert],
    receiver: &str,
    received_at: Timestamp,
) -> Result<(), DbError> {
    let Session { conn, deadline } = session;
    let mut transaction = deadline.run("begin", conn.start_transaction(TxOpts::default())).await?;
    for alerts in alerts.chunks(ROWS_PER_STATEMENT) {
        let statement = format!("{INSERT}{}{OR_UPDATE}", vec![ROW; alerts.len()].join(", "));
        let values = alerts.iter().flat_map(|alert| row(alert, receiver, received_at)).collect();
        deadline.run("store alerts", transaction.exec_drop(statement, Params::Positional(values))).await?;
    }
    let fingerprints: Vec<&str> =
        alerts.iter().map(|alert| alert.fingerprint.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    for fingerprints in fingerprints.chunks(ROWS_PER_STATEMENT) {
        let statement = format!("{CLOSE}({})", vec!["?"; fingerprints.len()].join(", "));
        let values = fingerprints.iter().map(|fingerprint| Value::from(*fingerprint)).collect();
        deadline.run("close alerts", transaction.exec_drop(statement, Params::Positional(values))).await?;
    }
    deadline.run("commit alerts", transaction.commit()).await
}

/// In the order of [`INSERT`].
fn row(alert: &Alert, receiver: &str, received_at: Timestamp) -> [Value; 12] {
    let received_at = datetime(received_at);
    let received_as = |status| if alert.status == status { received_at.clone() } else { Value::NULL };
    [
        alert.fingerprint.as_str().into(),
        datetime(alert.starts_at),
        alert.status.as_str().into(),
        alert.ends_at.map_or(Value::NULL, datetime),
        json!(alert.labels).to_string().into(),
        json!(alert.annotations).to_string().into(),
        receiver.into(),
        alert.generator_url.as_str().into(),
        received_at.clone(),
        received_as(Status::Firing),
        received_as(Status::Resolved),
        received_at.clone(),
    ]
}

/// An alert that has ended, unless a row has it: one that is firing still, or that fired at any time between.
const INSERT_MISSED: &str = "
INSERT INTO alert (fingerprint, starts_at, status, ends_at, labels, annotations, receiver, generator_url,
                   received_at, firing_received_at, resolved_received_at, last_received_at, notifications)
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0 FROM DUAL
WHERE NOT EXISTS (SELECT 1 FROM (SELECT starts_at, ends_at FROM alert WHERE fingerprint = ?) AS known
                  WHERE known.starts_at <= ? AND COALESCE(known.ends_at, ?) >= ?)
ON DUPLICATE KEY UPDATE notifications = alert.notifications";

/// One whose end was never announced, as after a restart of Alertmanager.
const CLOSE_MISSED: &str = "
UPDATE alert SET status = 'resolved', ends_at = ?, resolved_received_at = ?
WHERE fingerprint = ? AND status = 'firing' AND starts_at <= ? AND last_received_at < ?";

/// Stores the alerts that no notification announced, with `notifications` 0, and closes those of which nothing was
/// heard since `quiet_since`. Returns how many these were. Any number of replicas can do so at once: they find the same
/// alerts, whose keys are equal.
pub(crate) async fn store_missed(
    db: &Db,
    alerts: &[Alert],
    receiver: &str,
    received_at: Timestamp,
    quiet_since: Timestamp,
) -> Result<u64, DbError> {
    let Session { mut conn, deadline } = db.session().await?;
    let mut stored = 0;
    for alert in alerts {
        let (start, end) = (datetime(alert.starts_at), datetime(alert.ends_at.unwrap_or(received_at)));
        let fingerprint = Value::from(alert.fingerprint.as_str());
        let values = vec![end.clone(), datetime(received_at), fingerprint.clone(), end.clone(), datetime(quiet_since)];
        deadline.run("close missed alerts", conn.exec_drop(CLOSE_MISSED, Params::Positional(values))).await?;
        stored += conn.affected_rows();
        let mut values = Vec::from(row(alert, receiver, received_at));
        values.extend([fingerprint, end.clone(), end, start]);
        let statement = conn.exec_drop(INSERT_MISSED, Params::Positional(values));
        deadline.run("store missed alerts", statement).await?;
        stored += conn.affected_rows();
    }
    Ok(stored)
}

#[derive(Debug, Serialize)]
pub(crate) struct StoredAlert {
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

/// Newest first, by the time at which we first heard of them.
pub(crate) async fn read(db: &Db, status: Option<Status>, limit: u32) -> Result<Vec<StoredAlert>, Problem> {
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
