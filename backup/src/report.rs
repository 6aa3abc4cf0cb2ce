//! Tells others about a run: a Pushgateway, and URLs such as the ping of a health check. A failed report doesn't change
//! the result: the manifest is written before.
//!
//! A POST to the Pushgateway replaces the series of the names in it and leaves the others. A failed run doesn't send
//! the size and the time of success, so the group keeps those of the last good run.

use std::{fmt::Write, time::Duration};

use reqwest::Url;
use service_kit::{
    error_chain::with_sources,
    http,
    tls::{ClientTls, TlsError},
};

use crate::manifest::{Manifest, Outcome};

const TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of an answer. It is only for the log.
const ANSWER_MAX: usize = 4096;

/// Where to report to.
#[derive(Clone, Debug)]
pub struct Targets {
    pub pushgateway: Option<Url>,
    pub pushgateway_tls: ClientTls,
    /// Requested with GET after a complete backup.
    pub on_success: Option<Url>,
    /// Requested with GET after a failed or partial run.
    pub on_failure: Option<Url>,
}

#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("no answer: {}", with_sources(.0))]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the answer is {status}: {body}")]
    Refused { status: reqwest::StatusCode, body: String },
}

pub(crate) async fn report(targets: &Targets, manifest: &Manifest) {
    if let Some(gateway) = &targets.pushgateway
        && let Err(error) = push(gateway, &targets.pushgateway_tls, manifest).await
    {
        tracing::warn!(gateway = http::without_login(gateway), %error, "push failed");
    }
    let hook = if manifest.success().is_some() { &targets.on_success } else { &targets.on_failure };
    if let Some(url) = hook
        && let Err(error) = request(url, &ClientTls::system(), |client| client.get(url.clone())).await
    {
        // The path is often the secret of such a URL.
        tracing::warn!(host = url.host_str(), %error, "hook failed");
    }
}

async fn push(gateway: &Url, tls: &ClientTls, manifest: &Manifest) -> Result<(), ReportError> {
    let url = format!("{}/metrics/job/mysql_backup", gateway.as_str().trim_end_matches('/'));
    request(gateway, tls, |client| {
        let post = client.post(&url).header("content-type", "text/plain; version=0.0.4; charset=utf-8");
        post.body(text(manifest))
    })
    .await
}

async fn request(
    url: &Url,
    tls: &ClientTls,
    build: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
) -> Result<(), ReportError> {
    let client = http::client(url, tls)?.timeout(TIMEOUT).build()?;
    let mut response = build(&client).send().await.map_err(reqwest::Error::without_url)?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_MAX - body.len())]);
        if body.len() == ANSWER_MAX {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body).chars().take(200).collect();
    Err(ReportError::Refused { status, body })
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
