//! `/probe?target=…&debug=true`: what happened in one probe, for a person. The sections are those of blackbox_exporter.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use exposition::{Compression, Form, Format};
use hyper::StatusCode;

use crate::check::CheckStatus;
use crate::gather::Exposition;
use crate::response::{Body, text};

pub(crate) async fn debug_page(exposition: Arc<Exposition>, timeout: Duration, took: Duration) -> Body {
    let mut page = log(&exposition, timeout, took);
    page.push_str("\n\n\nMetrics that would have been returned:\n");
    let metrics = exposition.body(Form { format: Format::Text, compression: Compression::Identity }).await;
    match metrics {
        Ok(metrics) => page.push_str(&String::from_utf8_lossy(&metrics)),
        Err(exhausted) => page.push_str(&format!("none: {exhausted} is reached\n")),
    }
    text(StatusCode::OK, page)
}

/// The reasons are those of `/health`, which contain no secrets.
fn log(exposition: &Exposition, timeout: Duration, took: Duration) -> String {
    let report = &exposition.report;
    let mut log = "Logs for the probe:\n".to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(
        log,
        "level=info msg=\"probe started\" target={:?} timeout_seconds={}",
        report.target,
        timeout.as_secs_f64()
    );
    for check in &report.checks {
        let level = match check.status {
            CheckStatus::Ok => "info",
            CheckStatus::Warn => "warn",
            CheckStatus::Fail => "error",
        };
        let (name, status) = (check.name, check.status.as_str());
        let _ =
            writeln!(log, "level={level} msg=\"health check\" check={name} status={status} reason={:?}", check.reason);
    }
    for collector in report.collectors.iter().filter(|_| exposition.up) {
        let (name, seconds) = (collector.name, collector.duration_seconds);
        let _ = match &collector.error {
            None => writeln!(log, "level=info msg=\"collector succeeded\" collector={name} duration_seconds={seconds}"),
            Some(error) => writeln!(
                log,
                "level=error msg=\"collector failed\" collector={name} duration_seconds={seconds} reason={error:?}"
            ),
        };
    }
    let (level, result) = if exposition.up { ("info", "probe succeeded") } else { ("error", "probe failed") };
    let _ = write!(
        log,
        "level={level} msg={result:?} status={} duration_seconds={}",
        report.status.as_str(),
        took.as_secs_f64()
    );
    log
}
