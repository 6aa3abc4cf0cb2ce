//! Alerts that no notification announced, read from Prometheus.
//!
//! Alertmanager drops an alert that fired and ended before a delivery succeeded: an API that was down, or whose
//! database was, would not learn of its own outage. Prometheus keeps each evaluation of each alert as a sample of
//! `ALERTS`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::{Client, Url};
use serde::Deserialize;
use service_kit::{
    error_chain::with_sources,
    http,
    tls::{ClientTls, TlsError},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    alert_store::{self, Alert, Status},
    app::App,
    db::{DbError, whole_micros},
    flags::BackfillArgs,
};

/// The receiver of a row that is not from a notification.
const RECEIVER: &str = "backfill";
const DEADLINE: Duration = Duration::from_secs(10);
/// Six hours of 50 alerts, a sample each 5 s.
const MAX_RESPONSE: usize = 16 << 20;
/// Newest first, per run.
const MAX_ALERTS: usize = 200;
/// Evaluations that may fail without ending an alert.
const MISSED_EVALUATIONS: f64 = 4.0;

#[derive(Debug, thiserror::Error)]
enum BackfillError {
    #[error("{}", with_sources(.0))]
    Http(#[from] reqwest::Error),
    #[error("no complete response within {} s", DEADLINE.as_secs())]
    Timeout,
    #[error("the response is over {} MiB: use a shorter --backfill.window", MAX_RESPONSE >> 20)]
    TooLarge,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("not a response of Prometheus: {0}")]
    Json(#[from] serde_json::Error),
    #[error("--backfill.prometheus-url cannot be the base of a path")]
    Base,
    #[error(transparent)]
    Db(#[from] DbError),
}

fn client(prometheus: &Url, tls: &ClientTls) -> Result<Client, BackfillError> {
    Ok(http::client(prometheus, tls)?.timeout(DEADLINE).build()?)
}

/// At the start and then at each interval: the API can also miss alerts while it runs, when its database or its load
/// balancer is down.
pub(crate) async fn run(app: Arc<App>, args: BackfillArgs) {
    let Some(prometheus) = args.prometheus_url.clone() else { return };
    let client = match client(&prometheus, &args.tls.tls) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(error = with_sources(&error), "backfill is off: no HTTP client");
            return;
        }
    };
    let mut ticks = interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let now = Timestamp::now();
        let outcome = match timeout(DEADLINE, once(&app, &client, &prometheus, &args, now)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(BackfillError::Timeout),
        };
        app.backfill.count_run(outcome.is_ok());
        match outcome {
            Ok(0) => failing = false,
            Ok(stored) => {
                failing = false;
                app.backfill.stored.inc_by(stored);
                tracing::warn!(instance = app.instance, stored, "stored alerts that no notification announced");
            }
            // Once: the next runs would repeat it.
            Err(error) if !failing => {
                failing = true;
                let prometheus = http::without_login(&prometheus);
                tracing::warn!(instance = app.instance, prometheus, %error, "backfill failed; trying again");
            }
            Err(_) => {}
        }
    }
}

async fn once(
    app: &App,
    client: &Client,
    prometheus: &Url,
    args: &BackfillArgs,
    now: Timestamp,
) -> Result<u64, BackfillError> {
    let series = query(client, prometheus, args).await?;
    // What ended within the last interval may still be on its way from Alertmanager.
    let quiet_since = whole_micros(now.checked_sub(args.interval).unwrap_or(now));
    let ended_before = quiet_since.as_duration().as_secs_f64();
    let mut missed: Vec<Alert> = series.iter().flat_map(|series| alerts(series, ended_before)).collect();
    missed.sort_by_key(|alert| std::cmp::Reverse(alert.ends_at));
    if missed.len() > MAX_ALERTS {
        tracing::warn!(found = missed.len(), kept = MAX_ALERTS, "too many alerts to backfill; keeping the newest");
        missed.truncate(MAX_ALERTS);
    }
    Ok(alert_store::store_missed(&app.db, &missed, RECEIVER, whole_micros(now), quiet_since).await?)
}

#[derive(Debug, Deserialize)]
struct Response {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Debug, Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// The raw samples: their times are those of the evaluations, whatever the step of a range query.
async fn query(client: &Client, prometheus: &Url, args: &BackfillArgs) -> Result<Vec<Series>, BackfillError> {
    let BackfillArgs { matchers, window, .. } = args;
    let mut url = prometheus.clone();
    url.path_segments_mut().map_err(|()| BackfillError::Base)?.pop_if_empty().extend(["api", "v1", "query"]);
    let comma = if matchers.is_empty() { "" } else { "," };
    let query = format!("ALERTS{{alertstate=\"firing\"{comma}{matchers}}}[{}s]", window.as_secs().max(1));
    url.query_pairs_mut().append_pair("query", &query);
    let mut response = client.get(url).send().await?.error_for_status().map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(BackfillError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice::<Response>(&body)?.data.result)
}

/// Each time that the alert fired and ended before that moment. The samples of one run of an alert have no gap.
fn alerts(series: &Series, ended_before: f64) -> Vec<Alert> {
    let times: Vec<f64> = series.values.iter().map(|(time, _)| *time).collect();
    let pause = times.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    // One sample alone has no pause to compare with.
    let gap = if pause.is_finite() { pause * MISSED_EVALUATIONS } else { 0.0 };
    let mut labels = series.metric.clone();
    labels.remove("__name__");
    labels.remove("alertstate");
    let fingerprint = fingerprint(&labels);
    let name = labels.get("alertname").map_or("an alert", String::as_str);
    let summary = format!("{name} fired, and ended before a notification could be delivered");
    times
        .chunk_by(|earlier, later| later - earlier <= gap)
        .filter_map(|run| Some((*run.first()?, *run.last()?)))
        // Without more samples than these, the last one may be of an alert that still fires.
        .filter(|(_, last)| last + gap < ended_before)
        .filter_map(|(first, last)| {
            Some(Alert {
                status: Status::Resolved,
                fingerprint: fingerprint.clone(),
                starts_at: time(first)?,
                ends_at: Some(time(last)?),
                labels: labels.clone(),
                annotations: BTreeMap::from([("summary".to_owned(), summary.clone())]),
                generator_url: String::new(),
            })
        })
        .collect()
}

/// Prometheus' times are whole milliseconds.
#[allow(clippy::cast_possible_truncation, reason = "a float becomes the nearest integer, out of range the largest")]
fn time(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((seconds * 1e3).round() as i64).ok()
}

/// Alertmanager's: FNV-1a over the sorted labels, with a byte that UTF-8 does not have after each name and value.
fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    const SEPARATOR: u8 = 255;
    let words = labels.iter().flat_map(|(name, value)| [name, value]);
    let bytes = words.flat_map(|word| word.bytes().chain([SEPARATOR]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(times: &[f64]) -> Series {
        let metric =
            [("__name__", "ALERTS"), ("alertname", "AllApiDown"), ("alertstate", "firing"), ("severity", "p1")];
        Series {
            metric: metric.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            values: times.iter().map(|time| (*time, "1".to_owned())).collect(),
        }
    }

    fn found(times: &[f64], ended_before: f64) -> Vec<(i64, i64)> {
        let alerts = alerts(&series(times), ended_before);
        alerts.iter().map(|alert| (alert.starts_at.as_second(), alert.ends_at.unwrap().as_second())).collect()
    }

    #[test]
    fn each_run_without_a_gap_is_an_alert() {
        assert_eq!(found(&[100.0, 105.0, 110.0, 200.0, 205.0], 1000.0), [(100, 110), (200, 205)]);
        assert_eq!(found(&[100.0, 105.0, 115.0, 130.0], 1000.0), [(100, 130)], "missed evaluations do not end it");
        assert_eq!(found(&[100.0], 1000.0), [(100, 100)]);
        assert_eq!(found(&[], 1000.0), []);
    }

    #[test]
    fn what_fires_or_has_just_ended_is_left_to_alertmanager() {
        let samples = [100.0, 105.0, 200.0, 205.0];
        assert_eq!(found(&samples, 206.0), [(100, 105)]);
        assert_eq!(found(&samples, 225.0), [(100, 105)]);
        assert_eq!(found(&samples, 226.0), [(100, 105), (200, 205)]);
    }

    #[test]
    fn labels_are_those_of_the_alert() {
        let alerts = alerts(&series(&[100.123]), 1000.0);
        let [alert] = alerts.as_slice() else { panic!("one alert: {alerts:?}") };
        assert_eq!(alert.labels.keys().collect::<Vec<_>>(), ["alertname", "severity"]);
        assert_eq!(alert.starts_at.to_string(), "1970-01-01T00:01:40.123Z");
    }

    /// Expected: what Alertmanager 0.25 shows for this alert.
    #[test]
    fn fingerprints_are_alertmanagers() {
        let labels = [("alertname", "AllApiDown"), ("severity", "p1")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(fingerprint(&labels), "e9d149267703f5bb");
    }
}
