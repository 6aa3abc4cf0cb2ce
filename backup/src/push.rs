//! Pushes the result of a run to a Pushgateway. A failed push doesn't change the result: the manifest is written
//! before.
//!
//! A POST replaces the series of the names in it and leaves the others. A failed run doesn't send the size and the time
//! of success, so the group keeps those of the last good run.

use std::{fmt::Write, time::Duration};

use service_kit::{error_chain::with_sources, http};

use crate::manifest::{Manifest, Outcome};

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("cannot push to the gateway: {}", with_sources(.0))]
    Http(#[from] reqwest::Error),
    #[error("the gateway returned {status}: {body}")]
    Refused { status: reqwest::StatusCode, body: String },
}

pub(crate) async fn push(gateway: &reqwest::Url, manifest: &Manifest) -> Result<(), PushError> {
    let url = format!("{}/metrics/job/mysql_backup", gateway.as_str().trim_end_matches('/'));
    let client = http::client(gateway).timeout(TIMEOUT);
    let response = client
        .build()?
        .post(url)
        .header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        .body(text(manifest))
        .send()
        .await?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = response.text().await.unwrap_or_default().chars().take(200).collect();
    Err(PushError::Refused { status, body })
}

fn text(manifest: &Manifest) -> String {
    let seconds = |time: jiff::Timestamp| time.as_duration().as_secs_f64();
    let end = seconds(manifest.finished_at);
    let duration = manifest.finished_at.duration_since(manifest.started_at).as_secs_f64();

    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: String| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    let (status, success) = match &manifest.outcome {
        Outcome::Ok(success) => (1, Some(success)),
        Outcome::Partial(_) | Outcome::Failed(_) => (0, None),
    };
    gauge("mysql_backup_status", "Whether the last run made a complete backup.", status.to_string());
    gauge("mysql_backup_duration_seconds", "Duration of the last run in seconds.", duration.to_string());
    gauge("mysql_backup_last_timestamp", "Unix time of the end of the last run, successful or not.", end.to_string());
    if let Some(success) = success {
        gauge(
            "mysql_backup_size_bytes",
            "Size of the file of the last complete backup.",
            success.file.stored_bytes.to_string(),
        );
        gauge(
            "mysql_backup_last_success_timestamp_seconds",
            "Unix time of the end of the last successful run.",
            end.to_string(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_run_sends_everything() {
        let manifest = Manifest::parse(include_bytes!("../fixtures/ok.good.json")).unwrap();
        assert_eq!(
            text(&manifest),
            "# HELP mysql_backup_status Whether the last run made a complete backup.\n\
             # TYPE mysql_backup_status gauge\n\
             mysql_backup_status 1\n\
             # HELP mysql_backup_duration_seconds Duration of the last run in seconds.\n\
             # TYPE mysql_backup_duration_seconds gauge\n\
             mysql_backup_duration_seconds 4.753\n\
             # HELP mysql_backup_last_timestamp Unix time of the end of the last run, successful or not.\n\
             # TYPE mysql_backup_last_timestamp gauge\n\
             mysql_backup_last_timestamp 1795370944.873\n\
             # HELP mysql_backup_size_bytes Size of the file of the last complete backup.\n\
             # TYPE mysql_backup_size_bytes gauge\n\
             mysql_backup_size_bytes 43012\n\
             # HELP mysql_backup_last_success_timestamp_seconds Unix time of the end of the last successful run.\n\
             # TYPE mysql_backup_last_success_timestamp_seconds gauge\n\
             mysql_backup_last_success_timestamp_seconds 1795370944.873\n"
        );
    }

    #[test]
    fn a_failed_run_leaves_the_last_success_alone() {
        let manifest = Manifest::parse(include_bytes!("../fixtures/failed.good.json")).unwrap();
        let text = text(&manifest);
        let names: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            names,
            [
                "mysql_backup_status 0",
                "mysql_backup_duration_seconds 4.753",
                "mysql_backup_last_timestamp 1795370944.873"
            ]
        );
    }
}
