//! The instruments that requests update.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// OpenTelemetry's buckets for HTTP servers, and 0.8 s: the latency alert compares with exactly that.
const SECONDS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 0.8, 1.0, 2.5, 5.0, 7.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    http_request_method: &'static str,
    http_route: &'static str,
    http_response_status_code: u16,
}

#[derive(Debug, Clone)]
pub(crate) struct RequestMetrics {
    duration: Family<RequestLabels, Histogram, fn() -> Histogram>,
    pub(crate) active: Gauge,
    pub(crate) truncated_alerts: Counter,
}

impl RequestMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            active: Gauge::default(),
            truncated_alerts: Counter::default(),
        };
        registry.register_with_unit(
            "http_server_request_duration",
            "Time from the request's headers to the response's headers; status 499 means that the client closed the connection",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "http_server_active_requests",
            "Current number of requests in progress",
            metrics.active.clone(),
        );
        registry.register(
            "app_webhook_truncated_alerts",
            "Total number of alerts that Alertmanager left out of its notifications because of max_alerts",
            metrics.truncated_alerts.clone(),
        );
        metrics
    }

    pub(crate) fn observe(&self, method: &'static str, route: &'static str, status: u16, duration: Duration) {
        let labels =
            RequestLabels { http_request_method: method, http_route: route, http_response_status_code: status };
        self.duration.get_or_create_owned(&labels).observe(duration.as_secs_f64());
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct BackfillMetrics {
    runs: Family<RunLabels, Counter>,
    pub(crate) stored: Counter,
}

impl BackfillMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { runs: Family::default(), stored: Counter::default() };
        registry.register(
            "app_backfill_runs",
            "Total number of times that ended alerts were read from Prometheus",
            metrics.runs.clone(),
        );
        registry.register(
            "app_backfill_stored_alerts",
            "Total number of alerts that this replica stored or closed and that no notification announced",
            metrics.stored.clone(),
        );
        metrics
    }

    pub(crate) fn count_run(&self, succeeded: bool) {
        let outcome = if succeeded { "success" } else { "error" };
        self.runs.get_or_create_owned(&RunLabels { outcome }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_exactly_800_ms_is_within_the_bucket_of_the_alert() {
        let mut registry = Registry::default();
        let metrics = RequestMetrics::register(&mut registry);
        metrics.observe("GET", "/api/alerts", 200, Duration::from_millis(800));
        metrics.observe("GET", "/api/alerts", 200, Duration::from_millis(801));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let labels = r#"http_request_method="GET",http_route="/api/alerts",http_response_status_code="200""#;
        for (le, count) in [("0.75", 0), ("0.8", 1), ("1.0", 2)] {
            let sample = format!("http_server_request_duration_seconds_bucket{{le=\"{le}\",{labels}}} {count}\n");
            let other = format!("http_server_request_duration_seconds_bucket{{{labels},le=\"{le}\"}} {count}\n");
            assert!(text.contains(&sample) || text.contains(&other), "{sample} is missing in\n{text}");
        }
        assert!(text.contains("# TYPE http_server_request_duration_seconds histogram\n"), "{text}");
    }

    #[test]
    fn buckets_ascend() {
        assert!(SECONDS.is_sorted());
    }
}
